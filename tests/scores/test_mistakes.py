"""What other implementations get wrong, beside what this one makes of it.

Each test computes the wrong number, too: the mistake matters on its data.
"""

from absl.testing import flagsaver
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.special
import scipy.stats

import leep_jax
from leep_jax import score
from leep_jax.engine import programs, sums as sums_lib
from leep_jax.scores import leep as leep_lib
from leep_jax.sources import catalog


def source(rng, n=300, width=7, classes=5):
  """Features that tell something of labels, and their softmax."""
  labels = rng.integers(0, classes, n)
  features = rng.normal(size=(classes, width))[labels]
  features = features + rng.normal(size=(n, width))
  return features, oracles.softmax(features), labels


def table_of(joint):
  return joint / joint.sum(axis=0)


def leep_of(table, probs, labels):
  return np.log((probs * table[labels]).sum(axis=1)).mean()


@pytest.mark.filterwarnings("ignore:invalid value")
def test_nan_for_a_source_label_without_mass(rng):
  _, probs, labels = source(rng)
  wide = np.insert(probs, 3, 0, axis=1)
  wrong = leep_of(table_of(oracles.joint(wide, labels, 5)), wide, labels)
  assert np.isnan(wrong)
  right = oracles.leep(probs, labels)
  assert leep_jax.leep(wide, labels) == pytest.approx(right, abs=1e-6)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_logits_taken_for_probabilities(rng):
  logits, probs, labels = source(rng)

  def wrong(values):
    joint = np.stack([values[labels == y].sum(axis=0) for y in range(5)])
    return leep_of(table_of(joint), values, labels)

  assert np.isnan(wrong(logits))
  assert wrong(logits + 20) > 0  # above the largest LEEP there is
  for values in (logits, logits + 20):
    with pytest.raises(leep_jax.InputError, match="are these logits"):
      leep_jax.leep(values, labels)
    outputs = leep_jax.Outputs.from_arrays(logits=values, labels=labels)
    value = leep_jax.compute_scores(outputs, names=["leep"])["leep"]
    assert value == pytest.approx(oracles.leep(probs, labels), abs=1e-6)


def running_leep(probs, labels, dtype):
  """LEEP by sums of one precision over one example after the other."""
  probs = probs.astype(dtype)
  joint = np.stack(
    [np.cumsum(probs[labels == y], axis=0, dtype=dtype)[-1] for y in range(2)]
  )
  log = np.log((probs * table_of(joint)[labels]).sum(axis=1))
  return np.cumsum(log, dtype=dtype)[-1] / len(labels)


def test_float32_sums_over_a_million_examples(rng):
  labels = rng.integers(0, 2, 1_000_000)
  right = 0.6 + 0.3 * rng.random(len(labels))
  probs = np.where(
    labels[:, None] == [0, 1], right[:, None], 1 - right[:, None]
  )
  probs = probs.astype(np.float32)
  expected = oracles.leep(probs, labels)
  assert abs(running_leep(probs, labels, np.float32) - expected) > 1e-4
  assert leep_jax.leep(probs, labels) == pytest.approx(expected, abs=1e-6)


def test_sums_in_the_precision_of_float16_inputs(rng):
  _, probs, labels = source(rng, n=5000, width=3, classes=2)
  half = probs.astype(np.float16)
  expected = oracles.leep(half, labels)
  assert abs(running_leep(half, labels, np.float16) - expected) > 0.01
  assert leep_jax.leep(half, labels) == pytest.approx(expected, abs=1e-6)


def test_1e_5_added_to_each_cell_of_the_joint(rng):
  source_labels = rng.integers(0, 1000, 500)
  labels = np.where(rng.random(500) < 0.7, source_labels % 100, 0)
  joint = np.full((100, 1000), 1e-5)
  np.add.at(joint, (labels, source_labels), 1 / 500)
  wrong = np.sum(joint * np.log(table_of(joint)))
  right = oracles.nce(np.eye(1000)[source_labels], labels)
  assert wrong < right - 3
  assert leep_jax.nce(np.eye(1000)[source_labels], labels) == (
    pytest.approx(right, abs=1e-6)
  )
  assert leep_jax.nce(source_labels, labels) == pytest.approx(right, abs=1e-6)


def test_h_score_multiplied_element_by_element(rng):
  features, _, labels = source(rng)
  features = features @ rng.normal(size=(7, 7))
  means = np.stack([features[labels == y].mean(axis=0) for y in range(5)])
  inverse = np.linalg.pinv(np.cov(features, rowvar=False, bias=True))
  between = np.cov(means[labels], rowvar=False, bias=True)
  wrong, right = np.trace(inverse * between), np.trace(inverse @ between)
  assert wrong > 5 - 1 > right  # beyond the largest H-score there is
  assert leep_jax.h_score(features, labels) == pytest.approx(right, rel=1e-5)


def published_logme(features, columns, *, all_eigenvalues):
  """The published iteration for LogME, of one-hot columns."""
  n, dimensions = features.shape
  u, s, _ = np.linalg.svd(features, full_matrices=False)
  values = s**2
  total = 0.0
  for y in columns.T:
    inside = (u.T @ y) ** 2
    outside = y @ y - inside.sum()
    alpha = beta = 1.0
    for _ in range(1000):
      share = values / (values + alpha / beta)
      fit = share.sum()
      length = np.sum(values * inside / (values + alpha / beta) ** 2)
      rest = np.sum((1 - share) ** 2 * inside) + outside
      alpha, beta = fit / (length + 1e-5), (n - fit) / (rest + 1e-5)
    log_det = np.log(alpha + beta * values).sum()
    if all_eigenvalues:
      log_det += (dimensions - len(values)) * np.log(alpha)
    evidence = dimensions * np.log(alpha) + n * np.log(beta / 2 / np.pi)
    evidence -= log_det + beta * rest + alpha * length
    total += evidence / 2 / n
  return total / columns.shape[1]


def test_logme_without_the_zero_eigenvalues(rng):
  features, _, labels = source(rng, n=30, width=100)
  columns = np.eye(5)[labels]
  wrong = published_logme(features, columns, all_eigenvalues=False)
  right = published_logme(features, columns, all_eigenvalues=True)
  assert abs(wrong - right) > 1
  value = leep_jax.logme(features, labels)
  assert value == pytest.approx(right, abs=1e-3)


def test_logme_of_an_absent_class(rng):
  features, _, labels = source(rng)
  right = published_logme(features, np.eye(5)[labels], all_eigenvalues=True)
  absent = np.eye(9)[labels]
  wrong = published_logme(features, absent, all_eigenvalues=True)
  assert abs(wrong - right) > 1
  for classes in (None, 9):
    value = leep_jax.logme(features, labels, num_classes=classes)
    assert value == pytest.approx(right, abs=1e-3)


@pytest.mark.parametrize("groups", [1, 20])
def test_leep_by_a_tensor_of_examples_and_all_pairs_of_labels(
  groups, rng, monkeypatch
):
  monkeypatch.setattr(programs, "are_host", lambda: False)
  n, classes, source_classes = 1024, 50, 200
  _, probs, labels = source(rng, n, source_classes, classes)
  table = table_of(oracles.joint(probs, labels, classes))
  tensor = probs[:, None] * table.astype(np.float32)
  assert tensor.shape == (n, classes, source_classes)
  wrong_bytes = 4 * tensor.size
  right = np.log(tensor.sum(axis=2)[np.arange(n), labels]).mean()
  outputs = leep_jax.Outputs.from_arrays(probs=probs, labels=labels)
  programs.forget_programs()
  with programs.limit(1):
    estimate = leep_jax.estimate_scores(outputs, names=["leep"], groups=groups)
  assert estimate["leep"].value == pytest.approx(right, abs=1e-6)
  function = leep_lib.statistics.responsibilities
  if groups == 1:
    function = leep_lib.statistics.log_likelihood
  step, _ = sums_lib.compiled((function,), groups)
  (compiled,) = step.programs()
  memory = compiled.memory_analysis()
  assert memory.temp_size_in_bytes < 0.2 * wrong_bytes


def test_leep_without_its_logarithm(rng):
  _, probs, labels = source(rng)
  wrong = oracles.eep(probs, labels)[np.arange(300), labels].mean()
  assert 0 < wrong < 1
  value = leep_jax.leep(probs, labels)
  assert value == pytest.approx(oracles.leep(probs, labels), abs=1e-6)
  assert value < np.log(wrong) < 0  # the logarithm of the mean is another one


def test_gbc_with_the_determinant_of_one_dimension(rng):
  features, _, labels = source(rng)
  features[labels == 0] *= 2
  wrong = 0.0
  moments = [
    (
      features[labels == y].mean(axis=0),
      features[labels == y].var(axis=0).mean(),
    )
    for y in range(5)
  ]
  for c, (mean, variance) in enumerate(moments):
    for d, (other, other_variance) in enumerate(moments):
      if c != d:
        both = (variance + other_variance) / 2
        distance = np.sum((mean - other) ** 2) / both / 8
        distance += np.log(both / np.sqrt(variance * other_variance)) / 2
        wrong -= np.exp(-distance)
  right = oracles.gbc(features, labels)
  assert abs(wrong - right) > 0.1
  assert leep_jax.gbc(features, labels) == pytest.approx(right, rel=1e-5)


def test_pactran_of_a_hessian_that_is_summed_and_not_averaged(rng):
  features, _, labels = source(rng)
  moved = oracles.centred(features)
  head, loss = oracles.bounds.best_head(moved, labels, 1 / 30)
  logits = moved @ head[:, :-1].T + head[:, -1]
  probs = oracles.softmax(logits)
  each = probs * (1 - probs)
  # Of 300 examples and 7 features: c = 30, Y D = 35, lambda = 30 * 7.
  trace = np.sum((moved**2).sum(axis=1) * each.sum(axis=1)) + each.sum()
  weight = 35 / (2 * 30 * 7)
  wrong = -loss - weight * np.log(1 + 30 / 35 * trace)
  right = oracles.bounds.pactran_gaussian(features, labels)
  assert wrong < right - 0.3
  value = leep_jax.pactran_gaussian(features, labels)
  assert value == pytest.approx(right, rel=1e-5)


def test_pactran_gamma_with_the_rate_of_the_prior(rng):
  _, probs, labels = source(rng)
  wanted = np.eye(5)[labels]
  prior = wanted.mean(axis=0)[:, None]
  q = probs
  for _ in range(10):
    shapes = prior + wanted.T @ q
    logs = np.log(probs) + wanted @ scipy.special.digamma(shapes)
    q = scipy.special.softmax(logs, axis=1)
  shapes = prior + wanted.T @ q
  log_gamma = scipy.special.gammaln
  wrong = np.sum(log_gamma(shapes) - log_gamma(prior))
  wrong -= np.sum(q * np.log(q / probs))
  wrong -= np.log(probs @ shapes.sum(axis=0)).sum()
  value = leep_jax.pactran_gamma(probs, labels)
  assert wrong / 300 < value - 0.01  # a looser bound


def test_lda_of_directions_that_cancel(rng):
  # `eigh` of a matrix that is not symmetric gives orthogonal directions, so
  # that U U^T is the identity.
  features, _, labels = source(rng)
  features = 0.3 * features @ rng.normal(size=(7, 7))
  means, shares, _, total, within = oracles.discriminants.by_class(
    features, labels
  )
  _, directions = np.linalg.eigh(np.linalg.inv(within) @ (total - within))
  logits = features @ directions @ directions.T @ means.T
  logits += np.log(shares) - (means**2).sum(axis=1) / 2
  wrong = oracles.softmax(logits)[np.arange(300), labels].mean()
  right = oracles.discriminants.etran_lda(features, labels)
  assert wrong < right - 0.05
  value = leep_jax.etran_lda(features, labels)
  assert value == pytest.approx(right, rel=1e-5)


def test_trans_rate_of_classes_averaged_equally_and_eps_not_squared(rng):
  features, _, labels = source(rng)
  labels = np.where(rng.random(300) < 0.5, labels, 0)
  moved = oracles.centred(features)

  def published(rows, eps=1e-4):
    gram = rows.T @ rows / (len(rows) * eps)
    return np.linalg.slogdet(np.eye(rows.shape[1]) + gram)[1] / 2

  inside = [published(moved[labels == y]) for y in range(5)]
  wrong = published(moved) - np.mean(inside)
  right = oracles.trans_rate(features, labels)
  assert abs(wrong - right) > 0.1
  assert leep_jax.trans_rate(features, labels) == pytest.approx(right, rel=1e-6)


def test_parc_of_standardised_features_times_100(rng):
  features, _, labels = source(rng)
  features[:, 0] = 10 * rng.normal(size=300)  # noise, in a large unit
  moved = oracles.centred(features) / features.std(axis=0)
  upper = np.triu_indices(300, 1)
  differ = (labels[:, None] != labels)[upper]
  wrong = scipy.stats.spearmanr(1 - np.corrcoef(moved)[upper], differ).statistic
  right = oracles.parc(features, labels)
  assert abs(wrong - right) > 0.1
  assert 100 * wrong > 1  # no correlation
  assert leep_jax.parc(features, labels) == pytest.approx(right, abs=1e-6)


def test_covariances_over_n_and_over_n_less_1(rng):
  features, _, labels = source(rng, n=20, width=3)
  means = np.stack([features[labels == y].mean(axis=0) for y in range(5)])
  total = np.cov(features, rowvar=False)  # over n - 1
  wrong = np.trace(
    np.linalg.inv(total) @ np.cov(means[labels], rowvar=False, bias=True)
  )
  right = oracles.h_score(features, labels)
  assert abs(wrong - right) > 0.01
  assert leep_jax.h_score(features, labels) == pytest.approx(right, rel=1e-5)


def test_a_random_network_scored_for_want_of_weights(rng, capsys):
  images = rng.random((64, 8, 8, 3), dtype=np.float32)
  labels = rng.integers(0, 3, 64)
  logits, _ = catalog.build("resnet8", 10)(jnp.asarray(images))
  wrong = leep_jax.leep(oracles.softmax(np.asarray(logits)), labels)
  assert -2 < wrong < 0  # nothing tells it from the score of a source
  with pytest.raises(leep_jax.InputError, match="not trained weights"):
    leep_jax.load_source("resnet8")
  with flagsaver.flagsaver():
    assert score.main(["score", "--model=resnet8"]) == 2
  assert "not trained weights" in capsys.readouterr().err
