"""What each ConvNeXt is made of, by timm's name of it.

timm's definitions are in timm/models/convnext.py; so are the settings of the
evaluation that it states for them, by the name alone.
"""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Design:
  """What a ConvNeXt is made of; by default as in the first paper.

  Attributes:
    depths: number of blocks of each stage.
    widths: channels of each stage.
    kernels: side of the kernel of each stage's depthwise convolutions.
    stem: `patch` is a 4x4 convolution; `overlap` two 3x3 ones, with about half
      of the channels between them in `overlap_tiered`, and with an activation
      in `overlap_act`.
    scale: whether blocks have LayerScale.
    response_norm: whether blocks have global response normalisation (V2).
    norm: `layer`, `rms` (RMSNorm), or `simple` (`SimpleNorm`).
    norm_eps: added to variances.
    activation: `gelu`, `gelu_tanh` (its approximation), or `silu`.
    norm_first: whether the norm before the last layer is before the average.
    hidden: channels of another layer before the last one, if there is one.

  Example:
    >>> from leep_jax.models import convnext_designs
    >>> design = convnext_designs.Design((3, 3, 9, 3), (96, 192, 384, 768))
    >>> design == convnext_designs.DESIGNS["convnext_tiny"]
    True
  """

  depths: tuple[int, ...]
  widths: tuple[int, ...]
  kernels: tuple[int, ...] = (7, 7, 7, 7)
  stem: str = "patch"
  scale: bool = True
  response_norm: bool = False
  norm: str = "layer"
  norm_eps: float = 1e-6  # PyTorch's default is 1e-5
  activation: str = "gelu"
  norm_first: bool = False
  hidden: int = 0

  def stated(self) -> dict[str, Any]:
    """Returns the sizes by the keys of timm's and transformers' files.

    Example:
      >>> from leep_jax.models import convnext_designs
      >>> convnext_designs.DESIGNS["convnextv2_atto"].stated()["use_grn"]
      True
    """
    same = len(set(self.kernels)) == 1
    return {
      "depths": self.depths,
      "hidden_sizes": self.widths,
      # timm's names.
      "dims": self.widths,
      "act_layer": self.activation,
      "head_hidden_size": self.hidden or None,
      "head_norm_first": self.norm_first,
      "kernel_sizes": self.kernels[0] if same else self.kernels,
      "norm_eps": self.norm_eps,
      "stem_type": self.stem,
      "use_grn": self.response_norm,
    }


# Channels of the first stage, and blocks of each stage.
_SIZES: dict[str, tuple[int, tuple[int, int, int, int]]] = {
  "zepto": (32, (2, 2, 4, 2)),
  "atto": (40, (2, 2, 6, 2)),
  "femto": (48, (2, 2, 6, 2)),
  "pico": (64, (2, 2, 6, 2)),
  "nano": (80, (2, 2, 8, 2)),
  "tiny": (96, (3, 3, 9, 3)),
  "small": (96, (3, 3, 27, 3)),
  "base": (128, (3, 3, 27, 3)),
  "large": (192, (3, 3, 27, 3)),
  "xlarge": (256, (3, 3, 27, 3)),
  "huge": (352, (3, 3, 27, 3)),
  "xxlarge": (384, (3, 4, 30, 3)),
}


def _design(size, **fields):
  width, depths = _SIZES[size]
  return Design(depths, tuple(width << i for i in range(4)), **fields)


_TEST: dict[str, Any] = {"widths": (32, 64, 96, 128), "norm_eps": 1e-5}
# By timm's names.
DESIGNS: dict[str, Design] = {
  **{
    f"convnext_{size}": _design(size)
    for size in (
      "atto", "femto", "pico", "nano", "tiny", "small", "base", "large",
      "xlarge",
    )
  },
  "convnext_xxlarge": _design("xxlarge", norm_eps=1e-5),
  "convnext_large_mlp": _design("large", hidden=1536),
  "convnext_tiny_hnf": _design("tiny", norm_first=True),
  "convnext_atto_ols": _design("atto", stem="overlap_tiered"),
  "convnext_femto_ols": _design("femto", stem="overlap_tiered"),
  "convnext_pico_ols": _design("pico", stem="overlap_tiered"),
  "convnext_nano_ols": _design("nano", stem="overlap"),
  "convnext_zepto_rms": _design("zepto", norm="simple"),
  "convnext_zepto_rms_ols": _design("zepto", norm="simple", stem="overlap_act"),
  "convnext_atto_rms": _design("atto", norm="rms"),
  **{
    f"convnextv2_{size}": _design(size, scale=False, response_norm=True)
    for size in (
      "atto", "femto", "pico", "nano", "tiny", "small", "base", "large", "huge",
    )
  },
  "test_convnext": Design(
    (1, 2, 4, 2), (24, 32, 48, 64), norm_eps=1e-5, activation="gelu_tanh"
  ),
  "test_convnext2": Design((1, 1, 1, 1), activation="gelu_tanh", **_TEST),
  "test_convnext3": Design(
    (1, 1, 1, 1), kernels=(7, 5, 5, 3), activation="silu", **_TEST
  ),
}  # fmt: skip

_CLIP: dict[str, Any] = {
  "mean": (0.48145466, 0.4578275, 0.40821073),
  "std": (0.26862954, 0.26130258, 0.27577711),
}
_HALVES: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
# Of the evaluation that timm states for a name without a tag, what is unusual.
EVALUATED: dict[str, dict[str, Any]] = {
  **{
    f"convnext_{name}": {"crop": 0.95}
    for name in ("nano", "nano_ols", "pico_ols", "small", "tiny", "tiny_hnf")
  },
  "convnext_large_mlp": {"image_size": 320, "crop": 1.0, **_CLIP},
  "convnext_xxlarge": {"image_size": 256, "crop": 1.0, **_CLIP},
  "convnext_zepto_rms": _HALVES,
  "convnext_zepto_rms_ols": {"crop": 0.9, **_HALVES},
  "convnextv2_huge": {"image_size": 384, "crop": 1.0, "crop_mode": "squash"},
  **{
    f"test_convnext{number}": {"image_size": 160, "crop": 0.95, **_HALVES}
    for number in ("", 2, 3)
  },
}
