"""Computes a `Graph` in JAX: each operation by its row of the table."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import validation
from leep_jax.bridge import graph as graph_lib
from leep_jax.bridge.operations import OPERATIONS

# JAX has no numbers of 64 bits unless they are asked for.
_DTYPES: dict[str, Any] = {
  "float64": jnp.float32, "float32": jnp.float32, "float16": jnp.float16,
  "bfloat16": jnp.bfloat16, "int64": jnp.int32, "int32": jnp.int32,
  "int16": jnp.int16, "int8": jnp.int8, "uint8": jnp.uint8, "bool": jnp.bool_,
  "complex64": jnp.complex64,
}  # fmt: skip


class Arrays(NamedTuple):
  """What a graph reads beside its inputs.

  Attributes:
    weights: tensors of the state dictionary, by name.
    constants: the graph's constants, by name.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.bridge import running
    >>> running.Arrays({"fc.weight": jnp.ones((2, 3))}, {}).constants
    {}
  """

  weights: Mapping[str, Any]
  constants: Mapping[str, Any]


def missing(graph: graph_lib.Graph) -> list[str]:
  """Returns the operations of a graph that the table does not have.

  Args:
    graph: of a network.

  Example:
    >>> from leep_jax.bridge import graph, running
    >>> node = graph.Node("y", "fft_rfft2", (graph.Ref("x"),))
    >>> running.missing(graph.Graph(("x",), {}, (), (), (node,), "y"))
    ['fft_rfft2']
  """
  return sorted(graph.operations() - OPERATIONS.keys())


def check(graph: graph_lib.Graph, name: str) -> None:
  """Refuses a graph with operations that are not known, naming all of them.

  Args:
    graph: of a network.
    name: of the network.

  Raises:
    InputError: if there are such operations.

  Example:
    >>> from leep_jax.bridge import graph, running
    >>> node = graph.Node("y", "relu", (graph.Ref("x"),))
    >>> running.check(graph.Graph(("x",), {}, (), (), (node,), "y"), "mine")
  """
  unknown = missing(graph)
  if unknown:
    raise validation.InputError(
      f"{name} uses {len(unknown)} operations of PyTorch that are not known "
      f"here: {validation.some(unknown, count=False)}; --backend=torch runs it "
      "in PyTorch"
    )


def run(
  graph: graph_lib.Graph,
  arrays: Arrays,
  inputs: Sequence[Any],
  *,
  outputs: Sequence[str] = (),
) -> list[Any]:
  """Computes some values of a graph.

  Args:
    graph: of a network, for a batch of one.
    arrays: weights and constants; those that no value needs may be missing.
    inputs: of the network, in its order. The first floating-point one gives
      the type of the arithmetic; without one, as of texts, it is that of the
      weights.
    outputs: names of the values to return; by default the graph's output.

  Returns:
    The values.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.bridge import graph, running
    >>> node = graph.Node("y", "relu", (graph.Ref("x"),))
    >>> example = graph.Graph(("x",), {}, (), (), (node,), "y")
    >>> x, nothing = jnp.array([-1.0, 2.0]), running.Arrays({}, {})
    >>> running.run(example, nothing, [x])[0].tolist()
    [0.0, 2.0]
  """
  outputs = tuple(outputs) or (graph.output,)
  real = [x for x in inputs if jnp.issubdtype(x.dtype, jnp.floating)]
  dtype = real[0].dtype if real else _dtype_of(arrays.weights)
  values = dict(zip(graph.inputs, inputs, strict=True))
  graph = graph.used(*outputs)
  for name, tensor in graph.weights.items():
    values[name] = _array(arrays.weights[tensor], dtype)
  for name in graph.constants:
    values[name] = _array(arrays.constants[name], dtype)
  left = _uses(graph, outputs)

  def argument(arg):
    if isinstance(arg, graph_lib.Ref):
      return values[arg.name]
    if isinstance(arg, graph_lib.Dtype):
      # float32 in the graph is the type of the arithmetic.
      return dtype if arg.name == "float32" else _DTYPES[arg.name]
    if isinstance(arg, list):
      return [argument(item) for item in arg]
    return arg

  for node in graph.nodes:
    args = [argument(arg) for arg in node.args]
    kwargs = {key: argument(arg) for key, arg in node.kwargs.items()}
    try:
      values[node.name] = OPERATIONS[node.op](*args, **kwargs)
    except Exception as e:
      raise validation.InputError(
        f"operation {node.op} ({node.name}) failed: {type(e).__name__}: "
        f"{validation.reason(e)[:200]}"
      ) from e
    for name in node.refs():
      left[name] -= 1
      if not left[name]:
        del values[name]
  return [values[name] for name in outputs]


def _dtype_of(weights):
  """bfloat16 if there are such weights, else float32.

  Weights of checkpoints are converted from bfloat16: those that are left are
  those of a forward pass in it.
  """
  dtypes = {getattr(value, "dtype", None) for value in weights.values()}
  return jnp.bfloat16 if jnp.bfloat16 in dtypes else jnp.float32


def _array(value, dtype):
  if not isinstance(value, jax.Array):
    value = np.asarray(value)
    if value.dtype.name in _DTYPES:
      value = value.astype(_DTYPES[value.dtype.name])
  if jnp.issubdtype(value.dtype, jnp.floating):
    return value.astype(dtype)
  return value


def _uses(graph, outputs):
  """How often each value is read."""
  counts: dict[str, int] = {}
  for node in graph.nodes:
    for name in node.refs():
      counts[name] = counts.get(name, 0) + 1
  for name in outputs:
    counts[name] = counts.get(name, 0) + 1
  return counts
