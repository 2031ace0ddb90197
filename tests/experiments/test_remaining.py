"""What is left of sweeps, and how long it takes, by hand."""

import dataclasses
import functools
import json

import numpy as np
import pytest

from experiments import (
  convergence,
  remaining,
  reproduce,
  section,
)
import leep_jax
from leep_jax import estimates
from leep_jax.reports import results
from leep_jax.sources import catalog

SOURCE, OTHER = "cifar100_resnet14", "fashion_mnist_resnet8"
PART = section.Part(
  "small_tasks/digits", "digits", (SOURCE,),
  "small(count=4,classes=3,examples=20)", "fine_tune",
  ("--epochs=6", "--scores=leep,nce"),
)  # fmt: skip


def asked(part=PART):
  return remaining.Asked(
    part, ["sweep", f"--dataset={part.dataset}", *part.flags]
  )


@functools.cache
def sizes():
  return asked().sizes


def row(method="fine_tune", index=0, *, model=SOURCE, seconds=10.0, **more):
  """A row of PART."""
  found = {
    "model": model, "method": method, "task_index": index,
    "sampler": "small(classes=3,examples=20)", "seed": 0,
    "train_set": sizes()[0], "test_set": sizes()[1], "device": "1 cpu",
    "recipe": json.loads(asked().recipes["fine_tune"]), "seconds": seconds,
  }  # fmt: skip
  if method == "score":
    found |= {"recipe": ["leep", "nce"], "seed": None}
  return found | more


def write(folder, *rows, part=PART):
  with results.Rows(folder / part.folder / "rows-0-of-1.jsonl") as file:
    for each in rows:
      file.append(each)


@pytest.fixture
def nothing_committed(monkeypatch, tmp_path, one_device):
  """Neither rows of others nor speeds that were measured before."""
  monkeypatch.setattr(section, "RESULTS", tmp_path / "committed")
  monkeypatch.setenv("LEEP_JAX_CACHE", str(tmp_path / "user"))


def left(folder, *parts):
  steps = [
    remaining.Sweep(asked(part), model)
    for part in parts or (PART,)
    for model in part.models
  ]
  return remaining.Estimator(folder).left(steps)


def speed(model, per_second, width):
  kept = estimates.KeptRates(catalog.Overrides(), "float32", None, "image")
  kept.put(model, estimates.Rate(per_second, width, 1.0, "digits"))


def test_rows_that_are_there(tmp_path, nothing_committed):
  other = {**row()["recipe"], "epochs": 5}
  write(
    tmp_path,
    *(row(index=i) for i in (0, 1, 9)),  # of the tasks 0 to 3
    row(index=2, recipe=other),
    row(index=2, train_set=7),
    row(index=2, model=OTHER),
    row(index=2, sampler="small(classes=2,examples=20)"),
    row("score", 3, seconds=1.0),
  )
  (found,) = left(tmp_path)
  assert (found.there, found.wanted) == (3, 8)


def test_seconds_of_this_run_come_first(tmp_path, nothing_committed):
  write(tmp_path / "committed", row(seconds=50.0), row("score", seconds=2.0))
  speed(SOURCE, 100.0, 400)
  (found,) = left(tmp_path)
  assert found.unknown == ()
  assert found.measured == 0
  # Four trainings, four rows of scores, and a pass over the training set.
  np.testing.assert_allclose(found.assumed, 4 * 50 + 4 * 2 + sizes()[0] / 100)
  write(tmp_path, row(seconds=30.0), row(index=1, seconds=40.0))
  (found,) = left(tmp_path)
  np.testing.assert_allclose(found.measured, 2 * 35)
  np.testing.assert_allclose(found.assumed, 4 * 2 + sizes()[0] / 100)
  np.testing.assert_allclose(found.seconds(3.0), 70 + 3 * found.assumed)


@pytest.mark.parametrize(
  ("tasks", "factor"),
  [
    (PART.tasks, 2),
    # Tasks of all examples have twice as many, too.
    ("subsets(count=4,classes=2..10)", 4),
  ],
)
def test_seconds_follow_epochs_and_sizes(
  tmp_path, nothing_committed, tasks, factor
):
  recipe = {**row()["recipe"], "epochs": 3}
  half = {
    "train_set": sizes()[0] / 2, "sampler": tasks.replace("count=4,", ""),
  }  # fmt: skip
  rows = row(recipe=recipe, **half), row("score", seconds=0.0, **half)
  write(tmp_path / "committed", *rows)
  speed(SOURCE, 1e9, 400)
  (found,) = left(tmp_path, dataclasses.replace(PART, tasks=tasks))
  np.testing.assert_allclose(found.assumed, 4 * 10 * factor, rtol=1e-5)


def test_seconds_of_other_sources(tmp_path, nothing_committed):
  write(tmp_path, row(model=OTHER), row("score", model=OTHER, seconds=1.0))
  (found,) = left(tmp_path)
  assert found.unknown == ("4 fine_tune", "4 score", "a forward pass")
  assert found.seconds(1.0) == 0
  speed(SOURCE, 50.0, 400)
  speed(OTHER, 100.0, 100)
  (found,) = left(tmp_path)
  assert found.unknown == ()
  assert found.measured == 0  # not of this source
  # The network takes twice as long, its outputs are four times as many.
  expected = 4 * 10 * 2 + 4 * 1 * 4 + sizes()[0] / 50
  np.testing.assert_allclose(found.assumed, expected)


def test_rows_of_other_devices_say_nothing(tmp_path, nothing_committed):
  write(tmp_path, row(device="8 TPU v5"))
  (found,) = left(tmp_path)
  assert "3 fine_tune" in found.unknown


def test_what_two_steps_need_counts_once(tmp_path, nothing_committed):
  heads = section.Part(
    PART.folder, "digits", (SOURCE,), PART.tasks, "retrain_head", PART.flags
  )
  speed(SOURCE, 100.0, 400)
  write(tmp_path / "committed", row("score", seconds=1.0))
  one, two = left(tmp_path, heads, PART)
  train, test = sizes()
  np.testing.assert_allclose(one.assumed, 4 + (train + test) / 100)
  assert two.assumed == 0
  assert two.unknown == ("4 fine_tune",)
  assert two.wanted == 8


def test_passes_that_are_there(tmp_path, nothing_committed):
  speed(SOURCE, 100.0, 400)
  write(tmp_path / "committed", row(), row("score", seconds=0.0))
  (before,) = left(tmp_path)
  train, _ = asked().sets
  about = {
    "model": SOURCE, "dataset": train.name, "split": train.split,
    "examples": [len(train), 0],
  }  # fmt: skip
  part = section.cache_folder(tmp_path) / ".part-abc"
  part.mkdir(parents=True)
  journal = {"about": about, "count": 200}
  (part / "journal.json").write_text(json.dumps(journal))
  (found,) = left(tmp_path)
  np.testing.assert_allclose(before.assumed - found.assumed, 200 / 100)
  (part / "journal.json").unlink()
  part = part.rename(part.with_name("abc"))
  (part / "checksums.json").write_text(json.dumps({"about": about}))
  (found,) = left(tmp_path)
  np.testing.assert_allclose(found.assumed, 4 * 10)


def test_a_source_is_measured_if_it_has_to_run(
  tmp_path, nothing_committed, monkeypatch
):
  calls = []

  def measured(model, load, dataset, **options):
    calls.append((model, len(dataset)))
    if model == OTHER:
      raise leep_jax.InputError("there is no such file")
    return estimates.Rate(100.0, 400, 1.0, "digits")

  monkeypatch.setattr(estimates, "measured", measured)
  estimator = remaining.Estimator(tmp_path)
  step = remaining.Sweep(asked(), SOURCE)
  for _ in range(2):
    estimator.measure([step, step])
    assert calls == [(SOURCE, sizes()[0])]
  calls.clear()
  other = remaining.Sweep(asked(), OTHER)
  estimator.measure([other, other])  # not measured in vain again
  assert calls == [(OTHER, sizes()[0])]
  assert "a forward pass" in estimator.left([other])[0].unknown
  calls.clear()
  write(
    tmp_path, *(row(m, i) for m in ("fine_tune", "score") for i in range(4))
  )
  remaining.Estimator(tmp_path).measure([step])
  assert calls == []


def test_the_cost_that_convergence_states_is_that_of_its_rows():
  seconds = {
    target: sum(
      row["seconds"]
      for row in section.measured("convergence", target)
      if row["method"] == "scratch"
    )
    for target in convergence.SECTION.targets
  }
  stated = " ".join(convergence.__doc__.split())
  assert "half an hour of training on CIFAR-100 and two hours on" in stated
  np.testing.assert_allclose(seconds["cifar100"], 1800, rtol=0.25)
  np.testing.assert_allclose(seconds["fashion_mnist"], 7200, rtol=0.25)


def test_committed_rows_are_those_of_the_scale_cpu(tmp_path):
  sweeps = []
  for paper in reproduce.SECTIONS.values():
    for target in paper.targets:
      for part in paper.parts("cpu", target):
        line = section.arguments(part, section.RESULTS, data_dir=str(tmp_path))
        wanted = remaining.Asked(part, line)
        sweeps += [remaining.Sweep(wanted, model) for model in part.models]
  left = remaining.Estimator(section.RESULTS).left(sweeps)
  lacking = {
    (sweep.part.folder, sweep.part.transfer, *sweep.part.models)
    for sweep, rest in zip(sweeps, left, strict=True)
    if rest.there != rest.wanted
  }
  assert not lacking
