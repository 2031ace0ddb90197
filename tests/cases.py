"""The rows of SCORES as parameters of tests, with examples for each."""

import dataclasses

import marks
import numpy as np
import oracles
import pytest

from leep_jax import scores as scores_lib, validation

SCORES = scores_lib.SCORES


@dataclasses.dataclass(frozen=True)
class Case:
  """A row of SCORES with one kind of target, a key of TARGET_KINDS."""

  name: str
  kind: str = "labels"

  def __str__(self):
    return self.name + f" of {self.kind}" * (self.kind != "labels")

  def __call__(self, values, y_true, **options):
    """The score, or None where it is undefined."""
    row = SCORES[self.name]
    if row.source_examples:
      source = oracles.otce.source_examples(np.shape(values)[-1])
      options |= dict(
        zip(("source_features", "source_labels"), source, strict=True)
      )
    try:
      if self.kind == row.target_kinds[0]:
        return row.function(values, y_true, **options)
      return row.function(values, None, **{self.kind: y_true}, **options)
    except validation.UndefinedScore:
      return None

  def oracle(self, values, y_true):
    return oracles.ORACLES[self.name](values, **{self.kind: y_true})

  def example(self, rng, n=300, width=7, classes=5):
    """Inputs with something to find, and labels or targets."""
    labels = rng.integers(0, classes, n)
    cluster, spread = labels, 1
    if self.name == "n_leep":
      # As many clusters as the mixture has Gaussians, for it to have one best
      # fit, and labels that they tell in part.
      cluster, spread = rng.integers(0, 5 * classes, n), 10
      labels = np.where(rng.random(n) < 0.3, labels, cluster % classes)
    centres = spread * rng.normal(size=(5 * classes, width))
    values = centres[cluster] + rng.normal(size=(n, width))
    targets = values @ rng.normal(size=(width, 2)) + rng.normal(size=(n, 2))
    if SCORES[self.name].needs in ("probs", "outputs"):
      values = oracles.softmax(values)
    y_true = labels if self.kind == "labels" else targets
    if self.kind == "multi_labels":
      y_true = (targets > targets.mean(axis=0)).astype(int)
    return values.astype(np.float32), y_true

  def near(self, expected, times=1):
    """What differs from a value by rounding only; None is itself."""
    if expected is None:
      return None
    # Rounding grows in the steps that fit a mixture.
    tolerance = times * (1e-5 if self.name == "n_leep" else 1e-6)
    return pytest.approx(expected, abs=tolerance, rel=tolerance)


CASES = [
  Case(name, t) for name, row in SCORES.items() for t in row.target_kinds
]


def example(name, rng, **options):
  return Case(name).example(rng, **options)


def each(cases, *, slow=("n_leep",)):
  """Runs a test for each case, and for slow scores if it is exhaustive."""
  assert cases
  quick = [case for case in cases if case.name not in slow]
  others = [case for case in cases if case.name in slow]
  values = [*quick, *marks.exhaustive(*others)]
  return pytest.mark.parametrize("score", values, ids=str)


every_score = each(CASES)
every_score_and_n_leep = each(CASES, slow=())
every_score_of_labels = each([c for c in CASES if c.kind == "labels"])
every_score_of_targets = each([c for c in CASES if c.kind == "targets"])
every_score_of_sets = each([c for c in CASES if c.kind == "multi_labels"])
