"""The scripts under experiments/ run, on data small enough for a test."""

import dataclasses
import json
import math
import signal

import marks
import numpy as np
import pytest
import running
import tfds_sets

from experiments import train_source, transfer_methods
from experiments.benchmarks import engine, timing
import leep_jax
from leep_jax import score, sweep, tasks, validation
from leep_jax.reports import results
from leep_jax.sources import catalog, checkpoints
from leep_jax.transfer import checkpoints as checkpoints_lib


class TrainTest(tfds_sets.Tiny):
  """Two splits, as training needs them."""

  SHAPE = (16, 16, 3)

  def _split_generators(self, dl_manager):
    return {
      "train": self._generate_examples(40),
      "test": self._generate_examples(20),
    }


def arguments(folder, output, *flags):
  """The command line of a training of two epochs."""
  return [
    "experiments.train_source",
    "--arch=resnet8",
    "--dataset=train_test",
    f"--data_dir={folder}",
    "--epochs=2",
    "--batch_size=8",
    f"--output={output}",
    *flags,
  ]


def train(folder, output, *flags):
  """Starts a training; returns the process."""
  return running.start("-m", *arguments(folder, output, *flags))


# Trains, but waits before the third epoch, whose first step is the eleventh.
WAITING = """
import sys, time
from experiments import train_source

make_step, steps = train_source.make_step, []

def make(*args):
  step = make_step(*args)

  def counted(*args):
    steps.append(None)
    if len(steps) > 10:
      print("waiting", flush=True)
      while True:  # a long sleep may miss a signal that comes before it
        time.sleep(0.05)
    return step(*args)

  return counted

train_source.make_step = make
sys.exit(train_source.main(sys.argv))
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
  """The folder of a data set of 40 and 20 images."""
  folder = tmp_path_factory.mktemp("tfds")
  tfds_sets.prepare(TrainTest, folder)
  return folder


@pytest.fixture
def run(capsys, tiny):
  """Runs a training in this process: `(status, printed, errors)`."""

  def run(output, *flags):
    status = train_source.main(arguments(tiny, output, *flags))
    return status, *capsys.readouterr()

  return run


def finish(process):
  printed, errors = process.communicate()
  assert not process.returncode, errors
  return printed


def test_train_source_writes_a_source_and_its_card(tmp_path, tiny):
  path = tmp_path / "tiny.safetensors"
  printed = finish(train(tiny, path))
  assert not path.with_suffix(".checkpoints").exists()
  assert "epoch 2/2" in printed
  card = json.loads(path.with_suffix(".json").read_text())
  assert card["data"] == "train_test, 40 training images"
  assert (card["image_size"], card["test_examples"]) == (16, 20)
  tensors, metadata = checkpoints.read_tensors(path)
  assert tensors["linear.weight"].shape == (2, 64)
  assert tensors["linear.weight"].dtype == np.float16
  assert json.loads(metadata["leep_jax"])["class_names"] == ["cat", "dog"]
  source = catalog.load_source(f"resnet8@{path}")
  assert source.preprocessing.image_size == 16
  dataset = leep_jax.load_dataset(
    "train_test", split="test", data_dir=str(tiny)
  )
  outputs = leep_jax.compute_outputs(source, dataset)
  measured = np.mean(outputs.probs.argmax(axis=1) == outputs.labels)
  assert measured == card["test_accuracy"]


def test_interrupted_training_goes_on_to_the_same_result(tmp_path, tiny, run):
  whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
  finish(train(tiny, whole, "--epochs=3"))
  flags = arguments(tiny, parts, "--epochs=3")[1:]
  process = running.start("-c", WAITING, *flags)
  for line in process.stdout:
    # After epoch 2, whose checkpoint may still be written. An interrupt at any
    # other moment may be lost: Python drops one that comes in a destructor.
    if line == "waiting\n":
      process.send_signal(signal.SIGINT)
      break
  assert process.communicate()[1] == "\ninterrupted\n"
  assert process.returncode == 130
  assert not parts.exists()
  checkpoints = parts.with_suffix(".checkpoints")
  (epoch,) = (int(p.name) for p in checkpoints.iterdir() if p.name.isdigit())
  assert epoch in (1, 2)
  model = catalog.load_source(f"resnet8@{checkpoints}/{epoch}/model")
  assert model.state
  # Another recipe must not go on with it.
  status, _, errors = run(parts, "--epochs=3", "--learning_rate=0.5")
  assert status == 2
  assert errors == (
    f"error: {checkpoints} holds a training with learning_rate 0.1, not 0.5: "
    "remove it to start anew\n"
  )
  assert f"continuing after epoch {epoch}" in finish(
    train(tiny, parts, "--epochs=3")
  )
  assert parts.read_bytes() == whole.read_bytes()
  cards = [path.with_suffix(".json").read_text() for path in (whole, parts)]
  assert cards[0] == cards[1]


@pytest.mark.parametrize(
  "flag",
  ["--dtype=bfloat16", *marks.exhaustive("--label_smoothing=0.1", "--noflip")],
)
def test_recipes(tmp_path, run, flag):
  path = tmp_path / "tiny.safetensors"
  assert run(path, "--epochs=1", flag)[0] == 0
  recipe = json.loads(path.with_suffix(".json").read_text())["recipe"]
  said = {"--dtype=bfloat16": "bfloat16", "--label_smoothing=0.1": "0.1"}
  assert said.get(flag, "crops of 4 pixels, float32") in recipe


@pytest.mark.parametrize(
  ("flag", "said"),
  [
    ("--arch=resnet9", "unknown architecture 'resnet9'; did you mean resnet8"),
    ("--arch=resnet50", "resnet50 takes at least 32"),
    ("--arch=vit_base_16", "takes exactly 224"),
    ("--dataset=nope", "unknown data set 'nope'"),
    ("--batch_size=0", "batch_size is 0, but must be an integer from 1"),
    ("--batch_size=41", "batch_size is 41, but there are 40 images"),
    ("--epochs=0", "epochs is 0, but must be an integer from 1"),
    ("--dtype=float17", "unknown dtype 'float17'; did you mean"),
    ("--crop=-1", "crop is -1, but must be an integer from 0"),
    ("--crop=16", "crop is 16, but must be below the images' 16 x 16 pixels"),
    ("--label_smoothing=2", "label_smoothing is 2.0, but must be from 0 and"),
    ("--learning_rate=nan", "learning_rate is nan, but must be finite and"),
    ("--weight_decay=-1", "weight_decay is -1.0, but must be finite and at"),
    ("--seed=-1", "seed is -1, but must be an integer from 0 to 4294967295"),
    ("--limit=0", "limit is 0, but must be at least 1"),
    ("--output=tiny.pt", "output tiny.pt must end in .safetensors"),
    ("--output=none/t.safetensors", "cannot write output none/t.safetensors"),
    ("--epoch=x", "Unknown command line flag 'epoch'"),
    ("more", "unexpected argument 'more'"),
  ],
)
def test_mistakes_are_one_line_before_anything_is_made(
  tmp_path, monkeypatch, run, flag, said
):
  monkeypatch.chdir(tmp_path)
  status, printed, errors = run(tmp_path / "tiny.safetensors", flag)
  assert status == 2
  assert said in errors
  assert errors.startswith("error: ")
  assert errors.count("\n") == 1
  assert not printed
  assert not list(tmp_path.iterdir())


def test_output_must_be_given(capsys):
  assert train_source.main(["train_source"]) == 2
  assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
  "value",
  [
    {"arch": 3},
    {"epochs": 1.5},
    {"learning_rate": 0.0},
    {"learning_rate": math.inf},
    {"learning_rate": "0.1"},
    {"weight_decay": math.nan},
    {"label_smoothing": 1.0},
    {"label_smoothing": -0.1},
    {"crop": 0.5},
    {"flip": "no"},
    {"dtype": "float16"},
    {"seed": 2**32},
  ],
  ids=str,
)
def test_recipe_refuses(value):
  ((name, bad),) = value.items()
  with pytest.raises(validation.InputError, match=name) as caught:
    train_source.Recipe(**value)
  assert str(bad) in str(caught.value)


def test_help_tells_of_every_flag(capsys):
  assert train_source.main(["train_source", "--help"]) == 0
  printed = " ".join(capsys.readouterr().out.split())
  for field in dataclasses.fields(train_source.Recipe):
    text = field.metadata["help"]
    assert len(text) > 10
    assert text in printed, field.name


@pytest.mark.parametrize("epoch", [1, 2])
def test_loss_that_is_not_finite_stops(tmp_path, monkeypatch, run, epoch):
  path = tmp_path / "tiny.safetensors"
  make_step = train_source.make_step
  steps = []

  def make(*args):
    step = make_step(*args)

    def poisoned(*args):
      steps.append(args)
      training, loss = step(*args)
      return training, loss * (math.nan if len(steps) == 5 * epoch else 1)

    return poisoned

  monkeypatch.setattr(train_source, "make_step", make)
  status, _, errors = run(path)
  assert status == 2
  assert errors == (
    f"error: the loss of epoch {epoch} is nan, not finite: is learning_rate "
    "0.1 too high?\n"
  )
  assert not path.exists()
  kept = path.with_suffix(".checkpoints")
  assert kept.exists() == (epoch == 2)  # the last good one
  if epoch == 2:
    assert [p.name for p in kept.iterdir() if p.name.isdigit()] == ["1"]
    monkeypatch.setattr(train_source, "make_step", make_step)
    status, printed, _ = run(path)
    assert status == 0
    assert "continuing after epoch 1" in printed


def test_weights_beyond_float16_are_not_written(tmp_path):
  model = catalog.build("resnet8", 2)
  model.linear.bias.set_value(model.linear.bias[...] + 1e5)
  path = tmp_path / "tiny.safetensors"
  with pytest.raises(validation.InputError, match=r"linear\.bias is too large"):
    train_source._write(model, {}, path, None, None)
  assert not list(tmp_path.iterdir())


def test_output_is_not_trained_again(tmp_path, run):
  path = tmp_path / "tiny.safetensors"
  path.write_bytes(b"precious")
  status, printed, errors = run(path)
  assert status == 2
  assert errors == f"error: {path} exists already: remove it to train again\n"
  assert not printed
  assert path.read_bytes() == b"precious"
  assert list(tmp_path.iterdir()) == [path]


def test_killed_at_its_end_finishes_cleanly(tmp_path, monkeypatch, run):
  """Before the card, before the weights, and before the removal."""
  path = tmp_path / "tiny.safetensors"
  card, kept = path.with_suffix(".json"), path.with_suffix(".checkpoints")
  replace_file = results.replace_file

  def killed(checkpoints):
    raise KeyboardInterrupt

  def killed_before(name):
    def replace(path, content):
      if path == name:
        raise KeyboardInterrupt
      replace_file(path, content)

    return replace

  with monkeypatch.context() as patch:
    patch.setattr(results, "replace_file", killed_before(card))
    assert run(path)[0] == 130
    assert list(tmp_path.iterdir()) == [kept]
    patch.setattr(results, "replace_file", killed_before(path))
    assert run(path)[0] == 130
    assert {*tmp_path.iterdir()} == {kept, card}
  with monkeypatch.context() as patch:
    patch.setattr(train_source.Checkpoints, "remove", killed)
    status, printed, _ = run(path)
    assert status == 130
    assert {*tmp_path.iterdir()} == {kept, card, path}
    assert "continuing after epoch 2" in printed
    assert "loss" not in printed
  whole = path.read_bytes(), card.read_bytes()
  metadata = json.loads(checkpoints.read_metadata(path)["leep_jax"])
  assert metadata == json.loads(whole[1])
  assert 0 <= metadata["test_accuracy"] <= 1
  (tmp_path / f"{kept.name}.removed" / "left").mkdir(parents=True)
  status, printed, _ = run(path)
  assert status == 0
  assert "loss" not in printed
  assert (path.read_bytes(), card.read_bytes()) == whole
  assert {*tmp_path.iterdir()} == {card, path}


def test_removed_checkpoints_leave_no_half(tmp_path, monkeypatch):
  folder = tmp_path / "tiny.checkpoints"
  (folder / "2").mkdir(parents=True)
  checkpoints = checkpoints_lib.Checkpoints(tmp_path / "other", {})
  checkpoints.folder = folder

  def killed(path, ignore_errors=False):
    if not ignore_errors:
      raise KeyboardInterrupt

  monkeypatch.setattr(checkpoints_lib.shutil, "rmtree", killed)
  with pytest.raises(KeyboardInterrupt):
    checkpoints.remove()
  assert not folder.exists()


def test_damaged_checkpoints_are_a_mistake(tmp_path, run):
  path = tmp_path / "tiny.safetensors"
  (path.with_suffix(".checkpoints") / "1").mkdir(parents=True)
  status, _, errors = run(path)
  assert status == 2
  assert "remove it to start anew" in errors
  assert errors.count("\n") == 1


def test_checkpoint_scores_as_its_output(tmp_path, monkeypatch, run):
  """With the preprocessing that is printed as training starts."""
  path = tmp_path / "tiny.safetensors"
  kept = path.with_suffix(".checkpoints")
  with monkeypatch.context() as patch:
    patch.setattr(train_source.Checkpoints, "remove", lambda self: None)
    status, printed, _ = run(path)
  assert status == 0
  first, *flags = printed.splitlines()[0].split()
  assert first == "preprocessing:"
  score.FLAGS(["score", *flags])
  source = catalog.load_source(
    f"resnet8@{kept}/2/model", overrides=score._SOURCES.overrides()
  )
  score.FLAGS.unparse_flags()
  assert (
    source.preprocessing == catalog.load_source(f"resnet8@{path}").preprocessing
  )


def test_benchmark_measures_medians_and_memory():
  calls = []
  a, b = timing.interleaved(3, lambda: calls.append(1), lambda: calls.append(2))
  assert calls == [1, 2] * 4
  assert a >= 0
  assert b >= 0
  assert engine.disk_memory(600)["peak"] > 0


def test_rows_of_real_tasks_are_drawn_again(shared):
  """A task can be rebuilt from its row alone."""
  rows = sweep.read_rows(transfer_methods.RESULTS / "large_tasks" / "cifar100")
  train, test = (
    leep_jax.load_dataset("cifar100", split=s, data_dir=str(shared / "data"))
    for s in ("train", "test")
  )
  labels = train.take(10_000).labels(), test.labels()
  for row in rows[:3]:
    task = tasks.from_row(row, *labels)
    assert task.row()["classes"] == row["classes"]
