"""Lists the sources that have a name, and the architectures.

    python -m leep_jax.models

Each name can be passed to `--model`. Published sources are downloaded when they
are first used. The accuracy is the published one, on the source's own data.
"""

import sys
import textwrap

from absl import flags

from leep_jax import command
from leep_jax.reports import tables
from leep_jax.sources import catalog, hub

FLAGS = flags.FlagValues()


def _run() -> int:
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
  return 0


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name.
  """
  return command.main(argv, FLAGS, __doc__ or "", _run)


script = command.script(main)  # `leep-models`

if __name__ == "__main__":
  sys.exit(script())
