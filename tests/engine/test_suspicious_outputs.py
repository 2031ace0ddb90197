"""Outputs that are not what their name says, or tell nothing, are noticed."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import leep_jax
from leep_jax import score, scores as scores_lib, validation
from leep_jax.scores import jackknife

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


@pytest.mark.parametrize(
  "change", [lambda p: np.round(p, 3), lambda p: 100 * p]
)
def test_rounded_probabilities_and_percentages_are_no_logits(
  change, rng, labels
):
  probs = change(rng.dirichlet(np.full(CLASSES, 0.3), 40))
  with pytest.raises(leep_jax.InputError, match="Pass them as probs"):
    leep_jax.Outputs.from_arrays(logits=probs, labels=labels)


def test_rounded_rows_are_told(rng):
  probs = np.round(rng.dirichlet(np.full(CLASSES, 0.3), 400), 2)
  with pytest.raises(leep_jax.InputError, match="rounded. Divide each row"):
    leep_jax.leep(probs, rng.integers(0, 3, 400))
  leep_jax.leep(
    probs / probs.sum(axis=1, keepdims=True), rng.integers(0, 3, 400)
  )


def test_a_sigmoid_for_logits_is_noted(images, labels):
  source = source_of(jax.nn.sigmoid)
  with pytest.warns(
    validation.InputNote, match="from 0 to 1: are they a sigmoid"
  ):
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
  ("change", "said", "constant"),
  [
    (lambda x: x * 0, "the same probabilities", True),
    (lambda x: x * 0 + jnp.arange(CLASSES)[None], "the same prob", True),
    (lambda x: x * 0.03, "hardly depend", False),
    (lambda x: x * 1e-3, "hardly depend", False),
  ],
)
def test_outputs_that_hardly_depend_on_the_image_are_told(
  change, said, constant, images, labels
):
  outputs = leep_jax.compute_outputs(source_of(change), [(images, labels)])
  found = scores_lib.uninformative(outputs)["probs"]
  assert said in found.why
  assert found.constant is constant


def test_trained_sources_are_informative():
  dataset = leep_jax.load_dataset("digits", limit=200)
  source = leep_jax.load_source("fashion_mnist_resnet8")
  outputs = leep_jax.compute_outputs(source, dataset)
  assert scores_lib.uninformative(outputs) == {}


def test_constant_features_are_told(rng, labels):
  outputs = leep_jax.Outputs.from_arrays(
    features=np.full((40, 6), 3.7, np.float32), labels=labels
  )
  found = scores_lib.uninformative(outputs)["features"]
  assert "same features" in found.why
  assert found.constant
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


def test_the_command_ranks_what_hardly_varies_and_says_so(
  labels, tmp_path, capsys, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  logits = np.zeros((40, CLASSES))
  logits[np.arange(40), labels] = 1e-3  # all that there is to know
  np.savez("a.npz", logits=logits, labels=labels)
  assert score.main(["score", "--predictions=a.npz", "--scores=nce,leep"]) == 0
  out = capsys.readouterr().out
  assert " 0.0000 " in out
  assert "a: its probabilities hardly depend on the example" in out


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
  assert "a has no h_score: with no more examples" in capsys.readouterr().out


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
  with pytest.warns(
    validation.InputNote, match="mine .* training mode"
  ) as told:
    leep_jax.compute_outputs(source, [(images, labels)] * 3)
  assert len([w for w in told if "training" in str(w.message)]) == 1


def test_training_mode_is_noticed_in_a_changed_source(images, labels):
  source = leep_jax.load_source("cifar10_resnet14")

  def apply(state, images):
    logits, features = source.apply(state, images)
    return logits - logits.mean(axis=0, keepdims=True), features

  changed = dataclasses.replace(source, apply=apply)
  with pytest.warns(validation.InputNote, match="training mode"):
    leep_jax.compute_outputs(changed, [(images, labels)])


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


def test_scores_of_other_data_with_the_same_labels_are_no_pair(rng, tmp_path):
  def estimate(name):
    images = rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / name, images=images, labels=np.arange(12) % 3)
    dataset = leep_jax.load_dataset(f"npz:{tmp_path / name}")
    outputs = leep_jax.compute_outputs(source_of(lambda x: x), dataset)
    return leep_jax.estimate_scores(outputs, names=["leep"])["leep"]

  first = estimate("a.npz")
  assert leep_jax.paired_difference(first, first).value == 0
  with pytest.raises(leep_jax.InputError, match="other data"):
    leep_jax.paired_difference(first, estimate("b.npz"))


@pytest.mark.parametrize("high", [65535, 999])
def test_labels_far_above_all_others_are_told(high, rng):
  labels = np.where(np.arange(40) < 4, high, np.arange(40) % 3)
  labels = labels.astype(np.uint16)
  probs = rng.dirichlet(np.ones(CLASSES), 40)
  if high == 65535:
    with pytest.raises(leep_jax.InputError, match="--ignore_label=65535"):
      leep_jax.leep(probs, labels)
  else:
    with pytest.warns(validation.InputNote, match="--ignore_label=999"):
      leep_jax.leep(probs, labels)


def test_files_of_outputs_have_labels_as_data_sets_have(
  rng, labels, tmp_path, capsys, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  probs = rng.dirichlet(np.full(CLASSES, 0.3), 40)
  np.savez("plain.npz", probs=probs, labels=labels)
  np.savez("column.npz", probs=probs, labels=labels[:, None])
  np.savez("text.npz", probs=probs, labels=np.array(list("abc"))[labels])
  flags = ["--predictions=plain.npz,column.npz,text.npz", "--output=r.jsonl"]
  assert score.main(["score", *flags]) == 0
  with open("r.jsonl") as file:
    assert len({json.loads(line)["leep"] for line in file}) == 1


def test_a_batch_may_lack_any_class(images):
  labels = np.arange(40) * 25  # each batch of two has labels far apart
  pairs = [(images[[i, 39 - i]], labels[[i, 39 - i]]) for i in range(20)]
  source = source_of(lambda x: x)
  assert leep_jax.compute_outputs(source, pairs).num_classes == 976
