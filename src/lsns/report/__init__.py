"""Results for readers: text, figures, the page."""
