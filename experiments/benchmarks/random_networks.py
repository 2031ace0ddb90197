"""Sources with random weights, for speed alone: no checkpoint is needed."""

import dataclasses
import math

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

import leep_jax
from leep_jax.sources import architectures, network


def source(arch: str, num_classes: int = 1000) -> leep_jax.Source:
  """Returns a source of an architecture of this package.

  Its images are only normalised, not resized, so that its speed is that of the
  network.

  Args:
    arch: name of the architecture.
    num_classes: Z.
  """
  architecture = architectures.ARCHITECTURES[arch]
  model = architectures.shapes(arch, num_classes)
  rng = np.random.default_rng(0)
  drawn = [
    (path, variable.replace(_values(str(path[-1]), variable.shape, rng)))
    for path, variable in nnx.to_flat_state(nnx.state(model))
  ]
  nnx.update(model, nnx.from_flat_state(drawn))
  return network.from_nnx(
    arch,
    model,
    head=architecture.head.removesuffix(".weight"),
    preprocessing=dataclasses.replace(
      architecture.preprocessing,
      image_size=None,
      crop=1.0,
      crop_mode="center",
    ),
    min_image_size=architecture.min_image_size,
  )


def _values(
  name: str, shape: tuple[int, ...], rng: np.random.Generator
) -> jax.Array:
  """Initial values by the name of a parameter, as He et al. draw kernels."""
  if name in ("scale", "var"):
    return jnp.ones(shape)
  if name in ("bias", "mean"):
    return jnp.zeros(shape)
  values = rng.standard_normal(shape, np.float32)
  # The others, such as embeddings of positions, are small at the start.
  fan_in = math.prod(shape[:-1])
  values *= math.sqrt(2 / fan_in) if name == "kernel" else 0.02
  return jnp.asarray(values)


def images(count: int, side: int) -> np.ndarray:
  """Returns random images `[count, side, side, 3]` uint8."""
  rng = np.random.default_rng(1)
  return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
