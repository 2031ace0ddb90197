"""What benchmarks share: medians of interleaved runs, rows of a table."""

from collections.abc import Callable
import platform
import statistics
import time

import jax

import leep_jax
from leep_jax.engine import programs


def turns(repeats: int, *functions: Callable[[], object]) -> list[list[float]]:
  """Returns the seconds that each function takes in each turn.

  Functions run in turns, so that a slow phase of the machine affects them all.
  """
  times: list[list[float]] = [[] for _ in functions]
  for _ in range(repeats):
    for function, measured in zip(functions, times, strict=True):
      start = time.perf_counter()
      function()
      measured.append(time.perf_counter() - start)
  return times


def interleaved(repeats: int, *functions: Callable[[], object]) -> list[float]:
  """Returns the median of the seconds that each function takes in `turns`."""
  # The first turn compiles and warms up.
  times = turns(repeats + 1, *functions)
  return [statistics.median(measured[1:]) for measured in times]


def versions() -> None:
  """Prints versions and devices."""
  print(
    f"leep_jax {leep_jax.__version__}, JAX {jax.__version__}, Python "
    f"{platform.python_version()}, {programs.device_count()} "
    f"{jax.devices()[0].device_kind} device(s)\n"
  )


def header() -> None:
  """Prints versions, devices and the header of the table."""
  versions()
  print("| measured | ratio | bound | detail |\n|---|---|---|---|")


def report(what: str, ratio: float, bound: float | None, detail: str) -> None:
  """Prints one row of the table. If there is no aim, the bound is None."""
  limit = "-" if bound is None else f"{bound:g}"
  print(f"| {what} | {ratio:.3f} | {limit} | {detail} |", flush=True)
