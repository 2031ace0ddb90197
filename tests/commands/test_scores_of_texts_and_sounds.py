"""Commands on texts and on sounds."""

import json
import re

import numpy as np
import pytest
import running
from texts import REVIEWS
import transformers_folders as folders

from leep_jax import score, sweep
from leep_jax.engine import programs
from leep_jax.transfer import __main__ as transfer

BAG = "--model=texts:make_source"
DATA = f"--dataset=csv:{REVIEWS}"


def run(capsys, command, *flags):
  with programs.limit(1):
    return running.run(capsys, command, *flags)


def read(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_score(capsys, tmp_path):
  status, out, err = run(
    capsys, score, BAG, DATA, f"--output={tmp_path}/rows.jsonl",
    f"--report={tmp_path}/report.html", f"--plot={tmp_path}/plot.svg",
  )  # fmt: skip
  assert status == 0, err
  assert f"csv:{REVIEWS}: 48 examples, 2 classes." in out.replace("\n", " ")
  assert "texts/s" in out
  (row,) = read(tmp_path / "rows.jsonl")
  assert (row["inputs"], row["num_features"]) == ("texts", 8)
  page = (tmp_path / "report.html").read_text()
  assert "Texts that occur several times" in page
  assert "no two texts are equal, character by character" in page
  shown = re.findall("<blockquote>(.*?)</blockquote>", page)
  strings = folders.reviews()
  assert shown
  assert set(shown) <= set(strings)


def test_texts_in_a_report_are_escaped_and_shortened(capsys, tmp_path):
  rows = ["text,label"]
  # Equal texts with two labels, of which one is surprising.
  evil = "<script>alert(1)</script> " + "word " * 200
  rows += [f'"{evil}",a', f'"{evil}",b', "good,a", "bad,b", "fine,a", "poor,b"]
  (tmp_path / "a.csv").write_text("\n".join(rows))
  status, _, err = run(
    capsys, score, BAG, f"--dataset=csv:{tmp_path}/a.csv",
    f"--report={tmp_path}/report.html", "--scores=nce",
  )  # fmt: skip
  assert status == 0, err
  page = (tmp_path / "report.html").read_text()
  assert "1 text occurs more than once, character by character" in page
  assert "&lt;script&gt;alert(1)&lt;/script&gt; word" in page
  assert "<script>alert(1)" not in page
  (text,) = set(re.findall("<blockquote>(.*?)</blockquote>", page))
  assert "…" in text
  assert len(text) < 500


def test_flags_of_tables(capsys, tmp_path):
  path = tmp_path / "a.tsv"
  path.write_text("a\tb\nx\tgood one\ny\tbad one\nx\tfine\nx\tfine\n")
  flags = f"--dataset=csv:{path}", "--scores=nce", "--drop_duplicates"
  status, out, err = run(
    capsys, score, BAG, *flags, "--input_column=b", "--label_column=a"
  )
  assert status == 0, err
  assert "3 examples, 2 classes" in out
  assert "1 of 4 texts" in err
  status, _, err = run(capsys, score, BAG, *flags)
  assert status == 2
  assert "--input_column=NAME" in err


@pytest.mark.parametrize("command", [score, sweep, transfer])
def test_sources_of_texts_have_to_be_named(capsys, tmp_path, command):
  output = (f"--output={tmp_path}/rows",) if command is sweep else ()
  status, _, err = run(capsys, command, DATA, *output)
  assert status == 2
  assert err.strip().endswith(
    "has texts: name sources of texts with --model"
  ), err


def test_sources_of_images_are_refused(capsys):
  status, _, err = run(
    capsys, score, DATA, "--model=fashion_mnist_resnet8,texts:make_source",
    "--scores=nce",
  )  # fmt: skip
  assert status == 2
  line = f"fashion_mnist_resnet8 takes images, but csv:{REVIEWS} has texts"
  assert line in err
  status, _, err = run(capsys, score, BAG)
  assert (status, "takes texts, but digits has images" in err) == (2, True)


def test_a_race(capsys, tmp_path):
  rows = ["text,label"]
  rng = np.random.default_rng(0)
  for i in range(400):
    letters = rng.choice(list("abcde" if i % 2 else "efghi"), 20)
    rows.append(f"{''.join(letters)},{i % 2}")
  (tmp_path / "a.csv").write_text("\n".join(rows))
  status, out, err = run(
    capsys, score, BAG, f"--dataset=csv:{tmp_path}/a.csv", "--race",
    "--scores=probe_accuracy",
  )  # fmt: skip
  assert status == 0, err
  assert "of 400 texts" in out


def test_heads_are_retrained(capsys, tmp_path):
  status, _, err = run(
    capsys, transfer, BAG, DATA, "--method=retrain_head,probe",
    f"--output={tmp_path}/rows.jsonl",
  )  # fmt: skip
  assert status == 0, err
  assert {row["method"] for row in read(tmp_path / "rows.jsonl")} == {
    "retrain_head",
    "probe",
  }
  status, _, err = run(capsys, transfer, BAG, DATA, "--method=fine_tune")
  assert status == 2
  assert "bag takes texts, and only networks of images are trained" in err


def test_a_sweep_uses_its_cache(capsys, tmp_path):
  flags = BAG, DATA, "--tasks=all", "--scores=nce", f"--output={tmp_path}"
  status, out, err = run(capsys, sweep, *flags)
  assert (status, "1 of them new" in out) == (0, True), err
  status, out, err = run(capsys, sweep, *flags)
  assert (status, "0 of them new" in out) == (0, True), err
  assert len(list((tmp_path / "cache").glob("[0-9a-f]*"))) == 1


def test_a_classifier_of_transformers(capsys, tmp_path, monkeypatch):
  monkeypatch.setenv("LEEP_JAX_CACHE", str(tmp_path / "cache"))
  folders.save_text_model(tmp_path / "model", "DistilBert")
  status, out, err = run(
    capsys, score, DATA, f"--model={tmp_path}/model", "--max_tokens=32"
  )
  assert status == 0, err
  assert "leep" in out
  assert "texts/s" in out


def test_sounds(capsys, tmp_path):
  soundfile = pytest.importorskip("soundfile")
  rng = np.random.default_rng(0)
  for i in range(24):
    times = np.arange(rng.integers(4000, 8000)) / 16000
    pitch = 200 + 800 * (i % 2)
    path = tmp_path / "data" / ("low", "high")[i % 2] / f"{i}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * pitch * times), 16000)
  folders.save_sound_model(
    tmp_path / "model", "Wav2Vec2", "ForSequenceClassification"
  )
  status, out, err = run(
    capsys, score, f"--dataset=folder:{tmp_path}/data",
    f"--model={tmp_path}/model", f"--report={tmp_path}/report.html",
  )  # fmt: skip
  assert status == 0, err
  assert "sounds/s" in out
  page = (tmp_path / "report.html").read_text()
  assert "no two sounds are equal, sample by sample" in page
