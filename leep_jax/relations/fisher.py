r"""The diagonal of the Fisher information of a network's filters.

A network of weights w has features f_w(x) `[D]`; with a head of kernel W `[D,
Y]` and bias b `[Y]` it is the classifier p(y | x) = softmax(W^T f_w(x) + b).
The Fisher information of one weight is, in nats^2,

    F_w = E_x E_y (d log p(y | x) / dw)^2,

where x is an example and y a class drawn from p(y | x). By the chain rule, the
derivative is J_w^T W (e_y - p), where J_w `[D]` is that of the features and e_y
a column of the identity. So the inner mean is a sum of (J_w^T u_k)^2 over a few
*directions* u_k `[D]` of the example, and costs a backward pass for each. The
directions depend on features and head alone:

- `exact`: K = min(Y - 1, D) directions with sum_k u_k u_k^T = W (diag(p) - p
  p^T) W^T, the covariance of W e_y: the mean over all classes.
- `monte_carlo`: one, W (e_y - p), of a class that is drawn from p.
- `empirical`: one, of the true class. This is no Fisher information: where the
  head is sure, only its errors count.

A *filter* is an output of a convolution or a linear layer: a slice of a kernel
`[..., outputs]`. Its information is the mean over its weights. Biases and
scales of normalisation, which belong to no kernel, are left out.

Symbols: n examples, D features, Y classes, K directions, F filters.

Reference: Achille, Lam, Tewari, Ravichandran, Maji, Fowlkes, Soatto, Perona.
Task2Vec: Task Embedding for Meta-Learning. ICCV 2019, arXiv 1902.03545.
"""

from collections.abc import Callable
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from leep_jax import validation
from leep_jax.engine import programs
from leep_jax.sources import source as source_lib

FORMS = ("exact", "monte_carlo", "empirical")
# Numbers of gradients that a device computes at the same time (256 MiB), and
# bounds of the examples and of the directions of an example.
_MOST_NUMBERS = 1 << 26
_MOST_ROWS = 16
_MOST_DIRECTIONS = 8


def directions(
  features: np.ndarray,
  kernel: np.ndarray,
  bias: np.ndarray,
  *,
  form: str = "exact",
  labels: np.ndarray | None = None,
  rng: np.random.Generator | None = None,
) -> np.ndarray:
  """Returns the directions u of each example, see the module.

  Args:
    features: `[n, D]`.
    kernel: `[D, Y]` of the head.
    bias: `[Y]` of the head.
    form: one of `FORMS`.
    labels: `[n]`, for `empirical`.
    rng: draws the classes of `monte_carlo`.

  Returns:
    `[n, K, D]` float64.

  Example:
    >>> import numpy as np
    >>> from leep_jax.relations import fisher
    >>> features, kernel = np.zeros((1, 1)), np.array([[0.0, 2.0]])
    >>> (((u,),),) = fisher.directions(features, kernel, np.zeros(2))
    >>> round(float(u**2), 12)  # p is 1/2: the variance of 0 and 2
    1.0
  """
  features = np.asarray(features, np.float64)
  kernel = np.asarray(kernel, np.float64)
  probs = scipy.special.softmax(features @ kernel + bias, axis=1)
  if form != "exact":
    if form == "monte_carlo":
      assert rng is not None
      # The first class whose cumulated probability exceeds a uniform number.
      below = probs.cumsum(axis=1) <= rng.random((len(probs), 1))
      labels = np.minimum(below.sum(axis=1), probs.shape[1] - 1)
    return (kernel.T[labels] - probs @ kernel.T)[:, None]
  count = min(kernel.shape[1] - 1, kernel.shape[0])
  # In coordinates of the span of the kernel's columns, matrices are small.
  axes, kernel = np.linalg.qr(kernel)
  # [n, r, Y]: columns sqrt(p_y) (W e_y - W p), whose products are the
  # covariance. Centred first: p - p^2 would cancel where p is near 1.
  columns = kernel[None] - (probs @ kernel.T)[:, :, None]
  columns *= np.sqrt(probs)[:, None]
  squares, vectors = np.linalg.eigh(columns @ columns.swapaxes(1, 2))
  # Eigenvalues ascend; all but `count` are 0.
  roots = np.sqrt(np.maximum(squares, 0))[:, None, -count:]
  return np.einsum("nrk,dr->nkd", vectors[:, :, -count:] * roots, axes)


def count(classes: int, width: int, *, form: str) -> int:
  """Returns K, the number of directions of an example.

  Args:
    classes: Y.
    width: D.
    form: one of `FORMS`.

  Example:
    >>> from leep_jax.relations import fisher
    >>> [fisher.count(10, 64, form=form) for form in fisher.FORMS]
    [9, 1, 1]
  """
  return min(classes - 1, width) if form == "exact" else 1


def is_kernel(path: tuple[Any, ...], leaf: Any) -> bool:
  """Returns whether a parameter is the kernel of a layer.

  Args:
    path: its place in the pytree of parameters, of JAX's keys.
    leaf: the array.

  Example:
    >>> import jax
    >>> import numpy as np
    >>> from leep_jax.relations import fisher
    >>> params = {"fc": {"kernel": np.zeros((4, 2)), "bias": np.zeros(2)}}
    >>> found = jax.tree_util.tree_leaves_with_path(params)
    >>> [fisher.is_kernel(*pair) for pair in found]
    [False, True]
  """
  named = any(getattr(key, "key", None) == "kernel" for key in path)
  return named and leaf.ndim >= 2


class Squares:
  """Computes, for rows of images and directions, squared derivatives.

  A row is an image with some of its directions. All devices of this process
  share the rows.

  Attributes:
    filters: F.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax.relations import fisher
    >>> squares = fisher.Squares(leep_jax.load_source("fashion_mnist_resnet8"))
    >>> squares.width(9)  # directions of a row, of 9 in all
    5
    >>> images = np.zeros((2, 28, 28, 1), np.uint8)
    >>> found = squares(images, np.zeros((2, 5, 64)))
    >>> found.shape == (2, squares.filters)
    True
  """

  def __init__(self, source: source_lib.Source):
    """Places the weights on the devices.

    Args:
      source: the probe network, in a form that takes the images.

    Raises:
      InputError: if the source has no network, or its network no kernels.
    """
    network = probe_network(source)
    params, rest = network.weights
    self._source, self._apply = source, network.apply
    found, self._structure = jax.tree_util.tree_flatten_with_path(params)
    self._is_kernel = [is_kernel(*pair) for pair in found]
    leaves = [leaf for _, leaf in found]
    kernels = self._kernels(leaves)
    if not kernels:
      raise validation.InputError(
        f"{source.name} has no convolutions or linear layers below its head: "
        "no parameter is named kernel"
      )
    self.filters = sum(x.shape[-1] for x in kernels)
    self._numbers = sum(math.prod(x.shape) for x in kernels)
    self._weights = programs.replicate((leaves, rest))
    self._programs: dict[Any, Callable[..., Any]] = {}

  def _kernels(self, leaves):
    return [x for x, k in zip(leaves, self._is_kernel, strict=True) if k]

  def width(self, count: int) -> int:
    """Returns how many of the directions of an example a row has.

    The rows of an example have equally many, so that few are filled up.

    Args:
      count: K.
    """
    most = max(1, min(_MOST_DIRECTIONS, _MOST_NUMBERS // self._numbers))
    return math.ceil(count / math.ceil(count / most))

  def _device_rows(self, width):
    fit = max(1, _MOST_NUMBERS // (self._numbers * width))
    return min(_MOST_ROWS, fit)

  def rows(self, width: int) -> int:
    """Returns the number of rows of one call, over all devices.

    Args:
      width: directions of a row.
    """
    return self._device_rows(width) * programs.device_count()

  def __call__(self, images: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Returns the sums over directions of the mean squares of filters.

    Args:
      images: `[m, H, W, C]` as the source takes them; m is at most `rows`.
      directions: `[m, k, D]`, for k directions of a row.

    Returns:
      `[m, F]` float64, of sum_k mean_w (J_w^T u_k)^2 over the weights w of a
      filter.
    """
    given = images, np.asarray(directions, np.float32)
    rows = self._device_rows(directions.shape[1])
    batch = tuple(programs.split(x, rows) for x in given)
    key = batch[0].shape, batch[1].shape
    if key not in self._programs:
      self._programs[key] = self._compile(batch)
    found = np.asarray(self._programs[key](self._weights, batch), np.float64)
    return found.reshape(-1, self.filters)[: len(images)]

  def _compile(self, batch):
    shapes = jax.tree.map(
      # A device sees no axis of devices.
      lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype),
      (self._weights, batch),
    )
    traced, constants = programs.trace(self._squares, *shapes)
    program = programs.parallel(traced, fused=True)
    given = programs.replicate(traced.given(constants))
    return lambda weights, batch: program(weights, batch, given)

  def _squares(self, weights, batch):
    """The computation of one device: `[b, F]`."""
    (leaves, rest), (images, directions) = weights, batch
    prepared = self._source.preprocessing(images).astype(jnp.float32)

    def of_row(image, directions):
      def features(kernels):
        left = iter(kernels)
        every = [
          next(left) if k else x
          for x, k in zip(leaves, self._is_kernel, strict=True)
        ]
        params = jax.tree.unflatten(self._structure, every)
        # In evaluation: the statistics of a batch would make the derivatives of
        # an example depend on the others.
        return self._apply(params, rest, image[None], train=False)[0][0]

      _, pull = jax.vjp(features, self._kernels(leaves))
      (gradients,) = jax.vmap(pull)(directions)
      # The last axis of a kernel is that of its outputs.
      return jnp.concatenate([
        (g.reshape(len(g), -1, g.shape[-1]) ** 2).mean(axis=1).sum(axis=0)
        for g in gradients
      ])  # fmt: skip

    with jax.default_matmul_precision(programs.precision("float32")):
      return jax.vmap(of_row)(prepared, directions)


def probe_network(source: source_lib.Source) -> source_lib.Network:
  """Returns the network of a source, which must have one, of images.

  Args:
    source: the probe.

  Raises:
    InputError: if its derivatives cannot be computed.

  Example:
    >>> import leep_jax
    >>> from leep_jax.relations import fisher
    >>> source = leep_jax.Source("mean", lambda state, x: x.mean((1, 2)), {})
    >>> fisher.probe_network(source)
    Traceback (most recent call last):
    ...
    leep_jax...InputError: mean cannot be a probe network: it is no network ...
  """
  if source.network is None or source.preprocessing.inputs != "image":
    raise validation.InputError(
      f"{source.name} cannot be a probe network: it is no network of images of "
      "this package, such as tiny_imagenet32_resnet14"
    )
  return source.network
