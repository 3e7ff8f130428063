"""Dimensionless features of kernels on a device, a module a family."""
