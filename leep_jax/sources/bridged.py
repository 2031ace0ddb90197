"""Programs of the bridge as sources, scored and fine-tuned like native ones."""

from collections.abc import Callable
import dataclasses
import hashlib
from typing import Any

import jax

from leep_jax import validation
from leep_jax.bridge import program as program_lib
from leep_jax.models.preprocessing import Preprocessing
from leep_jax.sources import source as source_lib, torch_model

_NO_PREPROCESSING = Preprocessing()


def from_program(
  name: str,
  program: program_lib.Program,
  arrays: Any,
  *,
  preprocessing: Any = _NO_PREPROCESSING,
) -> source_lib.Source:
  """Returns a source that runs a program of the bridge.

  Args:
    name: of the source, in tables and rows of results.
    program: the network.
    arrays: its `weights` and `constants`, each by name.
    preprocessing: of raw inputs, to the network's input.

  Example:
    >>> import jax.numpy as jnp
    >>> from leep_jax.bridge import graph, heads, program
    >>> from leep_jax.sources import bridged
    >>> nodes = (graph.Node("y", "mean.dim", (graph.Ref("x"), [2, 3])),)
    >>> network = graph.Graph(("x",), {}, (), (), nodes, "y")
    >>> colours = program.Program(
    ...   network, heads.without_classifier(network, "it has none"), "image")
    >>> source = bridged.from_program(
    ...   "colours", colours, {"weights": {}, "constants": {}})
    >>> _, features = source.apply(source.state, jnp.ones((4, 8, 8, 3)))
    >>> features.shape, source.without_probs
    ((4, 3), 'it has none')
  """

  def apply(state, inputs):
    return program.apply(state, inputs)

  # The graph is exported in evaluation mode.
  apply.in_evaluation = True  # type: ignore[attr-defined]
  digest = hashlib.sha256(program.to_json().encode()).hexdigest()
  trained = frozenset(program.trained())
  weights, constants = arrays["weights"], arrays["constants"]
  return source_lib.Source(
    name=name,
    apply=apply,
    state={"weights": weights, "constants": constants},
    preprocessing=preprocessing,
    network=source_lib.Network(
      weights=source_lib.Weights(
        params={k: v for k, v in weights.items() if k in trained},
        rest={
          "weights": {k: v for k, v in weights.items() if k not in trained},
          "constants": constants,
        },
      ),
      apply=_Body(program),
    ),
    options=f"graph {digest[:16]}",
    without_probs=program.head.without_probs,
  )


@dataclasses.dataclass(frozen=True)
class _Body:
  """A program up to its features, as `Network.apply` describes.

  BatchNorm stays in evaluation mode: the graph was exported so. Its scale and
  shift are trained, its running statistics are not.
  """

  program: program_lib.Program

  def __call__(
    self,
    params: Any,
    rest: Any,
    images: jax.Array,
    *,
    train: bool,
    synchronise: Callable[..., None] | None = None,
  ) -> tuple[jax.Array, Any]:
    """Returns features `[B, D]`, and `rest` as it is."""
    weights = {**rest["weights"], **params}
    arrays = {"weights": weights, "constants": rest["constants"]}
    return self.program.apply(arrays, images)[1], rest


def from_torch(
  name: str,
  module: Any,
  *,
  example: Any,
  preprocessing: Preprocessing = _NO_PREPROCESSING,
  classifier: bool = True,
  features: str | None = None,
) -> source_lib.Source:
  """Returns a source that runs a PyTorch module in JAX.

  PyTorch exports the module once, and is not used after that. Dropout is off,
  and BatchNorm uses its running statistics.

  Args:
    name: of the source, in tables and rows of results.
    module: a `torch.nn.Module`; called on images `[B, C, H, W]` it returns
      logits `[B, Z]`, or features if it has no `classifier`.
    example: such images, a tensor `[1, C, H, W]` of the size that
      `preprocessing` makes.
    preprocessing: of raw images, to the network's input.
    classifier: whether the module returns logits. If not, its output is used as
      features.
    features: name of a value of the exported graph that is used as features,
      instead of the input of the last linear layer.

  Raises:
    InputError: if PyTorch is missing or cannot export the module, or it uses
      operations that are not known here.

  Example:
    >>> import numpy as np
    >>> from leep_jax.sources import bridged
    >>> try:
    ...   import torch
    ...   layers = torch.nn.Flatten(), torch.nn.Linear(12, 5)
    ...   source = bridged.from_torch(
    ...     "mine", torch.nn.Sequential(*layers),
    ...     example=torch.zeros(1, 3, 2, 2))
    ...   logits, features = source.apply(
    ...     source.state, np.ones((4, 2, 2, 3), np.float32))
    ...   shapes = logits.shape, features.shape
    ... except ImportError:  # PyTorch is not installed
    ...   shapes = (4, 5), (4, 12)
    >>> shapes
    ((4, 5), (4, 12))
  """
  torch_model.require_torch(name)
  if getattr(example, "ndim", 0) != 4 or example.shape[0] != 1:
    raise validation.InputError(
      f"example has shape {tuple(getattr(example, 'shape', ()))}, not one "
      "image [1, C, H, W]: pass x[:1]"
    )
  # The graph has the sizes of its example.
  size = tuple(example.shape[2:])
  if preprocessing.sides not in (None, size):
    raise validation.InputError(
      f"example is {size[0]} x {size[1]} pixels, but image_size is "
      f"{preprocessing.image_size}"
    )
  preprocessing = dataclasses.replace(preprocessing, image_size=size)
  program, arrays = program_lib.from_module(
    module,
    (example,),
    name=name,
    without_probs="" if classifier else "the module has no classifier",
    features=features,
  )
  return from_program(name, program, arrays, preprocessing=preprocessing)
