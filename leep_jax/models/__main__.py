"""Lists the sources that have a name, and the architectures.

    python -m leep_jax.models
    python -m leep_jax.models --list='convnext*,resnet50.*'

Each name can be passed to `--model`. Published sources are downloaded when they
are first used. The accuracy is the published one, on the source's own data.
"""

import sys
import textwrap

from absl import flags

from leep_jax import command, common_flags
from leep_jax.reports import tables
from leep_jax.sources import catalog, hub, known

FLAGS = flags.FlagValues()
_LIST = flags.DEFINE_list(
  "list",
  None,
  "List instead all known names that match these patterns, comma-separated, "
  "with * and ?: those of timm's and Keras's pre-trained models, too.",
  flag_values=FLAGS,
)


def _run() -> int:
  """Prints what is asked for."""
  if _LIST.value is None:
    _print_sources()
  else:
    print(_table(known.matching(common_flags.names(_LIST, "pattern"))))
  return 0


def _table(rows):
  """Known sources as lines of at most 80 columns, counted in the last one."""
  cells = [("name", "params", "input", "classes", "top-1", "backend")]
  for row in rows:
    height, width = row.image_size
    cells.append(
      (
        row.name,
        tables.millions(row.parameters),
        f"{height}" if height == width else f"{height}x{width}",
        f"{row.num_classes:,}" if row.num_classes else "-",
        "-" if row.accuracy is None else f"{row.accuracy:.3f}",
        row.backend,
      )
    )
  names, *columns = zip(*cells, strict=True)
  widths = [max(map(len, column)) for column in columns]
  left = tables.WIDTH - sum(widths) - 2 * len(widths)
  left = min(left, max(map(len, names)))
  lines = []
  for name, *others in cells:
    numbers = "".join(
      f"  {cell:>{width}}" for cell, width in zip(others, widths, strict=True)
    )
    # A name that was cut could not be copied: it has a line of its own.
    if len(name) > left:
      lines.append(name)
      name = ""
    lines.append(f"{name:<{left}}{numbers}")
  backends = [row.backend for row in rows]
  counts = [
    f"{backends.count(kind):,} {kind}"
    for kind in (known.NATIVE, known.BRIDGE, known.KERAS)
    if kind in backends
  ]
  total = tables.count(len(rows), "name")
  return "\n".join([*lines, f"{total}: {', '.join(counts)}"])


def _print_sources():
  """Prints two lines for each source, then the architectures."""
  rows = [("name", "input", "params", "top-1", "licence")]
  entries = catalog.entries()
  for entry in entries:
    accuracy = "" if entry.accuracy is None else f"{entry.accuracy:.3f}"
    size, count = f"{entry.image_size}", f"{entry.parameters / 1e6:.2f} M"
    rows.append((entry.name, size, count, accuracy, entry.licence))
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  align = (str.ljust, str.rjust, str.rjust, str.rjust, str.ljust)
  lines = [
    "  ".join(put(c, w) for put, c, w in zip(align, row, widths, strict=True))
    for row in rows
  ]
  print(lines[0].rstrip())
  for entry, line in zip(entries, lines[1:], strict=True):
    where = f"{entry.architecture}@{entry.origin}"
    if entry.origin == "bundled":
      where = f"{entry.architecture}, bundled, trained on {entry.data}"
    elif not hub.is_hub(entry.origin):
      where = f"{entry.architecture}, to be converted from\n  {entry.origin}"
    print(f"{line.rstrip()}\n  {where}")
  print("\nSources that are not bundled were trained on ImageNet.")
  print("\nArchitectures, for ARCH@CHECKPOINT:")
  print(textwrap.fill(", ".join(catalog.ARCHITECTURES), tables.WIDTH))


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name.
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


script = command.script(main)  # `leep-models`

if __name__ == "__main__":
  sys.exit(script())
