"""Scripts that train, measure and reproduce; not part of the package."""
