"""The table scores_lib.SCORES, and scores computed from it in shared passes."""

import itertools
import re

import cases
import oracles
import pytest

import leep_jax
from leep_jax import scores as scores_lib
from leep_jax.engine import sums as sums_lib


@pytest.mark.parametrize("name", scores_lib.SCORES)
def test_docstring_defines_the_score(name):
  text = scores_lib.SCORES[name].function.__doc__
  for part in ("Args:", "Raises:", "Reference:", "[n, "):
    assert part in text
  assert re.search(r"Reference: .*\d{4}", text, re.DOTALL)


def test_unknown_score():
  outputs = leep_jax.Outputs.from_arrays(probs=[[1.0]], labels=[0])
  with pytest.raises(leep_jax.InputError, match="'lep'; did you mean leep"):
    leep_jax.compute_scores(outputs, names=["lep"])


def passes_of(monkeypatch):
  """A list to which each pass over outputs adds what it sums."""
  passes = []
  original = sums_lib.sum_batches
  monkeypatch.setattr(
    sums_lib,
    "sum_batches",
    lambda functions, *rest, **options: (
      passes.append([f.__name__ for f in functions])
      or original(functions, *rest, **options)
    ),
  )
  return passes


def test_compute_scores_shares_passes(rng, monkeypatch):
  probs, labels = cases.example("leep", rng)
  source_features, source_labels = oracles.otce.source_examples(7)
  outputs = leep_jax.Outputs.from_arrays(
    probs=probs, features=probs, labels=labels,
    source_features=source_features, source_labels=source_labels,
  )  # fmt: skip
  passes = passes_of(monkeypatch)
  values = leep_jax.compute_scores(outputs)
  # Steps of fitting a mixture are one pass each, and so are those of a head.
  found = [names for names, _ in itertools.groupby(passes)]
  newton = found.count(["curvature"])
  assert 0 < newton < 20
  assert found == [
    ["probs_faults", "joint", "dummy_label_counts"],
    ["features_faults", "moments", "class_totals"],
    ["log_likelihood"],
    ["mass_of_the_rest"],
    ["log_likelihood"],
    ["correct"],
    ["whitened_moments"],  # rows that sum to 1 are linearly dependent
    ["norm_moments"],
    ["features_faults", "expectation"],  # of features projected before
    ["expectation"],
    ["mixture_joint"],
    ["mixture_log_likelihood"],
    ["class_squares"],
    ["assignments"],  # steps of a posterior are one pass each
    ["scaled_assignments"],
    ["features_faults", "slopes"],  # of features projected before
    *[["curvature"], ["slopes"]] * newton,
    ["outcome"],
    ["mixed_moments"],
    ["mixed_probability"],
    ["true_probability"],
  ]
  assert list(values) == list(scores_lib.SCORES)
  for name, value in values.items():
    if "labels" in scores_lib.SCORES[name].target_kinds:
      assert value == cases.Case(name)(probs, labels)


def test_scores_of_targets_share_passes(rng, monkeypatch):
  probs, targets = cases.Case("lab_mse", "targets").example(rng)
  outputs = leep_jax.Outputs.from_arrays(
    probs=probs, features=probs, targets=targets
  )
  passes = passes_of(monkeypatch)
  values = leep_jax.compute_scores(outputs)
  assert passes == [
    ["features_faults", "moments"],
    ["whitened_moments"],
    ["features_faults", "moments"],  # of probabilities taken for features
    ["whitened_moments"],
  ]
  for name, value in values.items():
    if "targets" in scores_lib.SCORES[name].target_kinds:
      assert value == cases.Case(name, "targets")(probs, targets)
    else:
      assert value is None


def test_why_a_score_has_no_value(rng):
  probs, labels = cases.example("leep", rng, n=9)
  reasons = {}
  for outputs in (
    leep_jax.Outputs.from_arrays(probs=probs, labels=0 * labels),
    leep_jax.Outputs.from_arrays(features=probs, labels=0 * labels),
    leep_jax.Outputs.from_arrays(features=probs, targets=labels),
  ):
    leep_jax.estimate_scores(
      outputs,
      names=["h_score", "leep", "parc", "lin_mse"],
      on_undefined=lambda name, why: reasons.setdefault(name, []).append(why),
    )
  assert reasons == {
    "h_score": [
      "the source gives no features",
      "the targets are real numbers, not classes",
    ],
    "leep": ["the source gives no probs", "the source gives no probs"],
    "parc": [
      "the source gives no features",
      "parc is undefined: no two examples differ in a label",
      "the targets are real numbers, not classes",
    ],
    "lin_mse": [
      "the source gives no features",
      "the targets are classes, not real numbers",
    ],
  }


def test_compute_scores_without_features(rng):
  probs, labels = cases.example("leep", rng)
  outputs = leep_jax.Outputs.from_arrays(probs=probs, labels=labels)
  values = leep_jax.compute_scores(outputs, names=["h_score", "leep"])
  assert values == {"h_score": None, "leep": leep_jax.leep(probs, labels)}
