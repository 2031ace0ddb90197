"""Tables of results for the terminal: ranked, at most 80 columns wide."""

from collections.abc import Mapping, Sequence
import math
from typing import Any

WIDTH = 80


def short(name: str, width: int, *, folders: int = 0) -> str:
  """Shortens `ARCH@long/path/FILE.safetensors` to `ARCH@FILE`.

  Args:
    name: of a source.
    width: most columns to use; a longer name is cut in the middle.
    folders: number of the file's folders to keep.

  Example:
    >>> from leep_jax.reports import tables
    >>> tables.short("resnet18@runs/a/best.safetensors", 28)
    'resnet18@best'
    >>> tables.short("resnet18@runs/a/best.safetensors", 28, folders=1)
    'resnet18@a/best'
  """
  arch, at, path = name.rpartition("@")
  path = "/".join(path.rstrip("/").split("/")[-1 - folders :])
  path = path.removesuffix(".safetensors").removesuffix(".npz")
  return cut(arch + at + path, width)


def count(number: int, what: str) -> str:
  """Writes a number of things, singular or plural.

  Args:
    number: how many.
    what: the singular.

  Example:
    >>> from leep_jax.reports import tables
    >>> tables.count(1, "class"), tables.count(1797, "example")
    ('1 class', '1,797 examples')
  """
  plural = "es" if what.endswith("s") else "s"
  return f"{number:,} {what}{plural * (number != 1)}"


def cut(name: str, width: int) -> str:
  """Cuts a name in the middle, to at most `width` columns.

  Args:
    name: to cut.
    width: most columns to use.

  Example:
    >>> from leep_jax.reports import tables
    >>> tables.cut("mobilenet_v1_025", 10)
    'mobi.._025'
  """
  if len(name) <= width:
    return name
  tail = (width - 2) // 2
  return f"{name[: width - 2 - tail]}..{name[-tail:]}"


def short_names(names: Sequence[str], *, width: int = 28) -> list[str]:
  """Shortens names of sources, so that different names stay different.

  Args:
    names: of sources.
    width: most columns to use for each.

  Returns:
    The names with as many of the files' folders as are needed, at most 3; or
    numbered, if that is not enough. Of a name that is too long, only the
    architecture is left if no other source has it.

  Example:
    >>> from leep_jax.reports import tables
    >>> tables.short_names(["vit@runs/a/best.npz", "vit@runs/b/best.npz"])
    ['vit@a/best', 'vit@b/best']
    >>> tables.short_names(["mobilenet_v1_100@runs/mobilenet_v1_1.0_224", "b"])
    ['mobilenet_v1_100', 'b']
  """
  archs = [name.rpartition("@")[0] for name in names]
  alone = [bool(arch) and archs.count(arch) == 1 for arch in archs]
  for folders in range(4):
    found = [
      arch
      if only and len(short(name, 1000, folders=folders)) > width
      else short(name, width, folders=folders)
      for name, arch, only in zip(names, archs, alone, strict=True)
    ]
    if len(set(found)) == len(set(names)):  # as different as they were
      return found
  return [f"{name[: width - 4]} #{i + 1}" for i, name in enumerate(found)]


def examples(row: Mapping[str, Any]) -> str:
  """Returns what the examples of a row are called, such as images.

  Args:
    row: as `--output` writes it.

  Example:
    >>> from leep_jax.reports import tables
    >>> tables.examples({"inputs": "texts"}), tables.examples({})
    ('texts', 'images')
  """
  # Files of outputs say nothing of the inputs.
  if row.get("dataset") == "predictions":
    return "examples"
  return str(row.get("inputs", "images"))


def format_table(
  rows: Sequence[Mapping[str, Any]],
  names: Sequence[str],
  *,
  marks: Mapping[str, Sequence[bool]] | None = None,
) -> str:
  """Formats rows as a ranked table of at most 80 columns.

  Args:
    rows: as `--output` writes them.
    names: scores to show, with their standard errors where rows have them. The
      table is sorted by the first one, best first.
    marks: by score, which rows get an asterisk.

  Returns:
    Lines without a final newline; scores that do not fit go into further
    blocks below.

  Example:
    >>> from leep_jax.reports import tables
    >>> rows = [
    ...   {"model": "a", "leep": -1.92, "leep_se": 0.03,
    ...    "examples_per_second": 1200.0},
    ...   {"model": "b", "leep": -0.51, "leep_se": 0.02,
    ...    "examples_per_second": 900.0},
    ... ]
    >>> print(tables.format_table(rows, ["leep"]))
       model            leep  images/s
    1  b      -0.510 ± 0.020       900
    2  a      -1.920 ± 0.030     1,200
  """
  order = best_first([row[names[0]] for row in rows])
  ranked = [rows[i] for i in order]
  columns = [
    column(
      name,
      [row[name] for row in ranked],
      [row.get(f"{name}_se") for row in ranked],
      marks=[marks[name][i] for i in order]
      if marks and name in marks
      else None,
    )
    for name in names
  ]
  rates = [f"{row['examples_per_second']:,.0f}" for row in ranked]
  columns.append([f"{examples(ranked[0])}/s", *rates])
  sizes = [row.get("num_parameters") for row in ranked]
  if any(sizes):
    columns.append(["parameters", *map(millions, sizes)])
  return blocks([row["model"] for row in ranked], columns)


def column(
  name: str,
  values: Sequence[float | None],
  errors: Sequence[float | None],
  *,
  marks: Sequence[bool] | None = None,
) -> list[str]:
  """Returns a column: its name, and `value ± error` with asterisks.

  Args:
    name: of the column.
    values: numbers, or None where there is none.
    errors: their standard errors, or None.
    marks: which of them get an asterisk.

  Example:
    >>> from leep_jax.reports import tables
    >>> tables.column("leep", [-0.5, -0.7], [0.02, 0.02], marks=[True, False])
    ['leep ', '-0.500 ± 0.020*', '-0.700 ± 0.020 ']
  """
  shown = cells(values, errors)
  if marks is None:
    return [name, *shown]
  # A space where there is none, so that numbers stay aligned.
  stars = ["*" if mark else " " for mark in marks]
  return [f"{name} ", *(a + b for a, b in zip(shown, stars, strict=True))]


def blocks(
  models: Sequence[str],
  columns: Sequence[Sequence[str]],
  *,
  what: str = "model",
) -> str:
  """Lays out a numbered table; columns that do not fit go into blocks below.

  Args:
    models: names of sources, best first, or of other things.
    columns: each with its name, and a cell for every model.
    what: name of the column of names.

  Example:
    >>> from leep_jax.reports import tables
    >>> print(tables.blocks(["a", "b"], [["leep", "-0.5", "-0.7"]]))
       model  leep
    1  a      -0.5
    2  b      -0.7
  """
  ranks = [str(i + 1) for i in range(len(models))]
  models = [what, *short_names(models)]
  left = [max(map(len, ranks)), max(map(len, models))]
  found: list[list[list[str]]] = []
  # Full, so that the first column starts a block.
  used = WIDTH
  for cells_of in columns:
    width = max(map(len, cells_of)) + 2
    if used + width > WIDTH:
      found.append([])
      used = sum(left) + 2
    found[-1].append([cell.rjust(width) for cell in cells_of])
    used += width
  lines = []
  for block in found:
    lines.append("")
    for i, (rank, model) in enumerate(zip(["", *ranks], models, strict=True)):
      scores = "".join(cells_of[i] for cells_of in block)
      line = f"{rank:>{left[0]}}  {model:<{left[1]}}{scores}"
      lines.append(line.rstrip())
  return "\n".join(lines[1:])


def best_first(values: Sequence[float | None]) -> list[int]:
  """Returns the positions of values, the highest first and missing ones last.

  Args:
    values: of a score, which is None where a source has none.

  Example:
    >>> from leep_jax.reports import tables
    >>> tables.best_first([-1.0, None, 2.0])
    [2, 0, 1]
  """
  return sorted(
    range(len(values)), key=lambda i: (values[i] is None, -(values[i] or 0.0))
  )


def millions(number: int | None) -> str:
  """Writes a number of parameters in millions.

  Args:
    number: of parameters, or None if it is not known.

  Example:
    >>> from leep_jax.reports import tables
    >>> tables.millions(25_557_032), tables.millions(175_258)
    ('25.6 M', '0.18 M')
  """
  if number is None:
    return "-"
  return f"{number / 1e6:.{1 if number >= 1e6 else 2}f} M"


def cells(
  values: Sequence[float | None], errors: Sequence[float | None]
) -> list[str]:
  """Formats a column as `value ± error`, with two digits of the median error.

  Args:
    values: numbers, or None where there is none.
    errors: their standard errors, or None.

  Example:
    >>> from leep_jax.reports import tables
    >>> tables.cells([-1.92345, None, -0.5], [0.031, None, 0.027])
    ['-1.923 ± 0.031', '-', '-0.500 ± 0.027']
  """
  # One number of digits for the column, so that its numbers are aligned. The
  # median, as a single source may have a very small or large error.
  some = sorted(error for error in errors if error)
  digits = 4
  if some:
    middle = some[(len(some) - 1) // 2]
    digits = max(1 - math.floor(math.log10(middle)), 0)
  if digits > 6:  # too small to write out
    return [
      "-"
      if value is None
      else f"{value:.2e}" + (f" ± {error:.1e}" if error is not None else "")
      for value, error in zip(values, errors, strict=True)
    ]
  formatted = []
  for value, error in zip(values, errors, strict=True):
    cell = "-" if value is None else f"{value:z.{digits}f}"
    if error is not None:
      cell += f" ± {error:.{digits}f}"
    formatted.append(cell)
  return formatted
