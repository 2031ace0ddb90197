"""The ranking of sources as one HTML page that needs no other file.

The page holds its style, its script and its images, and forbids the browser to
fetch anything. Names of classes, files and sources are text to it, whatever
they contain. `page_content.py` collects what a page shows.
"""

import base64
from collections.abc import Mapping, Sequence
import dataclasses
import datetime
import hashlib
import os
import pathlib
import re
from typing import Any

import numpy as np

from leep_jax import validation, version
from leep_jax.reports import html_figures, results, tables
from leep_jax.scores import jackknife

# Classes of a confusion matrix that is shown completely; confusions of others.
_MOST_CLASSES, _MOST_CONFUSIONS = 30, 20
# Classes whose recall is shown, those with the lowest.
_MOST_RECALLS = 60
# Charts for a screen and for a phone: width, height, characters of a name.
_SIZES = (("desk", 860, 440, 30), ("phone", 366, 360, 18))
_LONGEST = 120  # characters of a name
# How copies were found.
_COMPARED = {
  "images": "pixel by pixel", "texts": "character by character",
  "sounds": "sample by sample",
}  # fmt: skip
# The expected result of a new head, for classes and for real-valued targets.
_EXPECTED = {"probe_accuracy": "expected accuracy", "probe_r2": "expected R²"}


@dataclasses.dataclass(frozen=True)
class Example:
  """An example of the target data.

  Attributes:
    name: of its file, or its number.
    label: name of its class.
    image: as JPEG; empty if it is not shown.
    predicted: name of the class that sources predict instead.
    votes: how many sources predict that class.
    probability: that sources give to the label; a geometric mean.
    text: of the example, if it is one.

  Example:
    >>> from leep_jax.reports import html_report
    >>> html_report.Example("glass/1.jpg", "glass").image
    b''
  """

  name: str
  label: str
  image: bytes = b""
  predicted: str = ""
  votes: int = 0
  probability: float | None = None
  text: str = ""


@dataclasses.dataclass(frozen=True)
class Copies:
  """Examples whose images, texts or sounds are equal.

  Attributes:
    examples: of which the first may have its image.
    count: of examples, which may be more.

  Example:
    >>> from leep_jax.reports import html_report
    >>> first = html_report.Example("a/1.png", "a")
    >>> second = html_report.Example("b/1.png", "b")
    >>> html_report.Copies((first, second), 2).contradict
    True
  """

  examples: Sequence[Example]
  count: int

  @property
  def contradict(self) -> bool:
    """Whether their labels differ."""
    return len({example.label for example in self.examples}) > 1


@dataclasses.dataclass(frozen=True, eq=False)
class Page:
  """What a page shows: plain data.

  Attributes:
    dataset: name of the data set.
    sentences: the answer.
    rows: one for each source, as `--output` writes them, in any order.
    scores: names of scores, the first of which ranks.
    best: by score, which rows may be the best; see `best_sources`.
    source: whose predictions the confusion matrix is of.
    class_names: of the Y classes of the confusion matrix.
    confusion: `[Y, Y]`, counts by true (row) and predicted (column) class, such
      as `ProbePredictions.confusion`; None if there is none.
    surprising: examples whose labels may be wrong.
    judges: number of sources that predict the surprising examples.
    copies: groups of equal images, texts or sounds.
    copies_found: number of such groups, of which some may be left out; None if
      nobody has searched.
    copies_left_out: number of examples that are copies of others.
    warnings: what a reader should know.
    command: that made the page.
    version: of this package.
    date: of the page.

  Example:
    >>> from leep_jax.reports import html_report
    >>> page = html_report.Page("digits", ["Use a."], [{"model": "a"}], ["nce"])
    >>> page.confusion is None
    True
  """

  dataset: str
  sentences: Sequence[str]
  rows: Sequence[Mapping[str, Any]]
  scores: Sequence[str]
  best: Mapping[str, Sequence[bool]] | None = None
  source: str = ""
  class_names: Sequence[str] = ()
  confusion: np.ndarray | None = None
  surprising: Sequence[Example] = ()
  judges: int = 0
  copies: Sequence[Copies] = ()
  copies_found: int | None = None
  copies_left_out: int = 0
  warnings: Sequence[str] = ()
  command: str = ""
  version: str = version.__version__
  date: str = ""


def check(path: str | os.PathLike[str]) -> None:
  """Checks that a page can be written to a path, before the work for it.

  Args:
    path: of the file, `.html` or `.htm`.

  Raises:
    InputError: as `results.check_path`.

  Example:
    >>> from leep_jax.reports import html_report
    >>> html_report.check("report.pdf")
    Traceback (most recent call last):
      ...
    leep_jax...InputError: report report.pdf must end in .html or .htm, not ...
  """
  results.check_path("report", path, (".html", ".htm"))


def write(path: str | os.PathLike[str], page: Page) -> None:
  """Writes a page, replacing the file atomically.

  Args:
    path: of the file, `.html` or `.htm`.
    page: what it shows.

  Raises:
    InputError: as `check` and `render`.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.reports import html_report
    >>> page = html_report.Page(
    ...   "digits", ["Use a."], [{"model": "a", "nce": -0.5}], ["nce"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "report.html"
    ...   html_report.write(path, page)
    ...   path.read_text()[:15]
    '<!doctype html>'
  """
  check(path)
  results.replace_file(pathlib.Path(path).expanduser(), render(page).encode())


def render(page: Page) -> str:
  """Returns a page as HTML.

  Args:
    page: what it shows.

  Raises:
    InputError: if there are no rows or no scores.

  Example:
    >>> from leep_jax.reports import html_report
    >>> page = html_report.Page(
    ...   "<mine>", ["Use a."], [{"model": "a", "nce": -0.5}], ["nce"])
    >>> "&lt;mine&gt;" in html_report.render(page)
    True
  """
  import jinja2
  import markupsafe

  if not page.rows or not page.scores:
    raise validation.InputError("a report needs a source and a score")
  loader = jinja2.PackageLoader("leep_jax.reports")
  environment = jinja2.Environment(
    loader=loader,
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters |= {
    "shown": _shown,
    "data_uri": _data_uri,
    "side": _side,
    "breaks": _with_breaks,
    "count": tables.count,
  }
  # Files of this package, which hold no text of users.
  parts = {
    key: markupsafe.Markup(loader.get_source(environment, f"report.{key}")[0])
    for key in ("css", "js")
  }
  template = environment.get_template("report.html.jinja")
  return template.render(
    page=page,
    date=page.date or f"{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M}",
    level=jackknife.LEVEL,
    examples=tables.examples(page.rows[0]),
    compared=_COMPARED.get(tables.examples(page.rows[0]), ""),
    **parts,
    **{f"{key}_hash": _hash(text) for key, text in parts.items()},
    **_table(page),
    **_charts(page),
    **_confusion(page),
  )


def _hash(text):
  """The hash by which the page allows its own style and script alone."""
  digest = hashlib.sha256(text.encode()).digest()
  return f"sha256-{base64.b64encode(digest).decode()}"


def _shown(text, longest=_LONGEST):
  """Text without control characters, such as those that turn its direction."""
  text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in f"{text}")
  if longest is None or len(text) <= longest:
    return text
  return f"{text[: longest // 2]}…{text[-(longest // 2) :]}"


def _with_breaks(text):
  """Lets a long name break after its punctuation; the rest is escaped."""
  import markupsafe

  return markupsafe.Markup("<wbr>").join(re.split(r"(?<=[_@/.:-])", text))


def _data_uri(image):
  return f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"


def _side(image):
  """Width and height of a JPEG, so that the page does not move as it loads."""
  import io

  import PIL.Image

  with PIL.Image.open(io.BytesIO(image)) as opened:
    return opened.size


def _ranked(page):
  """Positions of the rows, best first; rows without the score come last."""
  return tables.best_first([row.get(page.scores[0]) for row in page.rows])


@dataclasses.dataclass(frozen=True)
class _Column:
  """A column of the table: each cell's text, its value, whether it is best."""

  name: str
  kind: str
  cells: list[tuple[str, Any, bool]]
  # The order of the first click on its header.
  first: str = "descending"


def _table(page):
  order = _ranked(page)
  rows = [page.rows[i] for i in order]
  names = [row["model"] for row in rows]
  ranks = range(1, len(rows) + 1)
  sources = [
    (short, name, False)
    for short, name in zip(
      tables.short_names(names, width=48), names, strict=True
    )
  ]
  columns = [
    _Column("#", "number", [(f"{i}", i, False) for i in ranks], "ascending"),
    _Column("source", "text", sources, "ascending"),
  ]
  for score in page.scores:
    values = [row.get(score) for row in rows]
    texts = tables.cells(values, [row.get(f"{score}_se") for row in rows])
    marks = (page.best or {}).get(score)
    best = [marks is not None and bool(marks[i]) for i in order]
    columns.append(
      _Column(score, "number", list(zip(texts, values, best, strict=True)))
    )
  speed = f"{tables.examples(page.rows[0])}/s"
  for name, key in (
    (speed, "examples_per_second"),
    ("parameters", "num_parameters"),
    ("features", "num_features"),
    ("source classes", "num_source_classes"),
    ("examples", "num_examples"),
  ):
    values = [row.get(key) for row in rows]
    if any(value is not None for value in values):
      cells = [("-" if v is None else f"{v:,.0f}", v, False) for v in values]
      columns.append(_Column(name, "number", cells))
  marked = any(best for column in columns for _, _, best in column.cells)
  return {"columns": columns, "num_rows": len(rows), "marked": marked}


def _timed(page):
  """Whether speeds are of forward passes, not of reading outputs."""
  return page.rows[0].get("dataset") != "predictions"


def _charts(page):
  """Charts of accuracy against speed, for a screen and for a phone."""
  score = next((s for s in _EXPECTED if s in page.scores), page.scores[0])
  rows = [page.rows[i] for i in _ranked(page)]
  ends = [(row.get(f"{score}_low"), row.get(f"{score}_high")) for row in rows]
  names = _distinct_heads([_shown(row["model"]) for row in rows])
  charts = {
    size: html_figures.accuracy_speed(
      tables.short_names(names, width=longest),
      [row.get(score) for row in rows],
      [None if None in end else end for end in ends],
      [row.get("examples_per_second") for row in rows],
      width=width,
      height=height,
      percent=score == "probe_accuracy",
    )
    for size, width, height, longest in _SIZES
  }
  drawn = _timed(page) and bool(charts["desk"].dots)
  return {
    "charts": charts if drawn else {},
    "intervals": any(dot.low is not None for dot in charts["desk"].dots),
    "chart_name": _EXPECTED.get(score, score),
    "chart_score": score,
  }


def _distinct_heads(names):
  """Architectures without files, if these tell the sources apart."""
  heads = [name.partition("@")[0] for name in names]
  return heads if len(set(heads)) == len(set(names)) else names


def _confusion(page):
  if page.confusion is None:
    return {"classes": [], "recalls": []}
  counts, names = np.asarray(page.confusion), list(page.class_names)
  if counts.shape != (len(names), len(names)):
    raise validation.InputError(
      f"the confusion matrix has shape {counts.shape}, but there are "
      f"{len(names)} names of classes"
    )
  recalls = html_figures.recalls(counts, names)
  correct = int(np.diag(counts).sum())
  whole = len(names) <= _MOST_CLASSES
  return {
    "classes": names,
    "counts": counts.tolist() if whole else None,
    "shades": html_figures.shades(counts) if whole else None,
    "largest": html_figures.confusions(counts, names, most=_MOST_CONFUSIONS),
    "recalls": recalls[:_MOST_RECALLS],
    "recalls_left_out": max(0, len(recalls) - _MOST_RECALLS),
    "correct": correct,
    "total": int(counts.sum()),
  }
