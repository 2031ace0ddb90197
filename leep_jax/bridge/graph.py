"""A network as a flat graph of core ATen operations, without PyTorch.

`export.py` makes it of a PyTorch module, `running.py` computes it in JAX. It is
plain data, so that it can be kept as JSON beside the weights.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import json
import math
from typing import Any

from leep_jax import validation

# Of the JSON form. A file of a later version is refused.
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Ref:
  """The value of another node, an input, a weight or a constant.

  Attributes:
    name: of what has that value.

  Example:
    >>> from leep_jax.bridge import graph
    >>> graph.Ref("relu_1").name
    'relu_1'
  """

  name: str


@dataclasses.dataclass(frozen=True)
class Dtype:
  """A type of numbers as an argument, by PyTorch's name.

  Attributes:
    name: such as `float32` or `int64`.

  Example:
    >>> from leep_jax.bridge import graph
    >>> graph.Dtype("float32").name
    'float32'
  """

  name: str


@dataclasses.dataclass(frozen=True)
class Node:
  """One operation of a graph.

  Attributes:
    name: of its result.
    op: of the operation, with its overload but without `aten.` and `.default`,
      such as `add.Tensor` or `convolution`.
    args: numbers, texts, `Ref`, `Dtype`, None, and lists of these.
    kwargs: the same, by name.

  Example:
    >>> from leep_jax.bridge import graph
    >>> graph.Node("y", "relu", (graph.Ref("x"),)).op
    'relu'
  """

  name: str
  op: str
  args: tuple[Any, ...]
  kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def refs(self) -> Iterator[str]:
    """Yields the names of the values that it reads."""
    yield from _refs((self.args, *self.kwargs.values()))


@dataclasses.dataclass(frozen=True)
class Graph:
  """A network: what it reads, its operations in order, and what it returns.

  Its inputs are those of one example: a batch of one, as it was exported.

  Attributes:
    inputs: names of the inputs, in order.
    weights: for each name, that of the tensor in the state dictionary. The
      tensors are the first argument of `running.run`, not part of the graph.
    trained: those of these tensors that are parameters; the others are
      buffers, such as running means.
    constants: names of arrays that no weight changes, such as a table of
      positions. They, too, are kept beside the graph.
    nodes: the operations.
    output: name of the result.

  Example:
    >>> from leep_jax.bridge import graph
    >>> node = graph.Node("y", "relu", (graph.Ref("x"),))
    >>> example = graph.Graph(("x",), {}, (), (), (node,), "y")
    >>> graph.Graph.from_json(example.to_json()) == example
    True
  """

  inputs: tuple[str, ...]
  weights: Mapping[str, str]
  trained: tuple[str, ...]
  constants: tuple[str, ...]
  nodes: tuple[Node, ...]
  output: str

  def operations(self) -> set[str]:
    """Returns the names of all operations in it."""
    return {node.op for node in self.nodes}

  def node(self, name: str) -> Node | None:
    """Returns the operation whose result has a name; None for an input."""
    return {node.name: node for node in self.nodes}.get(name)

  def used(self, *outputs: str) -> "Graph":
    """Returns the graph without what none of some values depends on.

    Args:
      *outputs: names of the values that are kept; the first is its output.
    """
    needed, kept = set(outputs), []
    for node in reversed(self.nodes):
      if node.name in needed:
        kept.append(node)
        needed.update(node.refs())
    weights = {k: v for k, v in self.weights.items() if k in needed}
    return dataclasses.replace(
      self,
      weights=weights,
      trained=tuple(t for t in self.trained if t in set(weights.values())),
      constants=tuple(name for name in self.constants if name in needed),
      nodes=tuple(reversed(kept)),
      output=outputs[0],
    )

  def to_json(self) -> str:
    """Returns it as text."""
    content = {
      "version": _VERSION,
      "inputs": self.inputs,
      "weights": dict(self.weights),
      "trained": self.trained,
      "constants": self.constants,
      "nodes": [
        [node.name, node.op, _plain(node.args), _plain(dict(node.kwargs))]
        for node in self.nodes
      ],
      "output": self.output,
    }
    return json.dumps(content, allow_nan=False, separators=(",", ":"))

  @classmethod
  def from_json(cls, text: str) -> "Graph":
    """Returns the graph that a text is of.

    Args:
      text: of `to_json`.

    Raises:
      InputError: if it is of a later version, or of something else.
    """
    try:
      content = json.loads(text)
      version = content["version"]
      if version != _VERSION:
        raise validation.InputError(
          f"the graph has version {version}, but {_VERSION} is known: a newer "
          "leep_jax wrote it; update this one"
        )
      return cls(
        inputs=tuple(content["inputs"]),
        weights=content["weights"],
        trained=tuple(content["trained"]),
        constants=tuple(content["constants"]),
        nodes=tuple(
          Node(name, op, tuple(_read(args)), _read(kwargs))
          for name, op, args, kwargs in content["nodes"]
        ),
        output=content["output"],
      )
    except (ValueError, KeyError, TypeError) as e:
      if isinstance(e, validation.InputError):
        raise
      raise validation.InputError(
        f"the graph cannot be read ({validation.reason(e)}): is the file cut "
        "short?"
      ) from e


def _refs(value):
  if isinstance(value, Ref):
    yield value.name
  elif isinstance(value, (list, tuple)):
    for item in value:
      yield from _refs(item)


def _plain(value):
  """Returns a value in JSON's types; what has no such type is `{type: ...}`."""
  if isinstance(value, Ref):
    return {"ref": value.name}
  if isinstance(value, Dtype):
    return {"dtype": value.name}
  if isinstance(value, float) and not math.isfinite(value):
    return {"float": str(value)}
  if isinstance(value, (list, tuple)):
    return [_plain(item) for item in value]
  if isinstance(value, dict):
    return {"kwargs": {key: _plain(item) for key, item in value.items()}}
  return value


def _read(value):
  """Undoes `_plain`."""
  if isinstance(value, list):
    return [_read(item) for item in value]
  if not isinstance(value, dict):
    return value
  ((kind, inner),) = value.items()
  if kind == "kwargs":
    return {key: _read(item) for key, item in inner.items()}
  return {"ref": Ref, "dtype": Dtype, "float": float}[kind](inner)
