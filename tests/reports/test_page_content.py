"""What an HTML report shows, from scored sources and their data."""

import dataclasses
import html
import io
import json
import re

import numpy as np
import PIL.Image
import pytest
import running

import leep_jax
from leep_jax import score
from leep_jax.data import duplicates
from leep_jax.reports import page_content, scored_source
from leep_jax.scores import head_predictions


def judged(predicted, log_likelihood):
  return head_predictions.Judged(
    np.array(predicted), np.array(log_likelihood, float), np.array([1.0])
  )


def source(model, accuracy, labels, found, **changes):
  row = {
    "model": model, "dataset": "mine", "split": "all", "num_examples": 4,
    "num_target_classes": 3, "note": None,
    "probe_accuracy": accuracy, "examples_per_second": 1.0, **changes,
  }  # fmt: skip
  return scored_source.ScoredSource(
    row, {}, {}, np.array(labels), predictions=found
  )


def page(scored, dataset=None, **options):
  scored = [dataclasses.replace(each, dataset=dataset) for each in scored]
  options = {"best": None, **options}
  return page_content.page(scored, ["probe_accuracy"], **options)


LABELS = [2, 0, 0, 2]


def test_labels_are_surprising_if_most_sources_are_wrong():
  first = judged([0, 0, 2, 0], [-3.0, -0.1, -2.0, -1.0])
  second = judged([0, 0, 0, 2], [-1.0, -0.1, -0.5, -9.0])
  third = judged([0, 0, 2, 2], [-2.0, -0.1, -9.5, -9.0])
  found = page_content.surprising(np.array(LABELS), [first, second, third])
  # Means are -4 and -2; example 3 is wrong for one of three.
  assert found.tolist() == [2, 0]
  # Half of the sources are not more than half of them.
  found = page_content.surprising(np.array(LABELS), [first, second])
  assert found.tolist() == [0]


def test_the_first_ranked_source_with_predictions_has_its_confusions_shown():
  scored = [
    source("low", 0.2, LABELS, judged([0, 0, 0, 0], [-1, -1, -1, -1])),
    source("top", None, LABELS, None),
    source("high", 0.9, LABELS, judged([0, 0, 0, 2], [-4, -0.1, -0.1, -0.1])),
  ]
  made = page(scored)
  assert (made.source, made.judges) == ("high", 2)
  # Class 1 does not occur.
  assert list(made.class_names) == ["0", "2"]
  assert made.confusion.tolist() == [[2, 0], [1, 1]]
  (example,) = made.surprising
  assert (example.name, example.label, example.predicted, example.votes) == (
    "example 0", "2", "0", 2,
  )  # fmt: skip
  assert example.probability == pytest.approx(np.exp(-2.5))
  assert made.copies_found is None


def test_sources_on_other_labels_are_no_judges_and_a_warning_says_so():
  other = [0, 0, 2, 2]
  scored = [
    source("a", 0.9, LABELS, judged([0, 0, 0, 2], [-4, -1, -1, -1])),
    source("b", 0.8, other, judged([2, 2, 0, 0], [-9, -9, -9, -9])),
  ]
  made = page(scored)
  assert made.judges == 1
  assert [e.name for e in made.surprising] == ["example 0"]
  assert "b and a were scored on different labels" in made.warnings[0]


def test_without_predictions_there_are_no_confusions():
  made = page([source("a", 0.9, LABELS, None)])
  assert made.confusion is None
  assert made.judges == 0


def test_predictions_are_those_of_the_probe(rng):
  features, labels = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
  found = page_content.predictions(outputs, {})
  np.testing.assert_array_equal(
    found.predicted, leep_jax.probe_predictions(outputs).predicted
  )
  # One example has no others that a head could be fitted to.
  one = leep_jax.Outputs.from_arrays(features=features[:1], labels=[0])
  assert page_content.predictions(one, {}) is None
  targets = leep_jax.Outputs.from_arrays(features=features, targets=labels / 2)
  assert page_content.predictions(targets, {}) is None


@pytest.mark.parametrize(
  ("image", "size"),
  [
    (np.zeros((300, 200, 3), np.uint8), (85, 128)),
    (np.zeros((8, 8, 1), np.uint8), (128, 128)),
    (np.ones((32, 16, 3), np.float32), (64, 128)),
    (np.zeros((1, 9000, 3), np.uint8), (128, 1)),
  ],
)
def test_thumbnails_are_small_and_not_blurred(image, size):
  made = page_content.thumbnail(image)
  with PIL.Image.open(io.BytesIO(made)) as opened:
    assert (opened.format, opened.size) == ("JPEG", size)
    np.testing.assert_allclose(
      np.asarray(opened), 255 if image.max() else 0, atol=3
    )


@pytest.fixture
def photos(tmp_path, rng):
  """Twelve images of two classes; two are equal, with different labels."""
  images = rng.integers(0, 120, (12, 16, 16, 3)).astype(np.uint8)
  images[6:] += 100
  images[7] = images[2]
  for i, image in enumerate(images):
    path = tmp_path / "photos" / ("cat", "<b>dog")[i // 6] / f"{i:02}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(image).save(path)
  return tmp_path / "photos"


def test_copies_and_names_come_from_the_data(photos):
  dataset = leep_jax.load_dataset(f"folder:{photos}")
  labels = dataset.labels()
  position = [dataset.name_of(i) for i in range(12)].index("<b>dog/07.png")
  logs, predicted = np.full(12, -0.1), labels.copy()
  logs[position], predicted[position] = -7.0, 1 - labels[position]
  done = []
  made = page(
    [source("a", 0.9, labels, judged(predicted, logs))],
    dataset,
    progress=lambda *counts: done.append(counts),
  )
  (example,) = made.surprising
  assert (example.name, example.label, example.predicted) == (
    "<b>dog/07.png", "<b>dog", "cat",
  )  # fmt: skip
  assert example.image.startswith(b"\xff\xd8")
  (group,) = made.copies
  assert [e.name for e in group.examples] == ["<b>dog/07.png", "cat/02.png"]
  assert [bool(e.image) for e in group.examples] == [True, False]
  assert group.contradict
  assert (made.copies_found, made.copies_left_out, done) == (1, 1, [(12, 12)])
  made = page([source("a", 0.9, labels, None)], dataset, search=False)
  assert made.copies_found is None


def test_groups_with_different_labels_come_first_and_names_are_cut():
  images = np.zeros((14, 2, 2, 1), np.uint8)
  images[2:] += 1
  labels = np.array([0, 0] + [0] * 11 + [1])
  dataset = leep_jax.Dataset(
    name="mine", split="all", num_classes=2, indices=np.arange(14),
    image_shape=(2, 2, 1), fetch=lambda i: (images[i], labels[i]),
    all_labels=labels,
  )  # fmt: skip
  first, second = page([source("a", 0.9, labels, None)], dataset).copies
  assert first.count == 12
  # One of each label, then others.
  assert [e.name for e in first.examples] == [
    f"example {i}" for i in (2, 13, 3, 4, 5, 6)
  ]
  assert second.count == 2
  assert [len(g) for g in duplicates.find(dataset)] == [2, 12]


def test_an_image_that_is_gone_is_left_out(photos):
  dataset = leep_jax.load_dataset(f"folder:{photos}")
  for name in ("cat/00.png", "<b>dog/06.png"):
    (photos / name).unlink()
  labels = dataset.labels()
  found = judged(1 - labels, [-1.0] * 12)
  made = page([source("a", 0.9, labels, found)], dataset)
  gone = [example.name for example in made.surprising if not example.image]
  assert sorted(gone) == ["<b>dog/06.png", "cat/00.png"]
  assert made.copies_found is None
  assert "cat/00.png" in made.warnings[0]


def test_the_command_writes_a_page(capsys, tmp_path, photos):
  path = tmp_path / "page.html"
  status, out, err = running.run(
    capsys,
    score,
    "--model=fashion_mnist_resnet8",
    f"--dataset=folder:{photos}",
    "--scores=probe_accuracy,nce",
    f"--report={path}",
    f"--output={tmp_path / 'rows.jsonl'}",
  )
  assert (status, err) == (0, "")
  row = json.loads((tmp_path / "rows.jsonl").read_text())
  text = path.read_text()
  assert f'data-value="{row["probe_accuracy"]}"' in text
  assert f"{round(12 * row['probe_accuracy'])} of 12 correctly" in text
  shown = html.unescape(re.search(r"<pre>(.*?)</pre>", text, re.DOTALL)[1])
  assert shown.startswith("python -m leep_jax.score --model=fashion_mnist")
  assert "--scores=probe_accuracy,nce" in shown
  assert "1 image occurs more than once" in text
  assert "&lt;b&gt;dog/<wbr>07.<wbr>png" in text
  assert "Best first by probe_accuracy" in out


def test_files_of_predictions_make_a_page(capsys, tmp_path, rng, monkeypatch):
  monkeypatch.chdir(tmp_path)
  labels = rng.integers(0, 3, 40)
  np.savez("a.npz", features=rng.normal(size=(40, 4)), labels=labels)
  np.savez("b.npz", logits=rng.normal(size=(40, 3)), labels=labels)
  np.savez("r.npz", features=rng.normal(size=(40, 4)), targets=labels / 2)
  status, _, err = running.run(
    capsys, score, "--predictions=b.npz,a.npz", "--report=p.html",
    "--scores=probe_accuracy,nce", "--groups=1",
  )  # fmt: skip
  assert (status, err) == (0, "")
  text = (tmp_path / "p.html").read_text()
  assert "b has no probe_accuracy: the source gives no features." in text
  assert "What a new head on a.<wbr>npz will confuse" in text
  assert "<img" not in text
  status, _, err = running.run(
    capsys, score, "--predictions=r.npz", "--report=r.html", "--scores=probe_r2"
  )
  assert (status, err) == (0, "")
  assert "confuse" not in (tmp_path / "r.html").read_text()


def test_sources_with_constant_features_judge_no_labels(
  capsys, tmp_path, rng, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  labels = rng.integers(0, 2, 40)
  np.savez("a.npz", features=rng.normal(size=(40, 4)), labels=labels)
  np.savez("b.npz", features=np.ones((40, 4)), labels=labels)
  status, *_ = running.run(
    capsys, score, "--predictions=a.npz,b.npz", "--report=p.html",
    "--scores=probe_accuracy",
  )  # fmt: skip
  text = (tmp_path / "p.html").read_text()
  assert status == 0
  assert "Labels that the source finds improbable" in text


def test_a_page_that_cannot_be_written_is_refused_first(capsys, tmp_path):
  status, out, err = running.run(capsys, score, "--report=page.pdf")
  assert (status, out) == (2, "")
  assert "report page.pdf must end in .html or .htm" in err
