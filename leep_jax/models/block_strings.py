"""Strings that describe the blocks of mobile networks, as timm writes them.

`ir_r2_k3_s2_e6_c24_se0.25` is a kind of block and its options: two blocks
(`r`) with kernels of side 3, of which the first has stride 2, that widen their
input by 6 and return 24 channels, with squeeze-and-excitation to a quarter.
`mobile_blocks.py` has the kinds. Options are

    r  number of blocks             se  squeezed channels, relative
    k  kernels' sides, as 3.5.7     n   activation, see `ACTIVATIONS`
    a  sides before, p after        gs  channels of a group
    s  stride of the first block    fc  channels that `e` refers to
    e  expansion                    h d v  heads, their channels, stride of keys
    c  channels of the output       d1  pixels are folded into channels
    skip, noskip  whether the input is added where it could be
"""

from collections.abc import Sequence
import dataclasses
import math
import re
from typing import Any

# Short names of activations; `mobile_blocks.ACTIVATIONS` has the functions.
ACTIVATIONS = {
  "re": "relu", "r6": "relu6", "hs": "hard_swish", "sw": "silu",
}  # fmt: skip
_OPTION = re.compile(r"([a-z]+)(\d[\d.]*)")


@dataclasses.dataclass(frozen=True)
class Block:
  """One block of a network, without the factors that widen the network.

  Attributes:
    kind: its class, a key of `mobile_blocks.KINDS`.
    channels: of the output.
    stride: of the block.
    kernels: sides of the kernels of the main convolution; if there are more
      than one, each convolves a part of the channels.
    first: the same of the convolution before it.
    last: the same of the one after it.
    expansion: factor by which the block widens its input.
    expanded_from: number of channels that are widened instead, or 0.
    squeezed: channels of squeeze-and-excitation relative to the input's; 0 if
      there is none.
    activation: its name, or "" for that of the network.
    skip: whether the input is added; None for what is usual for this kind.
    group_size: channels of a group of the main convolution, or None for what
      is usual for this kind.
    heads: number of attention heads.
    head_size: their channels.
    key_stride: step by which keys and values are sampled.
    fold: whether squares of 2x2 pixels first become pixels of more channels.
    widening: factor of `channels`, between folding and the next stride.

  Example:
    >>> from leep_jax.models import block_strings
    >>> block, repeats = block_strings.parse("ir_r2_k3.5_s2_e6_c24_nre")
    >>> repeats, block.kernels, block.channels, block.activation
    (2, (3, 5), 24, 'relu')
  """

  kind: str
  channels: int
  stride: int = 1
  kernels: tuple[int, ...] = (3,)
  first: tuple[int, ...] = (1,)
  last: tuple[int, ...] = (1,)
  expansion: float = 1.0
  expanded_from: int = 0
  squeezed: float = 0.0
  activation: str = ""
  skip: bool | None = None
  group_size: int | None = None
  heads: int = 0
  head_size: int = 0
  key_stride: int = 1
  fold: bool = False
  widening: int = 1


# The attribute that each option sets.
_ATTRIBUTES = {
  "c": "channels", "s": "stride", "k": "kernels", "a": "first", "p": "last",
  "e": "expansion", "fc": "expanded_from", "se": "squeezed",
  "gs": "group_size", "h": "heads", "v": "key_stride",
}  # fmt: skip


def parse(text: str) -> tuple[Block, int]:
  """Returns the block that a string describes, and how often it is repeated.

  Args:
    text: the string.

  Raises:
    ValueError: if an option is unknown.

  Example:
    >>> from leep_jax.models import block_strings
    >>> block, repeats = block_strings.parse("ds_r1_k3_s1_c16_noskip")
    >>> block.kind, repeats, block.skip
    ('ds', 1, False)
  """
  kind, *options = text.split("_")
  found: dict[str, Any] = {"kind": kind}
  repeats = 1
  for option in options:
    match = _OPTION.fullmatch(option)
    if option in ("skip", "noskip"):
      found["skip"] = option == "skip"
    elif option.startswith("n") and option[1:] in ACTIVATIONS:
      found["activation"] = ACTIVATIONS[option[1:]]
    elif match is None or match[1] not in ("r", "d", *_ATTRIBUTES):
      raise ValueError(f"unknown option {option} of the block {text}")
    elif match[1] == "r":
      repeats = int(match[2])
    elif match[1] == "d" and kind == "mqa":
      found["head_size"] = int(match[2])
    elif match[1] == "d":
      found["fold"] = match[2] != "0"
    else:
      attribute = _ATTRIBUTES[match[1]]
      found[attribute] = _value(attribute, match[2])
  return Block(**found), repeats


def _value(attribute, text):
  if attribute in ("kernels", "first", "last"):
    return tuple(map(int, text.split(".")))
  return float(text) if attribute in ("expansion", "squeezed") else int(text)


def rounded(channels: float, *, divisor: int = 8, smallest: float = 0.9) -> int:
  """Returns a number of channels as a multiple of a divisor.

  Args:
    channels: the number, not yet rounded.
    divisor: of which the result is a multiple.
    smallest: the result is at least this part of the number.

  Example:
    >>> from leep_jax.models import block_strings
    >>> block_strings.rounded(16 * 1.1), block_strings.rounded(19)
    (16, 24)
    >>> block_strings.rounded(19, smallest=0)
    16
  """
  found = max(divisor, int(channels + divisor / 2) // divisor * divisor)
  return found + divisor if found < smallest * channels else found


def stages(
  strings: Sequence[str],
  *,
  depth: float | tuple[float, ...] = 1.0,
  nearest: bool = False,
  fixed_ends: bool = False,
) -> tuple[tuple[Block, ...], ...]:
  """Returns the blocks of each stage of a network.

  Args:
    strings: for each stage, its blocks' strings, separated by spaces.
    depth: factor of the number of blocks, of all stages or of each.
    nearest: whether the number of a stage's blocks is rounded to the nearest;
      otherwise up.
    fixed_ends: whether the first and the last stage keep their number.

  Example:
    >>> from leep_jax.models import block_strings
    >>> (stage,) = block_strings.stages(["ir_r2_k3_s2_e6_c24"], depth=1.2)
    >>> [block.stride for block in stage]
    [2, 1, 1]
  """
  factors = depth if isinstance(depth, tuple) else (depth,) * len(strings)
  found = []
  for i, (text, factor) in enumerate(zip(strings, factors, strict=True)):
    if fixed_ends and i in (0, len(strings) - 1):
      factor = 1.0
    parsed = [parse(part) for part in text.split()]
    counts = _repeats([repeats for _, repeats in parsed], factor, nearest)
    blocks = [
      block
      for (block, _), count in zip(parsed, counts, strict=True)
      for _ in range(count)
    ]
    # Only the first block of a stage strides.
    rest = [dataclasses.replace(block, stride=1) for block in blocks[1:]]
    found.append([blocks[0], *rest])
  return _folded(found)


def _repeats(counts, depth, nearest):
  """Scales the total number of blocks, and shares it out among their kinds."""
  total = sum(counts)
  left = max(1, round(total * depth)) if nearest else math.ceil(total * depth)
  scaled = []
  # From the last kind on, so that the first, which strides, is repeated least.
  for count in reversed(counts):
    share = max(1, round(count / total * left))
    scaled.append(share)
    total -= count
    left -= share
  return scaled[::-1]


def _folded(found):
  """Marks where images are folded: from the first such block to a stride.

  Blocks between have 4 times as many channels. The block with the next stride
  does not stride, as folding did, and expands the wide channels less.
  """
  inside, result = False, []
  for stage in found:
    blocks = []
    for block in stage:
      change: dict[str, Any] = {}
      if inside and block.stride == 2:
        inside = False
        change = {"stride": 1, "expansion": block.expansion / 4, "fold": False}
      elif inside:
        change = {"widening": 4, "fold": False}
      elif block.fold:
        inside = True
        change = {"widening": 4, "squeezed": block.squeezed / 4}
      blocks.append(dataclasses.replace(block, **change))
    result.append(tuple(blocks))
  return tuple(result)
