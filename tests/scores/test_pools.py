"""Sums of terms over several sources."""

import numpy as np
import pytest

import leep_jax
from leep_jax.scores import pools


def test_ncti_of_sources_of_increasing_signal(rng):
  labels = rng.integers(0, 3, 300)
  centres = rng.normal(size=(3, 8))
  noise = rng.normal(size=(300, 8))
  scores = [
    leep_jax.compute_scores(
      leep_jax.Outputs.from_arrays(
        features=signal * centres[labels] + noise, labels=labels
      ),
      names=[*pools.NCTI, *pools.ETRAN],
    )
    for signal in (0.5, 1.0, 2.0)
  ]
  found = pools.over_pool(scores, pools.NCTI)
  assert np.all(np.diff(found) > 0)
  # Scaled terms do not depend on units that all sources share.
  other = [{**s, "ncti_seli": 7 * s["ncti_seli"] + 3} for s in scores]
  assert pools.over_pool(other, pools.NCTI) == pytest.approx(found)
  assert np.all(np.diff(pools.over_pool(scores, pools.ETRAN)) > 0)


def test_equal_terms_add_nothing():
  scores = [{"etran_energy": 1.0, "etran_lda": x} for x in (0.5, 0.7)]
  assert pools.over_pool(scores, pools.ETRAN) == [0, 0.85]
  assert pools.over_pool(scores[:1], pools.ETRAN) == [0]


@pytest.mark.parametrize(
  ("scores", "message"),
  [
    ([], "there are no sources"),
    (
      [{"etran_energy": 1.0, "etran_lda": 0.5}, {"etran_energy": 1.0}],
      "source 1 of the pool has no etran_lda",
    ),
    ([{"etran_energy": None, "etran_lda": 0.5}], "source 0 .* etran_energy"),
  ],
)
def test_missing_terms(scores, message):
  with pytest.raises(leep_jax.InputError, match=message):
    pools.over_pool(scores, pools.ETRAN)
