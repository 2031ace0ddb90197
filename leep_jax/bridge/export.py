"""From a PyTorch module to a `Graph`: the only file here that uses PyTorch.

`torch.export` records the operations of one call. A batch of one example is
exported; `jax.vmap` gives the batch, so that no operation needs to know it.
"""

from collections.abc import Sequence
import contextlib
import logging
import math
import operator
from typing import Any
import warnings

import numpy as np

from leep_jax import validation
from leep_jax.bridge import graph as graph_lib

# Kept as one operation each, though core ATen has smaller ones for them: they
# are many times fewer nodes, and JAX has a function for each.
_KEPT = ("linear", "scaled_dot_product_attention")
# Statements about a value, not part of any result.
_ASSERTIONS = (
  "_assert_tensor_metadata", "_assert_scalar", "_assert_async.msg",
  "sym_constrain_range_for_size", "sym_constrain_range",
)  # fmt: skip


class Exported:
  """A network's graph, and the arrays that it reads.

  Attributes:
    graph: the operations.
    weights: tensors of the state dictionary, by name.
    constants: the other arrays, by name.

  Example:
    >>> from leep_jax.bridge import export, graph
    >>> nothing = graph.Graph(("x",), {}, (), (), (), "x")
    >>> export.Exported(nothing, {}, {}).graph.output
    'x'
  """

  def __init__(
    self,
    graph: graph_lib.Graph,
    weights: dict[str, np.ndarray],
    constants: dict[str, np.ndarray],
  ):
    self.graph = graph
    self.weights = weights
    self.constants = constants


def export(
  module: Any,
  example: Sequence[Any],
  *,
  name: str = "the network",
  dynamic: Any = None,
) -> Exported:
  """Returns the graph of a PyTorch module in evaluation mode.

  Args:
    module: a `torch.nn.Module` that returns one tensor.
    example: its arguments, tensors of a batch of one.
    name: of the network, in error messages.
    dynamic: `dynamic_shapes` of `torch.export.export`, for axes beside the
      batch whose length is free.

  Raises:
    InputError: if `torch.export` cannot record it.

  Example:
    >>> from leep_jax.bridge import export
    >>> try:
    ...   import torch
    ...   module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
    ...   exported = export.export(module, (torch.zeros(1, 3),))
    ...   operations = sorted(exported.graph.operations())
    ... except ImportError:  # PyTorch is not installed
    ...   operations = ["linear", "relu"]
    >>> operations
    ['linear', 'relu']
  """
  import torch

  module.eval()
  try:
    with torch.no_grad(), _quiet():
      program = torch.export.export(
        module,
        tuple(example),
        dynamic_shapes=dynamic,
        strict=False,
        # Conditions on a length that PyTorch cannot prove of all lengths, such
        # as that a number does not divide another, are left to the run.
        prefer_deferred_runtime_asserts_over_guards=dynamic is not None,
      )
      table = torch.export.default_decompositions()
      for kept in _KEPT:
        table.pop(getattr(torch.ops.aten, kept).default, None)
      program = program.run_decompositions(table)
  except Exception as e:  # whatever the module's own code raises
    raise validation.InputError(
      f"{name} cannot be exported by PyTorch: {type(e).__name__}: "
      f"{validation.reason(e)[:300]}"
    ) from e
  return _Reading(program, name).exported()


@contextlib.contextmanager
def _quiet():
  """Suppresses warnings of PyTorch, and the stacks that it prints of errors."""
  logger = logging.getLogger("torch")
  level = logger.level
  logger.setLevel(logging.CRITICAL + 1)
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      yield
  finally:
    logger.setLevel(level)


def operation(target: Any) -> str:
  """Returns the name of an operation, as `Node.op` has it.

  Args:
    target: of a call in PyTorch's graph.

  Example:
    >>> import operator
    >>> from leep_jax.bridge import export
    >>> export.operation(operator.getitem), export.operation(operator.mul)
    ('getitem', 'python.mul')
  """
  if target is operator.getitem:
    return "getitem"
  text = str(target)
  if text.startswith("aten."):
    return text.removeprefix("aten.").removesuffix(".default")
  named = getattr(target, "__name__", text)
  # Arithmetic with lengths of axes, by functions of Python.
  return f"python.{named}" if callable(target) and "." not in text else text


class _Reading:
  """Reads one exported program."""

  def __init__(self, program, name):
    self.program = program
    self.name = name
    self.weights: dict[str, str] = {}
    self.constants: dict[str, Any] = {}
    self.trained: list[str] = []
    self.inputs: list[str] = []
    self.nodes: list[graph_lib.Node] = []

  def exported(self) -> Exported:
    """Returns the graph without what nothing reads."""
    self._read_inputs()
    output = ""
    for node in self.program.graph.nodes:
      if node.op == "call_function":
        self._read_call(node)
      elif node.op == "output":
        output = self._output(node)
    graph = graph_lib.Graph(
      inputs=tuple(self.inputs),
      weights=self.weights,
      trained=tuple(self.trained),
      constants=tuple(self.constants),
      nodes=tuple(self.nodes),
      output=output,
    ).used(output)
    state = self.program.state_dict
    return Exported(
      graph,
      {t: array(state[t]) for t in graph.weights.values()},
      {c: array(self.constants[c]) for c in graph.constants},
    )

  def _read_inputs(self):
    from torch.export.graph_signature import InputKind as kinds

    for spec in self.program.graph_signature.input_specs:
      if spec.kind == kinds.USER_INPUT:
        self.inputs.append(spec.arg.name)
      elif spec.kind == kinds.PARAMETER:
        self.weights[spec.arg.name] = spec.target
        self.trained.append(spec.target)
      elif spec.target in self.program.state_dict:
        self.weights[spec.arg.name] = spec.target
      else:  # buffers that are not saved, and tensors in the code
        self.constants[spec.arg.name] = self.program.constants[spec.target]

  def _read_call(self, node):
    """Adds an operation; computes one of constants alone at once."""
    op = operation(node.target)
    if op in _ASSERTIONS:
      return
    reads = node.all_input_nodes
    known = all(source.name in self.constants for source in reads)
    if known and not op.startswith(("python.", "rand", "sym_")):
      value = self._computed(node)
      if value is not None:
        self.constants[node.name] = value
        return
    self.nodes.append(
      graph_lib.Node(
        node.name,
        op,
        tuple(_argument(arg) for arg in node.args),
        {
          key: _argument(arg)
          for key, arg in node.kwargs.items()
          if key not in ("device", "layout", "pin_memory", "memory_format")
        },
      )
    )

  def _computed(self, node):
    """The tensor that an operation gives of constants; None if it cannot."""
    import torch
    from torch.utils import _pytree

    def value(arg):
      return self.constants[arg.name] if isinstance(arg, torch.fx.Node) else arg

    try:
      args, kwargs = _pytree.tree_map_only(
        torch.fx.Node, value, (node.args, dict(node.kwargs))
      )
      result = node.target(*args, **kwargs)
    except Exception:  # left to the graph
      return None
    # A list of tensors is left to the graph, too.
    return result if isinstance(result, torch.Tensor) else None

  def _output(self, node):
    (results,) = node.args
    names = [getattr(result, "name", None) for result in results]
    if len(names) != 1 or names[0] is None:
      raise validation.InputError(
        f"{self.name} returns {len(names)} values, not one tensor"
      )
    return names[0]


def _argument(value):
  """Returns an argument without PyTorch's types."""
  import torch

  if isinstance(value, torch.fx.Node):
    return graph_lib.Ref(value.name)
  if isinstance(value, torch.dtype):
    return graph_lib.Dtype(str(value).removeprefix("torch."))
  if isinstance(value, (list, tuple)):
    return [_argument(item) for item in value]
  if isinstance(value, (torch.device, torch.layout, torch.memory_format)):
    return None
  if isinstance(value, bool) or value is None or isinstance(value, str):
    return value
  if isinstance(value, int):
    return int(value)
  if isinstance(value, float):
    return float(value) if math.isfinite(value) else value
  # A length that is free, but the same in all uses.
  return int(value)


def array(tensor: Any, *, copy: bool = True) -> np.ndarray:
  """Returns the values of a tensor of PyTorch; bfloat16 as float32.

  Args:
    tensor: of any device.
    copy: whether the memory is another one than the tensor's.

  Example:
    >>> from leep_jax.bridge import export
    >>> try:
    ...   import torch
    ...   found = export.array(torch.ones(2, dtype=torch.bfloat16)).dtype.name
    ... except ImportError:  # PyTorch is not installed
    ...   found = "float32"
    >>> found
    'float32'
  """
  import torch

  tensor = tensor.detach().cpu()
  if tensor.dtype == torch.bfloat16:
    tensor = tensor.float()
  return np.array(tensor.numpy(), copy=copy or None)
