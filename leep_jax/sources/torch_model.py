"""A PyTorch network that a library built, ready to be exported or run."""

from collections.abc import Sequence
import importlib
from typing import Any, NamedTuple

from leep_jax import validation

HEADLESS = "its checkpoint has no classifier"


class TorchModel(NamedTuple):
  """A PyTorch network of images, texts or sounds.

  Attributes:
    module: called on `example` it returns logits or features, one tensor.
    example: its arguments, tensors of a batch of one.
    inputs: what it takes, one of `program.INPUTS`.
    has_classifier: whether it returns logits.
    without_probs: why there is no distribution over classes, or empty.
    dynamic: which axes of the example are free, as `torch.export.export` takes
      it.

  Example:
    >>> from leep_jax.sources import torch_model
    >>> torch_model.TorchModel._fields[:3]
    ('module', 'example', 'inputs')
  """

  module: Any
  example: tuple[Any, ...]
  inputs: str
  has_classifier: bool
  without_probs: str
  dynamic: Any = None


def example_of_images(size: int | Sequence[int]) -> tuple[Any, ...]:
  """Returns the arguments of a network for one black image.

  Args:
    size: side of the image, or height and width.

  Example:
    >>> from leep_jax.sources import torch_model
    >>> try:
    ...   shape = tuple(torch_model.example_of_images((4, 3))[0].shape)
    ... except ImportError:  # PyTorch is not installed
    ...   shape = (1, 3, 4, 3)
    >>> shape
    (1, 3, 4, 3)
  """
  import torch

  height, width = (size, size) if isinstance(size, int) else size
  return (torch.zeros(1, 3, height, width),)


def failed(name: str, library: str, error: Exception) -> validation.InputError:
  """Returns the error for a network that a library cannot build.

  Args:
    name: of the source.
    library: such as `timm`.
    error: that it raised.

  Example:
    >>> from leep_jax.sources import torch_model
    >>> print(torch_model.failed("mine", "timm", ValueError("no depth")))
    timm cannot build mine: ValueError: no depth
  """
  return validation.InputError(
    f"{library} cannot build {name}: {type(error).__name__}: "
    f"{validation.reason(error)[:300]}"
  )


def require_torch(name: str, *libraries: str) -> None:
  """Refuses to go on without PyTorch.

  Args:
    name: of the source that needs it.
    *libraries: what else it needs, such as `timm`.

  Raises:
    InputError: if one of them cannot be imported; it says what to install.

  Example:
    >>> import leep_jax
    >>> from leep_jax.sources import torch_model
    >>> try:
    ...   torch_model.require_torch("mine", "no_such_library")
    ... except leep_jax.InputError as error:
    ...   print(error)
    mine needs ...
  """
  for library in ("torch", *libraries):
    try:
      importlib.import_module(library)
    except ImportError as e:
      raise validation.InputError(
        f"{name} needs {library} to be converted ({validation.reason(e)}): "
        "pip install 'leep_jax[torch]'"
      ) from e
    except Exception as e:  # whatever the library's code raises
      raise validation.InputError(
        f"{name} needs {library}, which is installed but cannot be imported "
        f"({validation.reason(e)}): do its version, PyTorch's and "
        "torchvision's fit? pip install -U 'leep_jax[torch]'"
      ) from e
