"""Architectures, one per file, and the sources that are known by name."""
