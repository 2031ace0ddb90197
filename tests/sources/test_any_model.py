"""Models by the names that users know, from a hub on this machine."""

import json
import os
import pathlib
import re
import sys
import time

import hub_server
import numpy as np
import publishers
import pytest
import references
import transformers_folders

import leep_jax
from leep_jax import convert, score
from leep_jax.sources import catalog, kept_conversions

torch = pytest.importorskip("torch")
# timm's smallest networks of their kinds: one is native, the other is not.
NATIVE, OTHER = "test_resnet.r160_in1k", "test_byobnet.r160_in1k"
SIZE = 32
DIGITS = ["score", "--dataset=digits", "--limit=60", "--groups=1"]
pytestmark = pytest.mark.filterwarnings("ignore::leep_jax.validation.InputNote")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  """A cache of conversions of its own for each test."""
  monkeypatch.setenv("LEEP_JAX_CACHE", str(tmp_path / "kept"))
  return tmp_path / "kept" / "converted"


def write_timm(folder, name, classes=5):
  """Writes what a repository of timm has, with random weights."""
  timm = publishers.load("timm")
  import safetensors.torch

  torch.manual_seed(0)
  arch = name.partition(".")[0]
  model = timm.create_model(arch, num_classes=classes).eval()
  folder.mkdir(parents=True, exist_ok=True)
  safetensors.torch.save_file(model.state_dict(), folder / "model.safetensors")
  config = {
    "architecture": arch,
    "num_classes": classes,
    "pretrained_cfg": {
      "input_size": [3, SIZE, SIZE], "num_classes": classes,
      "mean": [0.5] * 3, "std": [0.25] * 3, "crop_pct": 1.0,
    },
  }  # fmt: skip
  (folder / "config.json").write_text(json.dumps(config))
  return model


def test_a_network_of_tall_images(tmp_path):
  timm = publishers.load("timm")
  import safetensors.torch

  torch.manual_seed(0)
  model = timm.create_model("test_vit", img_size=(48, 32), num_classes=5)
  model.eval()
  safetensors.torch.save_file(
    model.state_dict(), tmp_path / "model.safetensors"
  )
  config = {
    "architecture": "test_vit",
    "num_classes": 5,
    "pretrained_cfg": {
      "input_size": [3, 48, 32], "num_classes": 5, "crop_mode": "squash",
      "crop_pct": 1.0,
    },
  }  # fmt: skip
  (tmp_path / "config.json").write_text(json.dumps(config))
  source = leep_jax.load_source(str(tmp_path))
  assert source.options.startswith("graph")  # of the bridge
  images = source.preprocessing(np.full((2, 30, 30, 3), 99, np.uint8))
  with torch.no_grad():
    expected = model(torch.tensor(np.asarray(images).transpose(0, 3, 1, 2)))
  np.testing.assert_allclose(
    source.apply(source.state, images)[0], expected, rtol=1e-4, atol=1e-5
  )


def write_encoder(folder):
  """Writes a DINOv2 as transformers saves one without a head."""
  transformers = publishers.load("transformers")
  torch.manual_seed(0)
  config = transformers.Dinov2Config(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, patch_size=4,
    image_size=SIZE,
  )  # fmt: skip
  transformers.Dinov2Model(config).save_pretrained(folder)
  transformers.BitImageProcessor(
    size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
  ).save_pretrained(folder)


def write_native(folder):
  folder.mkdir()
  _, tensors = references.golden("resnet50")
  references.save(tensors, folder / "model.safetensors")
  config = {
    "architecture": "resnet50",
    "num_classes": 1000,
    "pretrained_cfg": {"input_size": [3, SIZE, SIZE]},
  }
  (folder / "config.json").write_text(json.dumps(config))


def write_keras(path):
  os.environ.setdefault("KERAS_BACKEND", "jax")
  keras = pytest.importorskip("keras")
  keras.utils.set_random_seed(0)
  keras.Sequential(
    [
      keras.Input((SIZE, SIZE, 3)),
      keras.layers.Rescaling(1 / 255),
      keras.layers.Conv2D(8, 3, strides=4),
      keras.layers.GlobalAveragePooling2D(),
      keras.layers.Dense(6, activation="softmax"),
    ]
  ).save(path)


def serve(server, folder):
  """Makes the fake hub's one repository that of a folder."""
  server.commits[hub_server.FIRST] = {
    file.name: file.read_bytes() for file in pathlib.Path(folder).iterdir()
  }


def test_a_mixed_list_is_ranked(tmp_path, capsys):
  write_timm(tmp_path / "byobnet", OTHER)
  write_encoder(tmp_path / "dinov2")
  write_native(tmp_path / "resnet50")
  write_keras(tmp_path / "mine.keras")
  rows = tmp_path / "rows.jsonl"
  names = ["byobnet", "dinov2", "resnet50", "mine.keras"]
  listed = tmp_path / "models.txt"
  listed.write_text("".join(f"{tmp_path / name}\n" for name in names))
  command = [*DIGITS, f"--models={listed}", f"--output={rows}"]
  assert score.main(command) == 0
  printed = capsys.readouterr().out
  assert all(name in printed for name in names)
  found = {
    pathlib.Path(row["model"]).name: row
    for row in map(json.loads, rows.read_text().splitlines())
  }
  assert found.keys() == set(names)
  for name, row in found.items():
    assert np.isfinite(row["probe_accuracy"])
    assert (row["leep"] is None) == (name == "dinov2")
  # Every source has this score, so that all of them are in the ranking.
  places = re.findall(r"^ ?(\d)  ", printed, re.MULTILINE)
  assert set(places) == {"1", "2", "3", "4"}


@pytest.mark.parametrize("spelling", ["{}", "timm/{}", "hf://timm/{}"])
@pytest.mark.parametrize("name", [NATIVE, OTHER])
def test_names_of_timm(server, tmp_path, monkeypatch, spelling, name):
  model = write_timm(tmp_path / "folder", name)
  serve(server, tmp_path / "folder")
  monkeypatch.setattr(hub_server, "REPO", f"timm/{name}")
  source = leep_jax.load_source(spelling.format(name))
  images = np.random.default_rng(0).normal(size=(2, SIZE, SIZE, 3))
  images = images.astype(np.float32)
  with torch.no_grad():
    expected = model(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()
  logits, features = source.apply(source.state, images)
  scale = np.abs(expected).max()
  np.testing.assert_allclose(logits, expected, atol=1e-4 * scale)
  assert features.shape[0] == 2
  assert source.options.startswith("graph ") == (name == OTHER)
  assert source.preprocessing == leep_jax.Preprocessing(
    image_size=SIZE, mean=(0.5,) * 3, std=(0.25,) * 3, crop=1.0,
    interpolation="bicubic",
  )  # fmt: skip


@pytest.mark.parametrize("name", ["regnetx_002", "timm/regnetx_002"])
def test_a_name_without_a_tag_means_the_default(name, recwarn):
  kind, location = catalog.parse(name)
  assert location.path == "hf://timm/regnetx_002.pycls_in1k"
  kind.check(name, location)
  assert "regnetx_002.pycls_in1k" in str(recwarn.pop().message)


def test_each_backend_gives_the_same(tmp_path, cache):
  write_timm(tmp_path / "folder", NATIVE)
  name = str(tmp_path / "folder")
  digits = leep_jax.load_dataset("digits", limit=20)
  found = {
    backend: leep_jax.compute_outputs(
      leep_jax.load_source(name, overrides=catalog.Overrides(backend=backend)),
      digits,
    )
    for backend in ("native", "bridge", "torch")
  }
  for backend in ("bridge", "torch"):
    for what in ("probs", "features"):
      np.testing.assert_allclose(
        getattr(found[backend], what),
        getattr(found["native"], what),
        atol=1e-4,
      )
  assert len(list(cache.iterdir())) == 1
  with pytest.raises(leep_jax.InputError, match="no model of Keras"):
    leep_jax.load_source(name, overrides=catalog.Overrides(backend="keras"))


def test_what_was_converted_is_kept(tmp_path, cache, monkeypatch):
  write_timm(tmp_path / "folder", OTHER)
  name = str(tmp_path / "folder")
  first = leep_jax.load_source(name)
  (kept,) = cache.iterdir()
  monkeypatch.setattr("leep_jax.sources.conversion.convert", None)
  images = np.ones((1, SIZE, SIZE, 3), np.float32)
  np.testing.assert_array_equal(
    leep_jax.load_source(name).apply(first.state, images)[0],
    first.apply(first.state, images)[0],
  )
  monkeypatch.undo()
  monkeypatch.setenv("LEEP_JAX_CACHE", str(cache.parent))
  # A damaged entry is made again; so is one of other weights.
  (kept / "program.json").write_text("{")
  assert leep_jax.load_source(name).num_parameters == first.num_parameters
  write_timm(tmp_path / "folder", OTHER, classes=7)
  logits, _ = leep_jax.load_source(name).apply(
    leep_jax.load_source(name).state, images
  )
  assert logits.shape == (1, 7)


def test_a_download_that_was_cut_short(tmp_path, capsys):
  write_timm(tmp_path, OTHER)
  path = tmp_path / "model.safetensors"
  path.write_bytes(path.read_bytes()[:-100])
  assert score.main([*DIGITS, f"--model={tmp_path}"]) == 2
  error = capsys.readouterr().err
  assert f"cannot read {path} as safetensors" in error
  assert "a download cut short?" in error
  assert error.count("\n") == 1


@pytest.mark.parametrize("backend", ["bridge", "torch"])
def test_the_file_that_is_named_is_read_and_no_other(tmp_path, backend):
  import safetensors.torch

  model = write_timm(tmp_path, OTHER)
  zeros = {k: torch.zeros_like(v) for k, v in model.state_dict().items()}
  safetensors.torch.save_file(zeros, tmp_path / "zero.safetensors")
  # What timm takes first: a pickle, of another network's weights.
  torch.save(zeros, tmp_path / "pytorch_model.bin")
  stated = catalog.Overrides(backend=backend)
  images = np.ones((1, SIZE, SIZE, 3), np.float32)

  def logits(path):
    source = leep_jax.load_source(str(path), overrides=stated)
    return np.asarray(source.apply(source.state, images)[0])

  assert not logits(tmp_path / "zero.safetensors").any()
  with torch.no_grad():
    expected = model(torch.ones(1, 3, SIZE, SIZE)).numpy()
  for path in (tmp_path, tmp_path / "model.safetensors"):
    np.testing.assert_allclose(logits(path), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("backend", ["bridge", "torch"])
def test_another_architecture_than_the_configuration_says(tmp_path, backend):
  write_timm(tmp_path, NATIVE)
  stated = catalog.Overrides(backend=backend)
  with pytest.raises(
    leep_jax.InputError, match="states test_resnet: leave out"
  ):
    leep_jax.load_source(f"resnet18@{tmp_path}", overrides=stated)
  with pytest.raises(
    leep_jax.InputError, match="is a bundled source, whose ne"
  ):
    leep_jax.load_source("cifar10_resnet14", overrides=stated)


def test_a_pooler_that_is_not_in_the_file_is_not_used(tmp_path):
  transformers = publishers.load("transformers")
  config = transformers.Dinov2Config(
    hidden_size=32, num_hidden_layers=1, num_attention_heads=2, patch_size=4,
    image_size=SIZE,
  )  # fmt: skip
  images = {"size": {"height": SIZE, "width": SIZE}, "do_resize": True}
  kinds = {
    # No pooler, a class token; no pooler, no class token.
    "vit": transformers.ViTForMaskedImageModeling(
      transformers.ViTConfig(**{**config.to_dict(), "model_type": "vit"})
    ),
    "ijepa": transformers.IJepaModel(
      transformers.IJepaConfig(**{**config.to_dict(), "model_type": "ijepa"}),
      add_pooling_layer=False,
    ),
  }
  pixels = np.random.default_rng(0).normal(size=(2, SIZE, SIZE, 3))
  pixels = pixels.astype(np.float32)
  for name, model in kinds.items():
    folder = tmp_path / name
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    body = getattr(model, "vit", model)
    with torch.no_grad():
      given = torch.tensor(pixels.transpose(0, 3, 1, 2))
      last = body(pixel_values=given).last_hidden_state
    expected = (last[:, 0] if name == "vit" else last.mean(1)).numpy()
    for backend in ("bridge", "torch"):
      source = leep_jax.load_source(
        str(folder), overrides=catalog.Overrides(backend=backend)
      )
      features = source.apply(source.state, pixels)[1]
      np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-5)


def test_a_file_of_a_converted_folder_is_the_folder(tmp_path):
  write_timm(tmp_path / "folder", OTHER)
  out = tmp_path / "converted"
  command = ["convert", str(tmp_path / "folder"), f"--output={out}"]
  assert convert.main([*command, "--nostablehlo"]) == 0
  source = leep_jax.load_source(str(out / "model.safetensors"))
  assert source.options == leep_jax.load_source(str(out)).options
  with pytest.raises(leep_jax.InputError, match="not resnet18: leave that out"):
    leep_jax.load_source(f"resnet18@{out}")
  program = json.loads((out / "program.json").read_text())
  for damage, message in (
    ({"origin": None}, "is it damaged"),
    ({"preprocessing": []}, "is it damaged"),
  ):
    (out / "program.json").write_text(json.dumps({**program, **damage}))
    with pytest.raises(leep_jax.InputError, match=message):
      leep_jax.load_source(str(out))
  program["program"]["graph"]["nodes"][0][1] = "no_such_operation"
  (out / "program.json").write_text(json.dumps(program))
  with pytest.raises(
    leep_jax.InputError, match="uses 1 operations .*no_such_op"
  ):
    leep_jax.load_source(str(out))


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("resnet50.a1", "did you mean resnet50.a1_in1k, resnet50.a1h_in1k"),
    ("ResNet50V2", "did you mean keras/ResNet50V2"),
    ("tf.keras.applications.ResNet50V2", "did you mean keras/ResNet50V2"),
    ("convnext*", r"leep_jax.models --list='convnext\*' lists"),
    (
      "mixer_b16_224@a.safetensors",
      "put timm's config.json beside the weights",
    ),
  ],
)
def test_what_else_to_write(name, message):
  with pytest.raises(leep_jax.InputError, match=message):
    catalog.check_source(name)


def test_a_tag_that_timm_does_not_have(recwarn):
  catalog.check_source("timm/resnet50.nosuch")
  assert "no weights resnet50.nosuch; known are" in str(recwarn.pop().message)


def test_conversions_that_nobody_uses_are_deleted(tmp_path, cache):
  for name in ("one", "other"):
    write_timm(tmp_path / name, OTHER, classes=3 if name == "one" else 4)
  leep_jax.load_source(str(tmp_path / "one"))
  (kept,) = cache.iterdir()
  long_ago = time.time() - 86400 * (kept_conversions.UNUSED_DAYS + 1)
  os.utime(kept, (long_ago, long_ago))
  leep_jax.load_source(str(tmp_path / "one"))  # used again
  leep_jax.load_source(str(tmp_path / "other"))
  assert len(list(cache.iterdir())) == 2
  os.utime(kept, (long_ago, long_ago))
  write_timm(tmp_path / "third", OTHER, classes=6)
  leep_jax.load_source(str(tmp_path / "third"))
  assert len(list(cache.iterdir())) == 2
  assert not kept.exists()


def test_without_pytorch_one_line_says_what_to_install(
  tmp_path, monkeypatch, capsys
):
  write_timm(tmp_path / "folder", OTHER)
  leep_jax.load_dataset("digits", limit=1)  # scikit-learn looks for PyTorch
  monkeypatch.setitem(sys.modules, "torch", None)
  name = str(tmp_path / "folder")
  assert score.main([*DIGITS, f"--model={name}"]) == 2
  error = capsys.readouterr().err
  assert "'test_byobnet'" in error
  assert "pip install 'leep_jax[torch]'" in error
  assert error.count("\n") == 1


def test_a_converted_folder_is_a_model(tmp_path, capsys):
  write_timm(tmp_path / "folder", OTHER)
  out = tmp_path / "converted"
  command = ["convert", str(tmp_path / "folder"), f"--output={out}"]
  assert convert.main(command) == 0
  assert "M parameters" in capsys.readouterr().out
  assert sorted(file.name for file in out.iterdir()) == [
    "model.safetensors", "program.json", "program.stablehlo",
  ]  # fmt: skip
  images = np.ones((1, SIZE, SIZE, 3), np.float32)
  one, other = (
    leep_jax.load_source(str(path)) for path in (tmp_path / "folder", out)
  )
  np.testing.assert_allclose(
    one.apply(one.state, images)[0], other.apply(other.state, images)[0],
    rtol=1e-5,
  )  # fmt: skip
  assert one.preprocessing == other.preprocessing


def test_a_file_with_its_configuration_beside_it(tmp_path):
  write_timm(tmp_path / "folder", NATIVE)
  path = tmp_path / "folder" / "model.safetensors"
  assert leep_jax.load_source(str(path)).options.startswith("test_resnet ")
  (tmp_path / "folder" / "config.json").unlink()
  with pytest.raises(leep_jax.InputError, match="without an architecture"):
    leep_jax.load_source(str(path))
  with pytest.raises(leep_jax.InputError, match="no configuration that names"):
    leep_jax.load_source(str(path.parent))


def test_a_text_classifier_ranks_beside_an_encoder(tmp_path, capsys):
  from texts import REVIEWS

  for kind, head in (
    ("DistilBert", "ForSequenceClassification"), ("Electra", "Model"),
  ):  # fmt: skip
    transformers_folders.save_text_model(tmp_path / kind, kind, head)
  names = [str(tmp_path / kind) for kind in ("DistilBert", "Electra")]
  command = ["score", f"--dataset=csv:{REVIEWS}", f"--model={','.join(names)}"]
  assert score.main(command) == 0
  printed = capsys.readouterr().out
  assert "DistilBert" in printed
  assert "Electra" in printed
  assert "its checkpoint has no classifier" in printed
