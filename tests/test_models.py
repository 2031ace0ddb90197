"""Each architecture computes what its reference definition computes.

`golden/*.json` hold, for reproducible weights, every published tensor's name
and shape and what the definition named there (timm, torchvision) computed in
float64. The weights are made here again from the tensors' names.
"""

import json
import pathlib
import zlib

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import leep_jax
from leep_jax.models import layers
from leep_jax.sources import catalog, matching

GOLDEN = {
  path.stem: path
  for path in sorted((pathlib.Path(__file__).parent / "golden").glob("*.json"))
}


def tensor(name, shape):
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  if name.endswith("num_batches_tracked"):
    return np.zeros(shape, np.int64)
  if name.endswith("running_var"):
    return rng.uniform(0.8, 1.2, shape).astype(np.float32)
  x = rng.standard_normal(shape).astype(np.float32)
  if len(shape) > 1:
    return x / np.float32(np.sqrt(np.prod(shape[1:])))
  if name.endswith(("weight", "gamma")):
    return 1 + np.float32(0.1) * x
  return np.float32(0.05) * x


def golden(arch):
  """The reference, and the weights that it was computed with."""
  reference = json.loads(GOLDEN[arch].read_text())
  tensors = {n: tensor(n, s) for n, s in reference["tensors"].items()}
  return reference, tensors


def images():
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)


def forward(source, x, dtype="float32"):
  mean = np.asarray(source.preprocessing.mean)
  std = np.asarray(source.preprocessing.std)
  normalised = ((x / 255 - mean) / std).astype(dtype)
  state = jax.tree.map(lambda v: v.astype(dtype), source.state)
  return map(np.asarray, jax.jit(source.apply)(state, normalised))


def save(tensors, path):
  safetensors.numpy.save_file(
    {k: np.ascontiguousarray(v) for k, v in tensors.items()}, path
  )
  return path


def test_every_architecture_has_a_reference():
  # The CIFAR ResNets are held to real weights and to NumPy in other files.
  imagenet = {
    name
    for name, architecture in catalog.ARCHITECTURES.items()
    if architecture.preprocessing.image_size != 32
  }
  assert imagenet == set(GOLDEN)


@pytest.mark.parametrize("arch", GOLDEN)
def test_parity(arch, tmp_path):
  reference, tensors = golden(arch)
  assert catalog.parameter_count(arch, 1000) == reference["parameters"]
  # Loading refuses whatever has no partner, in the file or in the network.
  path = save(tensors, tmp_path / "model.safetensors")
  source = leep_jax.load_source(f"{arch}@{path}")
  path.unlink()
  stated = reference["input"]
  assert source.preprocessing == leep_jax.Preprocessing(
    image_size=stated["input_size"][-1],
    mean=stated["mean"],
    std=stated["std"],
    crop=stated["crop_pct"],
    interpolation=stated["interpolation"],
  )
  for got, what in zip(
    forward(source, images()), ("logits", "features"), strict=True
  ):
    first = np.asarray(reference[what])
    size = np.abs(first).max()
    np.testing.assert_allclose(got[:, :24], first, rtol=1e-4, atol=1e-5 * size)
    norms = np.linalg.norm(got.astype(np.float64), axis=1)
    np.testing.assert_allclose(norms, reference[f"{what}_norm"], rtol=1e-5)
  assert got.shape == (2, reference["num_features"])


def torchvision_convnext(name):
  """The name that torchvision has for timm's."""
  parts = name.split(".")
  if parts[0] == "stem":
    return f"features.0.{'.'.join(parts[1:])}"
  if parts[0] == "head":
    number = {"norm": "0", "fc": "2"}[parts[1]]
    return f"classifier.{number}.{parts[2]}"
  stage = int(parts[1])
  if parts[2] == "downsample":
    return f"features.{2 * stage}.{'.'.join(parts[3:])}"
  block = f"features.{2 * stage + 1}.{parts[3]}"
  layer = ".".join(parts[4:-1])
  numbers = {"conv_dw": 0, "norm": 2, "mlp.fc1": 3, "mlp.fc2": 5}
  if not layer:
    return f"{block}.layer_scale"
  return f"{block}.block.{numbers[layer]}.{parts[-1]}"


def transformers_convnext(name):
  parts = name.split(".")
  last = parts[-1]
  if parts[0] == "stem":
    layer = ("patch_embeddings", "layernorm")[int(parts[1])]
    return f"convnext.embeddings.{layer}.{last}"
  if parts[0] == "head":
    return (
      f"convnext.layernorm.{last}"
      if parts[1] == "norm"
      else (f"classifier.{last}")
    )
  stage = f"convnext.encoder.stages.{parts[1]}"
  if parts[2] == "downsample":
    return f"{stage}.downsampling_layer.{parts[3]}.{last}"
  layer = {
    "conv_dw": "dwconv.", "norm": "layernorm.", "mlp.fc1": "pwconv1.",
    "mlp.fc2": "pwconv2.", "": "",
  }[".".join(parts[4:-1])]  # fmt: skip
  last = "layer_scale_parameter" if last == "gamma" else last
  return f"{stage}.layers.{parts[3]}.{layer}{last}"


def torchvision_vit(name):
  parts = name.split(".")
  last = parts[-1]
  outside = {
    "cls_token": "class_token",
    "pos_embed": "encoder.pos_embedding",
    "patch_embed": f"conv_proj.{last}",
    "norm": f"encoder.ln.{last}",
    "head": f"heads.head.{last}",
  }
  if parts[0] in outside:
    return outside[parts[0]]
  layer = {
    "norm1": f"ln_1.{last}",
    "norm2": f"ln_2.{last}",
    "attn.qkv": f"self_attention.in_proj_{last}",
    "attn.proj": f"self_attention.out_proj.{last}",
    "mlp.fc1": f"mlp.0.{last}",
    "mlp.fc2": f"mlp.3.{last}",
  }[".".join(parts[2:-1])]
  return f"encoder.layers.encoder_layer_{parts[1]}.{layer}"


def transformers_vit(name):
  parts = name.split(".")
  last = parts[-1]
  outside = {
    "cls_token": "vit.embeddings.cls_token",
    "pos_embed": "vit.embeddings.position_embeddings",
    "patch_embed": f"vit.embeddings.patch_embeddings.projection.{last}",
    "norm": f"vit.layernorm.{last}",
    "head": f"classifier.{last}",
  }
  if parts[0] in outside:
    return outside[parts[0]]
  layer = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.qkv": "attention.attention.QKV",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
  }[".".join(parts[2:-1])]
  return f"vit.encoder.layer.{parts[1]}.{layer}.{last}"


def new_transformers_vit(name):
  return (
    transformers_vit(name)
    .replace("encoder.layer.", "layers.")
    .replace("attention.attention.QKV", "attention.QKV")
    .replace("attention.output.dense", "attention.o_proj")
    .replace("intermediate.dense", "mlp.fc1")
    .replace("output.dense", "mlp.fc2")
  )


def torchvision_efficientnet(name):
  parts = name.split(".")
  last = parts[-1]
  outside = {
    "conv_stem": "features.0.0", "bn1": "features.0.1",
    "conv_head": "features.8.0", "bn2": "features.8.1",
    "classifier": "classifier.1",
  }  # fmt: skip
  if parts[0] in outside:
    return f"{outside[parts[0]]}.{last}"
  stage = int(parts[1])
  block = f"features.{stage + 1}.{parts[2]}.block"
  layers_of = ["conv_pw", "bn1", "conv_dw", "bn2", "se", "conv_pwl", "bn3"]
  if not stage:
    layers_of = ["conv_dw", "bn1", "se", "conv_pw", "bn2"]
  if parts[3] == "se":
    number = layers_of.index("se") // 2
    fc = {"conv_reduce": "fc1", "conv_expand": "fc2"}[parts[4]]
    return f"{block}.{number}.{fc}.{last}"
  flat = [layer for layer in layers_of if layer != "se"]
  place = flat.index(parts[3])
  number = place // 2 + (layers_of.index("se") // 2 <= place // 2)
  return f"{block}.{number}.{place % 2}.{last}"


def transformers_mobilenet(name):
  parts = name.split(".")
  last = parts[-1]
  outside = {
    "conv_stem": "mobilenet_v1.conv_stem.convolution",
    "bn1": "mobilenet_v1.conv_stem.normalization",
    "classifier": "classifier",
  }
  if parts[0] in outside:
    return f"{outside[parts[0]]}.{last}"
  before = (0, 1, 3, 5, 11)[int(parts[1])]
  layer, kind = {
    "conv_dw": (0, "convolution"), "bn1": (0, "normalization"),
    "conv_pw": (1, "convolution"), "bn2": (1, "normalization"),
  }[parts[3]]  # fmt: skip
  number = 2 * (before + int(parts[2])) + layer
  return f"mobilenet_v1.layer.{number}.{kind}.{last}"


PARTS = {
  transformers_vit: ("query", "key", "value"),
  new_transformers_vit: ("q_proj", "k_proj", "v_proj"),
}


def spoken(tensors, name_of):
  """The tensors as another publisher names and cuts them."""
  other = {}
  for name, value in tensors.items():
    theirs = name_of(name)
    if theirs.endswith("layer_scale"):  # of torchvision, [C, 1, 1]
      value = value[:, None, None]
    if ".QKV." in theirs:
      for part, third in zip(PARTS[name_of], np.split(value, 3), strict=True):
        other[theirs.replace("QKV", part)] = third
    else:
      other[theirs] = value
  return other


@pytest.mark.parametrize(
  ("arch", "name_of"),
  [
    ("convnext_tiny", torchvision_convnext),
    ("convnext_tiny", transformers_convnext),
    ("vit_small_16", torchvision_vit),
    ("vit_small_16", transformers_vit),
    ("vit_small_16", new_transformers_vit),
    ("efficientnet_b0", torchvision_efficientnet),
    ("mobilenet_v1_025", transformers_mobilenet),
    ("resnet18", lambda name: f"module.{name}"),
  ],
)
def test_names_of_other_publishers(arch, name_of):
  _, tensors = golden(arch)
  theirs = spoken(tensors, name_of)
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


@pytest.mark.parametrize("arch", GOLDEN)
def test_published_names_are_left_alone(arch):
  reference = json.loads(GOLDEN[arch].read_text())
  names = {n: np.empty(0) for n in reference["tensors"]}
  renamed = matching.rename(names, catalog.ARCHITECTURES[arch].names)
  assert all(name == original for name, (original, _) in renamed.items())


@pytest.mark.parametrize("size", [33, 64, 65])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [None, "SAME"])
def test_depthwise_convolution_is_a_convolution(
  size, kernel, stride, padding, rng
):
  conv = layers.conv(
    4, 4, kernel, stride=stride, groups=4, padding=padding, rngs=nnx.Rngs(0)
  )
  x = jnp.asarray(rng.normal(size=(2, size, size, 4)), jnp.float32)
  pads = "SAME" if padding else [(kernel // 2,) * 2] * 2
  expected = jax.lax.conv_general_dilated(
    x,
    conv.kernel[...],
    (stride, stride),
    pads,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=4,
  )
  got = jax.jit(conv)(x)
  assert got.shape == expected.shape
  np.testing.assert_allclose(got, expected, atol=1e-5)


def test_tensorflow_pads_at_the_end_first(rng):
  # On an even size, at stride 2: nothing before, one row and column after.
  conv = layers.conv(1, 1, 3, stride=2, padding="SAME", rngs=nnx.Rngs(0))
  conv.kernel.set_value(jnp.ones((3, 3, 1, 1)))
  x = jnp.ones((1, 4, 4, 1))
  assert conv(x)[0, :, :, 0].tolist() == [[9, 6], [6, 4]]
  conv = layers.conv(1, 1, 3, stride=2, rngs=nnx.Rngs(0))  # as PyTorch
  conv.kernel.set_value(jnp.ones((3, 3, 1, 1)))
  assert conv(x)[0, :, :, 0].tolist() == [[4, 6], [6, 9]]


@pytest.mark.parametrize(("size", "expected"), [(112, 56), (113, 56), (4, 2)])
def test_pooling_takes_a_last_window_that_starts_inside(size, expected):
  x = jnp.arange(size, dtype=jnp.float32)[None, :, None, None]
  x = jnp.broadcast_to(x, (1, size, size, 1))
  pooled = layers.max_pool(x)
  assert pooled.shape == (1, expected, expected, 1)
  assert pooled.max() == size - 1


@pytest.mark.parametrize(
  "arch",
  ["resnet18", "mobilenet_v1_025", "efficientnet_b0", "convnext_tiny",
   "darknet53", "senet154"],
)  # fmt: skip
def test_smallest_image(arch):
  size = catalog.ARCHITECTURES[arch].min_image_size
  x = jnp.zeros((1, size, size, 3))
  logits, features = nnx.eval_shape(lambda: catalog.build(arch, 3)(x))
  assert logits.shape == (1, 3)
  assert features.ndim == 2


@pytest.mark.parametrize(
  "arch",
  ["resnet18", "mobilenet_v1_025", "efficientnet_b0", "convnext_tiny",
   "vit_small_16"],
)  # fmt: skip
def test_bfloat16_stays_near_float32(arch, tmp_path):
  _, tensors = golden(arch)
  path = save(tensors, tmp_path / "model.safetensors")
  source = leep_jax.load_source(f"{arch}@{path}")
  exact, _ = forward(source, images())
  rough, _ = forward(source, images(), dtype="bfloat16")
  assert rough.dtype == jnp.float32  # whose ties would change NCE
  # 8 bits of mantissa, rounded in every layer.
  error = np.linalg.norm(rough - exact)
  assert error < 0.05 * np.linalg.norm(exact)
