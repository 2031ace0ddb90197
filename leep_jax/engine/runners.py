"""How one batch goes through a source: on the devices, or on the host.

JAX compiles most sources, preprocessing and softmax included, and spreads them
over the devices. A source of another framework runs on the host between two
such programs.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import validation
from leep_jax.engine import output_checks, programs, row_checks
from leep_jax.sources import source as source_lib


class Runner(Protocol):
  """Runs batches of a source.

  Example:
    >>> from leep_jax.engine import runners
    >>> hasattr(runners.Runner, "run")
    True
  """

  def run(self, inputs: np.ndarray, rows: int) -> dict[str, jax.Array]:
    """Returns the outputs of a batch, `[d, rows, ...]` by name.

    Args:
      inputs: `[B, ...]`, at most d * `rows` of them, on d devices.
      rows: for each device; the outputs of missing ones mean nothing.
    """


def of(source: source_lib.Source, dtype: str) -> Runner:
  """Returns what runs a source.

  Args:
    source: the model.
    dtype: of its arithmetic.

  Raises:
    InputError: if its state is not all arrays, or it runs in float32 alone.

  Example:
    >>> import leep_jax
    >>> from leep_jax.engine import runners
    >>> source = leep_jax.load_source("cifar10_resnet14")
    >>> type(runners.of(source, "float32")).__name__
    '_OnDevices'
  """
  return (_OnHost if source.on_host else _OnDevices)(source, dtype)


class _OnDevices:
  """Runs a source that JAX compiles, together with all that is around it."""

  def __init__(self, source: source_lib.Source, dtype: str):
    try:
      state = jax.tree.map(jnp.asarray, source.state)
    except Exception as e:  # each type that is no array raises its own
      raise validation.InputError(
        f"the state of {source.name} is not all arrays: {validation.reason(e)}"
      ) from e
    if dtype != "float32":
      state = jax.tree.map(
        lambda x: (
          x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x
        ),
        state,
      )
    self._source, self._dtype, self._state = source, dtype, state
    self._placed: Any = None
    # Texts have several shapes, which come in any order.
    self._compiled: dict[tuple[Any, ...], tuple[Callable[..., Any], Any]] = {}

  def run(self, inputs: np.ndarray, rows: int) -> dict[str, jax.Array]:
    """Returns the outputs of a batch, see `Runner`."""
    # Images that were enlarged are floats, in batches of their own.
    kind = (rows, *inputs.shape[1:], inputs.dtype)
    if kind not in self._compiled:
      traced, constants = self._trace(inputs, rows)
      given = programs.replicate(traced.given(constants))
      self._compiled[kind] = programs.parallel(traced), given
    if self._placed is None:
      # Only now that the first inputs are known to be of the right shape.
      self._placed = programs.replicate(self._state)
    spread, given = self._compiled[kind]
    found: dict[str, jax.Array] = spread(
      self._placed, programs.split(inputs, rows), given
    )
    return found

  def _forward(self, state, inputs):
    """The function of a device's inputs that is compiled."""
    source, dtype = self._source, self._dtype
    with jax.default_matmul_precision(programs.precision(dtype)):
      # Only the network runs in `dtype`: images are resized and normalised in
      # float32. Tokens are integers, and stay so.
      prepared = source.preprocessing(inputs)
      if jnp.issubdtype(prepared.dtype, jnp.floating):
        prepared = prepared.astype(dtype)
      outputs = source.apply(state, prepared)
    return _finished(_named(outputs, source), source)

  def _trace(self, inputs, rows):
    """Traces the forward pass of `rows` inputs for each device.

    Inputs and outputs of a wrong shape are refused here, before anything runs.
    """
    source = self._source
    source.check_inputs(inputs.shape)
    example = jax.ShapeDtypeStruct((rows, *inputs.shape[1:]), inputs.dtype)
    try:
      traced, constants = programs.trace(self._forward, self._state, example)
    except Exception as e:  # whatever the user's own code raises
      raise _failure(source, inputs, e) from e
    _check_outputs(traced.shapes, rows, source)
    return traced, constants


class _OnHost:
  """Runs a source that is Python code of NumPy arrays."""

  def __init__(self, source: source_lib.Source, dtype: str):
    if dtype != "float32":
      raise validation.InputError(
        f"{source.name} runs on the host, in float32 alone, not in {dtype}"
      )
    self._source = source
    self._compiled: dict[Any, tuple[Callable[..., Any], Any]] = {}

  def run(self, inputs: np.ndarray, rows: int) -> dict[str, jax.Array]:
    """Returns the outputs of a batch, see `Runner`."""
    source = self._source
    source.check_inputs(inputs.shape)
    prepared = self._spread("prepare", source.preprocessing, inputs, rows)
    # The rows that fill the last batch up are left out.
    prepared = np.asarray(prepared).reshape(-1, *prepared.shape[2:])
    try:
      outputs = source.apply(source.state, prepared[: len(inputs)])
      named = _named(outputs, source)
    except Exception as e:  # whatever the other framework raises
      raise _failure(source, inputs, e) from e
    _check_outputs(named, len(inputs), source)
    found: dict[str, jax.Array] = self._spread(
      "finish", lambda outputs: _finished(outputs, source), named, rows
    )
    return found

  def _spread(self, step, function, tree, rows):
    """Runs a function of examples on all devices; it is compiled once."""
    split = jax.tree.map(lambda x: programs.split(np.asarray(x), rows), tree)
    shapes = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), split
    )
    key = step, str(shapes)
    if key not in self._compiled:
      traced, constants = programs.trace(function, shapes)
      given = programs.replicate(traced.given(constants))
      self._compiled[key] = programs.parallel(traced), given
    compiled, given = self._compiled[key]
    return compiled(split, given)


def _named(outputs, source) -> dict[str, Any]:
  """Returns what a source returned by name: `logits`, `features`."""
  if not isinstance(outputs, (tuple, list)):
    outputs = (outputs,)
  if len(outputs) not in (1, 2):
    raise TypeError(
      f"it returned {len(outputs)} values, not logits or (logits, features)"
    )
  # Not strict: a source may return logits alone.
  named = dict(zip(("logits", "features"), outputs, strict=False))
  for what, values in list(named.items()):
    if values is None and (what == "features" or source.without_probs):
      del named[what]
      continue
    kind = getattr(values, "dtype", type(values).__name__)
    if isinstance(kind, str) or not jnp.issubdtype(kind, jnp.floating):
      raise TypeError(f"it returned {what} of type {kind}, not real numbers")
  return named


def _finished(named: Mapping[str, Any], source) -> dict[str, jax.Array]:
  """Returns the outputs in float32, probabilities in place of logits."""
  # Before the softmax: rows of a softmax in bfloat16 do not sum to 1.
  found = {k: jnp.asarray(v).astype(jnp.float32) for k, v in named.items()}
  if source.without_probs:
    if "logits" in found:  # regression scores can read any numbers
      found["outputs"] = found.pop("logits")
  else:
    logits = found.pop("logits")
    found["probs"] = jax.nn.softmax(logits)
    # Logits of another shape are refused by `_check_outputs`.
    if logits.ndim == 2 and logits.shape[1]:
      found[output_checks.LOOKS_LIKE] = row_checks.looks_like(logits)
  return found


def _failure(source, inputs, error) -> validation.InputError:
  """The error for a source that raised one."""
  return validation.InputError(
    f"{source.name} cannot be applied to {source.noun} {inputs.shape}: "
    f"{type(error).__name__}: {validation.reason(error)}"
  )


def _check_outputs(shapes: Mapping[str, Any], rows: int, source) -> None:
  """Refuses outputs that are not one vector for each input."""
  if not shapes:
    raise validation.InputError(
      f"{source.name} returns neither logits nor features"
    )
  what_of = {
    "probs": "logits", "outputs": "logits", "logits": "logits",
    "features": "features",
  }  # fmt: skip
  for key, array in shapes.items():
    if key not in what_of:
      continue
    shape = array.shape
    if len(shape) != 2 or shape[0] != rows:
      raise validation.InputError(
        f"{source.name} returns {what_of[key]} of shape {shape} for {rows} "
        f"{source.noun}, not [{rows}, K]"
      )
    distribution = what_of[key] == "logits" and not source.without_probs
    if shape[1] < (2 if distribution else 1):
      hint = ""
      if shape[1]:
        hint = ": is it the logit s of a sigmoid? Return (0, s)"
      raise validation.InputError(
        f"{source.name} returns {shape[1]} {what_of[key]} an "
        f"{source.preprocessing.inputs}, which tell nothing{hint}"
      )
