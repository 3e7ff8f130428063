"""Fitting corrections to measurements, keeping them in a file, and predicting with them."""
