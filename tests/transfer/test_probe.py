"""The converged head against scikit-learn, and Property 1 of the paper."""

import marks
import networks
import numpy as np
import pytest
from sklearn import linear_model

import leep_jax
from leep_jax import tasks, transfer
from leep_jax.sources import catalog


@pytest.fixture(scope="module")
def data():
  return networks.clusters(0, 300, 4), networks.clusters(1, 200, 4)


def test_against_scikit_learn(data):
  l2 = 0.01
  (found,) = transfer.probe_head(*data, l2=l2)
  train, test = (np.asarray(o.features, np.float64) for o in data)
  mean, std = train.mean(axis=0), train.std(axis=0)
  # scikit-learn minimises sum of losses + ||W||^2 / (2 C).
  model = linear_model.LogisticRegression(
    C=1 / (l2 * len(train)), tol=1e-10, max_iter=10_000
  ).fit((train - mean) / std, data[0].labels)
  probs = model.predict_proba((train - mean) / std)
  loss = -np.log(probs[np.arange(len(train)), data[0].labels]).mean()
  assert found.losses == pytest.approx([loss], abs=1e-5)
  probs = model.predict_proba((test - mean) / std)
  nll = -np.log(probs[np.arange(len(test)), data[1].labels]).mean()
  assert found.nll == pytest.approx(nll, abs=1e-4)
  right = probs.argmax(axis=1) == data[1].labels
  assert found.accuracy == pytest.approx(right.mean())
  kernel, bias = found.params
  np.testing.assert_allclose(kernel, model.coef_.T / std[:, None], atol=1e-3)
  logits = test @ kernel + bias
  assert np.mean(logits.argmax(axis=1) == data[1].labels) == found.accuracy


def test_sgd_comes_no_lower(data):
  (probe,) = transfer.probe_head(*data)
  config = transfer.Config(epochs=100, learning_rate=0.1, batch_size=20)
  (sgd,) = transfer.retrain_head(*data, config=config)
  assert probe.losses[0] <= sgd.losses.min() + 1e-6
  assert probe.losses[0] == pytest.approx(sgd.losses[-1], abs=0.05)


def test_unchanged_by_affine_maps(data):
  rng = np.random.default_rng(0)
  turn = rng.normal(size=(16, 16))
  moved = [
    leep_jax.Outputs.from_arrays(
      features=(o.features @ turn * 100 + 1000).astype(np.float64),
      labels=o.labels,
    )
    for o in data
  ]
  (one,), (other,) = transfer.probe_head(*data), transfer.probe_head(*moved)
  assert one.losses == pytest.approx(other.losses, abs=1e-3)


def test_a_dead_feature_and_separable_classes(data):
  train, _ = data
  features = np.zeros((len(train), 3), np.float32)
  features[:, 0] = train.labels > 1
  both = leep_jax.Outputs.from_arrays(
    features=features, labels=(train.labels > 1).astype(np.int32)
  )
  (found,) = transfer.probe_head(both, both)
  assert found.losses[0] < 1e-4
  assert (found.accuracy, found.binary_f1) == (1, 1)


@pytest.mark.parametrize(
  "name", [catalog.names()[0], *marks.exhaustive(*catalog.names()[1:])]
)
def test_leep_is_below_the_optimal_log_likelihood(name):
  """Property 1, on outputs of real sources."""
  dataset = leep_jax.load_dataset("digits", limit=600)
  outputs = leep_jax.compute_outputs(catalog.load_source(name), dataset)
  pair = tasks.all_examples(outputs.labels, outputs.labels)
  for task in (None, [pair]):
    (found,) = transfer.probe_head(outputs, outputs, tasks=task)
    leep = leep_jax.compute_scores(outputs, names=["leep"])["leep"]
    assert leep < -found.losses[0]


def test_mistakes_are_told(data):
  train, test = data
  for message, options in (
    ("l2 is -1", {"l2": -1}),
    ("iterations is 0", {"iterations": 0}),
    ("there are no tasks", {"tasks": []}),
  ):
    with pytest.raises(leep_jax.InputError, match=message):
      transfer.probe_head(train, test, **options)
  plain = leep_jax.Outputs.from_arrays(
    probs=np.full((4, 2), 0.5), labels=[0, 1, 0, 1]
  )
  with pytest.raises(leep_jax.InputError, match="no features"):
    transfer.probe_head(plain, plain)
