"""What a reader of scores is told."""

import numpy as np
import pytest

import leep_jax
from leep_jax.reports import cautions, scored_source


def outputs_of(rng, n=40, width=5, classes=2):
  return leep_jax.Outputs.from_arrays(
    features=rng.normal(size=(n, width)), labels=np.arange(n) % classes
  )


def said(model, outputs, **options):
  return cautions.of_source(model, outputs, dataset="digits", **options)


def test_nothing_is_said_of_usual_data(rng):
  assert said("mine", outputs_of(rng)) == ()


@pytest.mark.parametrize("field", ["features", "probs"])
def test_duplicates(field, rng):
  rows = rng.dirichlet(np.ones(4), 30)
  rows[[3, 9]] = rows[1]
  outputs = leep_jax.Outputs.from_arrays(
    **{field: rows}, labels=np.arange(30) % 2
  )
  assert cautions.duplicates(outputs) == 2
  (text,) = said("mine", outputs)
  assert text.startswith("2 of 30 examples have the outputs of another")
  assert "--drop_duplicates" in text


def test_outputs_that_are_all_equal_are_another_finding(rng):
  outputs = leep_jax.Outputs.from_arrays(
    features=np.ones((30, 2)), labels=np.arange(30) % 2
  )
  assert said("mine", outputs) == ()


def test_small_classes_are_named(rng):
  labels = np.repeat([0, 1, 2], [20, 4, 20])
  outputs = leep_jax.Outputs.from_arrays(
    features=rng.normal(size=(44, 3)), labels=labels
  )
  assert said("mine", outputs)[0].startswith("class 1 has 4 examples")
  (text,) = said("mine", outputs, class_names=("cat", "dog", "cow"))
  assert text.startswith("class dog has 4 examples")
  labels = np.repeat([0, 1, 2], [20, 4, 3])
  outputs = leep_jax.Outputs.from_arrays(
    features=rng.normal(size=(27, 3)), labels=labels
  )
  assert "2 classes have fewer than 5 examples" in said("mine", outputs)[0]


def test_sources_trained_on_the_target(rng):
  outputs = outputs_of(rng)
  (text,) = cautions.of_source("cifar10_resnet14", outputs, dataset="cifar10")
  assert "trained on cifar10" in text
  assert cautions.of_source("cifar10_resnet14", outputs, dataset="cars") == ()


def test_saturated(rng):
  outputs = outputs_of(rng, n=6, width=6)
  assert "(6) than features (6)" in cautions.saturated("h_score", outputs)
  assert cautions.saturated("regularized_h_score", outputs) is None
  assert cautions.saturated("h_score", outputs_of(rng)) is None


def scored(model, labels=10, **row):
  return scored_source.ScoredSource(
    {"model": model, "num_source_classes": labels, **row}, {}, {}, np.zeros(2)
  )


def test_numbers_of_labels():
  pair = [scored("a", 10), scored("b", 1000)]
  (text,) = cautions.of_comparison(pair, ["probe_accuracy", "nce"])
  assert text.startswith(
    "Sources differ in their numbers of labels (10 to 1,000"
  )
  assert cautions.of_comparison(pair, ["probe_accuracy"]) == []
  alike = [scored("a", 1000), scored("b", 1001)]
  assert cautions.of_comparison(alike, ["nce"]) == []


def test_optimism_above_the_differences():
  pair = [
    scored("a", leep=-1.00, leep_loo=-1.30),
    scored("b", leep=-1.05, leep_loo=-1.10),
  ]
  (text,) = cautions.of_comparison(pair, ["leep"])
  assert text.startswith("leep is 0.05 to 0.30 nats higher than held out")
  pair = [
    scored("a", leep=-1.0, leep_loo=-1.1), scored("b", leep=-2.0, leep_loo=-2.1)
  ]  # fmt: skip
  assert cautions.of_comparison(pair, ["leep"]) == []


def test_each_caution_once():
  text = "class 1 has 4 examples: what is said of so small a class is chance."
  one = scored_source.ScoredSource(
    {"model": "a"}, {}, {}, np.zeros(2), cautions=(text,)
  )
  assert cautions.of_comparison([one, one], ["nce"]) == [text]
