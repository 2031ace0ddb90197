"""Measures an accelerator in one go, as ratios within one run.

    pip install -e '.[cuda]' timm torch torchvision    # on a TPU: '.[tpu]'
    python -m experiments.benchmarks.accelerator --minutes=9

Purpose: what is this package's speed on an accelerator, and how does it compare
with what people would use instead? Needed are the checkout and its packages,
but not TFDS; without PyTorch or timm, their rows say so. Where the packages are
installed already, the second command is enough, in the folder of the checkout.
`--notorch` measures without PyTorch, where its CUDA libraries and JAX's differ.
Data are random, and networks have random weights or are bundled. Compared are

- the forward pass of five architectures and a bundled source, in float32 (in
  full precision) and bfloat16: `leep_jax` is the package's compiled step of
  images on the host, `compute_outputs` the whole call, with tracing and data
  set; with `jax.jit` of the network on images on the device; and with PyTorch
  on the same device (timm's or torchvision's network, channels last, autocast
  for bfloat16, and `torch.compile` too);
- scores, with the forward pass alone;
- LEEP of 50,000 x 1,000, with two sums over the same array and with NumPy, and
  200 class subsets of it, with loops over every tenth;
- 1,000 heads, with jitted steps one by one of every hundredth;
- steps of fine-tuning, with the jitted gradient of a batch on the device;
- one device, with all. All other rows are of one device.

Each case's variants run in turns, after a first call. Rows are appended to
`--output`, a case at a time: median, lowest and highest seconds of the repeats,
and `compile_seconds`, in which JAX traced and compiled in the first call (its
cache of compiled programs is off; what a case's earlier variant has compiled is
not compiled again), or what PyTorch's first call took beyond the others. What
cannot be measured has a row that says why. A second run measures only the cases
that have no rows for this device and these versions; what failed is measured
again after its lines are deleted. After `--minutes` no case is started, nor one
before that is expected to take longer than is left: as long as the longest of
its kind so far. At the end the speed ratios are printed as a Markdown table:
above 1, the first is faster. `--table` prints it alone.

Cost: on an accelerator not yet known; compiling networks takes most of it, so
several runs may be needed. `--size=small` is for a CPU, and `--size=tiny` for
tests, which takes a minute on two CPU cores.
"""

from collections.abc import Callable
import datetime
import gc
import os
import pathlib
import platform
import statistics
import sys
import time
from typing import Any
import uuid

from absl import flags
import jax
import jaxlib

from experiments.benchmarks import (
  accelerator_cases,
  accelerator_rows as rows_lib,
  accelerator_sizes as sizes,
  timing,
  torch_forward,
)
import leep_jax
from leep_jax import command, progress, validation
from leep_jax.engine import programs
from leep_jax.reports import results
from leep_jax.transfer import trials

FLAGS = flags.FlagValues()
_OUTPUT = flags.DEFINE_string(
  "output", "accelerator.jsonl", "File of rows, which are appended to it.",
  flag_values=FLAGS,
)  # fmt: skip
_MINUTES = flags.DEFINE_float(
  "minutes", 9.0, "After so many, no measurement is started.",
  lower_bound=0.0, flag_values=FLAGS,
)  # fmt: skip
_SIZE = flags.DEFINE_enum(
  "size", None, list(sizes.SIZES),
  "How much work is measured; default: full, or small on a CPU.",
  flag_values=FLAGS,
)  # fmt: skip
_KINDS = flags.DEFINE_list(
  "kinds", [], "Kinds of measurement, comma-separated; default: all of "
  f"{', '.join(sizes.KINDS)}.",
  flag_values=FLAGS,
)  # fmt: skip
_TORCH = flags.DEFINE_bool(
  "torch", True, "Whether to compare with PyTorch.", flag_values=FLAGS
)
_TABLE = flags.DEFINE_bool(
  "table", False, "Only print the table of the rows that are there.",
  flag_values=FLAGS,
)  # fmt: skip


class _Compiling:
  """Adds up the seconds that JAX traces and compiles in this process."""

  def __init__(self):
    self.seconds = 0.0
    jax.monitoring.register_event_duration_secs_listener(self._add)

  def _add(self, event: str, duration_secs: float, **_: Any) -> None:
    if event.startswith("/jax/core/compile/"):
      self.seconds += duration_secs


_COMPILING = _Compiling()


def measure(case: sizes.Case) -> list[dict[str, Any]]:
  """Runs the variants of a case in turns.

  Args:
    case: to measure.

  Returns:
    The fields of a row for each variant. One that fails has a field `failed`
    instead of seconds.
  """
  # Compilation is part of what is measured: nothing is left of other cases.
  programs.forget_programs()
  try:
    variants = case.prepare()
  except Exception as e:  # a device without enough memory, for example
    variants = [sizes.Variant("all", 0, "", None, why_not=_reason(e))]
  # Seconds of the first call, and those of them in which JAX compiled.
  first: dict[str, tuple[float, float]] = {}
  runs: dict[str, Callable[[], object]] = {}
  failed = {}
  for variant in variants:
    if variant.run is None:
      failed[variant.name] = variant.why_not
      continue
    before = _COMPILING.seconds
    try:
      ((seconds,),) = timing.turns(1, variant.run)
    except Exception as e:  # of any library
      failed[variant.name] = _reason(e)
      continue
    first[variant.name] = seconds, _COMPILING.seconds - before
    runs[variant.name] = variant.run
  times: dict[str, list[float]] = {}
  try:
    measured = timing.turns(case.repeats, *runs.values())
    times = dict(zip(runs, measured, strict=True))
  except Exception as e:
    failed |= dict.fromkeys(runs, _reason(e))
  return [
    {
      "variant": variant.name,
      "over": list(variant.over),
      "amount": round(float(variant.amount), 3),
      "unit": variant.unit,
      **(
        _timed(variant, times[variant.name], *first[variant.name])
        if variant.name in times
        else {"failed": failed[variant.name]}
      ),
    }
    for variant in variants
  ]


def _timed(variant, times, first, compiling):
  if variant.of_torch:
    # PyTorch does not say how long it compiles.
    compiling = max(first - statistics.median(times), 0.0)
  return rows_lib.measured(times, first, compiling)


def _reason(error: Exception) -> str:
  text = " ".join(f"{type(error).__name__}: {error}".split())
  return text if len(text) <= 300 else f"{text[:299]}…"


def _about(size: str) -> dict[str, Any]:
  """What rows say of the device and the software."""
  own = {
    "leep_jax": leep_jax.__version__,
    "jax": jax.__version__,
    "jaxlib": jaxlib.__version__,
    "python": platform.python_version(),
  }
  peers = torch_forward.versions() if _TORCH.value else {}
  device = jax.devices()[0]
  return {
    "size": size,
    "device": device.device_kind,
    "platform": device.platform,
    "devices": programs.device_count(),
    "cores": os.cpu_count(),
    "versions": own | peers,
    "commit": trials.commit(),
  }


def _rows_of(case: sizes.Case, about: dict[str, Any]) -> dict[str, Any]:
  """What all rows of a case have in common."""
  work = {"kind": case.kind, "case": case.name, "settings": case.settings}
  return work | about


def measure_all(
  cases: list[sizes.Case],
  rows: results.Rows,
  about: dict[str, Any],
  *,
  seconds: float,
  clock: Callable[[], float] = time.monotonic,
) -> int:
  """Measures the cases that have no rows yet, and appends theirs.

  Args:
    cases: most important first.
    rows: of earlier runs.
    about: what all rows say of the device and the software.
    seconds: after which no case is started.
    clock: tells the time in seconds.

  Returns:
    The number of cases that are still without rows.
  """
  start = clock()
  done = rows_lib.complete(rows.rows)
  left = [c for c in cases if rows_lib.key(_rows_of(c, about)) not in done]
  progress.write(f"{len(cases) - len(left)} of {len(cases)} cases have rows")
  longest: dict[str, float] = {}
  for number, case in enumerate(left):
    begun = clock()
    # A kind that was not measured yet may take as long as any other.
    expected = longest.get(case.kind, max(longest.values(), default=0.0))
    if begun - start + expected >= seconds:
      return len(left) - number
    settings = " ".join(f"{k}={v}" for k, v in case.settings.items())
    progress.write(
      f"{begun - start:5.0f} s, {number + 1}/{len(left)}: {case.kind} "
      f"{case.name} {settings}"
    )
    found = measure(case)
    shared = _rows_of(case, about) | {
      "run": uuid.uuid4().hex[:12],
      "time": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
      "rows": len(found),
    }
    for row in found:
      rows.append(shared | row)
      rate = rows_lib.speed(row)
      told = row.get("failed") or f"{rate:,.1f} {row['unit']}/s"
      progress.write(f"         {row['variant']}: {told}")
    gc.collect()
    torch_forward.release()
    longest[case.kind] = max(longest.get(case.kind, 0.0), clock() - begun)
  return 0


def _read(path: str) -> list[dict[str, Any]]:
  try:
    content = pathlib.Path(path).expanduser().read_bytes()
  except OSError as e:
    raise validation.InputError(
      f"cannot read output {path}: {e.strerror}"
    ) from e
  return results.parse_rows(content, name=path)[0]


def _run() -> int:
  if _TABLE.value:
    _print_table(_read(_OUTPUT.value))
    return 0
  for kind in _KINDS.value:
    if kind not in sizes.KINDS:
      raise validation.unknown("kind", kind, sizes.KINDS)
  if _TORCH.value:
    # Read when JAX first uses the device: the rest is for PyTorch.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
  # What compilation takes is measured.
  jax.config.update("jax_enable_compilation_cache", False)
  on_cpu = jax.default_backend() == "cpu"
  size = _SIZE.value or ("small" if on_cpu else "full")
  with results.Rows(_OUTPUT.value) as rows:
    cases = [
      case
      for case in accelerator_cases.plan(sizes.SIZES[size], torch=_TORCH.value)
      if not _KINDS.value or case.kind in _KINDS.value
    ]
    left = measure_all(cases, rows, _about(size), seconds=60 * _MINUTES.value)
    if left:
      progress.write(
        f"{left} cases are left; the same command goes on with them"
      )
    _print_table(rows.rows)
  return 0


def _print_table(rows):
  print(rows_lib.table(rows) or "no case is complete")


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status."""
  return command.main(argv, FLAGS, __doc__ or "", _run)


if __name__ == "__main__":
  sys.exit(main(sys.argv))
