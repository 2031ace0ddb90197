"""Outputs: collected anywhere, selected, saved; the forward pass."""

import json
import os

import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import leep_jax
from leep_jax.engine import (
  forward,
  programs,
  statistics,
  storage,
  sums as sums_lib,
)


def images_and_labels(rng, n=53, classes=3, size=4):
  images = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
  return images, rng.integers(0, classes, n)


def linear_source(rng, **options):
  """Three classes from a random projection of the pixels."""
  state = jnp.asarray(rng.normal(size=(48, 3)), jnp.float32)

  def apply(state, images):
    features = images.reshape(len(images), -1)
    return features @ state, features

  return leep_jax.Source("linear", apply, state, **options)


def expected_outputs(source, images):
  features = (images / 255.0).reshape(len(images), -1)
  return oracles.softmax(features @ np.asarray(source.state)), features


def in_batches(images, labels, size):
  for i in range(0, len(labels), size):
    yield images[i : i + size], labels[i : i + size]


def dataset(images, labels):
  return leep_jax.Dataset(
    name="made",
    split="all",
    num_classes=5,
    indices=np.arange(len(labels)),
    image_shape=images.shape[1:],
    fetch=lambda i: (images[i], labels[i]),
  )


@pytest.mark.parametrize("keep", forward.KEEP)
@pytest.mark.parametrize("size", [1, 8, 53, 64])
def test_forward_pass_kept_anywhere(keep, size, rng, device_count):
  images, labels = images_and_labels(rng)
  source = linear_source(rng)
  done = []
  outputs = leep_jax.compute_outputs(
    source,
    dataset(images, labels),
    batch_size=size,
    keep=keep,
    progress=done.append,
  )
  probs, features = expected_outputs(source, images)
  np.testing.assert_allclose(outputs.probs, probs, atol=1e-6)
  np.testing.assert_allclose(outputs.features, features, atol=1e-6)
  np.testing.assert_array_equal(outputs.labels, labels)
  assert (len(outputs), outputs.num_classes) == (53, 5)
  assert (outputs.num_source_classes, outputs.num_features) == (3, 48)
  assert done == sorted(done)
  assert done[-1] == 53
  expected = oracles.leep(probs, labels)
  values = leep_jax.compute_scores(outputs, names=["leep"])
  assert values["leep"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("keep", forward.KEEP)
def test_batches_of_any_length_from_a_loader(keep, rng, device_count):
  images, labels = images_and_labels(rng)
  cuts = [(0, 3), (3, 30), (30, 31), (31, 53)]
  loader = ((images[a:b], labels[a:b]) for a, b in cuts)
  source = linear_source(rng)
  outputs = leep_jax.compute_outputs(source, loader, keep=keep)
  probs, _ = expected_outputs(source, images)
  np.testing.assert_allclose(outputs.probs, probs, atol=1e-6)
  assert outputs.num_classes == 3
  values = leep_jax.compute_scores(outputs, names=["leep"])
  assert values["leep"] == pytest.approx(oracles.leep(probs, labels), abs=1e-6)


def test_loaders_may_reuse_a_buffer(rng):
  images, labels = images_and_labels(rng, n=64)
  buffer = np.empty_like(images[:8])
  target = np.empty_like(labels[:8])

  def loader():
    for part in in_batches(images, labels, 8):
      buffer[:], target[:] = part
      yield buffer, target

  source = linear_source(rng)
  outputs = leep_jax.compute_outputs(source, loader())
  probs, _ = expected_outputs(source, images)
  np.testing.assert_allclose(outputs.probs, probs, atol=1e-6)
  np.testing.assert_array_equal(outputs.labels, labels)
  same = leep_jax.Outputs.from_batches(
    {"features": x.reshape(8, -1), "labels": y} for x, y in loader()
  )
  np.testing.assert_array_equal(same.features, images.reshape(64, -1))


@pytest.mark.parametrize("keep", ["device", "host"])
def test_padding_may_give_what_is_not_finite(keep, rng, device_count):
  # As where images are divided by their deviation, and padding is blank.
  def apply(state, images):
    features = images.mean((1, 2)) / images.std((1, 2, 3))[:, None]
    return features, features

  images, labels = images_and_labels(rng)
  outputs = leep_jax.compute_outputs(
    leep_jax.Source("standard", apply, ()),
    in_batches(images, labels, 7),
    keep=keep,
  )
  probs, features = outputs.probs, outputs.features
  values = leep_jax.compute_scores(outputs, names=["leep", "nce", "h_score"])
  for name, value in values.items():
    columns = features if name == "h_score" else probs
    expected = oracles.ORACLES[name](columns, labels)
    assert value == pytest.approx(expected, rel=1e-5)


def test_any_callable_is_a_source(rng):
  class Model:
    __hash__ = None  # as objects that compare by value

    def __call__(self, state, images):
      return images.mean((1, 2)) * state["scale"]

  source = leep_jax.Source("model", Model(), {"scale": 2.0})
  images, labels = images_and_labels(rng)
  outputs = leep_jax.compute_outputs(source, [(images, labels)])
  expected = oracles.softmax(2 * (images / 255.0).mean((1, 2)))
  np.testing.assert_allclose(outputs.probs, expected, atol=1e-6)


def test_a_second_score_needs_no_second_forward_pass(rng):
  images, labels = images_and_labels(rng)
  calls = []

  def once():
    calls.append(1)
    yield images, labels

  outputs = leep_jax.compute_outputs(linear_source(rng), once())
  for _ in range(2):
    leep_jax.compute_scores(outputs)
  assert calls == [1]


def test_sums_are_remembered(rng, monkeypatch):
  images, labels = images_and_labels(rng)
  source = linear_source(rng)
  outputs = leep_jax.compute_outputs(source, [(images, labels)])
  first = outputs.group_sums(statistics.joint)
  total = outputs.sum(statistics.joint)
  monkeypatch.setattr(sums_lib, "sum_batches", None)
  assert outputs.group_sums(statistics.joint) is first
  np.testing.assert_array_equal(outputs.sum(statistics.joint), total)


def test_bfloat16_is_close_to_float32(rng):
  images, labels = images_and_labels(rng)
  source = linear_source(rng)
  exact = leep_jax.compute_outputs(source, dataset(images, labels))
  rough = leep_jax.compute_outputs(
    source, dataset(images, labels), dtype="bfloat16"
  )
  assert rough.probs.dtype == np.float32
  assert not np.array_equal(rough.probs, exact.probs)
  np.testing.assert_allclose(rough.features, exact.features, atol=0.01)


def test_float_images_are_taken_as_they_are(rng):
  images, labels = images_and_labels(rng)
  source = linear_source(rng)
  outputs = leep_jax.compute_outputs(source, [(images / 255.0, labels)])
  probs, _ = expected_outputs(source, images)
  np.testing.assert_allclose(outputs.probs, probs, atol=1e-5)


def test_source_without_features(rng):
  images, labels = images_and_labels(rng)
  full = linear_source(rng)
  source = leep_jax.Source(
    "plain", lambda s, x: full.apply(s, x)[0], full.state
  )
  outputs = leep_jax.compute_outputs(source, [(images, labels)])
  assert outputs.features is None
  assert outputs.num_features is None
  values = leep_jax.compute_scores(outputs, names=["leep", "h_score"])
  assert values["h_score"] is None
  assert values["leep"] < 0


def test_select(rng):
  images, labels = images_and_labels(rng)
  outputs = leep_jax.compute_outputs(linear_source(rng), [(images, labels)])
  chosen = np.array([5, 3, 3, 40])
  part = outputs.select(chosen)
  np.testing.assert_array_equal(part.probs, outputs.probs[chosen])
  np.testing.assert_array_equal(part.labels, labels[chosen])
  assert part.num_classes == outputs.num_classes
  rest = outputs.select(labels != 1)
  assert len(rest) == np.sum(labels != 1)


def placed(features, labels, size):
  """Outputs in device memory, in batches of a size that may need padding."""
  source = leep_jax.Source(
    "given",
    lambda state, x: (x[:, 0, 0], x[:, 0, 0]),
    (),
    leep_jax.Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3),
  )
  pairs = in_batches(features[:, None, None], labels, size)
  return leep_jax.compute_outputs(source, pairs, keep="device")


@pytest.mark.parametrize("size", [7, 8, 53])
def test_map_leaves_out_the_padding_of_every_batch(size, rng, device_count):
  features = rng.normal(size=(53, 3)).astype(np.float32)
  outputs = placed(features, np.arange(53) % 3, size)
  shift, scale = outputs.feature_centre
  moved = outputs.map("features", lambda x, factor: x * factor, np.float32(2))
  assert moved.shape("features") == (53, 3)
  np.testing.assert_allclose(
    moved.array("features"), 2 * (features - shift) / scale, atol=1e-6
  )


def test_map_of_probabilities(rng, device_count):
  probs = oracles.softmax(rng.normal(size=(53, 4))).astype(np.float32)
  outputs = leep_jax.Outputs.from_arrays(probs=probs, labels=[0] * 53)
  mapped = outputs.map("probs", lambda x: x[:, ::-1])
  np.testing.assert_array_equal(mapped.array("probs"), probs[:, ::-1])
  bad = leep_jax.Outputs.from_arrays(probs=2 * probs, labels=[0] * 53)
  with pytest.raises(leep_jax.InputError, match="do not sum to 1"):
    bad.map("probs", lambda x: x)


@pytest.mark.parametrize("size", ["on the host", 7, 8, 53])
def test_group_sums_are_sums_of_every_so_many(size, rng, device_count):
  features = rng.normal(size=(53, 3)).astype(np.float32)
  labels = rng.integers(0, 3, 53)
  outputs = leep_jax.Outputs.from_arrays(features=features, labels=labels)
  if size != "on the host":
    outputs = placed(features, labels, size)
  outputs = outputs.grouped(4)
  shift, scale = outputs.feature_centre
  moved = (features.astype(np.float64) - shift) / scale
  sums = outputs.group_sums(statistics.moments)
  np.testing.assert_array_equal(outputs.group_of, np.arange(53) % 4)
  for group in range(4):
    part = moved[group::4]
    np.testing.assert_allclose(sums["gram"][group], part.T @ part, rtol=1e-5)
    counts = np.bincount(labels[group::4], minlength=3)
    np.testing.assert_array_equal(outputs.group_counts[group], counts)
    again = outputs.features_of_group(group).sum(statistics.moments)
    for key, value in again.items():
      np.testing.assert_allclose(value, sums[key][group], rtol=1e-5, atol=1e-5)


def test_there_are_no_more_groups_than_examples(rng):
  outputs = leep_jax.Outputs.from_arrays(probs=[[1.0]] * 3, labels=[0, 0, 0])
  assert outputs.groups == 1
  assert outputs.grouped(20).groups == 3
  with pytest.raises(leep_jax.InputError, match="groups is 0"):
    outputs.grouped(0)


def test_something_is_computed_once(rng):
  outputs = leep_jax.Outputs.from_arrays(probs=[[1.0]], labels=[0])
  calls = []

  def count(given):
    calls.append(given)
    return len(calls)

  assert outputs.cached(count) == outputs.cached(count) == 1
  assert calls == [outputs]


def regression(rng, n=53):
  features = rng.normal(size=(n, 3)).astype(np.float32)
  targets = rng.normal(size=(n, 2))
  return features, targets


def test_outputs_with_targets(rng):
  features, targets = regression(rng)
  outputs = leep_jax.Outputs.from_arrays(features=features, targets=targets)
  has = [outputs.has(x) for x in ("labels", "targets", "probs", "features")]
  assert has == [False, True, False, True]
  assert repr(outputs) == "Outputs(outputs: features=(53, 3), 2 targets)"
  part = outputs.select([4, 4, 2])
  np.testing.assert_array_equal(part.targets, targets[[4, 4, 2]])
  batches = (
    {"features": f, "targets": t} for f, t in in_batches(features, targets, 9)
  )
  collected = leep_jax.Outputs.from_batches(batches)
  np.testing.assert_array_equal(collected.targets, targets)
  mean, scale = outputs.target_centre
  np.testing.assert_allclose(mean, targets.mean(axis=0))
  assert np.abs((targets - mean) / scale).max() == pytest.approx(1)


@pytest.mark.parametrize("keep", ["device", "host", "disk"])
def test_targets_are_kept_saved_and_loaded(keep, rng, tmp_path):
  images, _ = images_and_labels(rng)
  targets = rng.normal(size=(53, 2))
  outputs = leep_jax.compute_outputs(
    linear_source(rng),
    in_batches(images, targets, 20),
    keep=keep,
    regression=True,
  )
  outputs.save(tmp_path / "a")
  loaded = leep_jax.Outputs.load(tmp_path / "a")
  np.testing.assert_array_equal(loaded.targets, targets)
  names = ["logme", "lin_mse", "lab_mse", "leep"]
  values = leep_jax.compute_scores(loaded, names=names)
  assert values.pop("leep") is None
  for name, value in values.items():
    columns = loaded.probs if name == "lab_mse" else loaded.features
    expected = oracles.ORACLES[name](columns, targets=targets)
    assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("keep", ["device", "host", "disk"])
def test_save_and_load(keep, rng, tmp_path):
  images, labels = images_and_labels(rng)
  source = linear_source(rng)
  outputs = leep_jax.compute_outputs(source, [(images, labels)], keep=keep)
  outputs.save(tmp_path / "a")
  loaded = leep_jax.Outputs.load(tmp_path / "a")
  np.testing.assert_array_equal(loaded.probs, outputs.probs)
  np.testing.assert_array_equal(loaded.features, outputs.features)
  assert isinstance(loaded.probs, np.memmap)
  assert leep_jax.compute_scores(loaded) == pytest.approx(
    leep_jax.compute_scores(outputs), abs=1e-6
  )
  with pytest.raises(leep_jax.InputError, match="exists: outputs are written"):
    outputs.save(tmp_path / "a")


def test_outputs_on_disk_are_written_where_asked(rng, tmp_path):
  images, labels = images_and_labels(rng)
  outputs = leep_jax.compute_outputs(
    linear_source(rng),
    [(images, labels)],
    keep="disk",
    directory=tmp_path / "a",
  )
  again = leep_jax.Outputs.load(tmp_path / "a")
  np.testing.assert_array_equal(again.probs, outputs.probs)
  assert os.listdir(tmp_path) == ["a"]


def test_temporary_outputs_go_with_the_object(rng, tmp_path, monkeypatch):
  monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
  images, labels = images_and_labels(rng)
  outputs = leep_jax.compute_outputs(
    linear_source(rng), [(images, labels)], keep="disk"
  )
  assert os.listdir(tmp_path)
  del outputs
  assert not os.listdir(tmp_path)


def test_interrupted_pass_leaves_nothing(rng, tmp_path):
  images, labels = images_and_labels(rng)

  def interrupted():
    yield images[:8], labels[:8]
    yield images[8:16], labels[8:16]
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    leep_jax.compute_outputs(
      linear_source(rng), interrupted(), keep="disk", directory=tmp_path / "a"
    )
  assert not os.listdir(tmp_path)


def test_damaged_folder_is_refused(rng, tmp_path):
  outputs = leep_jax.Outputs.from_arrays(
    probs=oracles.softmax(rng.normal(size=(9, 3))), labels=[0] * 9
  )
  with pytest.raises(leep_jax.InputError, match="no outputs to load"):
    leep_jax.Outputs.load(tmp_path / "none")
  outputs.save(tmp_path / "short")
  np.save(tmp_path / "short" / "labels.npy", np.zeros(8, np.int32))
  with pytest.raises(
    leep_jax.InputError, match="9 rows of probs, but 8 labels"
  ):
    leep_jax.Outputs.load(tmp_path / "short")
  outputs.save(tmp_path / "cut")
  file = tmp_path / "cut" / "probs.npy"
  file.write_bytes(file.read_bytes()[:-10])
  with pytest.raises(leep_jax.InputError, match="no outputs to load"):
    leep_jax.Outputs.load(tmp_path / "cut")
  manifest = json.loads((tmp_path / "cut" / storage.MANIFEST).read_text())
  assert manifest["num_classes"] == 1


def test_from_batches_of_pairs(rng):
  probs = oracles.softmax(rng.normal(size=(30, 4)))
  labels = rng.integers(0, 3, 30)
  outputs = leep_jax.Outputs.from_batches(in_batches(probs, labels, 7))
  assert leep_jax.compute_scores(outputs, names=["leep"])[
    "leep"
  ] == leep_jax.leep(probs, labels)


def test_from_torch_like_batches():
  torch = pytest.importorskip("torch")
  probs = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
  outputs = leep_jax.Outputs.from_batches([(probs, torch.tensor([0, 1]))])
  np.testing.assert_array_equal(outputs.probs, probs.numpy())


def test_logits_become_probabilities(rng):
  logits = rng.normal(size=(30, 4)) * 50
  outputs = leep_jax.Outputs.from_arrays(logits=logits, labels=[0] * 30)
  np.testing.assert_allclose(outputs.probs, oracles.softmax(logits), atol=1e-6)


def test_auto_goes_to_disk_when_memory_is_short(rng, monkeypatch):
  monkeypatch.setattr(programs, "memory_budget", lambda: (0, 1000))
  images, labels = images_and_labels(rng)
  outputs = leep_jax.compute_outputs(
    linear_source(rng), dataset(images, labels)
  )
  assert isinstance(outputs.probs, np.memmap)
  monkeypatch.setattr(programs, "memory_budget", lambda: (10**9, 10**9))
  outputs = leep_jax.compute_outputs(
    linear_source(rng), dataset(images, labels)
  )
  assert isinstance(outputs.store, storage.DeviceArrays)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"logits": [[1.0]]}, "both probs and logits"),
    ({"probs": None}, "neither probs, logits nor features"),
    ({"probs": None, "logits": [[np.nan]]}, "1 of 1 rows .* hold NaN"),
    ({"features": [[1.0], [2.0]]}, "features has 2 rows, but there are 1"),
    ({"num_classes": 0}, "num_classes is 0"),
    ({"num_classes": "3"}, "num_classes is '3'"),
    ({"probs": [[1.0], [0.5, 0.5]]}, "probs cannot be made an array"),
    ({"targets": [1.0]}, "both labels .classes. and targets .real numbers.:"),
    ({"labels": None}, "neither labels nor targets"),
    ({"labels": None, "targets": [1, 2]}, "1 rows, but there are 2 targets"),
  ],
)
def test_bad_arrays(change, message):
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.Outputs.from_arrays(**{"probs": [[1.0]], "labels": [0], **change})


def test_bad_batches():
  with pytest.raises(leep_jax.InputError, match="no batch"):
    leep_jax.Outputs.from_batches([])
  good = {"probs": [[1.0]], "labels": [0]}
  with pytest.raises(leep_jax.InputError, match="an earlier one labels, probs"):
    leep_jax.Outputs.from_batches([good, {**good, "features": [[1.0]]}])
  with pytest.raises(leep_jax.InputError, match="it needs labels"):
    leep_jax.Outputs.from_batches([{"probs": [[1.0]]}])
  with pytest.raises(leep_jax.InputError, match="both labels .* and targets"):
    leep_jax.Outputs.from_batches([{**good, "targets": [1.0]}])
  with pytest.raises(leep_jax.InputError, match="'probs': 1, 'labels': 2"):
    leep_jax.Outputs.from_batches([{**good, "labels": [0, 0]}])
  with pytest.raises(leep_jax.InputError, match="float, neither a dictionary"):
    leep_jax.Outputs.from_batches([1.0])
  with pytest.raises(leep_jax.InputError, match="do not fit together"):
    leep_jax.Outputs.from_batches([good, {**good, "probs": [[0.5, 0.5]]}])


def test_batches_of_integers_and_of_floats(rng):
  # Images that are enlarged while a folder is read are floats, others uint8.
  images, labels = images_and_labels(rng)
  source = linear_source(rng)
  expected = leep_jax.compute_outputs(source, [(images, labels)])
  floats = images.astype(np.float32) / 255
  for parts in ((images, floats), (floats, images)):
    both = [(part, labels) for part in parts]
    outputs = leep_jax.compute_outputs(source, both)
    for half in np.split(outputs.features, 2):
      np.testing.assert_allclose(half, expected.features, atol=1e-5)


@pytest.mark.parametrize(
  ("shape", "message"),
  [
    ((2, 3, 4, 4), "not .B, H, W, 1 or 3.: are channels first"),
    ((2, 4, 4, 4), r"\(2, 4, 4, 4\), not"),
    ((2, 4, 4), r"\(2, 4, 4\), not"),
    ((2, 2, 2, 3), "2 pixels a side, but linear takes at least 4"),
    ((3, 4, 4, 3), "3 images but 2 labels"),
    ((2, 5, 5, 3), "linear cannot be applied to images"),
  ],
)
def test_bad_images(shape, message, rng):
  images = np.zeros(shape, np.uint8)
  source = linear_source(rng, min_image_size=4)
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.compute_outputs(source, [(images, [0, 1])])


def test_bad_outputs(rng):
  images, labels = images_and_labels(rng)
  source = leep_jax.Source("flat", lambda s, x: x.mean((1, 2, 3)), ())
  with pytest.raises(leep_jax.InputError, match=r"logits of shape .7,. for 7"):
    leep_jax.compute_outputs(source, [(images, labels)])
  state = jnp.float32(np.nan)
  source = leep_jax.Source("nan", lambda s, x: x.mean((1, 2)) * s, state)
  outputs = leep_jax.compute_outputs(source, [(images, labels)])
  with pytest.raises(leep_jax.InputError, match="probs of nan: 53 of 53 rows"):
    leep_jax.compute_scores(outputs)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"dtype": "float64"}, "unknown dtype 'float64'"),
    ({"keep": "dsk"}, "did you mean disk"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"directory": "x"}, 'needs keep="disk"'),
  ],
)
def test_bad_options(options, message, rng):
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.compute_outputs(linear_source(rng), [], **options)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda x: x.astype(np.int64), "images are int64, not uint8"),
    (lambda x: x.astype(np.float32), "from 0 to .*, not in .0, 1.: divide by"),
    (lambda x: x * np.nan, "images hold NaN"),
    (lambda x: x.astype(str), "images are <U"),
  ],
)
def test_values_of_images_are_checked(change, message, rng):
  images, labels = images_and_labels(rng)
  images[0, 0] = 255
  source = linear_source(
    rng, preprocessing=leep_jax.Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3)
  )
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.compute_outputs(source, [(change(images), labels)])


def test_a_source_that_normalises_nothing_takes_any_floats(rng):
  images, labels = images_and_labels(rng)
  source = linear_source(rng)
  moved = images / 255.0 * 4 - 2
  outputs = leep_jax.compute_outputs(source, [(moved, labels)])
  np.testing.assert_allclose(
    outputs.features, moved.reshape(len(moved), -1), atol=1e-6
  )


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (None, "a NoneType, which cannot be iterated"),
    ([np.zeros((2, 4, 4, 3), np.uint8)], "a batch is a ndarray, not a pair"),
    ([(1, 2, 3)], "a batch is a tuple of 3, not a pair"),
    ([{"images": 1}], "a batch is a dict, not a pair"),
    ([([[1], [2, 3]], [0, 1])], "images cannot be made an array"),
  ],
)
def test_bad_loaders(data, message, rng):
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.compute_outputs(linear_source(rng), data)


def test_every_batch_of_a_loader_is_checked(rng):
  images, labels = images_and_labels(rng)
  good = (images, labels)
  for shape in ((2, 3, 4, 4), (2, 4, 4), (2, 5, 5, 3)):
    bad = (np.zeros(shape, np.uint8), [0, 1])
    with pytest.raises(leep_jax.InputError, match="images"):
      leep_jax.compute_outputs(linear_source(rng), [good, bad])
  empty = (images[:0], labels[:0])
  outputs = leep_jax.compute_outputs(linear_source(rng), [good, empty, good])
  assert len(outputs) == 2 * len(labels)


def test_errors_of_a_users_model_are_told(rng):
  images, labels = images_and_labels(rng)
  for apply, message in (
    (lambda s, x: s["none"], "mine cannot be applied .*KeyError"),
    (lambda s, x: {"logits": x}, "returned logits of type dict"),
    (lambda s, x: x.nothing, "AttributeError"),
  ):
    source = leep_jax.Source("mine", apply, {})
    with pytest.raises(leep_jax.InputError, match=message):
      leep_jax.compute_outputs(source, [(images, labels)])


def test_half_precision_outputs_can_be_saved(rng, tmp_path):
  probs = jnp.asarray(oracles.softmax(rng.normal(size=(9, 3))), jnp.bfloat16)
  outputs = leep_jax.Outputs.from_arrays(probs=probs, labels=[0, 1, 2] * 3)
  outputs.save(tmp_path / "a")
  loaded = leep_jax.Outputs.load(tmp_path / "a")
  expected = np.asarray(probs, np.float32)
  expected = expected / expected.sum(axis=1, keepdims=True)
  np.testing.assert_allclose(loaded.probs, expected, atol=1e-6)
  assert leep_jax.compute_scores(loaded, names=["leep"]) == pytest.approx(
    leep_jax.compute_scores(outputs, names=["leep"]), abs=1e-6
  )


def test_streams_of_unknown_length_spill_to_disk(rng, monkeypatch):
  images, labels = images_and_labels(rng)
  source = linear_source(rng)
  monkeypatch.setattr(programs, "memory_budget", lambda: (0, 8000))
  outputs = leep_jax.compute_outputs(source, in_batches(images, labels, 8))
  assert isinstance(outputs.probs, np.memmap)
  probs, _ = expected_outputs(source, images)
  np.testing.assert_allclose(outputs.probs, probs, atol=1e-6)
  np.testing.assert_array_equal(outputs.labels, labels)


def test_bad_state_and_selection(rng):
  images, labels = images_and_labels(rng)
  source = leep_jax.Source("odd", lambda s, x: x, {"a": "b"})
  with pytest.raises(leep_jax.InputError, match="state of odd is not all arr"):
    leep_jax.compute_outputs(source, [(images, labels)])
  outputs = leep_jax.compute_outputs(linear_source(rng), [(images, labels)])
  for indices in ([10**6], np.ones(3, bool)):
    with pytest.raises(leep_jax.InputError, match="cannot select from 53"):
      outputs.select(indices)


def test_empty_data(rng):
  with pytest.raises(leep_jax.InputError, match="no examples"):
    leep_jax.compute_outputs(linear_source(rng), [])
