"""Measured tables as kernels, a module a kind."""
