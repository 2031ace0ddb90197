"""Strict settings for every test, and what the tests share."""

import os

# Before JAX starts: eight devices on the CPU stand in for a board.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_FLAG = "--xla_force_host_platform_device_count=8"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}".strip()

import pathlib

# Compiled programs are kept from run to run, and shared by the processes of a
# run and those that tests start.
CACHE = pathlib.Path(__file__).resolve().parents[1] / ".cache" / "compiled"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import numpy as np
import pytest

from leep_jax.engine import programs

jax.config.update("jax_numpy_rank_promotion", "raise")

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True, scope="module")
def _few_programs():
  """Gives back programs: thousands would exceed a process's memory maps."""
  yield
  programs.forget_programs()


@pytest.fixture(params=[1, 8], ids=["1 device", "8 devices"])
def device_count(request):
  """Runs a test on one and on eight simulated devices."""
  with programs.limit(request.param):
    yield request.param


@pytest.fixture
def one_device():
  with programs.limit(1):
    yield


@pytest.fixture
def shared():
  """The folder with real data and weights, beside the checkout."""
  if not SHARED.is_dir():
    pytest.skip("no real data and weights: there is no ../shared")
  return SHARED


@pytest.fixture
def rng():
  return np.random.default_rng(0)
