"""Each architecture computes what its reference definition computes."""

import runpy

from flax import nnx
import jax
import jax.numpy as jnp
import marks
import numpy as np
import pytest
import references

import leep_jax
from leep_jax.models import vit_rows
from leep_jax.sources import catalog


def forward(source, x, dtype="float32"):
  mean = np.asarray(source.preprocessing.mean)
  std = np.asarray(source.preprocessing.std)
  normalised = ((x / 255 - mean) / std).astype(dtype)
  state = jax.tree.map(lambda v: v.astype(dtype), source.state)
  return map(np.asarray, jax.jit(source.apply)(state, normalised))


def test_every_architecture_has_a_reference():
  # The CIFAR ResNets are held to real weights and to NumPy in other files.
  imagenet = {
    name
    for name, architecture in catalog.ARCHITECTURES.items()
    if architecture.preprocessing.image_size != 32
  }
  # Families of many networks have one of each kind; the others are compared
  # with timm itself.
  assert set(references.GOLDEN) <= imagenet
  script = runpy.run_path(str(references.FOLDER / "generate.py"))
  assert set(references.GOLDEN) == set(script["DEFINITIONS"])


# One of each family; the others differ in their sizes.
SMALL = [
  "resnet18", "test_resnet", "mobilenet_v1_025", "mobilenetv2_100",
  "mobilenetv3_small_050", "efficientnet_b0", "efficientnet_lite0",
  "test_convnext3", "convnext_tiny", "darknet53",
  *(arch for arch in vit_rows.ARCHITECTURES if arch != "vit_base_16"),
]  # fmt: skip


@pytest.mark.parametrize(
  "arch",
  [*SMALL, *marks.exhaustive(*sorted(references.GOLDEN.keys() - set(SMALL)))],
)
def test_parity(arch, tmp_path):
  reference, tensors = references.golden(arch)
  # Loading refuses whatever has no partner, in the file or in the network.
  path = references.save(tensors, tmp_path / "model.safetensors")
  source = leep_jax.load_source(f"{arch}@{path}")
  path.unlink()
  stated = reference["input"]
  images = references.images()
  if "img_size=" in reference["definition"]:
    # A small network: the tensors tell the sizes.
    side = source.preprocessing.image_size
    images = images[:, :side, :side]
    assert source.num_parameters == reference["parameters"]
  else:
    assert catalog.parameter_count(arch, 1000) == reference["parameters"]
  assert source.preprocessing == leep_jax.Preprocessing(
    image_size=stated["input_size"][-1],
    mean=stated["mean"],
    std=stated["std"],
    crop=stated["crop_pct"],
    interpolation=stated["interpolation"],
  )
  for got, what in zip(
    forward(source, images), ("logits", "features"), strict=True
  ):
    first = np.asarray(reference[what])
    size = np.abs(first).max()
    np.testing.assert_allclose(got[:, :24], first, rtol=1e-4, atol=1e-5 * size)
    norms = np.linalg.norm(got.astype(np.float64), axis=1)
    np.testing.assert_allclose(norms, reference[f"{what}_norm"], rtol=1e-5)
  assert got.shape == (2, reference["num_features"])


@pytest.mark.parametrize(
  "arch",
  ["resnet18", "mobilenet_v1_025", "efficientnet_b0", "convnext_tiny",
   "darknet53", *marks.exhaustive("senet154")],
)  # fmt: skip
def test_smallest_image(arch):
  size = catalog.ARCHITECTURES[arch].min_image_size
  x = jnp.zeros((1, size, size, 3))
  logits, features = nnx.eval_shape(lambda: catalog.build(arch, 3)(x))
  assert logits.shape == (1, 3)
  assert features.ndim == 2


@pytest.mark.parametrize(
  "arch",
  ["resnet18", "vit_small_16",
   *marks.exhaustive("mobilenet_v1_025", "efficientnet_b0", "convnext_tiny")],
)  # fmt: skip
def test_bfloat16_stays_near_float32(arch, tmp_path):
  _, tensors = references.golden(arch)
  path = references.save(tensors, tmp_path / "model.safetensors")
  source = leep_jax.load_source(f"{arch}@{path}")
  exact, _ = forward(source, references.images())
  rough, _ = forward(source, references.images(), dtype="bfloat16")
  assert rough.dtype == jnp.float32  # whose ties would change NCE
  # 8 bits of mantissa, rounded in every layer.
  error = np.linalg.norm(rough - exact)
  assert error < 0.05 * np.linalg.norm(exact)
