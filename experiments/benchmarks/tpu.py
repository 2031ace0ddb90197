"""What the TPU compiler says of this package's programs, without a TPU.

    python -m experiments.benchmarks.tpu | tee experiments/results/tpu.md

Purpose: do the programs fit on a chip, how fast does their compiler expect them
to be, and how does a pass scale over chips? Nothing runs: the programs are
those that the package calls (`tpu_programs.py`), compiled for a TPU v5e.

Times are the cycles that the compiler schedules for each operation, at the
chip's clock. A loop counts once where the compiler does not state its turns:
those over groups, over pieces of a batch, in training and in class subsets.
Gathers and scatters are left out, as they state none (column `?`).
`optimal_seconds` of its cost analysis is beside them: it takes what stays in
fast memory for traffic, and of some programs it is negative, shown as "-".
Operations and bytes moved are those of the same analysis, which counts what is
in a loop once: with a loop, there is no share of the peak. No number here was
measured on a chip.

Cost: about an hour on two CPU cores, in memory of 4 GB. What the compiler says
is appended to `experiments/results/tpu.ndjson`, and a program that is there is
not compiled again: after an interruption, the same command goes on. After a
change of the programs, delete the file. `--only=forward` computes one section,
`--kept_only` only prints. It needs libtpu
(`pip install 'leep_jax[tpu-compile]'`). What came out is in
`experiments/results/tpu.md`.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import Any

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import tpu_compiler, tpu_programs
import leep_jax
from leep_jax.engine import programs, segments
from leep_jax.models import resize

_ONLY = flags.DEFINE_list("only", [], "Sections, by default all.")
_ROWS_FILE = flags.DEFINE_string(
  "rows", "experiments/results/tpu.ndjson", "File of what the compiler said."
)
_KEPT_ONLY = flags.DEFINE_bool(
  "kept_only", False, "Leaves out programs that were not compiled before."
)
_CYCLES_OF = flags.DEFINE_string(
  "cycles_of", None, "Internal: a form, B, Y and K, whose cycles are printed."
)
_TOPOLOGY = "v5e:2x4"
_NETWORKS = (
  "resnet50", "mobilenet_v1_100", "efficientnet_b0", "convnext_tiny",
  "vit_small_16",
)  # fmt: skip
_ROWS, _SIDE = 128, 224
# A ring of links carries half of what a chip's four links do; each of the steps
# from chip to chip takes at least so long.
_RING_BYTES = tpu_compiler.LINK_BITS / 8 / 2
_HOP = 1e-6
_PROFILE = "--xla_jf_dump_static_llo_profile_to="


def optimal(facts: tpu_compiler.Facts) -> str:
  """The compiler's `optimal_seconds` in milliseconds, where it has one."""
  return f"{1e3 * facts.optimal:.3f}" if facts.optimal > 0 else "-"


def columns(facts: tpu_compiler.Facts) -> str:
  """The columns that all tables of programs have."""
  share = "-"
  if facts.cycles and not facts.loops:
    share = f"{facts.peak_share:.1%}"
  return (
    f"{facts.memory / 1e6:,.0f} | {facts.operations / 1e9:,.3g} | "
    f"{facts.traffic / 1e6:,.0f} | {optimal(facts)} | "
    f"{1e3 * facts.seconds:.3f} | {facts.unpriced} | {share} | "
    f"{len(facts.collectives)}"
  )


def header(*first: str, last: tuple[str, ...] = ()) -> None:
  """Prints the header of a table of programs."""
  names = (
    *first, "MB", "Gop", "MB moved", "optimal ms", "ms", "?", "of peak",
    "collectives", *last,
  )  # fmt: skip
  row(*names)
  row(*("---" for _ in names))


def row(*cells: Any) -> None:
  """Prints a row of a table."""
  print("|", " | ".join(map(str, cells)), "|", flush=True)


def all_reduce_seconds(size: float, chips: int) -> float:
  """The time of an all-reduce by rings, from its bytes."""
  return 2 * (chips - 1) * (size / chips / _RING_BYTES + _HOP)


class NotKept(Exception):
  """A program was not compiled before, and is not to be compiled now."""


def kept(key: str, make: Callable[[], Any]) -> Any:
  """Returns the JSON value of a key in the file; makes and appends it if new.

  Raises:
    NotKept: with `--kept_only`, if it is new.
  """
  path = pathlib.Path(_ROWS_FILE.value)
  if path.exists():
    for line in path.read_text(encoding="utf-8").splitlines():
      found = json.loads(line)
      if found["key"] == key:
        return found["value"]
  if _KEPT_ONLY.value:
    raise NotKept(key)
  value = make()
  with path.open("a", encoding="utf-8") as file:
    file.write(json.dumps({"key": key, "value": value}) + "\n")
  return json.loads(json.dumps(value))


def of(key: str, run: Callable[[], Any]) -> list[tpu_compiler.Facts]:
  """What the compiler says of the programs that a function calls.

  Args:
    key: names them in the file of rows.
    run: calls them.
  """

  def make():
    return [
      dataclasses.asdict(tpu_compiler.facts(program))
      for program in tpu_compiler.compiled(_TOPOLOGY, run)
    ]

  return [
    tpu_compiler.Facts(
      **{**fields, "collectives": tuple(map(tuple, fields["collectives"]))}
    )
    for fields in kept(key, make)
  ]


def forward() -> None:
  """Forward passes of five families, and what the batch size does."""
  print(f"\n## Forward pass, {_SIDE} x {_SIDE} uint8 images, in any batch\n")
  header("network", "dtype", "images a chip", last=("images/s a chip",))
  cases = [(arch, "bfloat16", _ROWS) for arch in _NETWORKS]
  cases += [("resnet50", "bfloat16", rows) for rows in (64, 256, 334)]
  cases += [(arch, "float32", _ROWS) for arch in _NETWORKS]
  for arch, dtype, rows in cases:
    with contextlib.suppress(NotKept):
      facts = _forward(arch, dtype, rows)
      row(arch, dtype, rows, columns(facts), f"{rows / facts.seconds:,.0f}")


def _forward(arch, dtype, rows):
  return of(
    f"forward {arch} {dtype} {rows}",
    lambda: tpu_programs.forward(
      tpu_programs.source(arch), dtype, rows=rows, side=_SIDE
    ),
  )[-1]


def _pass(name, classes, groups, rows):
  kinds = {"first": tpu_programs.FIRST, "second": tpu_programs.SECOND}
  return of(
    f"{name} pass {classes} {groups} {rows}",
    lambda: tpu_programs.pass_over_outputs(
      kinds[name], classes=classes, groups=groups, rows=rows
    ),
  )


def _heads():
  return of(
    "heads",
    lambda: tpu_programs.heads(
      1000, examples=5000, features=512, classes=10, batch_size=32
    ),
  )[0]


def _step():
  return of(
    "fine-tuning",
    lambda: tpu_programs.fine_tuning(
      tpu_programs.source("resnet50"),
      "bfloat16",
      rows=32,
      side=_SIDE,
      classes=100,
    ),
  )[0]


def _subsets():
  return of(
    "subsets",
    lambda: tpu_programs.subsets(200, examples=50_000, classes=100),
  )[0]


def passes() -> None:
  """Passes over outputs: adding a batch, and adding the devices."""
  print("\n## Passes over outputs, 1,000 source classes, 2,048 features\n")
  print("A loop whose turns the compiler does not state counts as one turn.\n")
  header("program", "classes", "groups", "examples a chip")
  for name in ("first", "second"):
    for case in ((100, 1, 1024), (100, 20, 4096), (1000, 1, 1024)):
      with contextlib.suppress(NotKept):
        every = _pass(name, *case)
        for what, facts in zip(("add", "finish"), every, strict=True):
          row(f"{name} pass, {what}", *case, columns(facts))


def training() -> None:
  """Heads, fine-tuning, and class subsets."""
  print("\n## Training and class subsets\n")
  print("A loop whose turns the compiler does not state counts as one turn.\n")
  header("program")
  for name, run in (
    ("1,000 heads, an epoch of 5,000 x 512", _heads),
    ("LEEP of 200 subsets, a call", _subsets),
    ("fine-tuning ResNet-50, 32 images a chip, bfloat16", _step),
  ):
    with contextlib.suppress(NotKept):
      row(name, columns(run()))


def resizing() -> None:
  """Resizing by bands of pixels, and by products with whole matrices."""
  print("\n## Resizing 128 images of uint8 to 224 x 224, bilinear\n")
  header("from", "form")
  for side in (32, 160, 320, 512):
    kept = slice(16, 240)  # of 256, as most networks are evaluated
    matrix = resize.matrix(side, 256, "bilinear")[kept]
    options = {
      "rows": matrix, "columns": matrix, "limit": 255, "rounded": True
    }  # fmt: skip
    for name, form in (
      ("bands", resize.by_bands), ("products", resize.by_products)
    ):  # fmt: skip

      def run(form=form, options=options, side=side):
        programs.parallel(lambda x: form(x, **options))(
          np.broadcast_to(np.uint8(0), (8, _ROWS, side, side, 3))
        )

      with contextlib.suppress(NotKept):
        row(side, name, columns(of(f"resizing {side} {name}", run)[0]))


_FORMS: dict[str, Callable[..., Any]] = {
  "scatter": lambda v, s, y: jax.ops.segment_sum(v, s, num_segments=y),
  "product": segments.by_product,
}


def cycles_of(form: str, rows: int, count: int, width: int) -> int:
  """Cycles of a sum by segments, from the profile of scheduled instructions.

  Unlike the program's text, that states those of scatters. It has to be asked
  for before libtpu is loaded, and fails for many other programs.
  """
  with tempfile.TemporaryDirectory() as folder:
    os.environ["LIBTPU_INIT_ARGS"] = _PROFILE + folder
    values = jax.ShapeDtypeStruct((8, rows, width), jnp.float32)
    of_rows = jax.ShapeDtypeStruct((8, rows), jnp.int32)
    function = _FORMS[form]
    tpu_compiler.compiled(
      _TOPOLOGY,
      lambda: programs.parallel(lambda v, s: function(v, s, count))(
        values, of_rows
      ),
    )
    texts = [path.read_text() for path in pathlib.Path(folder).iterdir()]
  found = [re.search(r"estimated_cycles: (\d+)", text) for text in texts]
  return sum(int(match[1]) for match in found if match)


def _in_child(form, count, width):
  """`cycles_of` in a process of its own; None where it fails."""
  # The profile is asked for when libtpu is loaded.
  done = subprocess.run(
    [
      sys.executable, "-m", "experiments.benchmarks.tpu",
      f"--cycles_of={form},1024,{count},{width}",
    ],
    capture_output=True, text=True, check=False,
  )  # fmt: skip
  return None if done.returncode else int(done.stdout.split()[-1])


def crossover() -> None:
  """Sums by segments: by scatter and by product."""
  print("\n## Sums of 1,024 rows by segments, cycles with copies\n")
  row("columns", "segments", *_FORMS, "faster", "chosen")
  row(*["---"] * 6)
  for width in (100, 1000, 2048):
    for count in (100, 200, 350, 500, 1000, 2000):
      with contextlib.suppress(NotKept):
        found = {
          form: kept(
            f"cycles {form} {count} {width}",
            functools.partial(_in_child, form, count, width),
          )
          for form in _FORMS
        }
        known = {k: v for k, v in found.items() if v is not None}
        row(
          f"{width:,}",
          f"{count:,}",
          *(f"{v:,}" if v is not None else "unknown" for v in found.values()),
          min(known, key=known.__getitem__) if len(known) == 2 else "-",
          "product" if count <= segments.few(width) else "scatter",
        )


def scaling() -> None:
  """Images a second over chips, from what each program sends."""
  print("\n## Scaling, computed from the sizes of collectives\n")
  print(
    f"An all-reduce of b bytes over d chips takes 2 (d - 1) (b / d / "
    f"{_RING_BYTES / 1e9:g} GB/s + {1e6 * _HOP:g} us).\n"
  )
  row("work", "chips", "compute s", "all-reduce s", "efficiency")
  row(*["---"] * 5)
  images = 50_000
  with contextlib.suppress(NotKept):
    ahead = _forward("resnet50", "bfloat16", _ROWS)
    add, finish = _pass("first", 100, 1, 1024)
    rate = ahead.seconds / _ROWS + add.seconds / 1024
    for chips in (8, 32, 256):
      # Every chip computes whole batches.
      own = -(-images // (chips * _ROWS)) * _ROWS
      computed, sent = own * rate + finish.seconds, _sent(finish, chips)
      share = images * rate / chips / (computed + sent)
      row(
        f"ResNet-50, {images:,} images, first pass", chips,
        f"{computed:.4f}", f"{sent:.5f}", f"{share:.1%}",
      )  # fmt: skip
  with contextlib.suppress(NotKept):
    step = _step()
    for chips in (8, 32, 256):
      sent = _sent(step, chips)
      share = step.seconds / (step.seconds + sent)
      row(
        "ResNet-50, a step of 32 images a chip", chips,
        f"{step.seconds:.4f}", f"{sent:.5f}", f"{share:.1%}",
      )  # fmt: skip


def _sent(facts, chips):
  """The seconds of a program's collectives, one after the other."""
  return sum(all_reduce_seconds(size, chips) for _, size in facts.collectives)


SECTIONS: dict[str, Callable[[], None]] = {
  "passes": passes,
  "training": training,
  "resizing": resizing,
  "crossover": crossover,
  "forward": forward,
  "scaling": scaling,
}


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  reason = tpu_compiler.why_not()
  if reason is not None:
    sys.exit(reason)
  if _CYCLES_OF.value:
    form, *sizes = _CYCLES_OF.value.split(",")
    print(cycles_of(form, *map(int, sizes)))
    return
  from importlib import metadata

  print(
    f"    {' '.join(['python -m experiments.benchmarks.tpu', *argv[1:]])}\n"
  )
  print(
    f"leep_jax {leep_jax.__version__}, JAX {jax.__version__}, libtpu "
    f"{metadata.version('libtpu')}, compiled for {_TOPOLOGY}. A chip: "
    f"{tpu_compiler.PEAK_OPERATIONS / 1e12:g} Top/s in bfloat16, "
    f"{tpu_compiler.MEMORY_SPEED / 1e9:g} GB/s, {tpu_compiler.MEMORY / 1e9:g} "
    f"GB, {tpu_compiler.LINK_BITS / 1e9:,g} Gbit/s between chips (Google "
    f"Cloud's page on TPU v5e), clock {tpu_compiler.CLOCK / 1e9:.2f} GHz. "
    "Nothing was measured on a chip."
  )
  if _KEPT_ONLY.value:
    print("\nPrograms that were not compiled yet have no row (`--kept_only`).")
  for name in _ONLY.value or SECTIONS:
    SECTIONS[name]()


if __name__ == "__main__":
  app.run(main)
