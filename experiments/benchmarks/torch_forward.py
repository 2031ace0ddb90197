"""The forward pass of PyTorch on the device that JAX uses, to compare with.

Networks are timm's, or torchvision's where timm is not installed, or else the
ResNet-50 below. PyTorch is imported only when it is asked for.
"""

from collections.abc import Callable
import importlib
import importlib.metadata
import importlib.util
import sys
from typing import Any

import jax
import numpy as np

from leep_jax.models import architecture
from leep_jax.sources import architectures

# Of the architectures that are measured, those that torchvision has, too.
_TORCHVISION = ("resnet50", "convnext_tiny", "efficientnet_b0")


class Unavailable(Exception):
  """PyTorch cannot be measured; the message says why."""


def versions() -> dict[str, str | None]:
  """Returns the versions of PyTorch's packages; None if not installed."""
  found: dict[str, str | None] = {}
  for name in ("torch", "torchvision", "timm"):
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found[name] = None
  return found


def device() -> str:
  """Returns PyTorch's name of the kind of device that JAX uses.

  Raises:
    Unavailable: if PyTorch is not installed or has no such device.
  """
  if importlib.util.find_spec("torch") is None:
    raise Unavailable("PyTorch is not installed")
  import torch

  used = jax.devices()[0]
  if used.platform == "cpu":
    return "cpu"
  if used.platform in ("gpu", "cuda", "rocm") and torch.cuda.is_available():
    return "cuda"
  raise Unavailable(
    f"PyTorch {torch.__version__} has no device for {used.device_kind}"
  )


def network(arch: str) -> Any:
  """Returns a `torch.nn.Module` with random weights, of 1,000 classes.

  Args:
    arch: name of an architecture of this package.

  Raises:
    Unavailable: if no installed library has this network.
  """
  name, *_ = (*architectures.ARCHITECTURES[arch].timm, arch)
  timm = _imported("timm")
  if timm and timm.is_model(name):
    found = timm.create_model(name, pretrained=False)
  elif arch in _TORCHVISION and (torchvision := _imported("torchvision")):
    found = torchvision.models.get_model(arch, weights=None)
  elif arch == "resnet50":
    found = resnet50()
  elif timm:
    raise Unavailable(f"timm has no {arch}")
  else:
    raise Unavailable(f"{arch} needs timm, which cannot be imported")
  theirs = sum(x.numel() for x in found.parameters())
  ours = architectures.parameter_count(arch, 1000)
  if theirs != ours:
    raise Unavailable(
      f"PyTorch's {arch} has {theirs:,} parameters, ours {ours:,}"
    )
  return found


def _imported(name: str) -> Any:
  """Returns a library, or None if it cannot be imported."""
  try:
    return importlib.import_module(name)
  # Such as a RuntimeError of a torchvision that is of another PyTorch.
  except Exception:
    return None


def forward(
  arch: str, images: np.ndarray, *, dtype: str, calls: int, compiled: bool
) -> Callable[[], object]:
  """Returns a function that runs a batch through a network several times.

  Images are on the device as uint8, and normalised there. Memory is laid out
  with channels last. Products of float32 are in full precision, as this
  package's are; bfloat16 is that of autocast.

  Args:
    arch: name of an architecture of this package.
    images: `[B, H, W, 3]` uint8.
    dtype: `float32` or `bfloat16`.
    calls: of the network, after which PyTorch waits for the device.
    compiled: whether by `torch.compile`.

  Raises:
    Unavailable: as `network` and `device`.
  """
  where = device()
  import torch

  torch.set_float32_matmul_precision("highest")
  torch.backends.cudnn.allow_tf32 = False
  torch.backends.cudnn.benchmark = True
  model = network(arch).eval().to(where, memory_format=torch.channels_last)
  mean, std = (
    torch.tensor(values, device=where).reshape(1, 3, 1, 1)
    for values in (architecture.IMAGENET_MEAN, architecture.IMAGENET_STD)
  )
  # Images [B, H, W, 3] that are seen as [B, 3, H, W] have their channels last.
  placed = torch.from_numpy(images).to(where).permute(0, 3, 1, 2)

  def step(x):
    x = (x.float() / 255 - mean) / std
    with torch.autocast(where, torch.bfloat16, enabled=dtype == "bfloat16"):
      logits = model(x)
    return torch.softmax(logits.float(), dim=1)

  if compiled:
    step = torch.compile(step)

  def run():
    with torch.inference_mode():
      for _ in range(calls):
        found = step(placed)
    if where == "cuda":
      torch.cuda.synchronize()
    return found

  return run


def release() -> None:
  """Frees compiled functions and cached memory of PyTorch, if it was used."""
  # Only what has been imported: the compiler alone takes seconds to import.
  if dynamo := sys.modules.get("torch._dynamo"):
    dynamo.reset()
  torch = sys.modules.get("torch")
  if torch is not None and torch.cuda.is_available():
    torch.cuda.empty_cache()


def resnet50() -> Any:
  """Returns torchvision's ResNet-50, which has its strides in the 3x3 layers.

  Reference: He, Zhang, Ren & Sun, "Deep Residual Learning for Image
  Recognition", CVPR 2016.
  """
  from torch import nn

  def convolution(inputs, outputs, kernel, stride=1):
    return nn.Sequential(
      nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
      nn.BatchNorm2d(outputs),
    )

  class Block(nn.Module):
    """A bottleneck of 1x1, 3x3 and 1x1 convolutions, and a residual."""

    def __init__(self, inputs, width, stride):
      super().__init__()
      self.layers = nn.Sequential(
        convolution(inputs, width, 1),
        nn.ReLU(),
        convolution(width, width, 3, stride),
        nn.ReLU(),
        convolution(width, 4 * width, 1),
      )
      self.shortcut = nn.Identity()
      if stride > 1 or inputs != 4 * width:
        self.shortcut = convolution(inputs, 4 * width, 1, stride)

    def forward(self, x):
      return nn.functional.relu(self.layers(x) + self.shortcut(x))

  layers = [convolution(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
  inputs = 64
  for stage, depth in enumerate((3, 4, 6, 3)):
    width = 64 << stage
    for block in range(depth):
      first = stage > 0 and block == 0
      layers.append(Block(inputs, width, 2 if first else 1))
      inputs = 4 * width
  head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000)]
  return nn.Sequential(*layers, *head)
