"""A network that PyTorch defined, as a function that JAX runs and trains."""

from collections.abc import Mapping
import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import validation
from leep_jax.bridge import graph as graph_lib, heads, running

# What the inputs of a network are: images [H, W, C], with channels last as
# everywhere in this package; texts [L, K], K numbers a token; or sounds, whose
# arrays are as PyTorch has them.
INPUTS = ("image", "text", "audio")


@dataclasses.dataclass(frozen=True)
class Program:
  """A network without its weights: operations, classifier, kind of input.

  Attributes:
    graph: the operations.
    head: where logits and features are in it.
    inputs: one of `INPUTS`.

  Example:
    >>> from leep_jax.bridge import graph, heads, program
    >>> nodes = (graph.Node("y", "mean.dim", (graph.Ref("x"), [2, 3])),)
    >>> network = graph.Graph(("x",), {}, (), (), nodes, "y")
    >>> example = program.Program(
    ...   network, heads.without_classifier(network, "it has none"), "image")
    >>> program.Program.from_json(example.to_json()) == example
    True
  """

  graph: graph_lib.Graph
  head: heads.Head
  inputs: str

  def apply(
    self, arrays: Mapping[str, Any], inputs: jax.Array
  ) -> tuple[jax.Array | None, jax.Array]:
    """Returns logits and features of a batch.

    Args:
      arrays: `weights` and `constants`, each by name; see `running.Arrays`.
      inputs: `[B, ...]`, of the form that `INPUTS` states.

    Returns:
      Logits `[B, Z]`, or None without a classifier, and features `[B, D]`.
    """
    both = running.Arrays(arrays["weights"], arrays["constants"])

    def one(example: jax.Array) -> Any:
      separate = self._separate(example)
      logits, features = heads.apply(self.graph, self.head, both, separate)
      return features if logits is None else (logits, features)

    found = jax.vmap(one)(inputs)
    return found if self.head.logits else (None, found)

  def _separate(self, example):
    """The network's inputs of one example, each with a batch of one."""
    if self.inputs == "image":
      return [jnp.moveaxis(example, -1, 0)[None]]
    if self.inputs == "text":
      return [example[None, :, k] for k in range(example.shape[-1])]
    if len(self.graph.inputs) == 2:  # samples, and which of them are padding
      return [example[None, :, 0], example[None, :, 1].astype(jnp.int32)]
    return [example[None]]

  def trained(self) -> tuple[str, ...]:
    """Returns the names of the parameters that the features depend on."""
    names = [part.name for part in self.head.features]
    body = self.graph.used(*names)
    return tuple(t for t in body.trained if t not in self.head.weights)

  def to_json(self) -> str:
    """Returns it as text."""
    head = self.head
    content = {
      "graph": json.loads(self.graph.to_json()),
      "head": {
        "logits": head.logits,
        "features": [list(part) for part in head.features],
        "weights": list(head.weights),
        "without_probs": head.without_probs,
      },
      "inputs": self.inputs,
    }
    return json.dumps(content, separators=(",", ":"))

  @classmethod
  def from_json(cls, text: str) -> "Program":
    """Returns the program that a text is of.

    Args:
      text: of `to_json`.

    Raises:
      InputError: if it is of something else.
    """
    try:
      content = json.loads(text)
      head = content["head"]
      return cls(
        graph_lib.Graph.from_json(json.dumps(content["graph"])),
        heads.Head(
          head["logits"],
          tuple(heads.Part(*part) for part in head["features"]),
          tuple(head["weights"]),
          head["without_probs"],
        ),
        content["inputs"],
      )
    except validation.InputError:
      raise
    except (ValueError, KeyError, TypeError) as e:
      raise validation.InputError(
        f"the program cannot be read ({validation.reason(e)}): is the file "
        "cut short?"
      ) from e


def from_module(
  module: Any,
  example: tuple[Any, ...],
  *,
  name: str,
  inputs: str = "image",
  without_probs: str = "",
  features: str | None = None,
  dynamic: Any = None,
) -> tuple[Program, dict[str, dict[str, np.ndarray]]]:
  """Returns the program of a PyTorch module, and its arrays.

  Args:
    module: a `torch.nn.Module` that returns logits or features, one tensor.
    example: its arguments, tensors of a batch of one.
    name: of the network, in error messages.
    inputs: one of `INPUTS`.
    without_probs: why its output are features and no logits; empty if they
      are logits.
    features: name of a value of the graph that is used as features, instead of
      the input of the last linear layer.
    dynamic: see `export.export`.

  Returns:
    The program, and `weights` and `constants` by name.

  Raises:
    InputError: if PyTorch cannot export it, or operations are not known here.

  Example:
    >>> from leep_jax.bridge import program
    >>> try:
    ...   import torch
    ...   layers = torch.nn.Flatten(), torch.nn.Linear(12, 5)
    ...   made, arrays = program.from_module(
    ...     torch.nn.Sequential(*layers), (torch.zeros(1, 3, 2, 2),),
    ...     name="mine")
    ...   weights = sorted(arrays["weights"])
    ... except ImportError:  # PyTorch is not installed
    ...   weights = ["1.bias", "1.weight"]
    >>> weights
    ['1.bias', '1.weight']
  """
  from leep_jax.bridge import export

  exported = export.export(module, example, name=name, dynamic=dynamic)
  running.check(exported.graph, name)
  if without_probs:
    head = heads.without_classifier(exported.graph, without_probs)
  else:
    head = heads.find(exported.graph, name)
  if features is not None:
    head = heads.named(exported.graph, features, head)
  return Program(exported.graph, head, inputs), {
    "weights": exported.weights, "constants": exported.constants,
  }  # fmt: skip
