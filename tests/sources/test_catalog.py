"""Architectures, checkpoints, bundled sources, and users' own."""

import json
import sys
import textwrap

from flax import nnx
import jax
import jax.numpy as jnp
import marks
import numpy as np
import pytest
import safetensors.numpy
import tensor_names

from experiments.benchmarks import precision
import leep_jax
from leep_jax.models import __main__ as models_main, architecture
from leep_jax.sources import catalog, checkpoints, matching


@pytest.fixture
def checkpoint(tmp_path):
  """A random ResNet-8 of 3 classes with all its statistics, saved."""
  model = catalog.build("resnet8", 3, seed=1)
  key = jax.random.key(0)
  for i, (_, variable) in enumerate(nnx.to_flat_state(nnx.state(model))):
    noise = jax.random.uniform(jax.random.fold_in(key, i), variable.shape)
    variable.set_value(variable.get_value() + 0.1 * noise)
  path = tmp_path / "model.safetensors"
  checkpoints.save(model, path, dtype=np.float32)
  return model, path


def resave(path, **changes):
  tensors, _ = checkpoints.read_tensors(path)
  for name, value in changes.items():
    name = name.replace("__", ".")
    if value is None:
      del tensors[name]
    else:
      tensors[name] = value
  safetensors.numpy.save_file(tensors, path)


def forward(source, images):
  return source.apply(source.state, source.preprocessing(images))


def torch_like_resnet(tensors, x):
  """The network again, from published names, in float64 NumPy."""

  def conv(x, name, stride=1):
    kernel = tensors[f"{name}.weight"].astype(np.float64)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    windows = windows[:, :, ::stride, ::stride]
    return np.einsum("bchwij,ocij->bohw", windows, kernel)

  def norm(x, name):
    part = {
      key: tensors[f"{name}.{key}"].astype(np.float64)[None, :, None, None]
      for key in ("weight", "bias", "running_mean", "running_var")
    }
    x = (x - part["running_mean"]) / np.sqrt(part["running_var"] + 1e-5)
    return x * part["weight"] + part["bias"]

  def relu(x):
    return np.maximum(x, 0)

  x = relu(norm(conv(x, "conv1"), "bn1"))
  blocks = sorted({".".join(k.split(".")[:2]) for k in tensors if "layer" in k})
  for block in blocks:
    stride = 2 if block in ("layer2.0", "layer3.0") else 1
    y = relu(norm(conv(x, f"{block}.conv1", stride), f"{block}.bn1"))
    y = norm(conv(y, f"{block}.conv2"), f"{block}.bn2")
    if stride == 2:
      quarter = y.shape[1] // 4
      pad = ((0, 0), (quarter, quarter), (0, 0), (0, 0))
      x = np.pad(x[:, :, ::2, ::2], pad)
    x = relu(x + y)
  features = x.mean((2, 3))
  linear = tensors["linear.weight"].astype(np.float64)
  return features @ linear.T + tensors["linear.bias"], features


def test_resnet_equals_its_definition(checkpoint, rng):
  _, path = checkpoint
  source = leep_jax.load_source(f"resnet8@{path}")
  images = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
  logits, features = forward(source, images)
  mean, std = (
    np.array(architecture.IMAGENET_MEAN),
    np.array(architecture.IMAGENET_STD),
  )
  x = ((images / 255 - mean) / std).transpose(0, 3, 1, 2)
  tensors, _ = checkpoints.read_tensors(path)
  expected_logits, expected_features = torch_like_resnet(tensors, x)
  np.testing.assert_allclose(logits, expected_logits, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(features, expected_features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  # He et al. 2016, table 6, in millions; without option B's convolutions.
  ("depth", "millions"),
  [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)],
)
def test_resnet_sizes_are_the_published_ones(depth, millions):
  model = nnx.eval_shape(lambda: catalog.build(f"resnet{depth}", 10))
  state = nnx.state(model, nnx.Param)
  count = sum(np.prod(x.shape) for x in jax.tree.leaves(state))
  assert count / 1e6 == pytest.approx(millions, abs=0.03)


def test_smallest_image(checkpoint):
  model, _ = checkpoint
  size = catalog.ARCHITECTURES["resnet8"].min_image_size
  logits, features = model(jnp.zeros((1, size, size, 3)))
  assert (logits.shape, features.shape) == ((1, 3), (1, 64))


def test_save_and_load_are_inverse(checkpoint, rng):
  model, path = checkpoint
  tensors, metadata = checkpoints.read_tensors(path)
  assert metadata == {}
  assert tensors["conv1.weight"].shape == (16, 3, 3, 3)
  assert tensors["linear.weight"].shape == (3, 64)
  fresh = catalog.build("resnet8", 3)
  matching.load_into(fresh, tensors, origin="file")
  for got, expected in zip(
    jax.tree.leaves(nnx.state(fresh)),
    jax.tree.leaves(nnx.state(model)),
    strict=True,
  ):
    np.testing.assert_array_equal(got, expected)


def test_npz_checkpoints(checkpoint, tmp_path, rng):
  _, path = checkpoint
  tensors, _ = checkpoints.read_tensors(path)
  np.savez(tmp_path / "model.npz", **tensors)
  images = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
  first = forward(leep_jax.load_source(f"resnet8@{path}"), images)
  again = forward(
    leep_jax.load_source(f"resnet8@{tmp_path / 'model.npz'}"), images
  )
  np.testing.assert_array_equal(first[0], again[0])


def test_counters_of_batches_are_ignored(checkpoint):
  _, path = checkpoint
  resave(path, bn1__num_batches_tracked=np.array(7))
  leep_jax.load_source(f"resnet8@{path}")


@pytest.mark.parametrize(
  ("arch", "changes", "message"),
  [
    ("resnet8", {"bn1__bias": None}, "1 tensors missing: bn1.bias"),
    (
      "resnet8",
      {"other": np.zeros(3), "more": np.zeros(2)},
      "2 tensors not of this architecture: more, other",
    ),
    (
      "resnet8",
      {"conv1__weight": np.zeros((16, 1, 3, 3), np.float32)},
      r"conv1.weight \(16, 1, 3, 3\), not .*: a network for 1-channel images",
    ),
    (
      "resnet8",
      {"bn1__bias": np.full(16, np.nan, np.float32)},
      r"bn1.bias \(not finite\)",
    ),
    (
      "resnet8",
      {"linear__weight": np.array(1.0)},
      "2 tensors of the wrong shape or type: linear.bias .*linear.weight",
    ),
    (
      "resnet14",
      {},
      "30 tensors missing: layer1.1.bn1.bias, .*running_var, ...$",
    ),
  ],
)
def test_checkpoints_that_do_not_fit(checkpoint, arch, changes, message):
  _, path = checkpoint
  resave(path, **changes)
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.load_source(f"{arch}@{path}")


@pytest.mark.parametrize(
  "prefix", ["backbone.", "net.", "timm_model.", "a.encoder.", "module.net."]
)
def test_a_prefix_of_all_names_is_removed(checkpoint, prefix):
  _, path = checkpoint
  expected = leep_jax.load_source(f"resnet8@{path}").state
  tensors, _ = checkpoints.read_tensors(path)
  theirs = {prefix + name: value for name, value in tensors.items()}
  safetensors.numpy.save_file(theirs, path)
  state = leep_jax.load_source(f"resnet8@{path}").state
  jax.tree.map(np.testing.assert_array_equal, state, expected)
  theirs |= {f"decode_head.{i}.w": np.zeros(1, np.float32) for i in range(5)}
  safetensors.numpy.save_file(theirs, path)
  with pytest.warns(
    leep_jax.validation.InputNote, match=r"5 tensors \(decode_head"
  ):
    leep_jax.load_source(f"resnet8@{path}")


def test_of_a_student_and_a_teacher_none_is_chosen(checkpoint):
  _, path = checkpoint
  tensors, _ = checkpoints.read_tensors(path)
  both = {
    k + n: v for k in ("student.", "teacher.") for n, v in tensors.items()
  }
  safetensors.numpy.save_file(both, path)
  with pytest.raises(
    leep_jax.InputError, match="twice, under student. and tea"
  ):
    leep_jax.load_source(f"resnet8@{path}")


@pytest.mark.parametrize("other", [False, True])
def test_a_checkpoint_without_a_head_has_features(checkpoint, other, rng):
  _, path = checkpoint
  images = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
  _, expected = forward(leep_jax.load_source(f"resnet8@{path}"), images)
  resave(path, linear__weight=None, linear__bias=None)
  if other:
    resave(path, classifier__3__weight=np.zeros((5, 64), np.float32))
  with pytest.warns(leep_jax.validation.InputNote) as notes:
    source = leep_jax.load_source(f"resnet8@{path}")
  assert any("classifier.3" in str(n.message) for n in notes) == other
  assert (
    source.without_probs == "its checkpoint has no classifier (linear.weight)"
  )
  logits, features = forward(source, images)
  assert logits is None
  np.testing.assert_array_equal(features, expected)


def test_a_part_of_a_deeper_network_is_not_a_network(checkpoint, tmp_path):
  deeper = catalog.build("resnet14", 3)
  checkpoints.save(deeper, tmp_path / "deeper.safetensors")
  with pytest.raises(leep_jax.InputError, match="30 tensors not of this") as e:
    leep_jax.load_source(f"resnet8@{tmp_path / 'deeper.safetensors'}")
  assert len(str(e.value)) <= 600


def test_a_model_that_could_not_be_filled_is_unchanged(checkpoint):
  _, path = checkpoint
  tensors, _ = checkpoints.read_tensors(path)
  del tensors["linear.bias"]
  model = catalog.build("resnet8", 3)
  before = jax.tree.map(np.asarray, nnx.state(model))
  with pytest.raises(leep_jax.InputError):
    matching.load_into(model, tensors, origin="file")
  jax.tree.map(np.testing.assert_array_equal, nnx.state(model), before)


def test_damaged_and_refused_files(checkpoint, tmp_path):
  _, path = checkpoint
  path.write_bytes(path.read_bytes()[:1000])
  with pytest.raises(leep_jax.InputError, match="cut short"):
    leep_jax.load_source(f"resnet8@{path}")
  pickle = tmp_path / "model.pth"
  pickle.write_bytes(b"\xffneither")
  with pytest.raises(leep_jax.InputError, match="pickle.*leep_jax.convert"):
    leep_jax.load_source(f"resnet8@{pickle}")


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("resnet21@x", "unknown architecture 'resnet21'; did you mean .*resnet20"),
    ("resnet20@/none/x.safetensors", "no checkpoint at /none/x.safe"),
    ("resnet20", "an architecture, not trained weights"),
    ("fashion_mnist_resnet", "did you mean fashion_mnist_resnet8"),
    ("no_such_module:f", "cannot make a source .*ModuleNotFoundError"),
    ("json:nothing", "cannot make a source .*has no attribute"),
    ("json:dumps", "cannot make a source .*TypeError"),
    ("time:time", "returned a float, not a leep_jax.Source"),
  ],
)
def test_unknown_sources(name, message):
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.load_source(name)


def test_a_users_own_source(tmp_path, monkeypatch):
  (tmp_path / "mine.py").write_text(
    textwrap.dedent("""
      import jax.numpy as jnp
      import leep_jax

      def make():
        def apply(state, images):
          return images.mean((1, 2)) @ state
        return leep_jax.Source("mine", apply, jnp.eye(3))
    """)
  )
  monkeypatch.syspath_prepend(tmp_path)
  source = leep_jax.load_source("mine:make")
  assert source.name == "mine"
  outputs = leep_jax.compute_outputs(source, leep_jax.load_dataset("digits"))
  assert leep_jax.compute_scores(outputs, names=["leep"])["leep"] < 0
  del sys.modules["mine"]


def test_bundled_sources_have_cards_and_are_small():
  bundled = catalog.bundled()
  assert len(bundled) >= 2
  for path in bundled.values():
    assert path.stat().st_size < 2_000_000
    card = json.loads(path.with_suffix(".json").read_text())
    assert {"data", "recipe", "licence", "test_examples"} <= set(card)
    classes = len(card["class_names"])
    assert classes in (10, 100, 200)
    assert 5 / classes < card["test_accuracy"] < 1
    _, metadata = checkpoints.read_tensors(path)
    inside = json.loads(metadata["leep_jax"])
    assert all(card[key] == value for key, value in inside.items())


SMALLEST = "fashion_mnist_resnet8"
BUNDLED = [
  SMALLEST,
  *marks.exhaustive(*(n for n in catalog.names() if n != SMALLEST)),
]


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_sources_know_more_than_nothing(name):
  outputs = leep_jax.compute_outputs(
    leep_jax.load_source(name), leep_jax.load_dataset("digits", limit=500)
  )
  share = np.bincount(outputs.labels) / len(outputs)
  values = leep_jax.compute_scores(outputs)
  assert values["leep"] > (share * np.log(share)).sum() + 0.1
  assert values["eep_accuracy"] > 0.2


@pytest.mark.parametrize("name", BUNDLED)
def test_bfloat16_scores_are_within_the_stated_tolerance(name):
  # A compiler's fused kernels once made NaN of such networks.
  source = leep_jax.load_source(name)
  dataset = leep_jax.load_dataset("digits", limit=500)
  exact, _ = precision.measure(source, dataset, "float32")
  rough, _ = precision.measure(source, dataset, "bfloat16")
  assert set(exact) == set(precision.TOLERANCE)
  for score, (bound, relative) in precision.TOLERANCE.items():
    unit = abs(exact[score]) if relative else 1
    assert abs(rough[score] - exact[score]) <= bound * unit
    assert rough[score] != exact[score]  # it was another forward pass


def test_folder_laid_out_as_on_the_hub(checkpoint, tmp_path, rng):
  model, path = checkpoint
  config = {
    "architecture": "resnet8",
    "num_classes": 3,
    "pretrained_cfg": {
      "input_size": [3, 40, 40],
      "mean": [0.5, 0.4, 0.3],
      "std": [0.2, 0.2, 0.2],
      "crop_pct": 0.8,
      "interpolation": "bicubic",
    },
  }
  (tmp_path / "config.json").write_text(json.dumps(config))
  (tmp_path / "notes.txt").write_text("not a checkpoint")
  source = leep_jax.load_source(f"resnet8@{tmp_path}")
  stated = leep_jax.Preprocessing(
    image_size=40,
    mean=(0.5, 0.4, 0.3),
    std=(0.2,) * 3,
    crop=0.8,
    interpolation="bicubic",
  )
  assert source.preprocessing == stated
  # The same file by its own name has the same configuration beside it.
  assert leep_jax.load_source(f"resnet8@{path}").preprocessing == stated
  changed = leep_jax.load_source(
    f"resnet8@{tmp_path}",
    overrides=catalog.Overrides(image_size=32, crop=1.0, std=(1.0,) * 3),
  )
  assert changed.preprocessing == leep_jax.Preprocessing(
    image_size=32, mean=(0.5, 0.4, 0.3), std=(1,) * 3, interpolation="bicubic"
  )
  images = rng.integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
  logits, _ = forward(source, images)
  expected, _ = model(stated(images))
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_checkpoint_in_parts(checkpoint, tmp_path):
  _, path = checkpoint
  tensors, _ = checkpoints.read_tensors(path)
  folder = tmp_path / "parts"
  folder.mkdir()
  names, index = sorted(tensors), {}
  for i, part in enumerate((names[:20], names[20:])):
    file = f"model-0000{i + 1}-of-00002.safetensors"
    safetensors.numpy.save_file({k: tensors[k] for k in part}, folder / file)
    index |= dict.fromkeys(part, file)
  listing = folder / "model.safetensors.index.json"
  listing.write_text(json.dumps({"weight_map": index}))
  leep_jax.load_source(f"resnet8@{folder}")
  (folder / "model-00002-of-00002.safetensors").unlink()
  with pytest.raises(
    leep_jax.InputError, match="no checkpoint file at .*0002-"
  ):
    leep_jax.load_source(f"resnet8@{folder}")
  listing.write_text("{}")
  with pytest.raises(leep_jax.InputError, match="as the index of a checkpoint"):
    leep_jax.load_source(f"resnet8@{folder}")


@pytest.mark.parametrize("pure", [True, False])
def test_orbax_checkpoints(checkpoint, tmp_path, pure, rng):
  import orbax.checkpoint as ocp

  model, path = checkpoint
  state = nnx.state(model)
  if pure:
    state = nnx.to_pure_dict(state)
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(tmp_path / "orbax", state)
  images = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
  first = forward(leep_jax.load_source(f"resnet8@{path}"), images)
  again = forward(leep_jax.load_source(f"resnet8@{tmp_path / 'orbax'}"), images)
  for got, expected in zip(again, first, strict=True):
    np.testing.assert_array_equal(got, expected)
  with pytest.raises(leep_jax.InputError, match="30 tensors missing"):
    leep_jax.load_source(f"resnet14@{tmp_path / 'orbax'}")


def test_damaged_orbax_checkpoint(tmp_path):
  (tmp_path / "_METADATA").write_text("{")
  with pytest.raises(leep_jax.InputError, match="as an Orbax checkpoint"):
    leep_jax.load_source(f"resnet8@{tmp_path}")


def test_folders_without_one_checkpoint(checkpoint, tmp_path):
  _, path = checkpoint
  empty = tmp_path / "empty"
  empty.mkdir()
  with pytest.raises(leep_jax.InputError, match="has no checkpoint"):
    leep_jax.load_source(f"resnet8@{empty}")
  (empty / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
  with pytest.raises(leep_jax.InputError, match=r"bin is a pickle"):
    leep_jax.load_source(f"resnet8@{empty}")
  path.rename(tmp_path / "a.safetensors")
  leep_jax.load_source(f"resnet8@{tmp_path}")
  safetensors.numpy.save_file({}, tmp_path / "b.safetensors")
  with pytest.raises(leep_jax.InputError, match="has 2 checkpoints"):
    leep_jax.load_source(f"resnet8@{tmp_path}")


def test_number_of_classes_must_agree(checkpoint, tmp_path):
  _, path = checkpoint
  with pytest.raises(
    leep_jax.InputError, match=r"3 classes \(linear.weight.*10 are asked for"
  ):
    leep_jax.load_source(
      f"resnet8@{path}", overrides=catalog.Overrides(num_classes=10)
    )
  leep_jax.load_source(
    f"resnet8@{path}", overrides=catalog.Overrides(num_classes=3)
  )
  (tmp_path / "config.json").write_text('{"num_labels": 4}')
  with pytest.raises(leep_jax.InputError, match="4 are in its configuration"):
    leep_jax.load_source(f"resnet8@{path}")


def test_overrides_that_do_not_fit(checkpoint):
  _, path = checkpoint
  for options, message in (
    ({"tf_padding": True}, "resnet8 has no choice of tf_padding"),
    ({"crop": 1.5}, "crop is 1.5, but must be above 0"),
    ({"interpolation": "cubic"}, "did you mean bicubic"),
    ({"mean": (0.5,)}, "one finite number a channel"),
    (
      {"mean": (0.5,), "std": (0.5,)},
      "1 numbers, but resnet8 takes images of 3",
    ),
    ({"image_size": 0}, "image_size is 0"),
    ({"num_classes": 0}, "num_classes is 0"),
  ):
    with pytest.raises(leep_jax.InputError, match=message):
      leep_jax.load_source(
        f"resnet8@{path}", overrides=catalog.Overrides(**options)
      )


def test_other_networks_with_the_same_tensors_are_refused(checkpoint, tmp_path):
  _, path = checkpoint
  for config, message in (
    ({"architecture": "resnetblur18"}, "says 'resnetblur18', but resnet8 is"),
    ({"architecture": "resnet8", "global_pool": "max"}, "'max'.*is avg"),
    ({"model_type": "vit", "hidden_act": "gelu"}, "'vit'.*not published there"),
  ):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(leep_jax.InputError, match=message):
      leep_jax.load_source(f"resnet8@{path}")


def test_names_of_transformers_bring_its_padding(tmp_path, rng):
  model = catalog.build("mobilenet_v1_025", 3, norm_eps=1e-3, tf_padding=True)
  theirs = {
    tensor_names.transformers_mobilenet(name): np.ascontiguousarray(value)
    for name, value in matching.published(model).items()
  }
  path = tmp_path / "lone.safetensors"
  safetensors.numpy.save_file(theirs, path)
  source = leep_jax.load_source(f"mobilenet_v1_025@{path}")
  images = rng.integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
  logits, _ = forward(source, images)
  expected, _ = nnx.jit(model)(source.preprocessing(images))
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_checkpoint_of_a_manager(checkpoint, tmp_path):
  import orbax.checkpoint as ocp

  model, _ = checkpoint
  with ocp.CheckpointManager(tmp_path / "run") as manager:
    state = nnx.to_pure_dict(nnx.state(model))
    manager.save(7, args=ocp.args.StandardSave(state))
  assert leep_jax.load_source(f"resnet8@{tmp_path / 'run' / '7'}").state


def test_tensors_of_integers_are_refused(checkpoint):
  _, path = checkpoint
  resave(path, bn1__bias=np.zeros(16, np.int8))
  with pytest.raises(leep_jax.InputError, match=r"bn1.bias \(int8\)"):
    leep_jax.load_source(f"resnet8@{path}")


@pytest.mark.parametrize(
  ("body", "message"),
  [
    ("x.mean((1, 2))[:, :0]", "returns 0 logits an image"),
    ("x.mean((1, 2))[:, :1]", "returns 1 logits .*logit s of a sigmoid"),
    ("x.mean((1, 2)) * 1j", "logits of type complex64, not real numbers"),
    ("(x.mean((1, 2)), [1.0])", "features of type list, not real numbers"),
    ("()", "returned 0 values"),
    ("(x.mean((1, 2)),) * 3", "returned 3 values, not logits or"),
    ("x.mean((1, 2, 3))", r"logits of shape \(.*, not \["),
    ("x", r"logits of shape \(.*, not \["),
  ],
)
def test_odd_outputs_of_a_users_source(body, message):
  apply = eval(f"lambda state, x: {body}")
  source = leep_jax.Source(
    "mine",
    apply,
    jnp.zeros(1),
    leep_jax.Preprocessing(mean=(0,) * 3, std=(1,) * 3),
  )
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.compute_outputs(source, leep_jax.load_dataset("digits", limit=20))


def test_overrides_of_other_sources():
  plain = leep_jax.load_source("cifar10_resnet14")
  larger = leep_jax.load_source(
    "cifar10_resnet14", overrides=catalog.Overrides(image_size=64)
  )
  assert larger.preprocessing.image_size == 64
  assert larger.preprocessing.mean == plain.preprocessing.mean


def test_listing(capsys):
  assert models_main.main(["models"]) == 0
  printed = capsys.readouterr().out
  lines = [x for x in printed.splitlines() if not x.startswith("  https:")]
  assert max(map(len, lines)) <= 80
  for entry in catalog.entries():
    assert entry.name in printed
    assert entry.architecture in catalog.ARCHITECTURES
    classes = {"cifar10": 10, "fashion_mnist": 10, "cifar100": 100}
    published = 1001 if "google" in entry.origin else 1000  # with background
    count = classes.get(
      entry.data, 200 if entry.origin == "bundled" else published
    )
    assert entry.parameters == catalog.parameter_count(
      entry.architecture, count
    )
    assert entry.accuracy is None or 0 < entry.accuracy < 1
  assert all(arch in printed for arch in catalog.ARCHITECTURES)
  assert len({entry.name for entry in catalog.entries()}) == len(
    catalog.entries()
  )
