"""Marks of single values of parameters."""

import pytest


def exhaustive(*values):
  """Values that are tested only where the tests marked exhaustive run."""
  return [pytest.param(value, marks=pytest.mark.exhaustive) for value in values]
