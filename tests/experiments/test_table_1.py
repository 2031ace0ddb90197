"""Table 1: sources beside each other, and reasons for what differs."""

import dataclasses
import math
import re

import numpy as np
import pytest

from experiments import (
  explanations,
  factors,
  h_score_forms,
  section,
  table_1,
  table_1_details,
)
import leep_jax
from leep_jax import transfer
from leep_jax.reports import correlation
from leep_jax.tasks import task_scores

PUBLISHED = {
  "method": "retrain_head",
  "source": "cifar10",
  "target": "cifar100",
  "section": "5.2",
  "regime": "small_balanced",
  "leep": "0.7",
  "nce": "0.7",
  "h_score": "0.8",
  "h_score_significant": "true",
}


def found(r, n=200):
  """A correlation of n tasks with an interval of 0.05 on either side."""
  nothing = dict.fromkeys(
    field.name for field in dataclasses.fields(correlation.Correlation)
  )
  return correlation.Correlation(
    **{
      **nothing,
      "n": n,
      "dropped": 0,
      "pearson": r,
      "interval": (r - 0.05, r + 0.05),
    }
  )


def line(leep=0.5, others=None, **published):
  scores = {"leep": found(leep), "nce": found(leep), "h_score": found(0.8)}
  return table_1.Line(
    {**PUBLISHED, **published},
    section.CIFAR10,
    scores,
    "200 tasks",
    [
      table_1.Variant(name, {"leep": r, "nce": r, "h_score": 0.8}, 200)
      for name, r in (others or {}).items()
    ],
  )


def setting_row(leep, setting, nce=None, h_score=0.8):
  r = {"leep": leep, "nce": nce or leep, "h_score": h_score}
  return {
    "section": "small_tasks",
    "target": "cifar100",
    "model": section.CIFAR10,
    "setting": setting,
    "n": 200,
    "mean": {"accuracy": 0.5},
    "r": {"accuracy": {k: [v, v - 0.05, v + 0.05] for k, v in r.items()}},
  }


def reason(of, rows=(), score="leep"):
  return explanations._reason(of, score, list(rows))


def test_other_sources_are_a_range():
  of = line(others={"a": 0.4, "b": None, "c": 0.8, "d": 0.7})
  # 0.4 and 0.8 are further from 0.7 than chance explains, for 200 tasks.
  assert "| 0.400 to 0.800 (3, 2 ‡) |" in table_1.table([of])
  assert "| 0.720 (1) |" in table_1.table([line(others={"a": 0.72})])
  assert table_1.table([line()]).endswith("| - |")


def test_pearson_of_columns():
  x, y = [1.0, 2.0, 4.0, None], [1.0, 3.0, 2.0, 9.0]
  expected = np.corrcoef(x[:3], y[:3])[0, 1]
  assert table_1.pearson(x, y) == pytest.approx(expected)
  assert table_1.pearson([4.0, 4.0 + 1e-12, 4.0], [1, 2, 3]) is None
  assert table_1.pearson([1, 2], [1, 2]) is None


def test_another_source_explains():
  text, explained = reason(line(others={"deep": 0.71, "b": 0.4}))
  assert explained
  assert text == (
    "with `deep` as the source, leep / nce / h_score are 0.710 / 0.710 / "
    "0.800, which agrees with the paper (agreeing: 1 of 2 variants, with 0.400 "
    "to 0.710)"
  )
  # The published r lies between the two, but neither agrees with it.
  text, explained = reason(line(others={"deep": 0.9, "b": 0.4}))
  assert not explained
  assert text == "unexplained after trying 2 variants (0.400 to 0.900)"
  text, explained = reason(line())
  assert not explained
  assert text == "unexplained after trying nothing else on these tasks"


def test_a_setting_explains_the_whole_line():
  rows = [
    setting_row(0.5, {}),
    # It agrees in LEEP alone.
    setting_row(0.7, {"epochs": 0.05}, nce=0.2, h_score=0.1),
    setting_row(0.69, {"epochs": 0.1}),
    setting_row(0.68, {"epochs": 0.25}),
  ]
  text, explained = reason(line(), rows)
  assert explained
  assert "with 0.1 times the epochs, leep / nce / h_score are 0.690 / " in text
  assert "(agreeing: 2 of 3 variants, with 0.680 to 0.700)" in text
  text, explained = reason(line(), [setting_row(0.55, {"head_seed": 1})])
  assert not explained
  tried = "unexplained after trying another seed of the heads (0.550)"
  assert text == tried


def test_few_tasks_agree_with_more():
  many = table_1.Variant("x", dict.fromkeys(table_1.SCORES, 0.55), 200)
  few = dataclasses.replace(many, n=20)
  of = line(h_score="0.6")
  assert many.differs("leep", 0.7)
  assert not few.differs("leep", 0.7)
  assert explanations.agrees(few, of)
  assert not explanations.agrees(many, of)
  # The H-score of too few examples is not compared, nor are those of 5.1.
  wrong = dataclasses.replace(few, r={**few.r, "h_score": -0.9})
  assert not explanations.agrees(wrong, of)
  assert explanations.agrees(wrong, line(section="5.1"))
  assert explanations.agrees(wrong, line(h_score_significant="false"))


def test_distance_is_of_all_scores():
  variant = table_1.Variant("x", dict.fromkeys(table_1.SCORES, 0.5), 200)
  of = line(leep=0.5, nce="0.5", h_score="0.5")
  of = dataclasses.replace(of, published={**of.published, "leep": "0.8"})
  expected = (math.atanh(0.8) - math.atanh(0.5)) / math.sqrt(3)
  assert explanations.distance(variant, of) == pytest.approx(expected)
  # The H-score of too few examples is not compared.
  of = dataclasses.replace(
    of, published={**of.published, "h_score_significant": "false"}
  )
  expected = (math.atanh(0.8) - math.atanh(0.5)) / math.sqrt(2)
  assert explanations.distance(variant, of) == pytest.approx(expected)


def test_one_setting_for_all_lines(monkeypatch):
  keys = [
    (name, target)
    for name in ("small_tasks", "imbalanced_tasks")
    for target in ("cifar100", "fashion_mnist")
  ]
  rows = [
    {**setting_row(r, setting), "section": name, "target": target}
    for name, target in keys
    for r, setting in ((0.5, {}), (0.7, {"epochs": 0.5}))
  ]
  # Not measured for all lines.
  rows.append(setting_row(0.7, {"epochs": 4.0}))
  for row in rows:
    row["r"]["binary_f1"] = row["r"]["accuracy"]
  monkeypatch.setattr(factors, "rows_of", lambda: rows)
  numbers = {"small_tasks": "5.2", "imbalanced_tasks": "5.3"}
  lines = [line(section=numbers[name], target=target) for name, target in keys]
  off = (math.atanh(0.7) - math.atanh(0.5)) * math.sqrt(2 / 3)
  assert explanations.together(lines).splitlines()[2:] == [
    "| 0.5 times the epochs | 0.000 | 4 of 4 |",
    f"| as in Table 1 | {off:.3f} | 0 of 4 |",
  ]


def trained_row(task, epochs, accuracy):
  return {
    "method": "fine_tune",
    "model": section.CIFAR10,
    "recipe": {"epochs": epochs},
    "train_set": {},
    "test_set": {},
    "task": task,
    "task_checksum": "",
    "accuracies": None,
    "accuracy": accuracy,
  }


def test_shorter_runs_are_variants(monkeypatch):
  leep = dict(zip("abcde", [-0.1, -0.3, -0.2, -0.6, -0.4], strict=True))
  short = dict(zip("abcde", [0.9, 0.6, 0.8, 0.4, 0.5], strict=True))
  rows = [
    *(trained_row(task, 4, 0.1) for task in leep),
    *(trained_row(task, 2, short[task]) for task in leep),
    # Not all tasks of the line were trained so.
    *(trained_row(task, 1, 0.5) for task in "abcd"),
  ]
  rows += [
    {
      **trained_row(task, 0, None),
      "method": "score",
      "recipe": [],
      "scores": dict.fromkeys(table_1.SCORES, score),
    }
    for task, score in leep.items()
  ]
  monkeypatch.setattr(section, "at_all_scales", lambda *_: rows)
  (variant,) = explanations._of_trained(line(method="fine_tune"))
  assert variant.name == "2 epochs"
  expected = np.corrcoef(list(leep.values()), list(short.values()))[0, 1]
  assert variant.r["leep"] == pytest.approx(expected)


def test_every_difference_has_a_number():
  lines = table_1.lines()
  differ = explanations.differences(lines)
  marked = {
    (id(one), score)
    for one in lines
    for score in table_1.SCORES
    if table_1.mark(one, score)
  }
  assert {(id(one.line), one.score) for one in differ} == marked
  assert len(differ) == len(marked)
  for one in differ:
    assert re.search(r"\d", one.reason), one
    assert one.explained != ("unexplained after trying" in one.reason)


def test_every_line_is_measured():
  for one in table_1.lines():
    assert one.model is not None, one.published
    for score in ("leep", "nce"):
      assert one.found[score].interval is not None
    assert one.setting


# A line of `experiments.factors` on made-up outputs.


@pytest.fixture(scope="module")
def outputs():
  rng = np.random.default_rng(0)

  def make(n):
    labels = np.repeat(np.arange(6), n)
    centres = np.random.default_rng(1).normal(size=(6, 4))
    features = centres[labels] + rng.normal(size=(6 * n, 4))
    probs = np.exp(features @ np.random.default_rng(2).normal(size=(4, 5)))
    return leep_jax.Outputs.from_arrays(
      features=features.astype(np.float32),
      probs=(probs / probs.sum(axis=1, keepdims=True)).astype(np.float32),
      labels=labels,
    )

  return make(80), make(20)


@pytest.fixture
def measuring(outputs, monkeypatch):
  monkeypatch.setattr(factors, "_COUNT", 5)
  key = "small_tasks", "cifar100"
  monkeypatch.setitem(factors._EPOCHS, key, 2)
  return factors.Measuring(factors.Line(*key, "made up", {}), *outputs)


def test_the_default_is_the_line(measuring, outputs):
  row = measuring.row(factors.BASE)
  tasks = measuring.tasks(factors.BASE)
  assert len(tasks) == 5
  scores = task_scores.score_tasks(outputs[0], tasks, names=["leep"])
  reached = transfer.retrain_head(
    *outputs, tasks=tasks, config=transfer.Config(epochs=2, curve=0)
  )
  values = [result.accuracy for result in reached]
  expected = correlation.correlate([s["leep"] for s in scores], values)
  assert row["r"]["accuracy"]["leep"][0] == round(expected.pearson, 4)
  assert row["mean"]["accuracy"] == round(float(np.mean(values)), 5)
  assert set(row["r"]) == {"accuracy", "macro_f1"}


def test_settings_change_what_they_name(measuring, outputs):
  train, test = (np.asarray(o.labels) for o in outputs)

  def tasks(**fields):
    return measuring.tasks(dataclasses.replace(factors.BASE, **fields))

  for task, other, half, uneven in zip(
    tasks(),
    tasks(tested_on="unused"),
    tasks(tested_on="half"),
    tasks(class_sizes="random"),
    strict=True,
  ):
    assert not np.intersect1d(other.test, task.train).size
    both = np.concatenate([other.test, task.train])
    assert set(both) == set(np.flatnonzero(np.isin(train, task.classes)))
    assert np.bincount(test[half.test], minlength=6).max() == 10
    assert set(half.test) <= set(task.test)
    assert len(uneven.train) == len(task.train)
    assert set(train[uneven.train]) == set(task.classes)
  assert tasks(task_seed=1)[0].classes != tasks()[0].classes or (
    tasks(task_seed=1)[0].train.tolist() != tasks()[0].train.tolist()
  )
  sharp = measuring._scores(
    dataclasses.replace(factors.BASE, temperature=0.5), tasks()
  )
  plain = measuring._scores(factors.BASE, tasks())
  for one, two in zip(sharp, plain, strict=True):
    assert one["nce"] == pytest.approx(two["nce"])  # of the labels alone
    assert abs(one["leep"] - two["leep"]) > 1e-3


def test_features_are_scaled(outputs):
  train, test = outputs
  unit = factors._scaled(test, train, "unit").features
  np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-6)
  made = factors._scaled(train, train, "standardised").features
  np.testing.assert_allclose(made.mean(axis=0), 0, atol=1e-5)
  np.testing.assert_allclose(made.std(axis=0), 1, rtol=1e-5)


def test_lines_have_each_setting_once():
  for one in factors.LINES:
    settings = [*one.settings()]
    assert settings[0] == factors.BASE
    assert len(set(settings)) == len(settings)
    for setting in settings[1:]:
      (name,) = factors.changed(setting)
      assert explanations.words({name: getattr(setting, name)})
  assert len(factors.RECIPES) == 6


def test_forms_of_h_score(outputs):
  train, _ = outputs
  features = np.asarray(train.features, float)
  labels = np.asarray(train.labels)
  made = h_score_forms.forms(
    features,
    np.asarray(train.probs, float),
    labels,
    everywhere=np.cov(features.T),
  )
  expected = leep_jax.h_score(features, labels)
  assert made["tr(S^-1 B), its definition"] == pytest.approx(expected)
  assert made["S of all images of the target"] == pytest.approx(expected)
  assert made["divided by Y - 1"] == pytest.approx(expected / 5)
  assert made["divided by Y"] == pytest.approx(expected / 6)
  assert made["divided by min(D, Y - 1)"] == pytest.approx(expected / 4)
  assert made["of 20 images of each class"] != pytest.approx(expected)


def test_partial_correlation():
  rng = np.random.default_rng(0)
  x, y, z = rng.normal(size=(3, 50))
  x, y = x + z, y - z
  r = np.corrcoef([x, y, z])
  expected = (r[0, 1] - r[0, 2] * r[1, 2]) / math.sqrt(
    (1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2)
  )
  rest = [h_score_forms.residuals(v, z) for v in (x, y)]
  assert np.corrcoef(*rest)[0, 1] == pytest.approx(expected)


def test_number_of_classes_alone():
  rows = []
  rng = np.random.default_rng(0)
  for i in range(20):
    task = {"model": "m", "task": f"{i}", "task_checksum": f"{i}"}
    task["num_classes"] = i + 2
    extra = rng.normal()
    accuracy = -np.log(i + 2) + 1e-3 * rng.normal()
    scores = {"leep": -np.log(i + 2) + extra, "h_score": 0.5 * (i + 1)}
    rows += [
      {**task, "method": "score", "scores": scores},
      {**task, "method": "retrain_head", "accuracy": accuracy},
    ]
  cells = table_1_details.classes(rows).splitlines()[2].split("|")
  assert cells[3].strip() == "1.000"
  assert cells[4].strip().startswith("-")  # LEEP follows accuracy less
  assert float(cells[6]) < 0
  assert cells[7].strip() == "-"  # the same for all
