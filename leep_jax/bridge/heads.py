"""Where a graph's classifier is, and what it is applied to.

The last linear layers are found by following the graph back from its output
through operations that only rearrange, add, scale or average. The features are
their inputs.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from leep_jax import validation
from leep_jax.bridge import graph as graph_lib, running

# Products with a weight: the position of the input and of the weight among the
# arguments, and the axis of the features of the input.
_LINEAR = {
  "linear": (0, 1, -1), "addmm": (1, 2, -1), "mm": (0, 1, -1),
  "convolution": (0, 1, 1), "conv2d": (0, 1, 1),
}  # fmt: skip
# Behind a classifier, these change neither the order nor the meaning of its
# outputs: logits of several positions are averaged, several heads are added.
_PASSED = frozenset(
  {
    "view", "reshape", "_unsafe_view", "clone", "alias", "detach", "_to_copy",
    "contiguous", "squeeze", "squeeze.dim", "squeeze.dims", "unsqueeze",
    "permute", "mean.dim", "add.Tensor", "add.Scalar", "sub.Tensor",
    "mul.Tensor", "mul.Scalar", "div.Tensor", "div.Scalar", "avg_pool2d",
    "_adaptive_avg_pool2d", "adaptive_avg_pool2d", "select.int",
    "slice.Tensor", "stack", "sum.dim_IntList", "relu",
  }
)  # fmt: skip
# A distribution: the logits are what it is of.
_SOFTMAX = ("_softmax", "_log_softmax")


class Part(NamedTuple):
  """A value that is part of the features, and the axis they are on.

  Attributes:
    name: of the value in the graph.
    axis: of its features; the mean is taken over the other axes.

  Example:
    >>> from leep_jax.bridge import heads
    >>> heads.Part("mean_1", -1).axis
    -1
  """

  name: str
  axis: int


class Head(NamedTuple):
  """What a network returns, in the words of a source.

  Attributes:
    logits: name of the value of the logits; empty if there is no classifier.
    features: the values that make the features, joined in this order.
    weights: names of the tensors of the classifier, which is not trained.
    without_probs: why there is no distribution over classes, or empty.

  Example:
    >>> from leep_jax.bridge import graph, heads
    >>> nodes = (graph.Node("y", "linear", (graph.Ref("x"), graph.Ref("w"))),)
    >>> example = graph.Graph(
    ...   ("x",), {"w": "fc.weight"}, ("fc.weight",), (), nodes, "y")
    >>> heads.find(example, "mine").weights
    ('fc.weight',)
  """

  logits: str
  features: tuple[Part, ...]
  weights: tuple[str, ...] = ()
  without_probs: str = ""


def find(graph: graph_lib.Graph, name: str) -> Head:
  """Returns the classifier of a graph.

  Args:
    graph: of a network that ends in a classifier.
    name: of the network, in error messages.

  Raises:
    InputError: if no linear layer is found.

  Example:
    >>> from leep_jax.bridge import graph, heads
    >>> nodes = (graph.Node("y", "linear", (graph.Ref("x"), graph.Ref("w"))),)
    >>> example = graph.Graph(
    ...   ("x",), {"w": "fc.weight"}, ("fc.weight",), (), nodes, "y")
    >>> heads.find(example, "mine").features
    (Part(name='x', axis=-1),)
  """
  nodes = {node.name: node for node in graph.nodes}
  output, without = graph.output, ""
  last = nodes.get(output)
  while last is not None and last.op in ("clone", "alias", "view"):
    last = nodes.get(last.args[0].name)
  if last is not None and last.op in _SOFTMAX:
    output = last.args[0].name
  elif last is not None and last.op == "sigmoid":
    output = last.args[0].name
    without = "its network ends in a sigmoid: every class has one of its own"
  parts: list[Part] = []
  weights: list[str] = []
  for node in _classifiers(nodes, output):
    at, weight, axis = _LINEAR[node.op]
    part = Part(node.args[at].name, axis)
    if part not in parts:
      parts.append(part)
    weights += _tensors(graph, nodes, node, weight)
  if not parts:
    raise validation.InputError(
      f"{name} has no last linear layer that could be found: pass "
      "--features=NODE, a value of its graph "
      f"({validation.some(list(nodes)[-8:], count=False)} are its last)"
    )
  return Head(output, tuple(parts), tuple(weights), without)


def without_classifier(graph: graph_lib.Graph, why: str) -> Head:
  """Returns the head of a network whose output are features.

  Args:
    graph: of the network.
    why: it has no classifier, see `Source.without_probs`.

  Example:
    >>> from leep_jax.bridge import graph, heads
    >>> example = graph.Graph(("x",), {}, (), (), (), "x")
    >>> heads.without_classifier(example, "it has none").features
    (Part(name='x', axis=0),)
  """
  # The axis of maps of features, [1, D, H, W], or of tokens and vectors is
  # known when there are shapes: 0 stands for it.
  return Head("", (Part(graph.output, 0),), (), why)


def named(graph: graph_lib.Graph, features: str, head: Head) -> Head:
  """Returns a head with other features.

  Args:
    graph: of the network.
    features: name of a value in it.
    head: of the network.

  Raises:
    InputError: if there is no such value.

  Example:
    >>> import leep_jax
    >>> from leep_jax.bridge import graph, heads
    >>> example = graph.Graph(("x",), {}, (), (), (), "x")
    >>> try:
    ...   heads.named(example, "y", heads.without_classifier(example, "none"))
    ... except leep_jax.InputError as error:
    ...   print(error)
    the graph has no value 'y'; its last are x
  """
  known = [*graph.inputs, *(node.name for node in graph.nodes)]
  if features not in known:
    raise validation.InputError(
      f"the graph has no value {features!r}; its last are "
      f"{', '.join(known[-8:])}"
    )
  return head._replace(features=(Part(features, 0),))


def _classifiers(nodes, output) -> Iterator[graph_lib.Node]:
  """Yields the linear layers next to the output."""
  ahead, seen = [output], set()
  while ahead:
    name = ahead.pop(0)
    node = nodes.get(name)
    if node is None or name in seen:
      continue
    seen.add(name)
    if node.op in _LINEAR:
      yield node
    elif node.op in _PASSED or _stacks(nodes, node):
      ahead += node.refs()


def _stacks(nodes, node) -> bool:
  """Whether an operation joins the logits of several heads along a new axis.

  PyTorch writes a stack as `cat`, of values that got an axis for it, or of
  values whose axis is split afterwards. The axis of the batch, which is one
  example long, needs neither.
  """
  if node.op != "cat":
    return False
  axis = node.args[1] if len(node.args) > 1 else 0
  parts = [nodes.get(name) for name in node.refs()]
  if axis == 0 or all(
    part is not None and part.op == "unsqueeze" and part.args[1] == axis
    for part in parts
  ):
    return True
  return any(
    reader.op == "view"
    and reader.args[0].name == node.name
    and reader.args[1][axis:-1][:1] == [len(parts)]
    for reader in nodes.values()
  )


def _tensors(graph, nodes, node, weight) -> Sequence[str]:
  """The tensors that only this layer reads: its weight and its bias."""
  found = []
  arguments = [node.args[weight], *node.args[weight + 1 : weight + 2]]
  if node.op == "addmm":
    arguments = [node.args[0], node.args[2]]
  for argument in arguments:
    name = getattr(argument, "name", "")
    # `addmm` takes the transposed weight.
    while name in nodes and nodes[name].op in ("permute", "t"):
      name = nodes[name].args[0].name
    if name in graph.weights:
      found.append(graph.weights[name])
  return found


def pooled(value: jax.Array, axis: int) -> jax.Array:
  """Returns one vector of features of a value for a batch of one.

  Args:
    value: `[1, D]`, `[1, N, D]`, `[1, D, H, W]`; or `[D]`.
    axis: of the features; 0 for that which the number of axes suggests.

  Returns:
    `[D]`, the mean over all other axes.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.bridge import heads
    >>> heads.pooled(jnp.ones((1, 5, 7, 7)), 0).shape
    (5,)
  """
  if axis == 0:
    # Maps have their channels first, tokens and vectors last.
    axis = 1 if value.ndim == 4 else -1
  axis %= value.ndim
  others = tuple(i for i in range(value.ndim) if i != axis)
  return jnp.mean(value, others)


def apply(
  graph: graph_lib.Graph,
  head: Head,
  arrays: running.Arrays,
  inputs: Sequence[jax.Array],
) -> tuple[jax.Array | None, jax.Array]:
  """Returns logits and features of one example.

  Args:
    graph: of the network.
    head: of the same network.
    arrays: weights and constants.
    inputs: of the network, with a batch of one.

  Returns:
    Logits `[Z]`, or None without a classifier, and features `[D]`.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.bridge import graph, heads, running
    >>> nodes = (graph.Node("y", "linear", (graph.Ref("x"), graph.Ref("w"))),)
    >>> example = graph.Graph(
    ...   ("x",), {"w": "fc.weight"}, ("fc.weight",), (), nodes, "y")
    >>> arrays = running.Arrays({"fc.weight": jnp.ones((5, 3))}, {})
    >>> head = heads.find(example, "mine")
    >>> inputs = [jnp.ones((1, 3))]
    >>> logits, features = heads.apply(example, head, arrays, inputs)
    >>> logits.shape, features.shape
    ((5,), (3,))
  """
  names = [part.name for part in head.features]
  wanted = [head.logits, *names] if head.logits else names
  values = running.run(graph, arrays, inputs, outputs=wanted)
  parts = values[len(wanted) - len(names) :]
  features = jnp.concatenate(
    [pooled(v, p.axis) for v, p in zip(parts, head.features, strict=True)]
  )
  logits = values[0].reshape(-1) if head.logits else None
  return logits, features
