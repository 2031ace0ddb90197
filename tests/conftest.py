"""Settings and fixtures of all tests.

Warnings are errors (in `pyproject.toml`), and so is rank promotion in JAX.
"""

import os

# Both are read when JAX starts. Eight devices on the CPU stand in for a machine
# with eight accelerators.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
_FLAG = "--xla_force_host_platform_device_count=8"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}".strip()

import pathlib
import signal

# Compiled programs are kept on disk: a second run compiles nothing, and neither
# does a process that compiles what another process of the run compiled. Even
# programs that compile in 0.05 s are kept, because there are thousands.
CACHE = pathlib.Path(__file__).resolve().parents[1] / ".cache" / "compiled"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# Shells start commands in the background with interrupts ignored, and processes
# inherit that: those that tests interrupt would never end.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
  signal.signal(signal.SIGINT, signal.default_int_handler)

import jax
import marks
import numpy as np
import pytest

from leep_jax.engine import programs

jax.config.update("jax_numpy_rank_promotion", "raise")

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True, scope="module")
def _few_programs():
  """Frees compiled programs after each file.

  Each maps memory, and the thousands of all files would exceed the number of
  maps that Linux allows a process.
  """
  yield
  programs.forget_programs()


@pytest.fixture(params=[*marks.exhaustive(1), 8], ids=["1 device", "8 devices"])
def device_count(request):
  """Runs a test on eight simulated devices; if exhaustive, also on one."""
  with programs.limit(request.param):
    yield request.param


@pytest.fixture
def one_device():
  """Runs a test on one of the eight simulated devices."""
  with programs.limit(1):
    yield


@pytest.fixture
def shared():
  """The folder with real data and weights beside the checkout, or skips."""
  if not SHARED.is_dir():
    pytest.skip("no real data and weights: there is no ../shared")
  return SHARED


@pytest.fixture
def rng():
  """Random numbers that are the same in every run."""
  return np.random.default_rng(0)
