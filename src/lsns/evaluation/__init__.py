"""What a model does with benchmarks: log-probabilities, and the readers that ask for them."""
