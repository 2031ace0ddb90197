"""The command: its table, its rows, its mistakes."""

import json
import pathlib
import re
import signal

import numpy as np
import oracles
import pytest
import running

import leep_jax
from leep_jax import score
from leep_jax.engine import forward
from leep_jax.reports import tables
from leep_jax.sources import catalog

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLUMNS = {
  "model", "dataset", "split", "num_examples", "num_source_classes",
  "num_features", "note",
  "num_target_classes", "num_parameters", "seconds", "examples_per_second",
  "devices", "version",
}  # fmt: skip


def run(capsys, *args):
  return running.run(capsys, score, *args)


@pytest.fixture
def predictions(tmp_path, rng, monkeypatch):
  """Two files of outputs, the first one better, as a user would have them."""
  monkeypatch.chdir(tmp_path)
  labels = rng.integers(0, 3, 60)
  logits = rng.normal(size=(60, 4))
  features = rng.normal(size=(60, 5))
  np.savez("worse.npz", logits=logits, labels=labels)
  better = oracles.softmax(logits + 3 * np.eye(4)[labels])
  np.savez("better.npz", probs=better, features=features, labels=labels)
  return tmp_path


def test_no_flags_ranks_the_bundled_sources_on_digits(capsys):
  status, out, err = run(capsys)
  assert (status, err) == (0, "")
  assert "digits: 1,797 examples, 10 classes. Best first by probe_acc" in out
  lines = out.splitlines()
  assert all(len(line) <= 80 for line in lines)
  table = [line.split() for line in lines if line[:1].isdigit()]
  table = [row for row in table if row[1] in catalog.names()]
  assert [row[0] for row in table[: len(catalog.names())]] == [
    str(i + 1) for i in range(len(catalog.names()))
  ]
  first = [float(row[2]) for row in table[: len(catalog.names())]]
  assert first == sorted(first, reverse=True)
  assert all(row[3] == "±" for row in table)
  assert "± is one standard error, from 20 groups of examples (of probe" in out
  assert "\nStart from tiny_imagenet32_resnet14 (expected accuracy of a" in out
  assert "parameters" in out
  assert "* best of its column, or not told apart from it" in out
  assert "-2.3025 is a source that knows nothing" in out


def test_predictions_and_rows(capsys, predictions):
  status, out, err = run(
    capsys,
    "--predictions=worse.npz,better.npz",
    "--scores=nce,leep,h_score",
    "--output=rows.jsonl",
  )
  assert (status, err) == (0, "")
  assert "Best first by nce" in out
  assert out.index("better") < out.index("worse")
  assert "worse has no h_score: the source gives no features." in out
  lines = (predictions / "rows.jsonl").read_text().splitlines()
  worse, better = map(json.loads, lines)
  columns = {
    f"{name}{end}"
    for name in ("nce", "leep", "h_score")
    for end in ("", "_se", "_low", "_high")
  }
  assert set(worse) == COLUMNS | columns
  assert worse["h_score"] is worse["h_score_se"] is None
  assert better["leep_low"] < better["leep"] < better["leep_high"]
  assert (worse["model"], worse["num_examples"]) == ("worse.npz", 60)
  assert (better["num_source_classes"], better["num_target_classes"]) == (4, 3)
  arrays = np.load("better.npz")
  assert better["leep"] == pytest.approx(
    leep_jax.leep(arrays["probs"], arrays["labels"]), abs=1e-6
  )
  outputs = leep_jax.Outputs.from_arrays(**arrays)
  estimate = leep_jax.estimate_scores(outputs, names=["h_score"])["h_score"]
  assert better["h_score_se"] == estimate.standard_error


def test_models_on_a_data_set(capsys, tmp_path):
  name = catalog.names()[0]
  status, _, err = run(
    capsys,
    f"--model={name},{name}",
    "--dataset=digits",
    "--limit=50",
    "--batch_size=16",
    "--dtype=bfloat16",
    f"--output={tmp_path / 'rows.csv'}",
  )
  assert (status, err) == (0, "")
  head, row = (tmp_path / "rows.csv").read_text().splitlines()
  row = dict(zip(head.split(","), row.split(","), strict=True))
  assert set(row) >= COLUMNS
  assert (row["dataset"], row["split"], row["num_examples"]) == (
    "digits", "all", "50",
  )  # fmt: skip
  assert float(row["examples_per_second"]) > 0


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["--dataset=digitz"], "unknown data set 'digitz'; did you mean digits"),
    (["--model=resnet20"], "an architecture, not trained weights"),
    (["--model=a,,b"], "--model has an empty source"),
    (["--scores=lep"], "unknown score 'lep'; did you mean leep"),
    (["--scores="], "--scores has an empty score"),
    (["--model="], "--model has an empty source"),
    (["--predictions="], "--predictions has an empty file"),
    (["--model=a/b.safetensors"], "or pass ARCH@a/b"),
    (["--limit=0"], "limit is 0"),
    (["--limit=some"], "--limit=some"),
    (["--batch_size=0"], "batch_size is 0"),
    (["--dtype=float64"], "--dtype=float64"),
    (["--output=none/rows.csv"], "cannot write output none/rows.csv"),
    (["--output=rows.xls"], "must end in .jsonl or .csv"),
    (["--nonsense"], "Unknown command line flag 'nonsense'"),
    (["digits"], "unexpected argument 'digits'"),
    (["--predictions=no.npz"], "error: no file at no.npz"),
    (["--predictions=better.npz", "--model=x"], "--model has no meaning"),
    (["--predictions=better.npz", "--limit=3"], "--limit has no meaning"),
    (["--predictions=better.npz", "--dataset=x"], "--dataset has no mean"),
    (["--predictions=better.npz", "--dtype=bfloat16"], "--dtype has no mean"),
    (["--data_dir=."], "data_dir is for TFDS data sets, not for digits"),
    (["--output="], "must end in .jsonl"),
    (["--model=sys:exit"], "cannot make a source with sys:exit: SystemExit"),
    (
      ["--predictions=unlabelled.npz"],
      "no array labels (classes, or [n, T] of 0",
    ),
    (["--predictions=both.npz"], "both labels (classes) and targets"),
    (["--groups=0"], "groups is 0"),
    (["--plot=chart.bmp"], "plot chart.bmp must end in .png, .pdf or .svg"),
    (["--plot=none/a.png"], "cannot write plot none/a.png"),
    (["--target=age"], "digits has classes, but no real-valued targets 'age'"),
    (["--predictions=better.npz", "--target=x"], "--target has no meaning"),
    (["--predictions=logits.npz"], "do not sum to 1, but to 17.3"),
  ],
)
def test_mistakes_are_one_line_and_status_2(capsys, predictions, args, message):
  np.savez("unlabelled.npz", probs=[[1.0]])
  np.savez("logits.npz", probs=[[17.0, 0.3]], labels=[0])
  np.savez("both.npz", probs=[[1.0]], labels=[0], targets=[0.5])
  status, out, err = run(capsys, *args)
  assert (status, out) == (2, "")
  assert message in err
  assert err.startswith("error: ")
  assert len(err.splitlines()) == 1


def test_flags_replace_the_configuration_of_checkpoints(capsys, monkeypatch):
  used = []
  compute = forward.compute_outputs

  def record(source, *args, **options):
    used.append(source.preprocessing)
    return compute(source, *args, **options)

  monkeypatch.setattr(forward, "compute_outputs", record)
  status, _, err = run(
    capsys,
    "--model=cifar10_resnet14",
    "--limit=20",
    "--groups=1",
    "--image_size=24",
    "--crop=0.9",
    "--interpolation=lanczos",
    "--mean=0.5,0.4,0.3",
    "--std=0.2,0.2,0.1",
    "--source_classes=10",
  )
  assert (status, err) == (0, "")
  assert used == [
    leep_jax.Preprocessing(
      image_size=24,
      mean=(0.5, 0.4, 0.3),
      std=(0.2, 0.2, 0.1),
      crop=0.9,
      interpolation="lanczos",
    )
  ]


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["--model=resnet5@hf://timm/x"], "did you mean resnet"),
    (["--model=fashion_mnist_resnet9"], "did you mean fashion_mnist_resnet8"),
    (["--model=resnet20"], "pass resnet20@CHECKPOINT.safetensors or"),
    (["--model=resnet18@hf://x"], "hf://OWNER/NAME"),
    (["--model=legacy_senet154.in1k"], "published as a pickle at https:"),
    (["--source_classes=7"], "has 10 classes .*but 7 are asked for"),
    (["--mean=a,b,c"], "--mean=a,b,c is no list of numbers"),
    (["--mean=0.5"], "must have one finite number a"),
    (["--crop=87.5"], "crop is 87.5, but must be above 0 and at most 1"),
    (["--interpolation=cubic"], "did you mean bicubic"),
    (["--tf_padding"], "has no choice of tf_padding"),
    (["--image_size=4"], "takes at least 8"),
    (["--mean=nan,0,0"], "must have one finite number a"),
    (["--predictions=x.npz", "--crop=1"], "--crop has no meaning with"),
  ],
)
def test_mistakes_about_sources(capsys, args, message):
  if not any("--model" in arg or "--predictions" in arg for arg in args):
    args = ["--model=cifar10_resnet14", "--limit=20", *args]
  status, out, err = run(capsys, *args)
  assert (status, out) == (2, "")
  assert err.startswith("error: ")
  assert err.count("\n") == 1
  assert re.search(message, err), err


def test_one_bad_source_does_not_lose_the_others(capsys, predictions):
  np.savez("bad.npz", probs=[[17.0, 0.3]], labels=[0])
  status, out, err = run(
    capsys, "--predictions=bad.npz,better.npz", "--output=rows.jsonl"
  )
  assert status == 2
  assert "error: probs of bad.npz: 1 of 1 rows" in err
  assert "better" in out
  assert len(pathlib.Path("rows.jsonl").read_text().splitlines()) == 1


def test_predictions_on_different_examples_are_noted(capsys, predictions):
  arrays = dict(np.load("better.npz"))
  arrays["labels"] = arrays["labels"][::-1]
  np.savez("other.npz", **arrays)
  status, _, err = run(capsys, "--predictions=better.npz,other.npz")
  assert status == 0
  assert "note: better.npz and other.npz hold different labels" in err


def test_output_is_checked_before_the_forward_pass(capsys, monkeypatch):
  monkeypatch.setattr(leep_jax.engine.forward, "compute_outputs", None)
  status, _, err = run(capsys, "--output=none/rows.csv")
  assert status == 2
  assert "cannot write" in err


def command(*args, **options):
  return running.start("-m", "leep_jax.score", *args, **options)


def test_command_line_mistake_has_no_traceback(tmp_path):
  process = command("--modle=x", cwd=tmp_path)
  out, err = process.communicate()
  assert process.returncode == 2
  assert out == ""
  flag = "Unknown command line flag 'modle'"
  assert err == f"error: {flag}. Did you mean: model, models ?\n"


def test_a_source_that_breaks_does_not_stop_the_others(
  capsys, tmp_path, monkeypatch
):
  first, *others = catalog.names()
  original = forward.compute_outputs

  def compute(source, *args, **options):
    if source.name == first:
      raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nand so on")
    return original(source, *args, **options)

  monkeypatch.setattr(forward, "compute_outputs", compute)
  path = tmp_path / "rows.jsonl"
  status, out, err = run(capsys, "--limit=20", f"--output={path}")
  assert status == 2
  assert err == (
    f"error: {first} failed: RuntimeError: RESOURCE_EXHAUSTED: out of memory\n"
  )
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  assert {row["model"] for row in rows} == set(others)
  assert first not in out


@pytest.mark.parametrize(
  "flag", ["--crop=2", "--image_size=0", "--interpolation=cubic"]
)
def test_a_wrong_flag_is_said_once(capsys, flag):
  status, _, err = run(capsys, "--dataset=folder:/none", flag)
  assert (status, err.count("\n")) == (2, 1)
  assert "folder" not in err


def test_interrupted_run_keeps_what_was_finished(capsys, tmp_path, monkeypatch):
  first, *_ = catalog.names()
  original = catalog.load_source

  def load(name, **options):
    if name != first:
      raise KeyboardInterrupt
    return original(name, **options)

  monkeypatch.setattr(catalog, "load_source", load)
  path = tmp_path / "rows.jsonl"
  status, out, err = run(capsys, "--limit=20", f"--output={path}")
  assert (status, err) == (130, "\ninterrupted\n")
  assert first in out
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  assert [row["model"] for row in rows] == [first]


def test_interrupted_run_leaves_no_output(tmp_path):
  (tmp_path / "slow.py").write_text(
    "import time, leep_jax\n"
    "def make():\n"
    "  open('started', 'w').close()\n"
    "  while True: time.sleep(0.05)\n"
  )
  process = command("--model=slow:make", "--output=rows.jsonl", cwd=tmp_path)
  running.wait_until((tmp_path / "started").exists, process)
  process.send_signal(signal.SIGINT)
  _, err = process.communicate()
  assert process.returncode == 130
  assert "interrupted" in err
  assert "Traceback" not in err
  left = {p.name for p in tmp_path.iterdir()} - {"__pycache__"}
  assert left == {"slow.py", "started"}


def row(model, **values):
  return {"model": model, "examples_per_second": 12345.6, **values}


def test_table_ranks_and_puts_undefined_last():
  table = tables.format_table(
    [row("a", s=None), row("b", s=-2.0), row("c", s=0.0)], ["s"]
  )
  assert table.splitlines() == [
    "   model        s  images/s",
    "1  c       0.0000    12,346",
    "2  b      -2.0000    12,346",
    "3  a            -    12,346",
  ]


def test_table_has_errors_and_marks():
  rows = [
    row("a", s=-2.0, s_se=0.0123),
    row("b", s=-1.5, s_se=0.2),
    row("c", s=None, s_se=None),
  ]
  marks = {"s": [False, True, False]}
  assert tables.format_table(rows, ["s"], marks=marks).splitlines() == [
    "   model               s   images/s",
    "1  b      -1.500 ± 0.200*    12,346",
    "2  a      -2.000 ± 0.012     12,346",
    "3  c                   -     12,346",
  ]


def test_tiny_numbers_have_exponents():
  assert tables.cells([-1.234e-9, None], [2.5e-10, None]) == [
    "-1.23e-09 ± 2.5e-10",
    "-",
  ]
  assert tables.cells([-1e-9], [None]) == ["0.0000"]


def test_sources_like_the_best_are_marked(capsys, predictions):
  arrays = dict(np.load("better.npz"))
  arrays["probs"][0] = arrays["probs"][0][::-1]  # one example differs
  np.savez("like.npz", **arrays)
  status, out, _ = run(
    capsys,
    "--predictions=worse.npz,better.npz,like.npz",
    "--scores=leep",
    "--plot=chart.png",
  )
  assert status == 0
  marked = {
    line.split()[1]: "*" in line
    for line in out.splitlines()
    if line[:1].isdigit() and "±" in line
  }
  assert marked == {"better": True, "like": True, "worse": False}
  assert (predictions / "chart.png").read_bytes()[1:4] == b"PNG"


def test_other_examples_are_not_marked(capsys, predictions):
  arrays = dict(np.load("better.npz"))
  np.savez("other.npz", **{k: v[::-1] for k, v in arrays.items()})
  status, out, err = run(capsys, "--predictions=better.npz,other.npz")
  assert status == 0
  assert "note: better.npz and other.npz hold different labels" in err
  assert "*" not in out


def test_one_group_means_no_errors(capsys, predictions):
  status, out, _ = run(capsys, "--predictions=better.npz", "--groups=1")
  assert status == 0
  assert "±" not in out


def test_terminals_without_plus_minus(capsys, predictions):
  with command(
    "--predictions=better.npz", cwd=predictions, PYTHONIOENCODING="ascii"
  ) as process:
    out, err = process.communicate()
  assert (process.returncode, err) == (0, "")
  assert " +- " in out


def test_all_scores(capsys, predictions):
  status, out, err = run(
    capsys, "--predictions=better.npz,worse.npz", "--scores=leep,all",
    "--output=rows.csv",
  )  # fmt: skip
  assert (status, err) == (0, "")
  assert "Best first by leep" in out
  joined = " ".join(out.split())
  assert "worse has no probe_accuracy, h_score, regularized_h_score," in joined
  head = (predictions / "rows.csv").read_text().splitlines()[0].split(",")
  for name, row in leep_jax.SCORES.items():
    fits = "labels" in row.target_kinds and not row.source_examples
    assert (name in head) == fits
  assert all(len(line) <= 80 for line in out.splitlines()[:20])


@pytest.mark.parametrize(
  ("scores", "text"),
  [
    ("leep,knn_accuracy", "from 20 groups of examples (of knn_accuracy, from"),
    ("class_mean_accuracy,probe_accuracy", "from the variation over examples"),
    (
      "leep,probe_accuracy,class_mean_accuracy,knn_accuracy",
      "(of probe scores, class_mean_accuracy, knn_accuracy, from examples)",
    ),
  ],
)
def test_what_errors_are_taken_from(scores, text, capsys, predictions):
  status, out, _ = run(capsys, "--predictions=better.npz", f"--scores={scores}")
  assert status == 0
  assert text in " ".join(out.split())


def test_source_examples_in_files(capsys, predictions, rng):
  arrays = dict(np.load("better.npz"))
  width = arrays["features"].shape[1]
  np.savez(
    "known.npz", **arrays, source_features=rng.normal(size=(30, width)),
    source_labels=rng.integers(0, 3, 30),
  )  # fmt: skip
  files = "--predictions=known.npz,better.npz"
  status, out, err = run(capsys, files, "--scores=f_otce")
  assert (status, err) == (0, "")
  assert "Best first by f_otce" in out
  joined = " ".join(out.split())
  assert "better has no f_otce: it needs examples of the source's own" in joined


def test_regression(capsys, predictions, rng):
  arrays = dict(np.load("better.npz"))
  targets = arrays["features"] @ rng.normal(size=(5, 2))
  targets += rng.normal(size=targets.shape)
  del arrays["labels"]
  np.savez("real.npz", **arrays, targets=targets)
  status, out, err = run(
    capsys, "--predictions=real.npz", "--output=rows.jsonl"
  )
  assert (status, err) == (0, "")
  assert "60 examples, 2 targets. Best first by probe_r2." in out
  assert "knows nothing" not in out
  row = json.loads((predictions / "rows.jsonl").read_text())
  expected = leep_jax.lin_mse(arrays["features"], targets)
  assert row["lin_mse"] == pytest.approx(expected, rel=1e-5)
  assert row["num_target_classes"] is None
  status, out, _ = run(capsys, "--predictions=real.npz", "--scores=leep,logme")
  assert "real has no leep: the targets are real numbers, not classes." in out
  status, out, err = run(capsys, "--predictions=real.npz", "--scores=leep")
  assert (status, out) == (2, "")
  assert "--scores=leep need classes, but these are real-valued targets" in err
  status, out, err = run(capsys, "--predictions=better.npz,real.npz")
  assert status == 2
  assert "better.npz and real.npz hold classes and real numbers" in err
  assert "60 examples, 3 classes" in out


def test_a_regressor_in_a_prediction_file(capsys, predictions, rng):
  given = rng.normal(size=(50, 2))
  targets = given @ rng.normal(size=(2, 2)) + rng.normal(size=(50, 2))
  np.savez("regressor.npz", outputs=given, targets=targets)
  status, out, err = run(
    capsys, "--predictions=regressor.npz", "--output=rows.jsonl"
  )
  assert (status, err) == (0, "")
  why = (
    "regressor has no probe_r2, logme, lin_mse: the source gives no features"
  )
  assert why in " ".join(out.split())
  row = json.loads((predictions / "rows.jsonl").read_text())
  assert row["lab_mse"] == pytest.approx(leep_jax.lab_mse(given, targets))


def test_bad_features_leave_scores_of_probabilities(capsys, predictions):
  arrays = dict(np.load("better.npz"))
  arrays["features"][3, 1] = np.nan
  np.savez("nan.npz", **arrays)
  status, out, err = run(capsys, "--predictions=nan.npz")
  assert (status, err) == (0, "")
  joined = " ".join(out.split())
  why = "features of nan.npz: 1 of 60 rows hold NaN"
  assert f"nan has no probe_accuracy, regularized_h_score: {why}" in joined
  status, out, err = run(capsys, "--predictions=nan.npz", "--scores=h_score")
  assert (status, out) == (2, "")
  assert "1 of 60 rows hold NaN" in err


def test_wide_tables_go_on_below():
  names = [f"a_long_score_name_{i}" for i in range(7)]
  rows = [
    row("resnet56@/a/very/long/path/to/some/resnet56.safetensors", **{
      name: -float(i) for i, name in enumerate(names)
    })
  ]  # fmt: skip
  lines = tables.format_table(rows, names).splitlines()
  assert max(map(len, lines)) <= 80
  text = " ".join(lines)
  assert all(name in text for name in names)
  assert "resnet56@resnet56" in text


def test_names_are_shortened_in_the_middle():
  assert tables.short("resnet20@../w/cifar.safetensors", 28) == "resnet20@cifar"
  assert tables.short("abcdefghij", 7) == "abc..ij"
  assert tables.short("some/dir/preds.npz", 28) == "preds"
  assert tables.short("my.module:factory", 28) == "my.module:factory"


def test_names_that_would_look_alike_keep_their_folders():
  names = ["a/run1/preds.npz", "a/run2/preds.npz", "c.npz"]
  assert tables.short_names(names) == ["run1/preds", "run2/preds", "c"]
  assert tables.short_names(["r@x/1/m.npz", "r@y/1/m.npz"]) == [
    "r@x/1/m",
    "r@y/1/m",
  ]
  assert tables.short_names(["same", "same"]) == ["same", "same"]
  long = [f"r@{'x' * 30}{i}{'y' * 30}.npz" for i in range(2)]
  assert len(set(tables.short_names(long))) == 2
  assert max(map(len, tables.short_names(long))) <= 28


def test_a_reader_that_leaves_early_loses_no_rows(predictions):
  with command(
    "--predictions=better.npz", "--output=rows.jsonl", cwd=predictions
  ) as process:
    process.stdout.close()
    process.wait()
    assert "Traceback" not in process.stderr.read()
  assert len((predictions / "rows.jsonl").read_text().splitlines()) == 1


COUNTED = """
import sys
from jax import monitoring
from leep_jax import score

events = []
monitoring.register_event_listener(lambda name, **_: events.append(name))
status = score.main(["score", *sys.argv[1:]])
print(sum(e.endswith("cache_misses") for e in events), "compiled")
sys.exit(status)
"""


@pytest.mark.exhaustive
def test_a_command_that_runs_again_compiles_nothing(tmp_path, monkeypatch):
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")  # that of the tests
  monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
  monkeypatch.setenv("LEEP_JAX_CACHE", str(tmp_path))
  flags = "--limit=50", "--model=fashion_mnist_resnet8"
  found = []
  for _ in range(2):
    process = running.start("-c", COUNTED, *flags)
    out, err = process.communicate()
    assert process.returncode == 0, err
    found.append(out.splitlines()[-1])
  assert found[0] != "0 compiled"
  assert found[1] == "0 compiled"


def test_rank_by(capsys, predictions):
  status, out, _ = run(
    capsys, "--predictions=worse.npz,better.npz", "--rank_by=nce",
    "--scores=leep",
  )  # fmt: skip
  assert status == 0
  assert "Best first by nce." in out
  assert "Best by nce: better (" in out
  status, _, err = run(
    capsys, "--predictions=better.npz", "--rank_by=probe_accurcy"
  )
  assert status == 2
  assert "did you mean probe_accuracy" in err
  status, _, err = run(capsys, "--predictions=better.npz", "--rank_by=probe_r2")
  assert status == 2
  assert "--rank_by=probe_r2 needs real-valued targets" in err


def test_sources_without_features_are_ranked_by_the_next_score(
  capsys, predictions
):
  _, out, _ = run(capsys, "--predictions=worse.npz")
  assert "Best first by leep." in out
  assert "worse has no probe_accuracy, regularized_h_score: the" in " ".join(
    out.split()
  )


def test_saturated_h_score_is_not_printed(capsys, predictions, rng):
  labels = np.arange(20) % 2
  np.savez("few.npz", features=rng.normal(size=(20, 30)), labels=labels)
  _, out, _ = run(capsys, "--predictions=few.npz", "--scores=h_score,logme")
  joined = " ".join(out.split())
  assert (
    "few has no h_score: with no more examples (20) than features" in joined
  )


def test_duplicates_are_left_out(capsys, tmp_path, rng):
  images = rng.integers(0, 255, (30, 8, 8, 3)).astype(np.uint8)
  images[7] = images[1]  # of the same class
  np.savez(tmp_path / "a.npz", images=images, labels=np.arange(30) % 2)
  common = (
    f"--dataset=npz:{tmp_path}/a.npz", "--model=cifar10_resnet14",
    "--scores=nce", "--groups=1",
  )  # fmt: skip
  _, out, _ = run(capsys, *common)
  assert "30 examples" in out
  assert "1 of 30 examples have the outputs of another" in " ".join(out.split())
  _, out, err = run(capsys, *common, "--drop_duplicates")
  assert "29 examples" in out
  assert "may be duplicates" not in out
  assert "1 of 30 images" in err
