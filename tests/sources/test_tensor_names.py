"""Names that other publishers have for tensors, and Google's ViT files."""

import json
import re

from flax import nnx
import jax
import numpy as np
import publishers
import pytest
import references
import safetensors.numpy
import tensor_names

import leep_jax
from leep_jax.sources import catalog, loading, matching


@pytest.mark.parametrize(
  ("arch", "name_of"),
  [
    ("convnext_tiny", tensor_names.torchvision_convnext),
    ("convnext_tiny", tensor_names.transformers_convnext),
    ("vit_small_16", tensor_names.torchvision_vit),
    ("vit_small_16", tensor_names.transformers_vit),
    ("vit_small_16", tensor_names.new_transformers_vit),
    ("efficientnet_b0", tensor_names.torchvision_efficientnet),
    ("mobilenetv2_100", tensor_names.torchvision_mobilenet),
    ("mobilenet_v1_025", tensor_names.transformers_mobilenet),
    ("resnet18", lambda name: f"module.{name}"),
  ],
)
def test_names_of_other_publishers(arch, name_of):
  _, tensors = references.golden(arch)
  theirs = tensor_names.spoken(tensors, name_of)
  assert not set(theirs) & set(tensors) - {
    "classifier.weight",
    "classifier.bias",
  }
  table = catalog.ARCHITECTURES[arch].names
  model = catalog.shapes(arch, 1000)
  matching.load_into(model, theirs, names=table, origin="theirs")
  got = matching.published(model)
  for name, value in tensors.items():
    if not name.endswith("num_batches_tracked"):
      np.testing.assert_array_equal(got[name], value)


@pytest.mark.parametrize("arch", references.GOLDEN)
def test_published_names_are_left_alone(arch):
  reference = json.loads(references.GOLDEN[arch].read_text())
  names = {n: np.empty(0) for n in reference["tensors"]}
  renamed = matching.rename(names, catalog.ARCHITECTURES[arch].names)
  assert all(name == original for name, (original, _) in renamed.items())


_DEPTHS = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3],
           101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}  # fmt: skip


def resnet_of_transformers(depth):
  transformers = publishers.load("transformers")
  torch = pytest.importorskip("torch")
  torch.manual_seed(depth)
  small = depth < 50
  config = transformers.ResNetConfig(
    depths=_DEPTHS[depth],
    layer_type="basic" if small else "bottleneck",
    hidden_sizes=[64, 128, 256, 512] if small else [256, 512, 1024, 2048],
    num_labels=5,
  )
  model = transformers.ResNetForImageClassification(config).eval()
  for name, buffer in model.named_buffers():
    if "running" in name:
      buffer.uniform_(0.5, 1.5)
  return torch, model


@pytest.mark.parametrize("depth", [18, 50])
def test_resnets_of_transformers(tmp_path, depth, rng):
  torch, model = resnet_of_transformers(depth)
  model.save_pretrained(tmp_path, safe_serialization=True)
  source = leep_jax.load_source(f"resnet{depth}@{tmp_path}")
  x = rng.standard_normal((2, 64, 64, 3)).astype(np.float32)
  with torch.no_grad():
    expected = model(torch.tensor(x.transpose(0, 3, 1, 2))).logits.numpy()
  logits, _ = source.apply(source.state, x)
  np.testing.assert_allclose(
    logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
  )


@pytest.mark.parametrize("second", [False, True])
def test_convnexts_of_transformers(tmp_path, second, rng):
  transformers = publishers.load("transformers")
  torch = pytest.importorskip("torch")
  torch.manual_seed(0)
  kind = "ConvNextV2" if second else "ConvNext"
  config = getattr(transformers, f"{kind}Config")(
    depths=[2, 2, 6, 2], hidden_sizes=[40, 80, 160, 320], num_labels=5
  )
  model = getattr(transformers, f"{kind}ForImageClassification")(config).eval()
  for value in model.parameters():  # some are zero at first
    torch.nn.init.uniform_(value, -0.1, 0.2)
  model.save_pretrained(tmp_path, safe_serialization=True)
  stated = {"size": {"shortest_edge": 64}, "crop_pct": 0.875}
  (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
  arch = loading.architecture_of("it", tmp_path)
  assert arch == ("convnextv2_atto" if second else "convnext_atto")
  source = leep_jax.load_source(f"{arch}@{tmp_path}")
  x = rng.standard_normal((2, 64, 64, 3)).astype(np.float32)
  with torch.no_grad():
    expected = model(torch.tensor(x.transpose(0, 3, 1, 2))).logits.numpy()
  logits, _ = source.apply(source.state, x)
  size = np.abs(expected).max()
  np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * size)


@pytest.mark.parametrize("depth", [34, 101, 152])
def test_all_names_of_deeper_resnets(depth):
  _, model = resnet_of_transformers(depth)
  ours = catalog.shapes(f"resnet{depth}", 5)
  wanted = {
    matching.published_name(path)
    for path, _ in nnx.to_flat_state(nnx.state(ours))
  }
  theirs = {k: v.numpy() for k, v in model.state_dict().items()}
  names = catalog.ARCHITECTURES[f"resnet{depth}"].names
  assert set(matching.rename(theirs, names)) == wanted


def of_google(tensors, heads):
  """What timm's `_load_weights` reads, written the other way round."""
  out = {}
  width = tensors["cls_token"].shape[-1]
  for name, value in tensors.items():
    block = re.match(r"blocks\.(\d+)\.(.*)", name)
    place = f"Transformer/encoderblock_{block[1]}/" if block else ""
    rest = block[2] if block else name
    attention = f"{place}MultiHeadDotProductAttention_1/"
    kind = {"weight": "kernel", "bias": "bias"}.get(rest.split(".")[-1])
    if rest == "cls_token":
      out["cls"] = value
    elif rest == "pos_embed":
      out["Transformer/posembed_input/pos_embedding"] = value
    elif rest.startswith("patch_embed"):
      out[f"embedding/{kind}"] = (
        value.transpose(2, 3, 1, 0) if kind == "kernel" else value
      )
    elif "norm" in rest:
      kind = {"kernel": "scale"}.get(kind, kind)
      layer = {"norm1": "LayerNorm_0", "norm2": "LayerNorm_2",
               "norm": "Transformer/encoder_norm"}  # fmt: skip
      out[f"{place}{layer[rest.split('.')[0]]}/{kind}"] = value
    elif rest.startswith("attn.qkv"):
      for piece, part in zip(
        ("query", "key", "value"), np.split(value, 3), strict=True
      ):
        shape = (heads, width // heads)
        out[f"{attention}{piece}/{kind}"] = (
          part.T.reshape(width, *shape)
          if kind == "kernel"
          else part.reshape(shape)
        )
    elif rest.startswith("attn.proj"):
      out[f"{attention}out/{kind}"] = (
        value.T.reshape(heads, width // heads, width)
        if kind == "kernel"
        else value
      )
    else:
      layer = {"mlp.fc1": "MlpBlock_3/Dense_0", "mlp.fc2": "MlpBlock_3/Dense_1",
               "head": "head"}[rest.rpartition(".")[0]]  # fmt: skip
      out[f"{place}{layer}/{kind}"] = value.T
  return out


@pytest.mark.parametrize("before", ["", "params/"])
def test_vit_files_of_google(tmp_path, before):
  model = catalog.build("vit_small_16", 3)
  key = jax.random.key(0)
  for i, (_, variable) in enumerate(nnx.to_flat_state(nnx.state(model))):
    noise = jax.random.normal(jax.random.fold_in(key, i), variable.shape)
    variable.set_value(variable.get_value() + 0.1 * noise)
  theirs = of_google(matching.published(model), heads=6)
  path = tmp_path / "S_16.npz"
  np.savez(path, **{before + name: value for name, value in theirs.items()})
  state = leep_jax.load_source(f"vit_small_16@{path}").state
  for got, expected in zip(
    jax.tree.leaves(state), jax.tree.leaves(nnx.state(model)), strict=True
  ):
    np.testing.assert_array_equal(got, expected)


def test_a_file_of_google_with_a_layer_before_its_head(tmp_path):
  model = catalog.build("vit_small_16", 3)
  theirs = of_google(matching.published(model), heads=6)
  theirs["pre_logits/kernel"] = np.zeros((384, 384), np.float32)
  np.savez(tmp_path / "S_16.npz", **theirs)
  with pytest.raises(leep_jax.InputError, match="not of this.*pre_logits"):
    leep_jax.load_source(f"vit_small_16@{tmp_path / 'S_16.npz'}")


def test_a_part_of_a_network_of_transformers(tmp_path):
  _, model = resnet_of_transformers(18)
  tensors = {
    name: value.numpy() for name, value in model.resnet.state_dict().items()
  }
  path = tmp_path / "model.safetensors"
  safetensors.numpy.save_file(tensors, path)
  with pytest.warns(leep_jax.validation.InputNote, match="has no classifier"):
    assert leep_jax.load_source(f"resnet18@{path}").without_probs
