"""What each ResNet is made of, read from timm's name of it.

timm's definitions are in timm/models/resnet.py; so are the settings of the
evaluation that it states for them, by the name alone.
"""

import dataclasses
import re
from typing import Any

_FOUR_BOTTLENECKS = ("bottleneck",) * 4
_FOUR_BASIC = ("basic",) * 4


@dataclasses.dataclass(frozen=True)
class Design:
  """What a ResNet is made of; by default as ResNet-50, but for its depths.

  Attributes:
    depths: number of blocks of each stage.
    blocks: of each stage, `basic` or `bottleneck`.
    widths: of each stage: the channels of basic blocks; bottlenecks have four
      times as many.
    groups: into which the 3x3 convolutions of bottlenecks divide channels.
    group_width: channels of each group, in a stage of width 64.
    reduced: by how much the first convolution of a block is narrower.
    stem: `plain` is a 7x7 convolution; `deep` three 3x3 ones; in `tiered` ones,
      the first has three quarters of the channels.
    stem_width: channels of the first convolutions of a deep stem; the last one
      has twice as many.
    pool: after the stem, `max`, or `conv` for a 3x3 convolution.
    shortcut: side of the kernel where a shortcut strides; 0 is an average over
      2x2 pixels, then a 1x1 convolution.
    smooth: what strides in place of convolutions and of the pooling: `blur`,
      `average`, or nothing.
    attention: `se`, `eca`, or nothing.
    squeeze: channels within `se`, as a share of those of the block.
    norm: `batch`, or `group` for GroupNorm with 32 groups.

  Example:
    >>> from leep_jax.models import resnet_designs
    >>> resnet_designs.Design((3, 4, 6, 3), groups=32, group_width=4).shortcut
    1
  """

  depths: tuple[int, ...]
  blocks: tuple[str, ...] = _FOUR_BOTTLENECKS
  widths: tuple[int, ...] = (64, 128, 256, 512)
  groups: int = 1
  group_width: int = 64
  reduced: int = 1
  stem: str = "plain"
  stem_width: int = 64
  pool: str = "max"
  shortcut: int = 1
  smooth: str = ""
  attention: str = ""
  squeeze: float = 1 / 16
  norm: str = "batch"

  def stated(self) -> dict[str, Any]:
    """Returns the sizes by the keys of timm's and transformers' files.

    Example:
      >>> from leep_jax.models import resnet_designs
      >>> resnet_designs.design("resnet50d").stated()["avg_down"]
      True
    """
    wide = [4 if block == "bottleneck" else 1 for block in self.blocks]
    return {
      "layer_type": self.blocks[0],
      "depths": self.depths,
      "hidden_sizes": tuple(
        size * width for size, width in zip(wide, self.widths, strict=True)
      ),
      # timm's names.
      "avg_down": not self.shortcut,
      "base_width": self.group_width,
      "block_reduce_first": self.reduced,
      "cardinality": self.groups,
      "channels": self.widths,
      "down_kernel_size": self.shortcut or 1,
      "layers": self.depths,
      "replace_stem_pool": self.pool == "conv",
      "stem_type": {"plain": "", "tiered": "deep_tiered"}.get(
        self.stem, self.stem
      ),
      "stem_width": self.stem_width,
    }


# Blocks of each stage, by the number of layers in a name. Two or three
# convolutions each, and the first and last layer, add up to it.
_DEPTHS = {
  10: (1, 1, 1, 1),
  14: (1, 1, 1, 1),
  18: (2, 2, 2, 2),
  26: (2, 2, 2, 2),
  34: (3, 4, 6, 3),
  50: (3, 4, 6, 3),
  101: (3, 4, 23, 3),
  152: (3, 8, 36, 3),
  200: (3, 24, 36, 3),
  201: (3, 24, 36, 4),
  269: (3, 30, 48, 8),
  270: (4, 29, 53, 4),
  350: (4, 36, 72, 4),
  420: (4, 44, 87, 4),
}
_BASIC_DEPTHS = (10, 18, 34)
# The letter after the number of layers.
_SUFFIXES: dict[str, dict[str, Any]] = {
  "": {},
  "c": {"stem": "deep", "stem_width": 32},
  "d": {"stem": "deep", "stem_width": 32, "shortcut": 0},
  "s": {"stem": "deep"},
  "t": {"stem": "tiered", "stem_width": 32, "shortcut": 0},
}
# The letters before it.
_PREFIXES: dict[str, dict[str, Any]] = {
  "": {},
  "aa": {"smooth": "average"},
  "blur": {"smooth": "blur"},
  "rs": _SUFFIXES["d"] | {"pool": "conv", "attention": "se", "squeeze": 1 / 4},
}
_NAME = re.compile(
  r"(?P<attention>se|eca|)res(?:net|next)(?P<prefix>aa|blur|rs|)(?P<depth>\d+)"
  r"(?P<suffix>[cdst]?)(?:_(?P<groups>\d+)x(?P<width>\d+)d)?"
)
# Names that do not follow the rule.
_OTHERS = {
  "wide_resnet50_2": Design(_DEPTHS[50], group_width=128),
  "wide_resnet101_2": Design(_DEPTHS[101], group_width=128),
  "resnet50_gn": Design(_DEPTHS[50], norm="group"),
  "ecaresnetlight": Design(
    (1, 1, 11, 3), attention="eca", stem_width=32, shortcut=0
  ),
  "seresnextaa201d_32x8d": Design(
    _DEPTHS[201], groups=32, group_width=8, stem="deep", shortcut=0,
    smooth="average", attention="se",
  ),
  "senet154": Design(
    _DEPTHS[152], groups=64, group_width=4, reduced=2, stem="deep", shortcut=3,
    attention="se",
  ),
  "test_resnet": Design(
    (1, 1, 1, 1), blocks=("basic", "basic", "bottleneck", "basic"),
    widths=(32, 48, 48, 96), stem="deep", stem_width=16, shortcut=0,
  ),
}  # fmt: skip


def design(name: str) -> Design:
  """Returns what a network is made of, by timm's name of it.

  Args:
    name: of a network in timm/models/resnet.py.

  Raises:
    ValueError: if it is no such name.

  Example:
    >>> from leep_jax.models import resnet_designs
    >>> resnext = resnet_designs.design("seresnext50_32x4d")
    >>> resnext.depths, resnext.groups, resnext.group_width, resnext.attention
    ((3, 4, 6, 3), 32, 4, 'se')
  """
  if name in _OTHERS:
    return _OTHERS[name]
  match = _NAME.fullmatch(name)
  if not match or int(match["depth"]) not in _DEPTHS:
    raise ValueError(f"{name!r} is no name of a ResNet")
  depth = int(match["depth"])
  fields: dict[str, Any] = {
    "depths": _DEPTHS[depth],
    "blocks": _FOUR_BASIC if depth in _BASIC_DEPTHS else _FOUR_BOTTLENECKS,
    "groups": int(match["groups"] or 1),
    "group_width": int(match["width"] or 64),
    "attention": match["attention"],
  }
  parts = _SUFFIXES[match["suffix"]] | _PREFIXES[match["prefix"]]
  return Design(**fields | parts)


# Side of images and part that is kept, of the evaluation that timm states for a
# name without a tag; where it is not 224 and 0.875.
_EVALUATED = {
  (160, 0.91): "resnetrs50",
  (160, 0.95): "test_resnet",
  (176, 0.875): "resnet10t resnet14t",
  (192, 0.94): "resnetrs101",
  (224, 0.94): "resnet50_gn",
  (224, 0.95): """
    resnetaa50 resnetaa50d resnetaa101d resnext50_32x4d resnext101_64x4d
    seresnet50 seresnext101_32x8d seresnext101d_32x8d""",
  (256, 0.875): "ecaresnet26t ecaresnet50t seresnet200d seresnet269d",
  (256, 0.94): "resnet26t",
  (256, 0.95): """
    ecaresnet200d resnet101d resnet152d resnet200d seresnet152d""",
  (256, 1.0): "resnetrs152 resnetrs200 resnetrs270",
  (288, 0.95): "seresnextaa101d_32x8d",
  (288, 1.0): "resnetrs350",
  (320, 0.95): "ecaresnet269d",
  (320, 1.0): "resnetrs420",
  (384, 1.0): "seresnextaa201d_32x8d",
}
_BILINEAR = """
  resnet18 resnet34 resnet50 resnet101 resnet152 resnext101_32x4d
  resnext101_32x8d resnext101_32x16d resnext101_32x32d wide_resnet101_2
  test_resnet"""


def evaluation(name: str) -> dict[str, Any]:
  """Returns fields of `Preprocessing` where a network's are not the usual.

  ResNets 18 to 152 have those of torchvision, whose weights are the oldest.

  Args:
    name: timm's name of the network.

  Example:
    >>> from leep_jax.models import resnet_designs
    >>> resnet_designs.evaluation("resnet26t")
    {'image_size': 256, 'crop': 0.94}
  """
  found: dict[str, Any] = {}
  for (size, crop), names in _EVALUATED.items():
    if name in names.split():
      found = {"image_size": size, "crop": crop}
  if name in _BILINEAR.split():
    found["interpolation"] = "bilinear"
  if name == "test_resnet":
    found |= {"mean": (0.5,) * 3, "std": (0.5,) * 3}
  return found


_NAMES = """
  resnet10t resnet14t
  resnet18 resnet18d resnetblur18 seresnet18
  resnet26 resnet26d resnet26t ecaresnet26t
  ecaresnext26t_32x4d seresnext26d_32x4d seresnext26t_32x4d
  resnet34 resnet34d resnetaa34d seresnet34
  resnet50 resnet50c resnet50d resnet50s resnet50t resnet50_gn wide_resnet50_2
  resnetaa50 resnetaa50d resnetblur50 resnetblur50d resnetrs50
  ecaresnet50d ecaresnet50t ecaresnetlight seresnet50 seresnet50t seresnetaa50d
  resnext50_32x4d resnext50d_32x4d ecaresnext50t_32x4d seresnext50_32x4d
  resnet101 resnet101c resnet101d resnet101s wide_resnet101_2
  resnetaa101d resnetblur101d resnetrs101 ecaresnet101d seresnet101
  resnext101_32x4d resnext101_32x8d resnext101_32x16d resnext101_32x32d
  resnext101_64x4d
  seresnext101_32x4d seresnext101_32x8d seresnext101_64x4d seresnext101d_32x8d
  seresnextaa101d_32x8d
  resnet152 resnet152c resnet152d resnet152s resnetrs152 seresnet152
  seresnet152d senet154
  resnet200 resnet200d resnetrs200 ecaresnet200d seresnet200d
  seresnextaa201d_32x8d
  ecaresnet269d seresnet269d resnetrs270 resnetrs350 resnetrs420
  test_resnet"""
# timm's names, from few layers to many.
NAMES = tuple(_NAMES.split())
