"""Charts: what is drawn, that it fits, and that files are whole."""

import itertools
import os
import stat
import sys

import matplotlib
import numpy as np
import pytest

import leep_jax
from leep_jax.reports import correlation, plots, score_report, scored_source
from leep_jax.reports.plots import style

LONG = "resnet152@a/folder/of/weights/" + "with_a_very_long_name" * 4 + "_v2"


@pytest.fixture
def figures(monkeypatch):
  """The figures that are drawn, laid out, in place of files."""
  drawn = []

  def keep(figure, path):
    figure.draw_without_rendering()
    drawn.append(figure)

  monkeypatch.setattr(style, "save_figure", keep)
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


NAMES = {"score": "LEEP (nats)", "performance": "test accuracy"}


def points(n, slope=0.1):
  x = -1 - np.arange(n) % 17 / 4
  return x, 0.9 + slope * x + 0.03 * np.sin(np.arange(n))


def draw_scatter(path="a.png", n=40, **changes):
  x, y = points(n)
  options = {"title": "200 tasks", **NAMES, **changes}
  plots.scatter(options.pop("scores", x), y, **options, path=path)


def draw_grid(path="a.png", rows=1, columns=2, **changes):
  panel = plots.Panel(*points(40), **NAMES, **changes)
  options = {"title": "a title " * 30, "path": path}
  plots.scatter_grid([[panel] * columns] * rows, **options)


def draw_levels(path="a.png", names=("head", "fine-tuning"), count=5, step=0.0):
  x, y = points(40)
  series = {
    name: correlation.levels(x - step * i, y, count=count)
    for i, name in enumerate(names)
  }
  plots.levels(series, **NAMES, title="five levels", path=path)


def draw_curves(path="a.png", names=("low", "high"), **options):
  x = 1 - np.exp(-np.arange(30) / 9)
  runs = {
    name: x * (1 + i) + 0.1 * np.arange(4)[:, None]
    for i, name in enumerate(names)
  }
  plots.curves(runs, value="accuracy", title="epochs", **options, path=path)


def draw_levels_grid(path="a.png"):
  x, y = points(40)
  panel = plots.Levels({"head": correlation.levels(x, y)}, **NAMES, title="a")
  plots.levels_grid([[panel, panel]], title="a", path=path)


def draw_curves_grid(path="a.png"):
  panel = plots.Curves({"head": np.arange(5) / 7}, "accuracy", title="a")
  plots.curves_grid([[panel, panel]], title="a", path=path)


def draw_speeds(path="a.png", **changes):
  options = {
    "names": [LONG, "none", "b", "c"],
    "values": [0.9, None, 0.8, 0.7],
    "intervals": [(0.85, 0.95), None, (0.75, 0.85), None],
    "speeds": [20.0, 50.0, 900.0, 100.0],
    **changes,
  }
  arrays = [options.pop(k) for k in ("names", "values", "intervals", "speeds")]
  plots.accuracy_speed(
    *arrays, value="expected accuracy", title="digits", path=path, **options
  )


def draw_reached(path="a.png", **changes):
  options = {
    "predicted": [0.6, 0.8, 0.9],
    "reached": [0.65, 0.79, 0.9],
    "names": [LONG, "b", "b"],
    "predicted_intervals": [(0.5, 0.7), None, (0.85, 0.95)],
    "reached_intervals": [None, (0.7, 0.85), None],
    **changes,
  }
  arrays = [options.pop(key) for key in ("predicted", "reached")]
  plots.predicted_reached(
    *arrays, value="accuracy", title="digits", path=path, **options
  )


CHARTS = {
  "ranking": rank,
  "matrix": lambda path: draw_matrix(3, path, side=[0.1, 0.2, 0.3]),
  "scatter": draw_scatter,
  "scatter_grid": draw_grid,
  "levels": draw_levels,
  "levels_grid": draw_levels_grid,
  "curves": draw_curves,
  "curves_grid": draw_curves_grid,
  "accuracy_speed": draw_speeds,
  "predicted_reached": draw_reached,
}
each_chart = pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)


def test_every_figure_is_tried():
  assert set(CHARTS) == set(plots.FIGURES)


def texts(labels):
  return [label.get_text() for label in labels]


def legend(figure):
  return [text for it in figure.legends for text in texts(it.get_texts())]


def undrawn(axes):
  """Ticks that Matplotlib keeps, but that lie outside what it shows."""
  for axis in (axes.xaxis, axes.yaxis):
    low, high = sorted(axis.get_view_interval())
    for tick in axis.get_major_ticks():
      if not low <= tick.get_loc() <= high:
        yield tick


def assert_fits(figure):
  """No text leaves the figure; names of rows do not touch each other."""
  width, height = figure.bbox.width, figure.bbox.height
  outside = [tick.label1 for axes in figure.axes for tick in undrawn(axes)]
  for text in figure.findobj(matplotlib.text.Text):
    if not (text.get_text() and text.get_visible()) or text in outside:
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
  assert style.fit_name("a b\n c", 10) == "a b c"
  assert style.fit_name("abcdefghij", 10) == "abcdefghij"
  assert style.fit_name("abcdefghijk", 10) == "abcde…hijk"


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
  for draw in CHARTS.values():
    draw(path)
    previous, content = content, path.read_bytes()
    assert content.startswith(start)
    assert draw is rank or content != previous
  assert os.listdir(tmp_path) == [path.name]


@each_chart
@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_the_same_chart_is_the_same_file(tmp_path, draw, suffix):
  first, second = (tmp_path / f"{name}.{suffix}" for name in "ab")
  draw(first)
  draw(second)
  assert first.read_bytes() == second.read_bytes()
  assert b"dc:date" not in first.read_bytes()


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
  # Keras and others import it; these figures do not.
  had_pyplot = "matplotlib.pyplot" in sys.modules
  for draw in CHARTS.values():
    draw(tmp_path / "a.svg")
  assert matplotlib.rcParams.copy() == before
  assert had_pyplot or "matplotlib.pyplot" not in sys.modules


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
  for draw in (plots.check_plot, *CHARTS.values()):
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


def corner(axes):
  return texts(axes.get_legend().get_texts())


def lines(axes):
  """Fitted lines: those that join their points."""
  return [line for line in axes.lines if line.get_linestyle() == "-"]


def test_scatter_golden(figures):
  """Through (0, 0.25), (2, 0.5) and (4, 0.75): y = 0.25 + x / 8, r = 1."""
  plots.scatter(
    [0, 2, 4, None, 3], [0.25, 0.5, 0.75, 1, None], title="a", path="a.png",
    **NAMES,
  )  # fmt: skip
  axes = figures[0].axes[0]
  dots, fit = axes.lines
  assert dots.get_xydata().tolist() == [[0, 0.25], [2, 0.5], [4, 0.75]]
  assert fit.get_xydata() == pytest.approx(np.array([[0, 0.25], [4, 0.75]]))
  assert corner(axes) == ["r = 1.000 (p < 0.001)"]  # no interval of 3 points
  assert axes.get_xlabel() == "LEEP (nats)"
  assert axes.get_ylabel() == "test accuracy"


def test_scatter_says_what_correlate_does(figures):
  x, y = points(40)
  draw_scatter()
  found = correlation.correlate(x, y)
  low, high = found.interval
  assert corner(figures[0].axes[0]) == [
    f"r = {found.pearson:.3f} (p < 0.001)\n"
    f"95 % interval {low:.3f} to {high:.3f}"
  ]
  given = correlation.correlate(-x, y, level=0.9)
  draw_scatter(correlation=given)
  (text,) = corner(figures[1].axes[0])
  assert text.startswith(f"r = \N{MINUS SIGN}{found.pearson:.3f}")
  assert "90 % interval" in text


def test_p_values_and_what_is_undefined(figures):
  x, y = np.arange(40) % 7, points(40)[1]
  draw_scatter(scores=x)
  (text,) = corner(figures[0].axes[0])
  assert f"(p = {correlation.correlate(x, y).p_value:.3f})" in text
  draw_scatter(scores=[1.0] * 40)
  assert corner(figures[1].axes[0]) == ["r undefined"]
  assert not lines(figures[1].axes[0])


def test_groups_have_lines_and_names(figures):
  groups = ["resnet18"] * 20 + ["resnet50"] * 18 + ["few"] * 2
  draw_scatter(groups=groups)
  axes = figures[0].axes[0]
  x, y = points(40)
  assert corner(axes) == [
    f"r = {correlation.correlate(x[i], y[i]).pearson:.3f} (p < 0.001)"
    for i in (slice(0, 20), slice(20, 38))
  ]
  assert legend(figures[0]) == ["resnet18", "resnet50", "few"]
  assert len(lines(axes)) == 2
  colours = [line.get_color() for line in axes.lines]
  assert len(set(colours)) == 3
  # With that of all points, one more line.
  draw_scatter(groups=groups, correlation=correlation.correlate(x, y))
  axes = figures[1].axes[0]
  assert len(lines(axes)) == 3
  assert corner(axes)[2].startswith("all: r = ")
  # One point a group: only the points together have a line.
  draw_scatter(groups=[f"model {i}" for i in range(40)])
  axes = figures[2].axes[0]
  assert len(lines(axes)) == 1
  assert corner(axes)[0].startswith("r = 0.")
  assert len(legend(figures[2])) == 40


def test_forty_series_are_told_apart():
  styles = [style.series_style(i) for i in range(40)]
  assert len({(s["color"], s["marker"]) for s in styles}) == 40


def assert_corners_are_free(figure):
  for axes in figure.axes:
    box = axes.get_legend().get_window_extent()
    assert axes.bbox.x0 <= box.x0 < box.x1 <= axes.bbox.x1
    assert axes.bbox.y0 <= box.y0 < box.y1 <= axes.bbox.y1
    for line in axes.lines:
      x, y = axes.transData.transform(line.get_xydata()).T
      covered = (box.x0 < x) & (x < box.x1) & (box.y0 < y) & (y < box.y1)
      assert not covered.any()
    assert max(axes.get_yticks()) <= 1.2  # none beside the text alone


@pytest.mark.parametrize("count", [0, 4, 9])
@pytest.mark.parametrize("slope", [0.15, -0.15])
def test_corners_cover_no_points(figures, rng, count, slope):
  x = rng.uniform(size=(2, 180))
  y = 0.5 + slope * (2 * x[0] - 1) + 0.3 * (x[1] - 0.5)
  groups = [f"g{i % count}" for i in range(180)] if count else None
  plots.scatter(x[0], y, groups=groups, title="a", path="a.png", **NAMES)
  panel = plots.Panel(x[0], y, **NAMES, groups=groups)
  plots.scatter_grid([[panel] * 3], title="a", path="a.png")
  for figure in figures:
    assert_corners_are_free(figure)
    assert_fits(figure)


def test_grid(figures):
  first = plots.Panel(*points(40), **NAMES, title="a", groups=["m"] * 40)
  other = plots.Panel(*points(9), "NCE", "F1", title="b")
  none = plots.Panel([None], [1.0], **NAMES, groups=["n"])
  plots.scatter_grid(
    [[first, other, first], [none, first]], title="t", path="a.png"
  )
  axes = figures[0].axes
  assert [a.get_title(loc="left") for a in axes] == ["a", "b", "a", "", "a"]
  assert [a.get_ylabel() for a in axes] == [
    "test accuracy", "F1", "", "test accuracy", "",
  ]  # fmt: skip
  assert axes[1].get_xlabel() == "NCE"
  assert corner(axes[3]) == ["no points"]
  assert legend(figures[0]) == ["m", "n"]
  assert_fits(figures[0])


@pytest.mark.parametrize(
  "draw",
  [
    lambda: draw_scatter(title="a title " * 30, groups=[LONG + "a"] * 40),
    lambda: draw_scatter(groups=[f"{LONG}{i % 9}" for i in range(40)]),
    lambda: draw_grid(title=LONG),
    lambda: draw_grid(rows=3, columns=4, title=LONG, groups=[LONG] * 40),
    lambda: draw_levels(names=("",)),
    lambda: draw_levels(names=[f"{LONG}{i}" for i in range(6)], step=0.1),
    lambda: draw_levels(count=2),
    lambda: draw_levels(count=12),
    lambda: draw_curves(names=[f"{LONG}{i}" for i in range(9)]),
  ],
)
def test_charts_fit(figures, draw):
  draw()
  assert_fits(figures[0])
  for axes in figures[0].axes:
    assert axes.bbox.height > 2.2 * figures[0].dpi


def test_levels_are_bars_with_counts(figures):
  """Levels 1 and 3 of scores 0, 0 and 3: means 0.25 and 1, errors 0.05."""
  found = correlation.levels([0, 0, 3], [0.2, 0.3, 1.0], count=3)
  plots.levels({"": found}, **NAMES, title="t", path="a.png")
  axes = figures[0].axes[0]
  assert [bar.get_height() for bar in axes.patches] == [
    pytest.approx(0.25), 1.0,
  ]  # fmt: skip
  ((whisker,),) = [
    it.get_segments() for it in axes.collections if it.get_segments()
  ]
  assert whisker == pytest.approx(np.array([[0, 0.2], [0, 0.3]]))
  assert texts(axes.texts) == ["2", "0", "1"]
  assert texts(axes.get_xticklabels()) == [
    "1\n0.0 to 1.0", "2\n1.0 to 2.0", "3\n2.0 to 3.0",
  ]  # fmt: skip
  assert "level of LEEP (nats)" in axes.get_xlabel()
  assert legend(figures[0]) == []


def test_several_series_of_levels(figures):
  draw_levels()
  axes = figures[0].axes[0]
  assert len(axes.patches) == 10
  assert legend(figures[0]) == ["head", "fine-tuning"]
  assert "to" in axes.get_xticklabels()[0].get_text()
  centres = sorted(bar.get_x() + bar.get_width() / 2 for bar in axes.patches)
  assert centres[:3] == pytest.approx([-0.2, 0.2, 0.8])
  # Of different scores, levels have no edges in common.
  draw_levels(step=0.1)
  labels = texts(figures[1].axes[0].get_xticklabels())
  assert labels == ["1", "2", "3", "4", "5"]


def test_curves_are_means_with_their_errors(figures):
  """Of 1 and 3: mean 2, deviation sqrt(2), error 1."""
  plots.curves(
    {"two": [[1.0, 5.0], [3.0, 5.0]], "one": [0, 1, 2]},
    value="accuracy",
    title="t",
    start=0,
    zero=True,
    path="a.png",
  )
  axes = figures[0].axes[0]
  zero, two, one = axes.lines
  assert zero.get_ydata() == [0, 0]
  assert two.get_xydata().tolist() == [[0, 2], [1, 5]]
  assert one.get_xydata().tolist() == [[0, 0], [1, 1], [2, 2]]
  (shade,) = axes.collections
  ends = shade.get_paths()[0].vertices
  assert (ends[:, 1].min(), ends[:, 1].max()) == (1, 5)
  assert {1.0, 3.0} <= set(ends[ends[:, 0] == 0, 1])
  assert legend(figures[0]) == ["two", "one"]
  assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "accuracy")
  assert all(tick == int(tick) for tick in axes.get_xticks())


def test_ordered_curves_run_from_dark_to_light(figures):
  draw_curves(names="abcde", ordered=True)
  shades = [np.mean(line.get_color()[:3]) for line in figures[0].axes[0].lines]
  assert shades == sorted(shades)
  assert len(set(shades)) == 5


@pytest.mark.parametrize(
  ("draw", "expected"),
  [
    (
      lambda path: draw_scatter(path, groups=["$a$", "b"] * 20, title="$t"),
      ["$t", "LEEP (nats)", "test accuracy", "$a$", "b", "r = 0."],
    ),
    (
      lambda path: draw_grid(path, title="panel $p"),
      ["a title a title", "panel $p", "LEEP (nats)", "95 % interval"],
    ),
    (draw_levels, ["five levels", "level of LEEP", "fine-tuning"]),
    (draw_curves, ["epochs", "accuracy", "low", "high"]),
  ],
)
def test_texts_are_in_the_svg(tmp_path, draw, expected):
  draw(tmp_path / "a.svg")
  text = (tmp_path / "a.svg").read_text()
  for words in expected:
    assert words in text


@pytest.mark.parametrize(
  ("draw", "message"),
  [
    (lambda path: draw_scatter(path, scores=[None] * 40), "no points to draw"),
    (lambda path: draw_scatter(path, scores=[1, 2]), "scores has 2 values"),
    (
      lambda path: draw_scatter(path, groups=["a"]),
      "groups has 1 names, but there are 40 points",
    ),
    (lambda path: draw_grid(path, rows=0), "no panels to draw"),
    (lambda path: draw_grid(path, columns=0), "no panels to draw"),
    (lambda path: draw_levels(path, names=[]), "no levels to draw"),
    (
      lambda path: plots.levels(
        {"a": correlation.levels([1, 2], [1, 2], count=3),
         "b": correlation.levels([1, 2], [1, 2], count=2)},
        **NAMES, title="t", path=path,
      ),
      "series have 2 and 3 levels: bars beside each other",
    ),
    (lambda path: draw_curves(path, names=[]), "no curves to draw"),
    (
      lambda path: curve(path, [[[1.0]]]),
      r"curve 'a' has shape \(1, 1, 1\), not \[runs, epochs\]",
    ),
    (lambda path: curve(path, []), r"curve 'a' has shape \(0,\)"),
    (lambda path: curve(path, [1, np.nan]), "curve 'a' holds values that"),
    (lambda path: curve(path, [1, None]), "curve 'a' holds values that"),
    (lambda path: curve(path, [[1], [1, 2]]), "curve 'a' cannot be made an"),
  ],
)  # fmt: skip
def test_what_cannot_be_drawn(tmp_path, draw, message):
  with pytest.raises(leep_jax.InputError, match=message):
    draw(tmp_path / "a.png")
  assert os.listdir(tmp_path) == []


def curve(path, values):
  plots.curves({"a": values}, value="accuracy", title="t", path=path)


def test_curves_that_were_not_measured_every_epoch(monkeypatch):
  drawn = []
  monkeypatch.setattr(
    style, "save_figure", lambda figure, _: drawn.append(figure)
  )
  draw_curves(start=4, step=4)
  line = drawn[0].axes[0].lines[0]
  np.testing.assert_array_equal(line.get_xdata(), np.arange(4, 121, 4))


def test_grids_of_levels_and_curves(figures):
  x, y = points(40)
  both = {"head": correlation.levels(x, y), "tuned": correlation.levels(x, -y)}
  one = {"tuned": correlation.levels(x, y)}
  plots.levels_grid(
    [[plots.Levels(both, **NAMES, title="a"), plots.Levels(one, **NAMES)]],
    title="t",
    path="a.png",
  )
  assert legend(figures[0]) == ["head", "tuned"]
  left, right = figures[0].axes
  assert left.get_title(loc="left") == "a"
  colour = {bar.get_facecolor() for bar in right.patches}
  assert len(colour) == 1
  assert colour < {bar.get_facecolor() for bar in left.patches}
  assert_fits(figures[0])
  values = np.ones((2, 3))
  plots.curves_grid(
    [[plots.Curves({"1": values}, "a"), plots.Curves({"2": values}, "b")]],
    title="t",
    path="a.png",
    zero=True,
  )
  assert legend(figures[1]) == ["1", "2"]
  assert [a.get_ylabel() for a in figures[1].axes] == ["a", "b"]
  with pytest.raises(leep_jax.InputError, match="no levels"):
    plots.levels_grid([[]], title="t", path="a.png")
  with pytest.raises(leep_jax.InputError, match="no curves"):
    plots.curves_grid([[plots.Curves({}, "a")]], title="t", path="a.png")


def test_speeds_are_logarithmic_and_a_line_joins_the_front(figures):
  draw_speeds()
  (axes,) = figures[0].axes
  assert axes.get_xscale() == "log"
  front = next(line for line in axes.lines if line.get_linestyle() == "--")
  assert front.get_xdata().tolist() == [20.0, 900.0]
  assert front.get_ydata().tolist() == [0.9, 0.8]
  hollow = [
    float(line.get_xdata()[0])
    for line in axes.lines
    if line.get_markerfacecolor() == "white"
  ]
  assert hollow == [100.0]
  assert legend(figures[0])[1:] == [
    "b", "c", "no source is both faster and better",
  ]  # fmt: skip
  assert "none" not in legend(figures[0])
  ticks = [
    text
    for text in texts(axes.get_xticklabels())
    if text.replace(",", "").isdigit()
  ]
  assert {"20", "50", "100"} <= set(ticks)
  assert_fits(figures[0])
  with pytest.raises(leep_jax.InputError, match="no sources"):
    draw_speeds(values=[None] * 4)


def test_one_source_has_a_speed_too(figures):
  plots.accuracy_speed(
    ["a"], [0.9], [None], [70.0], value="v", title="t", path="a.png"
  )
  assert legend(figures[0]) == ["a"]
  assert_fits(figures[0])


def test_plot_of_expected_accuracy_is_against_speed(figures):
  def scored(model, accuracy, dataset="digits"):
    row = {
      "model": model, "dataset": dataset, "split": "all", "num_examples": 9,
      "probe_accuracy": accuracy, "probe_accuracy_low": accuracy,
      "probe_accuracy_high": accuracy, "examples_per_second": 70.0,
    }  # fmt: skip
    return scored_source.ScoredSource(row, {}, {}, np.zeros(9, int))

  for dataset, count, scale in (
    ("digits", 2, "log"), ("predictions", 2, "linear"), ("digits", 1, "linear"),
  ):  # fmt: skip
    sources = [scored("ab"[i], 0.9, dataset) for i in range(count)]
    score_report.draw(sources, ["probe_accuracy"], None, path="a.png")
    assert figures[-1].axes[0].get_xscale() == scale


def test_reached_values_lie_about_the_diagonal(figures):
  draw_reached()
  (axes,) = figures[0].axes
  assert axes.get_xlim() == axes.get_ylim()
  diagonal = next(line for line in axes.lines if line.get_linestyle() == "--")
  assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
  dots = [
    (*line.get_xdata(), *line.get_ydata())
    for line in axes.lines
    if len(line.get_xdata()) == 1
  ]
  assert dots == [(0.6, 0.65), (0.8, 0.79), (0.9, 0.9)]
  intervals = [line for line in axes.lines if line.get_marker() in ("|", "_")]
  assert len(intervals) == 3
  # A source that occurs twice has one entry.
  assert legend(figures[0])[1:] == ["b", "reached as predicted"]
  assert_fits(figures[0])


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"reached": [0.5]}, "but there are 3, 1, 3, 3, 3"),
    ({"reached": [0.5, None, 0.5]}, "missing or infinite"),
    ({"names": ["a"]}, "of the same sources"),
  ],
)
def test_values_that_are_no_pairs_are_refused(changes, message):
  with pytest.raises(leep_jax.InputError, match=message):
    draw_reached(**changes)


def test_a_matrix_of_sources_and_targets(figures, tmp_path):
  """It has any shape, cells without a value, and colours by column."""
  plots.matrix(
    [[0.9, 0.2, np.nan], [0.5, 0.4, 0.3]],
    ["a", "b"],
    targets=["x", "y", "z"],
    title="2 sources on 3 data sets",
    label="accuracy",
    by_target=True,
    path=tmp_path / "map.png",
  )
  (figure,) = figures
  axes, bar = figure.axes
  assert [t.get_text() for t in axes.texts] == [
    "0.90", "0.20", "-", "0.50", "0.40", "0.30",
  ]  # fmt: skip
  assert axes.images[0].get_array().filled(-1).tolist() == [
    [1, 0, -1], [0, 1, 1],
  ]  # fmt: skip
  assert texts(axes.get_xticklabels()) == ["x", "y", "z"]
  assert texts(bar.get_yticklabels()) == ["lowest", "best"]
