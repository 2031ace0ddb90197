"""Pages that tests of HTML reports share."""

import numpy as np

from leep_jax.reports import html_report, page_content

# What users name may contain anything.
HOSTILE = (
  "<script>alert(1)</script>",
  "</style><script>x()</script>",
  "</title></svg>--><img src=http://example.com/x.png onerror=x()>",
  "\"quoted\" 'twice' &amp; {{ 7 * 7 }} {% raw %}",
  "javascript:alert(1)",
  "größe 大きさ \N{PARTY POPPER}",
  "evil\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe\n\x00\x1b[31m\udcff",
  "very_long_" * 200,
)


def row(model, accuracy, speed, **changes):
  row = {
    "model": model, "dataset": "mine", "split": "test", "num_examples": 40,
    "num_source_classes": 10, "num_features": 64, "num_target_classes": 3,
    "probe_accuracy": accuracy, "nce": -0.5, "nce_se": 0.01,
    "examples_per_second": speed, "note": None,
  }  # fmt: skip
  if accuracy is not None:
    row |= {
      "probe_accuracy_se": 0.02,
      "probe_accuracy_low": accuracy - 0.04,
      "probe_accuracy_high": accuracy + 0.04,
    }
  return {**row, **changes}


def example(name, label, **changes):
  image = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
  return html_report.Example(
    name, label, page_content.thumbnail(image), **changes
  )


def page(**changes):
  """A page with everything: three sources, one without the first score."""
  names = ["cat", "dog", "eel"]
  options = {
    "dataset": "mine test",
    "sentences": ["Use a: expect 90 %.", "b is not told apart from it."],
    "rows": [
      row("b", 0.85, 1000.0), row("none", None, 30.0), row("a", 0.9, 200.0),
      row("slow", 0.7, 100.0),
    ],
    "scores": ["probe_accuracy", "nce"],
    "best": {"probe_accuracy": [True, False, True, False]},
    "source": "a",
    "class_names": names,
    "confusion": np.array([[12, 1, 0], [4, 11, 0], [0, 0, 2]]),
    "surprising": [
      example("cat/1.jpg", "cat", predicted="dog", votes=2, probability=0.002)
    ],
    "judges": 3,
    "copies": [
      html_report.Copies([example("a/1.png", "a"), example("b/2.png", "b")], 5)
    ],
    "copies_found": 1,
    "copies_left_out": 4,
    "warnings": ["none has no features."],
    "command": "python -m leep_jax.score --report=page.html",
    "date": "2020-02-03",
    **changes,
  }  # fmt: skip
  return html_report.Page(**options)


def hostile_page():
  """A page whose every text is hostile, in every place."""
  rows = [
    row(name, 0.5 + i / 50, 10.0 * (i + 1)) for i, name in enumerate(HOSTILE)
  ]
  count = len(HOSTILE)
  return page(
    dataset=HOSTILE[2],
    sentences=HOSTILE,
    rows=rows,
    best=None,
    source=HOSTILE[0],
    class_names=HOSTILE,
    confusion=np.ones((count, count), int),
    surprising=[
      example(name, name, predicted=name, votes=1, probability=0.1)
      for name in HOSTILE
    ],
    copies=[html_report.Copies([example(n, n)] * 2, 2) for n in HOSTILE],
    copies_found=count,
    copies_left_out=count,
    warnings=HOSTILE,
    command=" ".join(HOSTILE),
    version=HOSTILE[1],
    date=HOSTILE[3],
  )
