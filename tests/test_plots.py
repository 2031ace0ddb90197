"""Charts: what is drawn, that it fits, and that files are whole."""

import itertools
import os
import stat
import sys

import matplotlib
import numpy as np
import pytest

import leep_jax
from leep_jax import plots

LONG = "resnet152@a/folder/of/weights/" + "with_a_very_long_name" * 4 + "_v2"


@pytest.fixture
def figures(monkeypatch):
  """The figures that are drawn, laid out, in place of files."""
  drawn = []

  def keep(figure, path):
    figure.draw_without_rendering()
    drawn.append(figure)

  monkeypatch.setattr(plots, "_save", keep)
  return drawn


def rank(path="a.png", **changes):
  options = {
    "names": ["low", "none", "top", "near"],
    "values": [-3.0, None, -1.0, -1.25],
    "errors": [[-3.5, -2.5], [None, None], [-1.5, -0.5], [-1.75, -0.75]],
    "score": "leep",
    "title": "digits: 10 examples",
    "marked": [False, False, True, True],
    **changes,
  }
  arrays = [options.pop(key) for key in ("names", "values", "errors")]
  plots.ranking(*arrays, **options, path=path)


def draw_matrix(count, path="a.png", **options):
  values = -np.arange(count * count, dtype=float).reshape(count, count) / 7
  names = [f"task_{i}" for i in range(count)]
  names[-1] = LONG
  options = {"title": "a title " * 30, "label": "NCE (nats)", **options}
  plots.matrix(values, names, **options, path=path)


def texts(labels):
  return [label.get_text() for label in labels]


def legend(figure):
  return [text for it in figure.legends for text in texts(it.get_texts())]


def assert_fits(figure):
  """No text leaves the figure; names of rows do not touch each other."""
  width, height = figure.bbox.width, figure.bbox.height
  for text in figure.findobj(matplotlib.text.Text):
    if not (text.get_text() and text.get_visible()):
      continue
    box = text.get_window_extent()
    assert box.x0 >= 0, text
    assert box.y0 >= 0, text
    assert box.x1 <= width, text
    assert box.y1 <= height, text
  for axes in figure.axes:
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    boxes.sort(key=lambda box: box.y0)
    for below, above in itertools.pairwise(boxes):
      assert below.y1 <= above.y0


def test_ranking_is_best_first_with_values_and_undefined_last(figures):
  rank()
  axes, beside = figures[0].axes
  assert texts(axes.get_yticklabels()) == ["top", "near", "low", "none"]
  assert axes.yaxis_inverted()  # the first one is on top
  assert beside.get_ylim() == axes.get_ylim()
  assert texts(beside.get_yticklabels()) == [
    "\N{MINUS SIGN}1.0000",
    "\N{MINUS SIGN}1.2500",
    "\N{MINUS SIGN}3.0000",
    "undefined",
  ]
  assert "leep" in axes.get_xlabel()


def test_ranking_has_a_dot_and_an_interval_for_each_value(figures):
  rank()
  lines = figures[0].axes[0].lines
  drawn = {
    (tuple(np.ravel(line.get_xdata())), tuple(np.ravel(line.get_ydata())))
    for line in lines
  }
  assert drawn == {
    ((-1.0,), (0,)), ((-1.25,), (1,)), ((-3.0,), (2,)),
    ((-1.5, -0.5), (0, 0)), ((-1.75, -0.75), (1, 1)), ((-3.5, -2.5), (2, 2)),
  }  # fmt: skip


def colours(figure):
  return [label.get_color() for label in figure.axes[0].get_yticklabels()]


def test_ranking_marks_what_is_like_the_best(figures):
  rank()
  top, near, low, none = colours(figures[0])
  assert top == near != low == none
  assert legend(figures[0]) == [
    "best, and sources not told apart from it",
    "others",
    "95 % interval",
  ]
  # The best is marked in any case, and what is undefined never is.
  rank(marked=[False, True, False, False], errors=None)
  assert colours(figures[1]) == [top, low, low, low]
  assert legend(figures[1]) == ["best", "others"]
  rank(marked=None, interval="90 % interval")
  assert colours(figures[2]) == [top, low, low, low]
  assert legend(figures[2]) == ["best", "others", "90 % interval"]


def test_ranking_with_nothing_defined(figures):
  rank(values=[None, np.nan, np.inf, None])
  assert not figures[0].axes[0].lines
  assert legend(figures[0]) == []
  assert_fits(figures[0])


@pytest.mark.parametrize("count", [1, 5, 40])
def test_ranking_fits(figures, count):
  rank(
    names=[LONG] * count,
    values=[1e4 - i for i in range(count)],
    errors=[[9000 - i, 11000 - i] for i in range(count)],
    marked=[True] * count,
    title="a title " * 30,
  )
  assert_fits(figures[0])
  # Numbers have room beside names.
  assert figures[0].axes[0].bbox.width > figures[0].bbox.width / 3


def test_long_names_keep_both_ends():
  assert plots._fit("a b\n c", 10) == "a b c"
  assert plots._fit("abcdefghij", 10) == "abcdefghij"
  assert plots._fit("abcdefghijk", 10) == "abcde…hijk"


def test_names_are_no_formulas(tmp_path):
  rank(tmp_path / "a.svg", names=["$x$", "$_", "$\\bad{$", "a_$b"], title="$_$")
  text = (tmp_path / "a.svg").read_text()
  assert "$\\bad{$" in text


@pytest.mark.parametrize("side", [False, True])
@pytest.mark.parametrize("count", [1, 3, 12, 13, 40])
def test_matrix_names_both_axes_and_fits(figures, count, side):
  hard = np.linspace(0.1, 0.7, count) if side else None
  draw_matrix(count, side=hard)
  axes = figures[0].axes[0]
  names = texts(axes.get_yticklabels())
  assert names[:-1] == [f"task_{i}" for i in range(count - 1)]
  assert texts(axes.get_xticklabels()) == names
  assert (axes.get_xlabel(), axes.get_ylabel()) == ("target", "source")
  assert figures[0].axes[1].get_ylabel() == "NCE (nats)"
  assert_fits(figures[0])
  # The first row is on top, as in the matrix.
  assert axes.yaxis_inverted()
  assert not axes.xaxis_inverted()
  if side:
    bars = figures[0].axes[2].patches
    assert [bar.get_height() for bar in bars] == list(hard)
    assert figures[0].axes[2].get_xlim() == axes.get_xlim()
    left, right = axes.bbox.x0, axes.bbox.x1
    assert figures[0].axes[2].bbox.x0 == pytest.approx(left, abs=2)
    assert figures[0].axes[2].bbox.x1 == pytest.approx(right, abs=2)


def test_small_matrices_have_numbers(figures):
  values = [[0.0, -0.001], [-0.123, -0.5]]
  plots.matrix(values, ["a", "b"], title="", label="", path="a.png")
  found = {t.get_position(): t.get_text() for t in figures[0].axes[0].texts}
  minus = "\N{MINUS SIGN}"
  assert found == {  # (column, row), and no minus zero
    (0, 0): "0.00",
    (1, 0): "0.00",
    (0, 1): f"{minus}0.12",
    (1, 1): f"{minus}0.50",
  }
  draw_matrix(13)
  assert not figures[1].axes[0].texts


@pytest.mark.parametrize(
  ("suffix", "start"),
  [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml"), (".PNG", b"")],
)
def test_files(tmp_path, suffix, start):
  path = tmp_path / f"chart{suffix}"
  path.write_text("old")
  rank(path)
  content = path.read_bytes()
  assert len(content) > 1000
  assert content.startswith(start)
  assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444 & ~_umask()
  draw_matrix(3, path, side=[0.1, 0.2, 0.3])
  assert path.read_bytes() != content
  assert os.listdir(tmp_path) == [path.name]


def _umask():
  mask = os.umask(0)
  os.umask(mask)
  return mask


@pytest.mark.parametrize(("count", "height"), [(1, 1120), (40, 2780)])
def test_pictures_are_slides_that_grow(tmp_path, count, height):
  import cv2

  rank(
    tmp_path / "a.png",
    names=["a"] * count,
    values=[0.5] * count,
    errors=None,
    marked=None,
  )
  image = cv2.imread(str(tmp_path / "a.png"))
  assert image.shape == (height, 2000, 3)
  assert (image == 255).mean() > 0.5  # white, not transparent


def test_drawing_changes_nothing_else(tmp_path):
  before = matplotlib.rcParams.copy()
  rank(tmp_path / "a.png")
  draw_matrix(2, tmp_path / "b.png")
  assert matplotlib.rcParams.copy() == before
  assert "matplotlib.pyplot" not in sys.modules


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / "chart.png"
  path.write_text("old")

  def full(_):
    raise OSError("disk full")

  monkeypatch.setattr(os, "fsync", full)
  with pytest.raises(OSError, match="disk full"):
    rank(path)
  assert path.read_text() == "old"
  assert os.listdir(tmp_path) == ["chart.png"]


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("chart.jpg", "must end in .png, .pdf or .svg, not '.jpg'"),
    ("chart", "must end in .png, .pdf or .svg, not ''"),
    ("none/chart.png", "cannot write plot .*No such file"),
    ("folder.svg", "is a folder"),
  ],
)
def test_paths_that_cannot_be_written(tmp_path, name, message):
  (tmp_path / "folder.svg").mkdir()
  for draw in (
    plots.check_plot,
    rank,
    lambda path: draw_matrix(2, path),
  ):
    with pytest.raises(leep_jax.InputError, match=message):
      draw(tmp_path / name)
  assert os.listdir(tmp_path) == ["folder.svg"]


def test_a_path_that_can_be_written_is_left_alone(tmp_path):
  plots.check_plot(tmp_path / "chart.png")
  assert os.listdir(tmp_path) == []


def test_nothing_to_draw(tmp_path):
  with pytest.raises(leep_jax.InputError, match="no sources to draw"):
    rank(tmp_path / "a.png", names=[], values=[], errors=None, marked=[])
  with pytest.raises(leep_jax.InputError, match="no tasks to draw"):
    plots.matrix([], [], title="", label="", path=tmp_path / "a.png")
