"""Joined features: the numbers of concatenated arrays, without a copy."""

import jax.numpy as jnp
import numpy as np
import pytest

import leep_jax
from leep_jax import ensembles
from leep_jax.engine import storage
from leep_jax.ensembles import features as features_lib
from leep_jax.scores import ridge

SCORES = ["probe_accuracy", "probe_log_loss", "regularized_h_score"]


def two(rng, n=120, widths=(3, 5)):
  labels = rng.integers(0, 3, n)
  arrays = [
    (rng.normal(size=(3, d))[labels] + rng.normal(size=(n, d))) * unit
    for d, unit in zip(widths, (1, 1e5), strict=True)
  ]
  return [array.astype(np.float32) for array in arrays], labels


def outputs(array, labels):
  return leep_jax.Outputs.from_arrays(features=array, labels=labels)


@pytest.mark.parametrize(
  ("widths", "few"), [((3, 5), None), ((3, 5), 0), ((90, 70), None)]
)
def test_scores_of_concatenated_arrays(
  widths, few, rng, monkeypatch, device_count
):
  # By small matrices, by moments on the devices, and by products of examples.
  if few is not None:
    monkeypatch.setattr(ridge, "_FEW", few)
  arrays, labels = two(rng, widths=widths)
  joined = ensembles.join([outputs(a, labels) for a in arrays])
  whole = outputs(np.concatenate(arrays, axis=1), labels)
  found = leep_jax.estimate_scores(joined, names=SCORES)
  for name, expected in leep_jax.estimate_scores(whole, names=SCORES).items():
    assert found[name].value == pytest.approx(expected.value, abs=1e-6)
    assert found[name].standard_error == pytest.approx(
      expected.standard_error, abs=1e-6
    )


@pytest.mark.parametrize("kind", ["files", "devices"])
def test_features_in_files_and_on_devices(kind, rng, tmp_path):
  arrays, labels = two(rng)
  parts = [outputs(a, labels) for a in arrays]
  expected = ensembles.join(parts).features
  if kind == "files":
    for i, part in enumerate(parts):
      part.save(tmp_path / f"{i}")
    parts = [leep_jax.Outputs.load(tmp_path / f"{i}") for i in range(2)]
  else:
    parts[1].store = storage.DeviceArrays(
      [({"features": jnp.asarray(arrays[1])[None]}, len(labels))]
    )
  joined = ensembles.join(parts)
  assert joined.features.tolist() == expected.tolist()
  (found,) = leep_jax.compute_scores(joined, names=["probe_accuracy"]).values()
  assert found > 0.5


def test_rows_are_copied_as_they_are_read(rng):
  arrays, labels = two(rng)
  joined = ensembles.join([outputs(a, labels) for a in arrays])
  rows = joined.store.rows("features")
  assert isinstance(rows, features_lib.JoinedArrays)
  assert all(
    np.shares_memory(a, b) for a, b in zip(rows._arrays, arrays, strict=True)
  )
  assert rows[3:5].tolist() == np.concatenate(arrays, axis=1)[3:5].tolist()
  assert (rows.shape, len(rows), rows.dtype) == ((120, 8), 120, np.float32)


def test_wide_features_stay_wide(rng):
  arrays, labels = two(rng)
  arrays[1] = arrays[1].astype(np.float64) + 1e9
  joined = ensembles.join([outputs(a, labels) for a in arrays])
  assert joined.features.dtype == np.float64
  (found,) = leep_jax.compute_scores(joined, names=["probe_accuracy"]).values()
  assert found > 0.5


def test_sums_of_sets_are_not_kept_with_a_source(rng):
  arrays, labels = two(rng)
  one = outputs(arrays[0], labels)
  leep_jax.compute_scores(ensembles.join([one]), names=["probe_accuracy"])
  assert not one._memo


def test_what_cannot_be_joined(rng):
  arrays, labels = two(rng)
  one, other = outputs(arrays[0], labels), outputs(arrays[1], labels[::-1])
  with pytest.raises(leep_jax.InputError, match="not of the same examples"):
    ensembles.join([one, other])
  probs = leep_jax.Outputs.from_arrays(
    probs=np.eye(3)[labels], labels=labels, name="c"
  )
  with pytest.raises(leep_jax.InputError, match="c has no features to join"):
    ensembles.join([one, probs])
