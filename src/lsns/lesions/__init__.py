"""Lesions: switch units off, draw control masks, generate text meanwhile."""
