"""PyTorch networks run by JAX: a graph of core ATen operations, one table."""
