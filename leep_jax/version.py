"""The version of the package; rows of results name it."""

__version__ = "0.1.0"
