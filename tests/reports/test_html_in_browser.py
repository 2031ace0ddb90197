"""HTML reports in a browser: they sort, fetch nothing, and report no error."""

import base64
import hashlib
import json
import re
import shutil
import subprocess

import marks
import pages
import PIL.Image
import pytest

from leep_jax.reports import html_report

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
START = (BROWSER, "--headless", "--no-sandbox", "--disable-gpu")
pytestmark = pytest.mark.skipif(
  BROWSER is None, reason="no Chromium here: apt-get install chromium"
)
LIGHT, DARK = "1", "0"  # numbers of Blink's setting preferredColorScheme


@pytest.fixture(scope="module", autouse=True)
def starts():
  """Skips where Chromium is installed but does not start."""
  try:
    done = subprocess.run(
      [*START, "--dump-dom", "data:text/html,works"],
      capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
  except (OSError, subprocess.TimeoutExpired) as e:
    pytest.skip(f"Chromium does not start: {e}")
  if "works" not in done.stdout:
    pytest.skip(f"Chromium does not start: {done.stderr[-200:]}")


def browse(path, *flags, scheme=LIGHT):
  """Opens a page without any network; returns output and messages."""
  done = subprocess.run(
    [
      *START,
      f"--user-data-dir={path.parent / 'profile'}",
      "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=2000",
      f"--blink-settings=preferredColorScheme={scheme}",
      "--enable-logging=stderr", "--v=0", *flags, path.as_uri(),
    ],
    capture_output=True, text=True, timeout=120, check=True,
  )  # fmt: skip
  return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


def run(tmp_path, page, script, *flags):
  """Opens a page, and returns what a script finds there."""
  script = f"document.title = JSON.stringify((() => {{{script}}})());"
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  html = html_report.render(page)
  # The page allows its own script alone: this one is added to its policy.
  allowed = html.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
  assert allowed != html
  path = tmp_path / "page.html"
  path.write_text(
    allowed.replace("</body>", f"<script>{script}</script></body>")
  )
  dom, messages = browse(path, "--dump-dom", *flags)
  found = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1]
  for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
    found = found.replace(entity, sign)
  return json.loads(found), messages


CLICK = """
  const header = (name) => [...document.querySelectorAll(".sortable thead th")]
    .find((th) => th.textContent === name);
  const names = () => [...document.querySelectorAll(".sortable tbody th")]
    .map((th) => th.textContent);
  const click = (name) => {
    const button = header(name).querySelector("button");
    button.focus();
    if (document.activeElement !== button) throw Error("no focus");
    button.click();
    return [header(name).getAttribute("aria-sort"), ...names()];
  };
"""


def test_headers_sort_numbers_as_numbers_and_missing_last(tmp_path):
  script = f"""{CLICK}
  return [
    names(), click("images/s"), click("images/s"), click("probe_accuracy"),
    click("probe_accuracy"), click("source"),
    [...document.querySelectorAll("[aria-sort]")].length,
    document.getElementById("sorted").textContent,
  ];"""
  found, messages = run(tmp_path, pages.page(), script)
  assert found == [
    ["a", "b", "slow", "none"],
    ["descending", "b", "a", "slow", "none"],  # 1000, 200, 100, 30
    ["ascending", "none", "slow", "a", "b"],
    ["descending", "a", "b", "slow", "none"],
    ["ascending", "slow", "b", "a", "none"],
    ["ascending", "a", "b", "none", "slow"],
    1,
    "Sorted by source, ascending.",
  ]
  assert not messages


def test_hostile_names_run_nothing_and_fetch_nothing(tmp_path):
  script = """
  return [
    performance.getEntriesByType("resource").map((entry) => entry.name)
      .filter((name) => !name.startsWith("data:")),
    [...document.images].every((image) => image.naturalWidth > 0),
    document.images.length,
    document.scripts.length,
    document.querySelectorAll("h1 *:not(wbr)").length,
  ];"""
  found, messages = run(tmp_path, pages.hostile_page(), script)
  assert found == [[], True, 2 * len(pages.HOSTILE), 2, 0]
  assert not messages  # also no refusal by the page's policy


def test_a_script_that_got_in_would_not_run(tmp_path):
  html = html_report.render(pages.page())
  path = tmp_path / "page.html"
  injected = "<script>document.title = 'ran'</script>"
  path.write_text(html.replace("</main>", f"{injected}</main>"))
  dom, messages = browse(path, "--dump-dom")
  assert "<title>Sources for mine test</title>" in dom
  assert "Content Security Policy" in messages[0]


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_both_schemes_are_drawn(tmp_path, scheme):
  path = tmp_path / "page.html"
  html_report.write(path, pages.page())
  image = tmp_path / "page.png"
  _, messages = browse(
    path, f"--screenshot={image}", "--window-size=800,900", scheme=scheme
  )
  assert not messages
  with PIL.Image.open(image) as opened:
    colours = opened.convert("RGB").getcolors(1 << 24)
  _, paper = max(colours)
  assert paper == ((255, 255, 255) if scheme == LIGHT else (15, 20, 26))
  assert len(colours) > 50


@pytest.mark.parametrize(
  "made", [pages.hostile_page, *marks.exhaustive(pages.page)]
)
@pytest.mark.parametrize(("width", "chart"), [(390, "phone"), (1100, "desk")])
def test_only_tables_scroll_sideways(tmp_path, made, width, chart):
  # No window of this browser is narrower than 500 pixels: the body is.
  script = f"""
  document.body.style.width = "{width}px";
  const shown = [...document.querySelectorAll(".chart")]
    .filter((chart) => chart.getBoundingClientRect().width > 0);
  return [
    document.body.clientWidth, document.body.scrollWidth,
    shown.map((chart) => chart.classList[1]),
    shown[0].querySelector("text").getBoundingClientRect().height >= 10,
  ];"""
  found, _ = run(tmp_path, made(), script, f"--window-size={width + 10},900")
  assert found == [width, width, [chart], True]
