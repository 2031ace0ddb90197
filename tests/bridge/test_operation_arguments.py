"""Operations whose arguments combine compute what PyTorch does, for any."""

import hypothesis
from hypothesis import strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from leep_jax.bridge import operations

torch = pytest.importorskip("torch")

SETTINGS = hypothesis.settings(
  max_examples=40, deadline=None, derandomize=True, database=None
)
SIDES = st.tuples(st.integers(7, 12), st.integers(7, 12))


def pair(low, high):
  return st.lists(st.integers(low, high), min_size=2, max_size=2)


def numbers(*shape):
  size = int(np.prod(shape))
  return torch.sin(torch.arange(size, dtype=torch.float32) * 1.7).reshape(shape)


def compare(name, *args):
  operation, _, kind = name.partition(".")
  theirs = getattr(getattr(torch.ops.aten, operation), kind or "default")
  expected = theirs(*args)
  ours = operations.OPERATIONS[name](
    *(
      jnp.asarray(arg.numpy()) if isinstance(arg, torch.Tensor) else arg
      for arg in args
    )
  )
  first = expected[0] if isinstance(expected, tuple) else expected
  ours = ours[0] if isinstance(ours, tuple) else ours
  assert ours.shape == tuple(first.shape)
  np.testing.assert_allclose(ours, first.numpy(), rtol=2e-5, atol=2e-5)


@SETTINGS
@hypothesis.given(
  SIDES, pair(1, 3), pair(1, 3), pair(0, 2), pair(1, 2),
  st.sampled_from([1, 2, 4]), st.booleans(), st.booleans(),
)  # fmt: skip
def test_convolution(
  sides, kernel, stride, padding, dilation, groups, transposed, bias
):
  outputs = 4
  shape = (4, outputs // groups) if transposed else (outputs, 4 // groups)
  compare(
    "convolution", numbers(1, 4, *sides), numbers(*shape, *kernel),
    numbers(outputs) if bias else None, stride, padding, dilation, transposed,
    [0, 0], groups,
  )  # fmt: skip


@SETTINGS
@hypothesis.given(
  SIDES, pair(2, 3), pair(1, 3), pair(0, 1), st.booleans(), st.booleans()
)
def test_average_pooling(sides, kernel, stride, padding, ceil, include):
  compare(
    "avg_pool2d", numbers(1, 2, *sides), kernel, stride, padding, ceil, include
  )


@SETTINGS
@hypothesis.given(
  SIDES, pair(2, 3), pair(1, 3), pair(0, 1), pair(1, 2), st.booleans()
)
def test_max_pooling(sides, kernel, stride, padding, dilation, ceil):
  compare(
    "max_pool2d_with_indices", numbers(1, 2, *sides), kernel, stride, padding,
    dilation, ceil,
  )  # fmt: skip


@SETTINGS
@hypothesis.given(
  st.integers(-3, 2), st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 4)
)
def test_slices(dim, start, end, step):
  compare("slice.Tensor", numbers(5, 6, 7), dim, start, end, step)


@SETTINGS
@hypothesis.given(st.lists(st.integers(-2, 3), min_size=4, max_size=4))
def test_padding(pads):
  compare("constant_pad_nd", numbers(2, 5, 6), pads, 0.5)


@SETTINGS
@hypothesis.given(
  st.lists(st.integers(-3, 2), min_size=0, max_size=3), st.booleans()
)
def test_reductions(dims, keep):
  hypothesis.assume(len({d % 3 for d in dims}) == len(dims))
  for name in ("mean.dim", "sum.dim_IntList", "amax"):
    compare(name, numbers(3, 4, 5), dims, keep)


@SETTINGS
@hypothesis.given(
  st.lists(st.sampled_from([1, 3]), min_size=0, max_size=3),
  st.lists(st.sampled_from([1, 3]), min_size=0, max_size=3),
)
def test_broadcasting(one, other):
  for name in ("add.Tensor", "mul.Tensor", "maximum"):
    compare(name, numbers(*one), numbers(*other))
