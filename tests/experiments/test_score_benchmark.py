"""The benchmark of scores, with few sources and samples."""

import numpy as np
import pytest

from experiments import (
  score_benchmark,
  score_benchmark_rows,
  score_benchmark_tables as tables,
  score_features,
)
import leep_jax
from leep_jax import transfer
from leep_jax.reports import results

SOURCES = ("fashion_mnist_resnet8", "cifar10_resnet14", "cifar100_resnet14")


@pytest.fixture
def small(monkeypatch, tmp_path, one_device):
  monkeypatch.setattr(
    score_benchmark,
    "SOURCES",
    {name: score_benchmark.SOURCES[name] for name in SOURCES},
  )
  monkeypatch.setattr(
    score_benchmark, "TARGETS", {"digits": score_benchmark.Target("digits")}
  )
  monkeypatch.setattr(score_benchmark, "SIZES", (5, 1000))
  monkeypatch.setattr(score_benchmark, "DRAWS", 2)
  monkeypatch.setattr(score_benchmark, "SCORES", ("leep", "n_leep"))
  monkeypatch.setattr(
    score_benchmark, "_TIMED", ("digits", "fashion_mnist_resnet8", 5)
  )
  monkeypatch.setattr(
    score_benchmark,
    "_TUNING",
    transfer.NetworkConfig(epochs=1, batch_size=50),
  )
  return tmp_path


def rows_of(folder, stage):
  content = (folder / "rows" / f"{stage}.jsonl").read_bytes()
  return results.parse_rows(content, name=stage)[0]


def run(folder, *flags):
  folders = [f"--outputs={folder}/outputs", f"--rows={folder}/rows"]
  assert score_benchmark.main(["score_benchmark", *folders, *flags]) == 0


def test_stages_write_rows_once(small, monkeypatch):
  run(small, "--stages=facts,heads,scores,probes")
  heads = rows_of(small, "heads")
  # No class has 1,000 digits.
  assert len(heads) == len(SOURCES) * 2
  assert {row["size"] for row in heads} == {5}
  assert all(0.3 < row["accuracy"] < 1 for row in heads)
  scores = rows_of(small, "scores")
  # A slow score is of the first sample only.
  assert [list(row["scores"]) for row in scores if row["seed"] == 0] == (
    [["leep", "n_leep"]] * len(SOURCES)
  )
  assert all(
    list(row["scores"]) == ["leep"] for row in scores if row["seed"] == 1
  )
  probes = rows_of(small, "probes")
  assert len(probes) == len(heads)
  assert all(row["low"] < row["high"] for row in probes)
  facts = {row["model"]: row for row in rows_of(small, "facts")}
  assert facts["cifar100_resnet14"]["labels"] == 100
  run(small)  # adds only what was not asked for
  assert rows_of(small, "heads") == heads
  assert rows_of(small, "scores") == scores
  # Of one of two samples.
  assert len(rows_of(small, "fine_tuning")) == len(heads) / 2
  costs = rows_of(small, "costs")
  assert [row["score"] for row in costs] == ["leep", "n_leep"]
  assert all(row["value"] > 0 for row in costs)
  monkeypatch.setattr(score_benchmark, "SCORES", ("leep", "nce"))
  run(small, "--stages=scores")
  added = rows_of(small, "scores")[len(scores) :]
  assert [list(row["scores"]) for row in added] == [["nce"]] * len(heads)


def test_a_source_is_not_judged_on_its_own_labels():
  names = score_benchmark.sources_of("cifar100")
  assert "cifar100_resnet14" not in names
  assert "cifar10_resnet14" in names


def test_unknown_stage(capsys):
  assert score_benchmark.main(["x", "--stages=head"]) != 0
  assert "did you mean heads" in capsys.readouterr().err


def test_draws_leave_examples_of_each_class_to_test():
  labels = np.repeat([0, 1], [20, 13])
  task = score_benchmark.draw(labels, 5, 0)
  assert np.bincount(labels[task.train]).tolist() == [5, 5]
  assert len(np.union1d(task.train, task.test)) == 33
  assert not np.intersect1d(task.train, task.test).size
  assert score_benchmark.draw(labels, 6, 0) is None


def found(values):
  """Accuracies of four sources on two targets, and one score's values."""
  count = len(score_benchmark.SOURCES)
  reached = {
    ("digits", 5): np.linspace(0.5, 0.8, count),
    ("trashnet", 5): np.linspace(0.2, 0.9, count),
  }
  return score_benchmark_rows.Measured(
    reached, {"leep": {cell: values(y)[None] for cell, y in reached.items()}}
  )


def test_one_slope_and_least_values():
  true = found(lambda accuracy: 2 * accuracy)
  assert tables.one_slope(true, "leep") == pytest.approx(1)
  # The same order on each target, but another slope.
  bent = found(lambda accuracy: accuracy / np.ptp(accuracy))
  assert 0.8 < tables.one_slope(bent, "leep") < 0.99
  tau = tables.ranking_metrics.weighted_kendall
  assert tables.without_each(bent, "leep", tau) == pytest.approx((1, 1))

  def one_wrong(accuracy):
    return np.where(np.arange(len(accuracy)) == 3, 9, accuracy)

  wrong = tables.summary(found(one_wrong), "leep", tau, list(true.reached))
  assert wrong.value < 1
  low, high = wrong.interval()
  assert low < wrong.value <= high <= 1


def test_inputs_without_a_value_are_those_of_the_table(rng):
  """What the guide says of one example, one class and constant features."""
  assert set(score_features.WITHOUT_VALUE) == set(leep_jax.SCORES)
  labels, probs = np.array([0, 1, 0, 1, 1]), np.full((5, 3), 1 / 3)
  inputs = {
    "one example": (probs[:1], labels[:1]),
    "one class": (probs, 0 * labels),
    "constant features": (probs, labels),
  }
  for text, (values, y_true) in inputs.items():
    for kind in ("labels", "targets", "multi_labels"):
      targets = y_true
      if kind != "labels":
        targets = np.stack([y_true, 1 - y_true, y_true], axis=1)[:, :2]
        targets = targets if kind == "multi_labels" else targets.astype(float)
      outputs = leep_jax.Outputs.from_arrays(
        probs=values, features=values, **{kind: targets}
      )
      for name, value in leep_jax.compute_scores(outputs).items():
        if kind in leep_jax.SCORES[name].target_kinds:
          said = score_features.WITHOUT_VALUE[name]
          if said.startswith("never"):
            assert value is not None, (name, text, kind)
          if text in said:
            assert value is None, (name, text, kind)
