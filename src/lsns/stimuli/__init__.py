"""Contrasts: the built-in networks, published sets, and files of one's own."""
