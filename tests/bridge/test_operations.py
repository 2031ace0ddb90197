"""Each row of the table of operations computes what PyTorch computes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from leep_jax.bridge import operations

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
INF = float("inf")


def real(*shape):
  return torch.tensor(RNG.normal(size=shape).astype(np.float32))


def positive(*shape):
  return torch.tensor(RNG.uniform(0.1, 0.9, size=shape).astype(np.float32))


def whole(*shape, low=-5, high=6):
  return torch.tensor(RNG.integers(low, high, size=shape))


def mask(*shape):
  return torch.tensor(RNG.random(shape) < 0.5)


def waves(*shape):
  return torch.complex(real(*shape), real(*shape))


X = real(2, 3, 4)
IMAGE = real(1, 4, 9, 8)
F32, I64 = torch.float32, torch.int64

# Of one array alone.
UNARY = [
  "abs", "neg", "sign", "ceil", "floor", "trunc", "round", "relu", "relu6",
  "isinf", "isnan", "square", "exp", "expm1", "sin", "cos", "tan", "atan",
  "sinh", "cosh", "tanh", "erf", "sigmoid", "silu", "gelu", "hardtanh",
  "leaky_relu", "elu", "softplus", "hardswish", "hardsigmoid", "mish",
  "nan_to_num", "_to_copy", "alias", "clone", "detach", "lift_fresh_copy",
  "contiguous",
]  # fmt: skip
POSITIVE = [
  "log", "log1p", "log2", "sqrt", "rsqrt", "reciprocal", "asin", "acos",
]  # fmt: skip
# Of arrays and numbers that are broadcast.
ARITHMETIC = ["add", "sub", "mul", "div", "pow", "fmod", "remainder"]
COMPARE = ["eq", "ne", "lt", "le", "gt", "ge"]
BITS = ["bitwise_and", "bitwise_or", "bitwise_xor"]


def pairs():
  x, y = positive(2, 3, 4), positive(3, 1) + 0.5
  n, m = whole(2, 4, low=1), whole(4, low=1)
  for name in ARITHMETIC:
    second = "Tensor_Tensor" if name == "pow" else "Tensor"
    yield f"{name}.{second}", (x, y)
    if name != "pow":
      yield f"{name}.Tensor", (n, m)
      yield f"{name}.Tensor", (n, positive(4))
    scalar = "Tensor_Scalar" if name == "pow" else "Scalar"
    yield f"{name}.{scalar}", (x, 2.5)
    yield f"{name}.{scalar}", (x, 3)
  for name in COMPARE:
    for x, y in ((n, m), (n, n)):
      yield f"{name}.Tensor", (x, y)
    yield f"{name}.Scalar", (n, 2)
    yield f"{name}.Scalar", (real(3), -INF)
  for name in BITS:
    yield f"{name}.Scalar", (whole(2, 3), 6)
    yield f"{name}.Tensor", (mask(2, 3), mask(3))
    yield f"{name}.Tensor", (whole(2, 3), whole(3))
  for mode in ("floor", "trunc", None):
    yield "div.Tensor_mode", (real(3, 4), real(4), {"rounding_mode": mode})
    if mode:
      yield "div.Tensor_mode", (whole(3, 4), m, {"rounding_mode": mode})
      yield "div.Scalar_mode", (real(3, 4), 0.3, {"rounding_mode": mode})
  yield "add.Tensor", (real(2, 1), real(3), {"alpha": 2})
  yield "add.Tensor", (mask(3), mask(3))
  yield "mul.Tensor", (mask(3), mask(3))
  yield "sub.Tensor", (real(2, 1), real(3), {"alpha": 0.5})
  yield "pow.Scalar", (2.0, real(3, 4))
  yield "pow.Tensor_Scalar", (real(3, 4), 2)
  yield "pow.Tensor_Scalar", (real(3, 4), 3)
  yield "fmod.Scalar", (real(3, 4) * 5, 2)
  yield "remainder.Scalar", (real(3, 4) * 5, 2)
  yield "fmod.Scalar", (whole(3, 4), 2)


OTHERS = [
  ("where.self", mask(2, 3), real(3), real(2, 1)),
  ("where.ScalarOther", mask(2, 3), real(3), 0.5),
  ("where.ScalarSelf", mask(2, 3), 0.5, real(3)),
  ("masked_fill.Scalar", real(2, 3), mask(3), -INF),
  ("masked_fill.Tensor", real(2, 3), mask(3), torch.tensor(2.0)),
  ("maximum", real(2, 3), real(3)),
  ("minimum", real(2, 3), real(3)),
  ("logical_and", mask(3), mask(3)),
  ("logical_or", mask(3), mask(3)),
  ("logical_xor", mask(3), mask(3)),
  ("logical_not", mask(3)),
  ("bitwise_not", mask(3)),
  ("bitwise_not", whole(3)),
  ("atan2", real(2, 3), real(3)),
  ("clamp", X, -0.5, 0.5),
  ("clamp", X, None, 0.5),
  ("clamp", X, 0.1),
  ("clamp.Tensor", X, real(4), None),
  ("clamp_min", X, 0.2),
  ("clamp_max", X, 0.2),
  ("hardtanh", X, 0.0, 0.5),
  ("leaky_relu", X, 0.2),
  ("elu", X, 0.7, 1.3, 1.1),
  ("gelu", X, {"approximate": "tanh"}),
  ("softplus", X * 30, 0.5, 10.0),
  ("_to_copy", X, {"dtype": I64}),
  ("_to_copy", whole(3), {"dtype": F32}),
  ("prelu", IMAGE, real(4)),
  ("_prelu_kernel", IMAGE, real(1, 4, 1, 1)),
  ("glu", real(2, 6), -1),
  ("exp", whole(3)),
  # Shapes.
  ("view", X, [2, -1]),
  ("view", X, [6, 2, 2]),
  ("reshape", X, [4, 6]),
  ("_unsafe_view", X, [4, 6]),
  ("permute", X, [2, 0, -2]),
  ("t", real(2, 3)),
  ("transpose.int", X, -1, 0),
  ("expand", real(3, 1), [2, -1, 4]),
  ("expand", real(1, 3), [2, 3]),
  ("squeeze", real(1, 3, 1)),
  ("squeeze.dim", real(1, 3, 1), -1),
  ("squeeze.dim", real(1, 3, 1), 1),
  ("squeeze.dims", real(1, 3, 1), [0, 1, -1]),
  ("unsqueeze", X, -1),
  ("unsqueeze", X, 1),
  ("slice.Tensor", X, -1, 1, 9223372036854775807),
  ("slice.Tensor", X, 2, -3, -1),
  ("slice.Tensor", X, 1, 0, 3, 2),
  ("slice.Tensor", X, 0, 5, 9),
  ("select.int", X, -1, -2),
  ("select.int", X, 1, 2),
  ("narrow", X, 2, 1, 2),
  ("split_with_sizes", X, [1, 3], -1),
  ("split.Tensor", X, 3, 2),
  ("unbind.int", X, 1),
  ("cat", [X, real(2, 3, 1)], -1),
  ("cat", [real(0), real(3)]),
  ("stack", [X, X + 1], 1),
  ("repeat", real(2, 3), [2, 1, 3]),
  ("constant_pad_nd", X, [1, 2, 0, 1], 0.5),
  ("constant_pad_nd", X, [-1, 2]),
  ("reflection_pad1d", real(1, 2, 5), [2, 1]),
  ("reflection_pad2d", IMAGE, [2, 1, 3, 0]),
  ("replication_pad2d", IMAGE, [2, 1, 3, 0]),
  ("flip", X, [0, -1]),
  ("roll", X, [1, -2], [0, 2]),
  ("roll", X, [5]),
  ("unfold", real(2, 7, 3), 1, 3, 2),
  ("unfold", real(2, 7), -1, 4, 1),
  ("as_strided", real(12), [2, 3], [1, 4], 1),
  ("as_strided", real(3, 4), [4, 3], [1, 4]),
  ("arange", 5),
  ("arange.start", 2, 7),
  ("arange.start_step", 1, 9, 3),
  ("arange.start_step", 0.0, 1.0, 0.3),
  ("arange.start_step", 0, 4, 1, {"dtype": F32}),
  ("full", [2, 3], 0.5),
  ("full", [2], 1, {"dtype": I64}),
  ("full", [], True, {"dtype": torch.bool}),
  ("full_like", X, 2),
  ("full_like", X, 2, {"dtype": I64}),
  ("scalar_tensor", 2.5, {"dtype": F32}),
  ("zeros", [2, 3], {"dtype": F32}),
  ("ones", [2, 3], {"dtype": F32}),
  ("zeros_like", X),
  ("ones_like", X),
  ("new_full", X, [2], 3.0),
  ("new_zeros", X, [2]),
  ("new_ones", X, [2]),
  ("linspace", 0.0, 1.0, 7),
  ("eye", 3),
  ("eye.m", 3, 4),
  ("tril", real(3, 4), 1),
  ("triu", real(3, 4), -1),
  ("diagonal", real(3, 4), 1),
  ("pixel_shuffle", real(1, 8, 3, 4), 2),
  ("pixel_unshuffle", real(1, 2, 4, 6), 2),
  ("copy", X, real(4)),
  ("fill.Scalar", X, 3.0),
  ("slice_scatter", X, real(2, 3, 2), -1, 1, 3),
  ("select_scatter", X, real(2, 4), 1, 2),
  # Reductions.
  ("mean", X),
  ("mean.dim", X, [-1, 0], True),
  ("mean.dim", X, [1]),
  ("sum", X),
  ("sum.dim_IntList", X, [1], False),
  ("sum.dim_IntList", X, [], True),
  ("sum.dim_IntList", mask(3, 4), [1]),
  ("prod", X),
  ("prod.dim_int", X, 1, True),
  ("amax", X, [-1]),
  ("amax", X, [0, 1], True),
  ("amin", X, [-1]),
  ("max", X),
  ("min", X),
  ("max.dim", X, 1),
  ("max.dim", X, -1, True),
  ("min.dim", X, 0),
  ("argmax", X, -1),
  ("argmax", X, 1, True),
  ("argmin", X, 0),
  ("any", mask(3)),
  ("any.dim", mask(2, 3), -1, True),
  ("any.dims", mask(2, 3), [0, 1]),
  ("all", mask(3)),
  ("all.dim", mask(2, 3), 1),
  ("linalg_vector_norm", X),
  ("linalg_vector_norm", X, 2, [-1], True),
  ("linalg_vector_norm", X, 1, [0]),
  ("linalg_vector_norm", X, INF, [1]),
  ("linalg_vector_norm", X, -INF, [1]),
  ("linalg_vector_norm", X, 0, [1]),
  ("linalg_vector_norm", X, 3, [1]),
  ("norm.ScalarOpt_dim", X, 2, [1], True),
  ("var.correction", X, [1]),
  ("var.correction", X, [-1], {"correction": 0, "keepdim": True}),
  ("var.dim", X, [1], False, True),
  ("var_mean.correction", X, [1], {"correction": 0, "keepdim": True}),
  ("std.correction", X, [1]),
  ("_softmax", X, -1, False),
  ("_softmax", X, 1, False),
  ("_safe_softmax", torch.tensor([[-INF, -INF], [0.0, 1.0]]), -1),
  ("_log_softmax", X, -1, False),
  ("logsumexp", X, [1], True),
  ("cumsum", X, -1),
  ("cumsum", whole(2, 5), 1),
  ("cumsum", mask(2, 5), 1),
  ("cumprod", X, 1),
  ("topk", X, 2),
  ("topk", X, 2, 1, False),
  ("sort", X),
  ("sort", X, 1, True),
  ("sort.stable", whole(2, 7), {"stable": True, "dim": 1, "descending": False}),
  ("argsort", X, 1),
  ("histc", X, 6, -1, 1.5),
  ("histc", X),
  ("histc", whole(20, low=0, high=5).float(), 4, 0, 3),
  # Fourier transforms.
  *(("_fft_c2c", waves(3, 4, 5), [1, 2], n, f)
    for n in (0, 1, 2) for f in (True, False)),
  *(("_fft_r2c", X, [0, 2], n, one)
    for n in (0, 1, 2) for one in (True, False)),
  *(("_fft_c2r", waves(3, 4, 3), [0, 2], n, last)
    for n in (0, 2) for last in (4, 5)),
  ("view_as_real", waves(2, 3)),
  ("view_as_complex", real(2, 3, 2)),
  # Products.
  ("linear", X, real(5, 4)),
  ("linear", X, real(5, 4), real(5)),
  ("linear", real(4), real(5, 4), real(5)),
  ("addmm", real(5), real(3, 4), real(4, 5)),
  ("addmm", real(3, 5), real(3, 4), real(4, 5), {"beta": 0.5, "alpha": 2}),
  ("mm", real(3, 4), real(4, 5)),
  ("bmm", real(2, 3, 4), real(2, 4, 5)),
  ("matmul", real(2, 3, 4), real(4, 5)),
  ("baddbmm", real(2, 3, 5), real(2, 3, 4), real(2, 4, 5)),
  ("mv", real(3, 4), real(4)),
  ("dot", real(4), real(4)),
  # Norms.
  ("_native_batch_norm_legit_no_training", IMAGE, real(4), real(4), real(4),
   positive(4), 0.1, 1e-5),
  ("_native_batch_norm_legit_no_training", IMAGE, None, None, real(4),
   positive(4), 0.1, 1e-3),
  ("_native_batch_norm_legit.no_stats", IMAGE, real(4), real(4), True, 0.1,
   1e-5),
  ("batch_norm", IMAGE, real(4), real(4), real(4), positive(4), False, 0.1,
   1e-5, False),
  ("native_layer_norm", X, [4], real(4), real(4), 1e-6),
  ("native_layer_norm", X, [3, 4], real(3, 4), None, 1e-6),
  ("native_layer_norm", X, [4], None, None, 1e-6),
  ("layer_norm", X, [4], real(4), real(4), 1e-6),
  ("native_group_norm", IMAGE, real(4), real(4), 1, 4, 72, 2, 1e-5),
  ("native_group_norm", IMAGE, None, None, 1, 4, 72, 4, 1e-5),
  ("group_norm", IMAGE, 2, real(4), real(4), 1e-5),
  ("rms_norm", X, [4], real(4), 1e-6),
  ("rms_norm", X, [4]),
  # Pooling to a size.
  ("_adaptive_avg_pool2d", IMAGE, [1, 1]),
  ("_adaptive_avg_pool2d", IMAGE, [4, 3]),
  ("_adaptive_avg_pool2d", IMAGE, [11, 16]),
  ("adaptive_avg_pool2d", IMAGE, [2, 2]),
  ("adaptive_avg_pool1d", real(1, 3, 7), [3]),
  ("_adaptive_avg_pool3d", real(1, 2, 5, 6, 7), [2, 3, 3]),
  ("adaptive_avg_pool3d", real(1, 2, 5, 6, 7), [2, 3, 3]),
  # Other sizes of images.
  ("upsample_nearest1d", real(1, 2, 5), [8]),
  ("upsample_nearest2d", IMAGE, [13, 5]),
  ("upsample_nearest2d.vec", IMAGE, None, [2.0, 1.5]),
  ("upsample_nearest2d.vec", IMAGE, [5, 7], None),
  ("upsample_nearest3d", real(1, 2, 3, 4, 5), [5, 7, 3]),
  ("_upsample_nearest_exact2d", IMAGE, [13, 5]),
  ("_upsample_nearest_exact2d.vec", IMAGE, [13, 5], None),
  ("grid_sampler_2d", IMAGE, real(1, 5, 6, 2), 0, 0, False),
  ("grid_sampler_2d", IMAGE, real(1, 5, 6, 2), 0, 1, True),
  ("grid_sampler_2d", IMAGE, real(1, 5, 6, 2), 1, 0, True),
  # Indices.
  ("index.Tensor", X, [None, whole(3, low=-3, high=3)]),
  ("index.Tensor", X, [whole(5, low=0, high=2), whole(5, low=0, high=3)]),
  ("index.Tensor", X, [whole(2, 1, low=0, high=2), whole(3, low=0, high=3)]),
  ("index_put", X, [mask(2, 3, 4)], torch.tensor(0.5)),
  ("index_put", X, [mask(2)], torch.tensor(0.5)),
  ("index_put", X, [torch.tensor([0]), torch.tensor([2])], real(1, 4)),
  ("index_put", real(5), [torch.tensor([1, 1, 3])], real(3), True),
  ("index_select", X, -1, torch.tensor([3, 0, 0])),
  ("gather", X, 1, whole(2, 2, 3, low=0, high=3)),
  ("gather", X, -1, whole(1, 3, 6, low=0, high=4)),
  ("scatter.src", X, 1, torch.tensor([[[0, 1, 2, 0]], [[2, 1, 0, 0]]]),
   real(2, 1, 4)),
  ("scatter.value", X, 2, torch.tensor([[[1], [2], [0]]]), 2.0),
  ("scatter_add", X, 1, whole(2, 3, 4, low=0, high=3), real(2, 3, 4)),
  ("embedding", real(7, 3), whole(2, 4, low=0, high=7)),
  ("one_hot", whole(2, 4, low=0, high=7), 7),
  ("bucketize.Tensor", real(5), torch.tensor([-0.5, 0.0, 1.0])),
  ("bucketize.Tensor", real(5), torch.tensor([-0.5, 0.0]), {"right": True}),
]  # fmt: skip


def attentions():
  q, k, v = real(1, 2, 5, 4), real(1, 2, 6, 4), real(1, 2, 6, 3)
  nothing = mask(5, 6)
  nothing[2] = False
  name = "scaled_dot_product_attention"
  yield name, (q, k, v)
  yield name, (q, k, v, real(5, 6))
  yield name, (q, k, v, nothing)
  yield name, (q, k, v, None, 0.0, True)
  yield name, (q, k, v, {"scale": 0.3})
  yield name, (
    real(1, 4, 5, 4), real(1, 2, 6, 4), real(1, 2, 6, 3),
    {"enable_gqa": True},
  )  # fmt: skip


def convolutions():
  """Random combinations of all arguments, in one to three dimensions."""
  rng = np.random.default_rng(1)
  for rank, transposed, _ in itertools.product(
    (1, 2, 3), (False, True), range(6)
  ):
    groups = int(rng.choice([1, 2, 4]))
    kernel = rng.integers(1, 4, rank).tolist()
    stride = rng.integers(1, 4, rank).tolist()
    padding = rng.integers(0, 3, rank).tolist()
    dilation = rng.integers(1, 3, rank).tolist()
    extra = [0] * rank
    if transposed:
      extra = [
        int(rng.integers(0, max(s, d)))
        for s, d in zip(stride, dilation, strict=True)
      ]
    shape = (4, 8 // groups) if transposed else (8, 4 // groups)
    bias = real(8) if rng.random() < 0.5 else None
    yield "convolution", (
      real(2, 4, *[11] * rank), real(*shape, *kernel), bias, stride, padding,
      dilation, transposed, extra, groups,
    )  # fmt: skip
  yield "conv1d", (real(2, 4, 9), real(6, 2, 3), real(6), [2], [1], [1], 2)
  yield "conv2d", (IMAGE, real(6, 4, 3, 3), None, [2, 1], [1, 0], [1, 2])


def poolings():
  rng = np.random.default_rng(2)
  for rank, ceil, _ in itertools.product((1, 2, 3), (False, True), range(6)):
    x = real(1, 3, *rng.integers(7, 11, rank).tolist())
    kernel = rng.integers(2, 5, rank).tolist()
    stride = rng.integers(1, 4, rank).tolist()
    padding = [int(rng.integers(0, k // 2 + 1)) for k in kernel]
    dilation = rng.integers(1, 3, rank).tolist()
    if rank > 1:
      yield f"max_pool{rank}d_with_indices", (
        x, kernel, stride, padding, dilation, ceil,
      )  # fmt: skip
    yield f"max_pool{rank}d", (x, kernel, stride, padding, dilation, ceil)
    counted = bool(rng.random() < 0.5)
    more = () if rank == 1 else (7,) if rng.random() < 0.3 else (None,)
    yield f"avg_pool{rank}d", (
      x, kernel, stride, padding, ceil, counted, *more,
    )  # fmt: skip
  yield "max_pool2d", (IMAGE, [2, 3])
  yield "avg_pool2d", (IMAGE, [2, 2])
  for rank, size in ((1, [3]), (2, [4, 3]), (3, [2, 3, 2])):
    yield f"adaptive_max_pool{rank}d", (real(1, 2, *[7] * rank), size)
  window = ([3, 2], [1, 2], [1, 0], [2, 1])
  yield "im2col", (IMAGE, *window)
  columns = torch.ops.aten.im2col(IMAGE, *window)
  yield "col2im", (columns, [9, 8], *window)


def resamplings():
  for kind, align in itertools.product(("bilinear", "bicubic"), (False, True)):
    for size in ([13, 5], [4, 20], [9, 8], [1, 3]):
      yield f"upsample_{kind}2d", (IMAGE, size, align)
      yield f"_upsample_{kind}2d_aa", (IMAGE, size, align)
    yield f"upsample_{kind}2d.vec", (IMAGE, None, align, [1.7, 0.6])
    yield f"_upsample_{kind}2d_aa.vec", (IMAGE, [5, 3], align, None)
    yield f"upsample_{kind}2d.vec", (IMAGE, [5, 3], align, None)


CASES = [
  *((name, (X,)) for name in UNARY),
  *((name, (positive(3, 4),)) for name in POSITIVE),
  *pairs(),
  *((name, tuple(args)) for name, *args in OTHERS),
  *attentions(),
  *convolutions(),
  *poolings(),
  *resamplings(),
]
# Not tensors: lengths of axes, parts of tuples, memory that is not set.
# Some have no implementation of PyTorch's own on the CPU.
WITHOUT_CASES = {
  "transformers.grouped_mm_fallback.default", "_grouped_mm",
  "getitem", "sym_size.int", "sym_numel", "empty.memory_format", "empty_like",
}  # fmt: skip


def overload(name):
  operation, _, kind = name.partition(".")
  found = getattr(torch.ops.aten, operation)
  return getattr(found, kind or "default")


def in_jax(value):
  """An argument as the bridge passes it."""
  if isinstance(value, torch.Tensor):
    return jnp.asarray(value.numpy())
  if isinstance(value, list):
    return [in_jax(item) for item in value]
  if isinstance(value, torch.dtype):
    return {F32: jnp.float32, I64: jnp.int32, torch.bool: jnp.bool_}[value]
  return value


def results(value):
  return value if isinstance(value, (list, tuple)) else [value]


@pytest.mark.parametrize(
  ("name", "args"), CASES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CASES)]
)
def test_equals_pytorch(name, args):
  kwargs = args[-1] if args and isinstance(args[-1], dict) else {}
  args = args[: len(args) - bool(kwargs)]
  expected = results(overload(name)(*args, **kwargs))
  function = operations.OPERATIONS[name]
  found = results(
    function(
      *map(in_jax, args), **{key: in_jax(v) for key, v in kwargs.items()}
    )
  )
  compared = 0
  for got, wanted in zip(found, expected, strict=False):
    if got is None or wanted is None:  # such as the indices of a maximum
      continue
    wanted = wanted.numpy()
    assert got.shape == wanted.shape
    assert np.asarray(got).dtype.kind == wanted.dtype.kind
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-6)
    compared += 1
  assert compared


@pytest.mark.parametrize("counts", [[2, 0, 3, 1], [0, 0, 0, 6], [1, 1, 1, 1]])
def test_rows_times_the_matrices_of_their_groups(counts):
  rows, matrices = real(6, 3), real(4, 3, 5)
  ends = np.cumsum(counts)
  expected = np.zeros((6, 5), np.float32)
  for matrix, count, end in zip(matrices, counts, ends, strict=True):
    expected[end - count : end] = rows[end - count : end] @ matrix
  function = operations.OPERATIONS["_grouped_mm"]
  assert (
    function
    is operations.OPERATIONS["transformers.grouped_mm_fallback.default"]
  )
  got = function(in_jax(rows), in_jax(matrices), jnp.asarray(ends))
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


# Of real numbers, in the type that they have.
FLOATING = (
  "convolution", "linear", "gelu", "mean.dim", "native_layer_norm",
  "avg_pool2d", "_softmax", "cat", "slice.Tensor",
)  # fmt: skip


@pytest.mark.parametrize(
  ("name", "args"),
  [(name, args) for name, args in CASES if name in FLOATING],
)
def test_bfloat16_stays_bfloat16(name, args):
  def lower(value):
    value = in_jax(value)
    if isinstance(value, list):
      return [lower_one(item) for item in value]
    return lower_one(value)

  def lower_one(value):
    if isinstance(value, jax.Array) and value.dtype == jnp.float32:
      return value.astype(jnp.bfloat16)
    return value

  kwargs = args[-1] if isinstance(args[-1], dict) else {}
  args = args[: len(args) - bool(kwargs)]
  found = results(operations.OPERATIONS[name](*map(lower, args), **kwargs))
  assert found[0].dtype == jnp.bfloat16


def test_every_row_has_a_case():
  tested = {name for name, _ in CASES} | WITHOUT_CASES
  rows = {n for n in operations.OPERATIONS if not n.startswith("python.")}
  assert rows == tested
