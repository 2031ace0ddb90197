"""What a network expects of a text: tokens, and where the text ends."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from leep_jax import validation
from leep_jax.data import dataset as dataset_lib

# Lengths of batches are multiples of it, so that few shapes are compiled.
STEP = 32
# Pixels of an image that take about as long as a token: a patch of ViT-B/16,
# whose layers are those of BERT.
_PIXELS = 256

# Takes texts and the most tokens of each, special ones included; returns for
# each text its tokens, and the segment of each token.
Tokenize = Callable[
  [Sequence[str], int], tuple[list[list[int]], list[list[int]]]
]


@dataclasses.dataclass(frozen=True)
class TextPreprocessing:
  """Turns texts into tokens, as a network's own tokenizer does.

  The tokens of a batch are padded to its longest text, rounded up to a multiple
  of 32 (`STEP`), but not above `max_length`. Longer texts are cut off, as their
  tokenizer does it: usually at the end.

  Attributes:
    tokenize: see `Tokenize`; `sources.tokenizing` makes one of a checkpoint.
    max_length: most tokens of a text, special ones included.
    positions: most tokens that the network takes, if it has a limit.
    pad_id: token of the padding.
    pad_left: whether the padding comes before the text.
    segments: whether the network also takes the segments of tokens.
    version: a digest of the tokenizer, which is part of the key of cached
      outputs.

  Example:
    >>> from leep_jax.models import text_preprocessing
    >>> def tokenize(texts, most):  # one token a letter
    ...   tokens = [[ord(letter) for letter in text][:most] for text in texts]
    ...   return tokens, [[0] * len(each) for each in tokens]
    >>> letters = text_preprocessing.TextPreprocessing(
    ...   tokenize, 100, version="letters")
    >>> prepared = letters.prepare(["ab", "abc"])
    >>> prepared.shape, prepared[0, :3].tolist()  # tokens, and their mask
    ((2, 32, 2), [[97, 1], [98, 1], [0, 0]])
  """

  inputs: ClassVar[str] = "text"

  tokenize: Tokenize = dataclasses.field(repr=False, compare=False)
  max_length: int = 512
  pad_id: int = 0
  pad_left: bool = False
  segments: bool = False
  positions: int | None = None
  _: dataclasses.KW_ONLY
  version: str

  def __post_init__(self) -> None:
    validation.at_least_1("max_length", self.max_length)
    if self.positions is not None and self.max_length > self.positions:
      raise validation.InputError(
        f"max_length is {self.max_length} tokens, but the network takes at "
        f"most {self.positions}"
      )

  @property
  def width(self) -> int:
    """K: the token, its mask, and its segment if the network takes it."""
    return 3 if self.segments else 2

  def prepare(self, texts: Sequence[str]) -> np.ndarray:
    """Returns tokens, their mask, and perhaps their segments, of a batch.

    Args:
      texts: `[B]`.

    Returns:
      `[B, L, K]` int32; the mask is 1 for tokens of the text.
    """
    tokens, segments = self.tokenize(list(texts), self.max_length)
    longest = max(map(len, tokens))
    length = min(-(-max(longest, 1) // STEP) * STEP, self.max_length)
    found = np.zeros((len(tokens), length, self.width), np.int32)
    found[..., 0] = self.pad_id
    for row, ids, kinds in zip(found, tokens, segments, strict=True):
      at = length - len(ids) if self.pad_left else 0
      part = row[at : at + len(ids)]
      part[:, 0], part[:, 1] = ids, 1
      if self.segments:
        part[:, 2] = kinds
    return found

  def reading(
    self, dataset: dataset_lib.Dataset
  ) -> tuple[dict[str, Any], "TextPreprocessing"]:
    """Returns options of `Dataset.batches`, and what is left to do then."""
    return {"stack": self.prepare}, self

  def checked(self, batch: Any) -> np.ndarray:
    """Returns a batch as `__call__` takes it: texts become tokens.

    Args:
      batch: `[B]` texts, or what `prepare` returned.

    Raises:
      InputError: if it is something else.
    """
    array = validation.as_array("texts", batch)
    if array.ndim == 1 and all(isinstance(each, str) for each in array):
      return self.prepare(array.tolist())
    if array.dtype.kind not in "iu":
      raise validation.InputError(
        f"inputs are {array.dtype} of shape {array.shape}, but the source "
        "takes texts [B]"
      )
    return array.astype(np.int32, copy=False)

  def check_shape(self, shape: tuple[int, ...]) -> None:
    """Refuses arrays of another shape than `prepare` returns.

    Args:
      shape: which should be `[B, L, K]`.

    Raises:
      InputError: if it is another.
    """
    if len(shape) != 3 or shape[2] != self.width:
      raise validation.InputError(
        f"inputs have shape {shape}, but the source takes texts [B], or their "
        f"tokens [B, L, {self.width}]"
      )

  def trials(self, least: int) -> list[jax.ShapeDtypeStruct]:
    """Returns inputs with which a network can be traced.

    Args:
      least: has no meaning here.
    """
    length = min(STEP, self.max_length)
    return [jax.ShapeDtypeStruct((2, length, self.width), np.int32)]

  def size(self, dataset: dataset_lib.Dataset) -> int:
    """Returns the pixels of an image that takes about as long as a text."""
    return self.max_length * _PIXELS

  def __call__(self, tokens: jax.Array) -> jax.Array:
    """Gives texts without any token one, so that their outputs are numbers.

    Those are rows that fill the last batch. A mean over no token, or attention
    to none, is 0 / 0.

    Args:
      tokens: `[B, L, K]`, as `prepare` returns them.
    """
    nothing = tokens[:, :, 1].max(axis=1) == 0
    first = jnp.maximum(tokens[:, 0, 1], nothing.astype(tokens.dtype))
    return tokens.at[:, 0, 1].set(first)
