"""Outputs that are not what their name says, or tell nothing, are noticed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import leep_jax
from leep_jax import checks, jackknife, score, scores as scores_lib

CLASSES = 5


@pytest.fixture
def images(rng):
  return rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def labels(rng):
  return rng.integers(0, 3, 40)


def source_of(function, **fields):
  """A source whose logits are a function of a linear layer's."""
  kernel = jax.random.normal(jax.random.key(0), (3, CLASSES)) * 5

  def apply(kernel, images):
    features = images.mean(axis=(1, 2))
    return function(features @ kernel), features

  return leep_jax.Source("mine", apply, kernel, **fields)


def scores(source, images, labels, **options):
  outputs = leep_jax.compute_outputs(source, [(images, labels)], **options)
  return leep_jax.compute_scores(outputs, names=["leep", "nce"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_source_that_ends_in_softmax_is_refused(images, labels, dtype):
  source = source_of(jax.nn.softmax)
  with pytest.raises(leep_jax.InputError, match="probabilities, not logits"):
    scores(source, images, labels, dtype=dtype)


def test_the_advice_gives_the_right_scores(images, labels):
  right = scores(source_of(lambda x: x), images, labels)
  advised = scores(
    source_of(lambda x: jnp.log(jax.nn.softmax(x))), images, labels
  )
  assert advised == pytest.approx(right, rel=1e-5)


def test_few_rows_that_sum_to_1_are_refused_and_some_of_many_are_not(
  images, labels
):
  source = source_of(jax.nn.softmax)
  with pytest.raises(leep_jax.InputError, match="probabilities"):
    scores(source, images[:3], labels[:3])
  mixed = source_of(
    lambda x: jnp.where(x[:, :1] * 1e3 % 1 > 0.5, jax.nn.softmax(x), x)
  )
  scores(mixed, images, labels)


def test_probabilities_stored_as_logits_are_refused(rng, labels):
  probs = rng.dirichlet(np.ones(CLASSES), 40)
  with pytest.raises(leep_jax.InputError, match="Pass them as probs"):
    leep_jax.Outputs.from_arrays(logits=probs, labels=labels)
  for half in (probs.astype(np.float16), jnp.asarray(probs, jnp.bfloat16)):
    with pytest.raises(leep_jax.InputError, match="Pass them as probs"):
      leep_jax.Outputs.from_arrays(logits=half, labels=labels)
  outputs = leep_jax.Outputs.from_arrays(logits=np.log(probs), labels=labels)
  assert outputs.probs == pytest.approx(probs, rel=1e-5)


def test_a_sigmoid_for_logits_is_noted(images, labels):
  source = source_of(jax.nn.sigmoid)
  with pytest.warns(checks.InputNote, match="from 0 to 1: are they a sigmoid"):
    scores(source, images, labels)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda p: p * 100, "percentages"),
    (lambda p: np.clip(p * 2, 0, 1), "sigmoid for each of several labels"),
    (lambda p: np.log(p + 1e-9), "logits"),
    (lambda p: p * 7 + 3, "logits"),
  ],
)
def test_probs_that_are_none_are_told_apart(change, message, rng, labels):
  probs = change(rng.dirichlet(np.full(CLASSES, 0.3), 40))
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.leep(probs, labels)


WHY = "its head has a sigmoid for each of several labels"


def test_a_source_without_probabilities_has_scores_of_features(
  images, labels, tmp_path
):
  source = source_of(lambda x: x, without_probs=WHY)
  outputs = leep_jax.compute_outputs(source, [(images, labels)])
  outputs.save(tmp_path / "kept")
  for kept in (outputs, leep_jax.Outputs.load(tmp_path / "kept")):
    undefined = {}
    found = leep_jax.estimate_scores(
      kept,
      names=["leep", "nce", "eep_accuracy", "h_score"],
      on_undefined=undefined.__setitem__,
    )
    assert undefined == dict.fromkeys(("leep", "nce", "eep_accuracy"), WHY)
    assert found["h_score"].value > 0


def test_a_source_without_a_head_may_give_none(images, labels):
  source = leep_jax.Source(
    "body",
    lambda scale, x: (None, x.mean(axis=(1, 2)) * scale),
    jnp.ones(()),
    without_probs="it has no head",
  )
  outputs = leep_jax.compute_outputs(source, [(images, labels)])
  assert outputs.num_source_classes is None
  assert leep_jax.compute_scores(outputs, names=["h_score"])["h_score"] > 0


def test_numbers_of_a_regressor_serve_regression(images, rng):
  source = source_of(lambda x: x[:, :1], without_probs="it is a regressor")
  targets = rng.normal(size=(40, 1))
  outputs = leep_jax.compute_outputs(
    source, [(images, targets)], regression=True
  )
  found = leep_jax.compute_scores(outputs, names=["lab_mse", "lin_mse"])
  assert found["lab_mse"] < 0
  assert found["lin_mse"] < 0


@pytest.mark.parametrize(
  ("change", "said"),
  [
    (lambda x: x * 0, "the same probabilities"),
    (lambda x: x * 0 + jnp.arange(CLASSES)[None], "the same probabilities"),
    (lambda x: x * 0.03, "nearly the same probabilities"),
  ],
)
def test_outputs_that_hardly_depend_on_the_image_are_told(
  change, said, images, labels
):
  outputs = leep_jax.compute_outputs(source_of(change), [(images, labels)])
  assert said in scores_lib.uninformative(outputs)["probs"]


def test_trained_sources_are_informative():
  dataset = leep_jax.load_dataset("digits", limit=200)
  source = leep_jax.load_source("fashion_mnist_resnet8")
  outputs = leep_jax.compute_outputs(source, dataset)
  assert scores_lib.uninformative(outputs) == {}


def test_constant_features_are_told(rng, labels):
  outputs = leep_jax.Outputs.from_arrays(
    features=np.full((40, 6), 3.7, np.float32), labels=labels
  )
  assert "same features" in scores_lib.uninformative(outputs)["features"]
  outputs = leep_jax.Outputs.from_arrays(
    features=1e4 + rng.normal(size=(40, 6)), labels=labels
  )
  assert scores_lib.uninformative(outputs) == {}


def test_the_command_does_not_rank_what_is_unknown(
  rng, labels, tmp_path, capsys, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  probs = rng.dirichlet(np.full(CLASSES, 0.3), 40)
  np.savez("bad.npz", probs=probs, labels=labels)
  np.savez("blank.npz", probs=np.full((40, CLASSES), 0.2), labels=labels)
  flags = ["--predictions=bad.npz,blank.npz", "--scores=leep,nce"]
  assert score.main(["score", *flags, "--output=rows.jsonl"]) == 0
  out = " ".join(capsys.readouterr().out.split())
  assert "blank has no leep, nce: it gives every example the same" in out
  with open("rows.jsonl") as file:
    rows = [json.loads(line) for line in file]
  assert rows[0]["note"] is None
  assert rows[1]["leep"] is None
  assert "the same probabilities" in rows[1]["note"]


def test_h_score_that_says_nothing_is_said_to(
  rng, labels, tmp_path, capsys, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  probs = rng.dirichlet(np.full(CLASSES, 0.3), 40)
  np.savez(
    "a.npz", probs=probs, features=rng.normal(size=(40, 60)), labels=labels
  )
  assert score.main(["score", "--predictions=a.npz"]) == 0
  out = capsys.readouterr().out
  assert " regularized_h_score " in out
  assert " h_score " not in out
  assert score.main(["score", "--predictions=a.npz", "--scores=h_score"]) == 0
  assert "h_score tells nothing of a" in capsys.readouterr().out


def training(images):
  """What BatchNorm does while it trains."""
  mean = images.mean(axis=0, keepdims=True)
  std = images.std(axis=0, keepdims=True) + 1e-3
  return ((images - mean) / std).mean(axis=(1, 2))


def dropout(images):
  kept = jax.random.bernoulli(jax.random.key(0), 0.5, (*images.shape[:1], 3))
  return images.mean(axis=(1, 2)) * kept


@pytest.mark.parametrize("features_of", [training, dropout])
def test_a_network_in_training_mode_is_noticed(features_of, images, labels):
  kernel = jnp.eye(3)

  def apply(kernel, images):
    features = features_of(images)
    return features @ kernel, features

  source = leep_jax.Source("mine", apply, kernel)
  with pytest.warns(checks.InputNote, match="mine .* training mode") as told:
    leep_jax.compute_outputs(source, [(images, labels)] * 3)
  assert len([w for w in told if "training" in str(w.message)]) == 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_network_in_evaluation_mode_is_not_noted(images, labels, dtype):
  scores(
    source_of(lambda x: x), images, labels, dtype=dtype
  )  # notes are errors


def test_scores_of_other_examples_are_no_pair(rng):
  probs = rng.dirichlet(np.ones(CLASSES), 300)
  other = rng.dirichlet(np.ones(CLASSES), 300)
  labels = rng.integers(0, 3, 300)

  def estimate(probs, labels):
    outputs = leep_jax.Outputs.from_arrays(probs=probs, labels=labels)
    return leep_jax.estimate_scores(outputs, names=["leep"])["leep"]

  order = rng.permutation(300)
  first = estimate(probs, labels)
  pair = leep_jax.paired_difference(first, estimate(other, labels))
  assert pair.standard_error > 0
  for wrong in (
    estimate(other[order], labels[order]),
    estimate(other, (labels + 1) % 3),
  ):
    with pytest.raises(leep_jax.InputError, match="another order"):
      leep_jax.paired_difference(first, wrong)
    with pytest.raises(leep_jax.InputError, match="another order"):
      jackknife.indistinguishable([first, wrong])
