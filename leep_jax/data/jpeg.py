"""Photos decoded at a half, a quarter or an eighth of their size.

A JPEG holds blocks of 8 x 8 pixels as frequencies. A decoder that leaves out
the high ones returns a smaller image, for a part of the time. A network's
preprocessing makes most photos far smaller than that.
"""

from collections.abc import Callable, Iterator
import dataclasses
import struct

import numpy as np

# How many pixels must be left for each one wanted, in both directions.
# `experiments/results/reduction.md` has what other values change.
SPARE = 2.5
# Takes the height and the width of a photo, and returns the wanted ones.
Wanted = Callable[[int, int], tuple[int, int]]
# Baseline, extended and progressive frames, which libjpeg can reduce.
_FRAMES = (0xC0, 0xC1, 0xC2)
_PIXELS, _APP1 = 0xDA, 0xE1
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112  # the number of this EXIF tag
# EXIF orientations with the last column on the left, the last row at the top,
# and with rows that were columns.
_FROM_RIGHT, _FROM_BELOW, _SWAPPED = (2, 3, 6, 7), (3, 4, 7, 8), (5, 6, 7, 8)


@dataclasses.dataclass(frozen=True, eq=False)
class Reduced:
  """A photo that was decoded at a part of its size.

  Attributes:
    pixels: `[h, w, 3]` uint8, rotated as its EXIF orientation says.
    size: height and width of the whole photo, rotated.
    box: where the photo lies in `pixels`: left, upper, right and lower. Sides
      that are no multiple of the reduction end inside the last pixel.

  Example:
    >>> import numpy as np
    >>> from leep_jax.data import jpeg
    >>> half = jpeg.Reduced(
    ...   np.zeros((4, 3, 3), np.uint8), size=(8, 5), box=(0, 0, 2.5, 4))
    >>> half.pixels.shape[:2], half.size
    ((4, 3), (8, 5))
  """

  pixels: np.ndarray
  size: tuple[int, int]
  box: tuple[float, float, float, float]


def _segments(content) -> Iterator[tuple[int, int, int]]:
  """Yields the kind, the beginning and the end of each header of a JPEG."""
  # A header has a mark of 2 bytes and its length; after the last one, whose
  # kind is `_PIXELS`, come the pixels.
  at = 2
  while content[at : at + 1] == b"\xff":
    end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    yield content[at + 1] if at + 1 < len(content) else 0, at + 4, end
    if content[at + 1 : at + 2] == bytes([_PIXELS]):
      return
    at = end


def is_complete(content: bytes) -> bool:
  """Returns whether a JPEG has its end mark.

  Args:
    content: of the file.

  Example:
    >>> import io
    >>> import PIL.Image
    >>> from leep_jax.data import jpeg
    >>> file = io.BytesIO()
    >>> PIL.Image.new("RGB", (8, 8)).save(file, "JPEG")
    >>> content = file.getvalue()
    >>> jpeg.is_complete(content), jpeg.is_complete(content[:-9])
    (True, False)
  """
  # The mark is searched for after the headers, which may contain a preview
  # with an end mark of its own.
  at = 2
  for kind, start, end in _segments(content):
    at = start - 4 if kind == _PIXELS else end
  # From behind: it is usually the end of the file.
  return content.rfind(b"\xff\xd9", at) >= 0


def decode(content: bytes, wanted: Wanted) -> Reduced | None:
  """Decodes a photo at the smallest size that has pixels to spare.

  Of `SPARE` times the wanted pixels or more, in both directions. The rest of
  the way is that of other images (`Preprocessing.fit`). With 2.5 times as many,
  the result differs from that of the whole photo by 0.4 to 0.6 levels of 255 on
  average, and by up to 10; LEEP changes by up to 0.54 of its standard error,
  and with 4 times as many or more, by up to about 0.2
  (`experiments/results/reduction.md`).

  Args:
    content: of a complete file.
    wanted: takes the height and the width of the photo, rotated as its EXIF
      orientation says, and returns those that it will be resized to.

  Returns:
    None if the content is no such photo, or has no pixels to spare.

  Example:
    >>> import io
    >>> import PIL.Image
    >>> from leep_jax.data import jpeg
    >>> file = io.BytesIO()
    >>> PIL.Image.new("RGB", (90, 64)).save(file, "JPEG")
    >>> found = jpeg.decode(file.getvalue(), lambda height, width: (12, 16))
    >>> found.pixels.shape, found.size, found.box
    ((32, 45, 3), (64, 90), (0.0, 0.0, 45.0, 32.0))
  """
  stored, orientation = _described(content)
  if stored is None:
    return None
  swapped = orientation in _SWAPPED
  size = stored[::-1] if swapped else stored
  by = _reduction(size, wanted(*size))
  if by == 1:
    return None
  pixels = _decoded(content, by)
  # What OpenCV made is not known otherwise: it reads the orientation itself.
  if pixels is None or pixels.shape[:2] != tuple(-(-x // by) for x in size):
    return None
  (lower, right), (upper, left) = (x / by for x in size), (0.0, 0.0)
  if orientation in _FROM_RIGHT:
    left, right = pixels.shape[1] - right, float(pixels.shape[1])
  if orientation in _FROM_BELOW:
    upper, lower = pixels.shape[0] - lower, float(pixels.shape[0])
  return Reduced(pixels, size, (left, upper, right, lower))


def _described(content):
  """Returns the stored height and width, or None, and the orientation."""
  size, orientation = None, 1
  if not content.startswith(b"\xff\xd8"):
    return size, orientation
  exif = None
  for kind, start, end in _segments(content):
    if kind in _FRAMES:
      bits, *numbers = struct.unpack_from(">BHHB", content.ljust(end), start)
      # Four channels are inks; a height of 0 is stated after the pixels.
      if bits == 8 and numbers[2] in (1, 3) and all(numbers):
        size = tuple(numbers[:2])
    if kind == _APP1 and exif is None and content.startswith(_EXIF, start):
      exif = content[start:end]
  if size is not None and exif is not None:
    orientation = _orientation(exif)
  return size, orientation


def _orientation(exif):
  import PIL.Image

  tags = PIL.Image.Exif()
  try:
    tags.load(exif)
    return tags.get(_ORIENTATION, 1)
  except Exception:  # damaged: OpenCV does not rotate either
    return 1


def _reduction(size, wanted):
  """Returns by which number the sides may be divided: 8, 4, 2 or 1."""
  return next(
    by
    for by in (8, 4, 2, 1)
    if by == 1
    or all(a >= by * SPARE * b for a, b in zip(size, wanted, strict=True))
  )


def _decoded(content, by):
  import cv2

  # OpenCV would print a line on files that an error of this package reports.
  cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
  how = {
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
  }[by]
  try:
    # In colour: OpenCV's names have grey and BGR, but not RGB.
    return cv2.imdecode(
      np.frombuffer(content, np.uint8), how | cv2.IMREAD_COLOR_RGB
    )
  except cv2.error:
    return None
