"""HTML reports: content, escaping, nothing that is fetched, valid markup."""

import base64
import hashlib
from html import parser
import re

import numpy as np
import pages
import pytest

import leep_jax
from leep_jax.reports import html_figures, html_report

VOID = {"meta", "link", "img", "br", "wbr", "input", "hr"}


class Document(parser.HTMLParser):
  """Checks that tags are balanced, and keeps texts and attributes."""

  def __init__(self, text):
    super().__init__()
    self.open, self.tags, self.texts = [], [], []
    self.feed(text)
    self.close()
    assert not self.open

  def handle_starttag(self, tag, attributes):
    names = [name for name, _ in attributes]
    assert len(set(names)) == len(names), names
    self.tags.append((tag, dict(attributes)))
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attributes):
    self.tags.append((tag, dict(attributes)))

  def handle_endtag(self, tag):
    assert self.open, f"{tag} was not opened"
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.texts.append((self.open[-1] if self.open else "", data))

  def all(self, tag, **attributes):
    return [
      found
      for name, found in self.tags
      if name == tag and attributes.items() <= found.items()
    ]

  @property
  def text(self):
    kept = [t for tag, t in self.texts if tag not in ("style", "script")]
    return re.sub(r"\s+", " ", "".join(kept))


def document(**changes):
  return Document(html_report.render(pages.page(**changes)))


def test_a_page_has_all_its_parts():
  page = document()
  for text in (
    "Sources for mine test",
    "Use a: expect 90 %.",
    "none has no features.",
    "Expected accuracy against speed",
    "What a new head on a will confuse",
    "25 of 30 correctly",
    "label: cat predicted: dog by 2 of 3 probability of the label: 0.2 % "
    "cat/1.jpg",
    "such labels are often wrong",
    "1 image occurs more than once, pixel by pixel; 4 examples are copies",
    "different labels a: a/1.png b: b/2.png and 3 more",
    "python -m leep_jax.score --report=page.html",
    f"leep_jax {leep_jax.__version__}, 2020-02-03",
  ):
    assert text in page.text
  assert len(page.all("img")) == 2
  assert page.all("html") == [{"lang": "en"}]
  names = [found["name"] for found in page.all("meta") if "name" in found]
  assert {"viewport", "color-scheme"} <= set(names)


def rows_of(page):
  """The rows of the ranking as lists of values, in order."""
  values = [
    found.get("data-value")
    for tag, found in page.tags
    if tag in ("th", "td")
    and ("data-value" in found or found.get("class") == "missing")
  ]
  width = len(page.all("button"))
  return [values[i : i + width] for i in range(0, len(values), width)]


def test_ranking_is_best_first_and_sorts_by_full_numbers():
  page = document()
  assert [row[:3] for row in rows_of(page)] == [
    ["1", "a", "0.9"],
    ["2", "b", "0.85"],
    ["3", "slow", "0.7"],
    ["4", "none", None],
  ]
  sorted_by = [f for f in page.all("th") if "aria-sort" in f]
  assert [f["aria-sort"] for f in sorted_by] == ["descending"]
  assert "0.900 ± 0.020* " in page.text
  assert "not told apart" in page.text
  assert "not told apart from it (" not in document(best=None).text


def test_every_header_is_a_button_with_a_kind():
  headers = [f for f in document().all("th") if "data-kind" in f]
  assert len(headers) == len(document().all("button"))
  assert {f["data-kind"] for f in headers} == {"text", "number"}


def test_pareto_front():
  values = [0.9, 0.9, 0.8, 0.7, None, 0.95]
  speeds = [10, 20, 20, 90, 100, None]
  assert html_figures.pareto(values, speeds) == [
    False, True, False, True, False, False,
  ]  # fmt: skip
  # Equal sources do not beat each other.
  assert html_figures.pareto([0.5, 0.5], [3, 3]) == [True, True]


def test_chart_is_logarithmic_in_speed_with_intervals():
  chart = html_figures.accuracy_speed(
    ["a", "b", "c"], [0.9, 0.8, 0.7], [(0.85, 0.95), None, None],
    [100, 1000, 10000], width=800, height=400, percent=True,
  )  # fmt: skip
  x = [dot.x for dot in chart.dots]
  assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)
  first, second, _ = chart.dots
  assert first.high < first.y < first.low
  assert second.low is None
  assert first.y < second.y  # pixels count from the top
  ticks = {text: x for x, text in chart.x_ticks}
  assert ticks["1,000"] == pytest.approx(x[1], abs=0.1)


@pytest.mark.parametrize("width", [860, 366])
def test_names_in_a_chart_do_not_overlap(width):
  rng = np.random.default_rng(0)
  count = 40
  names = [f"a_source_{i}" for i in range(count)]
  values = rng.uniform(0.5, 0.9, count).tolist()
  chart = html_figures.accuracy_speed(
    names, values, [None] * count, rng.uniform(10, 900, count).tolist(),
    width=width, height=440, percent=True,
  )  # fmt: skip
  boxes = []
  for dot in chart.dots:
    assert dot.text in (*names, *map(str, range(1, count + 1)))
    if not dot.text.startswith("a_"):
      continue  # numbers are put where they cover least
    size = 6.7 * len(dot.text)
    left = (
      dot.text_x - {"start": 0, "middle": size / 2, "end": size}[dot.anchor]
    )
    assert chart.left <= left
    assert left + size <= chart.right
    boxes.append((left, dot.text_y, left + size))
  assert len(boxes) > 3
  for i, (left, y, right) in enumerate(boxes):
    for other_left, other_y, other_right in boxes[:i]:
      assert (
        right <= other_left or other_right <= left or abs(y - other_y) >= 15
      )


@pytest.mark.parametrize("speeds", [[100.0], [100.0, 100.0], [1.0, 1e7]])
def test_charts_of_few_sources_have_ticks(speeds):
  chart = html_figures.accuracy_speed(
    ["a", "b"][: len(speeds)], [1.0] * len(speeds), [(0.99, 1.0)] * len(speeds),
    speeds, width=366, height=360, percent=True,
  )  # fmt: skip
  assert 2 <= len(chart.x_ticks) <= 8
  assert 2 <= len(chart.y_ticks) <= 8
  texts = [text for _, text in (*chart.x_ticks, *chart.y_ticks)]
  assert len(set(texts)) == len(texts)


def test_no_chart_of_what_has_no_speed():
  rows = [pages.row("a", 0.9, 100.0, dataset="predictions")]
  page = document(rows=rows, best=None)
  assert not page.all("svg", role="img")
  assert "examples/s" in page.text
  rows = [pages.row("a", None, 100.0)]
  assert not document(rows=rows, best=None).all("svg", role="img")


def test_regression_has_an_expected_r2_and_no_confusions():
  row = {
    "model": "a", "dataset": "mine", "num_examples": 9, "probe_r2": -0.2,
    "probe_r2_low": -0.4, "probe_r2_high": 0.1, "examples_per_second": 10.0,
  }  # fmt: skip
  page = document(
    rows=[row], scores=["probe_r2"], best=None, confusion=None, judges=0,
    copies_found=None, class_names=(),
  )  # fmt: skip
  assert "Expected r² against speed" in page.text
  for text in ("confuse", "Recall", "surprising", "several times"):
    assert text not in page.text
  ticks = [t for tag, t in page.texts if tag == "text"]
  assert "\N{MINUS SIGN}0.4" in ticks


def test_a_confusion_matrix_is_shown_whole_or_by_its_largest():
  for count, whole in ((30, True), (31, False)):
    counts = np.eye(count, dtype=int) * 5
    counts[3, 4], counts[7, 2] = 9, 3
    names = [f"class{i}" for i in range(count)]
    page = document(confusion=counts, class_names=names)
    assert bool(page.all("table", **{"class": "confusion"})) == whole
    if not whole:
      assert "The 2 largest confusions" in page.text
      at = page.text.index("class3class4964 %")  # cells of a row
      assert at < page.text.index("class7class2338 %")


def test_shades_are_of_shares_of_the_row():
  found = html_figures.shades(np.array([[0, 1, 99], [50, 50, 0], [0, 0, 0]]))
  assert found == [
    ["zero", "w1", "w6"], ["w6", "r3", "zero"], ["zero", "zero", "zero"],
  ]  # fmt: skip


def test_recall_is_lowest_first_with_intervals():
  found = html_figures.recalls(
    np.array([[9, 1, 0], [6, 4, 0], [0, 0, 0]]), ["a", "b", "none"]
  )
  assert [(r.name, r.share, r.count) for r in found] == [
    ("b", 0.4, 10), ("a", 0.9, 10),
  ]  # fmt: skip
  assert all(r.low < r.share < r.high for r in found)
  many = document(
    confusion=np.eye(100, dtype=int), class_names=[f"c{i}" for i in range(100)]
  )
  assert "40 classes with a higher recall are left out" in many.text


def test_nothing_is_said_where_nobody_searched_and_none_where_none_is():
  assert "several times" not in document(copies_found=None).text
  text = document(copies_found=0, copies=(), copies_left_out=0).text
  assert "None: no two images are equal" in text
  assert "No example is predicted wrongly" in document(surprising=()).text


def test_examples_without_images_are_listed():
  listed = html_report.Example("example 7", "1", b"", "2", 1, 0.0001)
  page = document(surprising=[listed], copies_found=None, judges=1)
  assert not page.all("img")
  assert (
    "label: 1 predicted: 2 probability of the label: < 0.1 % example 7"
    in (page.text)
  )


def test_what_users_name_is_text():
  html = html_report.render(pages.hostile_page())
  plain = Document(html_report.render(pages.page()))
  page = Document(html)
  kinds = {tag for tag, _ in page.tags}
  assert kinds <= {tag for tag, _ in plain.tags} | {"polyline"}
  assert len(page.all("script")) == len(page.all("style")) == 1
  for _, attributes in page.tags:
    assert not [name for name in attributes if name.startswith("on")]
    assert "style" not in attributes
  for text in (
    "<script>alert(1)</script>",
    "\"quoted\" 'twice' &amp; {{ 7 * 7 }} {% raw %}",
    "größe 大きさ \N{PARTY POPPER}",
    r"evil\u202egpj.exe\n\x00\x1b[31m\udcff",
  ):
    assert text in page.text
  assert not re.search("[\x00-\x08\u202e]", html)
  html.encode()  # no half characters


def test_nothing_can_be_fetched():
  for made in (pages.page(), pages.hostile_page()):
    html = html_report.render(made)
    page = Document(html)
    for tag, attributes in page.tags:
      for name in ("src", "href", "srcset", "data", "action", "xlink:href"):
        assert attributes.get(name, "data:").startswith("data:"), (tag, name)
    (style,) = [t for tag, t in page.texts if tag == "style"]
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    rules = dict(
      rule.strip().split(" ", 1) for rule in policy["content"].split(";")
    )
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind in ("style", "script"):
      (text,) = [t for tag, t in page.texts if tag == kind]
      digest = base64.b64encode(hashlib.sha256(text.encode()).digest())
      assert rules[f"{kind}-src"] == f"'sha256-{digest.decode()}'"
  assert not re.search("https?://", html_report.render(pages.page()))


def test_the_script_makes_no_markup_of_text():
  html = html_report.render(pages.page())
  script = html[html.index("<script>") :]
  for name in ("innerHTML", "outerHTML", "insertAdjacent", "eval", "write("):
    assert name not in script


def test_a_large_page_is_small(tmp_path):
  rng = np.random.default_rng(0)
  noise = rng.integers(0, 256, (400, 400, 3)).astype(np.uint8)
  image = pages.page_content.thumbnail(noise)
  names = [f"{i}_{pages.HOSTILE[-1]}" for i in range(500)]
  many = [html_report.Example(name, name, image, name) for name in names[:24]]
  page = pages.page(
    rows=[pages.row(name, 0.5, 10.0) for name in names[:100]],
    best=None,
    class_names=names,
    confusion=rng.integers(0, 9, (500, 500)),
    surprising=many,
    copies=[html_report.Copies(many[:6], 6)] * 24,
    copies_found=1000,
  )
  path = tmp_path / "page.html"
  html_report.write(path, page)
  assert path.stat().st_size < 5e6
  assert "976 further images left out" in Document(path.read_text()).text


def test_mistakes_are_refused(tmp_path):
  with pytest.raises(leep_jax.InputError, match=r"must end in \.html or \.htm"):
    html_report.write(tmp_path / "page.txt", pages.page())
  with pytest.raises(leep_jax.InputError, match="a source and a score"):
    html_report.render(pages.page(rows=[]))
  with pytest.raises(leep_jax.InputError, match="2 names of classes"):
    html_report.render(pages.page(class_names=["a", "b"]))


def brightness(colour):
  """Relative luminance, of WCAG 2."""
  parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
  linear = [
    c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
  ]
  return np.dot(linear, [0.2126, 0.7152, 0.0722])


def contrast(first, second):
  low, high = sorted((brightness(first), brightness(second)))
  return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrasts_suffice_in_both_schemes(scheme):
  html = html_report.render(pages.page())
  blocks = re.findall(r":root \{\n(.*?)\}", html, re.DOTALL)
  light, dark = (
    dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in blocks[:2]
  )
  colours = light if scheme == 0 else {**light, **dark}
  assert set(dark) <= set(light)
  pairs = [
    *((ink, "page") for ink in ("text", "quiet", "accent")),
    *((ink, "panel") for ink in ("text", "quiet", "accent", "warn")),
    ("text", "warn-panel"), ("warn", "warn-panel"),
    *((f"on{ink}", f"{kind}{i}") for kind in "rw"
      for i, ink in zip(range(1, 7), (1, 1, 1, 4, 5, 5), strict=True)),
  ]  # fmt: skip
  for ink, paper in pairs:
    assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
  for mark in ("accent", "other"):  # dots and lines
    assert contrast(colours[mark], colours["page"]) >= 3
