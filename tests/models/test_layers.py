"""Layers: convolutions, padding and pooling as PyTorch and TensorFlow do."""

from flax import nnx
import jax
import jax.numpy as jnp
import marks
import numpy as np
import pytest

from leep_jax.models import layers


@pytest.mark.parametrize("size", [33, *marks.exhaustive(64, 65)])
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
