"""Files of images, and what the numbers of images mean."""

from collections.abc import Sequence
import io
import os
import re
import stat
from typing import Any
import warnings

import numpy as np

from leep_jax import file_kinds, validation

SUFFIXES = frozenset({
  ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib",
  ".gif", ".pgm", ".pbm", ".ppm", ".pnm", ".tif", ".tiff", ".jp2", ".j2k",
  ".jpx", ".jpf", ".avif", ".ras", ".tga", ".pcx",
})  # fmt: skip
# How files of images begin; where a file has no suffix, this tells.
_STARTS = (
  b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM",
  b"II*\x00", b"MM\x00*", b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51",
  b"\x59\xa6\x6a\x95",
)  # fmt: skip
_TIFF = (b"II*\x00", b"MM\x00*")
_PNM = re.compile(rb"P[1-6]\s")
_PNM_HEADER = re.compile(
  rb"P[2356](?:\s+|#[^\n]*\n)+(?:(\d+)(?:\s+|#[^\n]*\n)+){3}"
)
_SAMPLED = 24  # files that are looked at for the unit of their numbers


def begins_as_image(path: str) -> bool:
  """Returns whether the first bytes of a regular file are those of an image."""
  try:
    if not stat.S_ISREG(os.stat(path).st_mode):
      return False
    with open(path, "rb") as file:
      head = file.read(32)
  except OSError:
    return False
  return (
    head.startswith(_STARTS)
    or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    or (head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"))
    or _PNM.match(head) is not None
  )


def read(
  path: str | os.PathLike[str], *, name: str | None = None
) -> np.ndarray:
  """Returns the image of a file, `[H, W, 3]` uint8.

  It is turned as its EXIF orientation says, unlike by torchvision's loader;
  16 bits are scaled to 8; grey is repeated, transparency left out; of several
  frames or pages the first is read.

  Args:
    path: of the file.
    name: what error messages call it; default its path.

  Raises:
    DataError: if it cannot be read, is no image, or ends too early.
  """
  name = name or os.fspath(path)
  try:
    if not stat.S_ISREG(os.stat(path).st_mode):
      raise OSError(0, "it is no regular file")
    with open(path, "rb") as file:
      content = file.read()
  except (OSError, ValueError) as e:
    why = getattr(e, "strerror", None) or f"{e}"
    if os.path.islink(path) and not os.path.exists(path):
      why += ": a broken link?"
    raise validation.DataError(f"cannot read {name}: {why}") from e
  try:
    return _decode(content)
  except _Bad as e:
    raise validation.DataError(f"cannot decode {name}: {e}") from None


class _Bad(Exception):
  """Bytes that are no image that can be used, and why."""


def _decode(content):
  """Returns the image of a file's content, or says why there is none."""
  if not content:
    raise _Bad("it is empty")
  if not _ends(content):
    return _decode_with_pillow(content)
  if content.startswith(_TIFF):  # whose numbers may be of any type
    stored = _decode_with_opencv(content, unchanged=True)
    if stored is not None and stored.dtype not in (np.uint8, np.uint16):
      raise _Bad(_of_type(content, stored.dtype))
  header = _PNM_HEADER.match(content[:512])
  image = None
  if header and int(header[1]) not in (255, 65535):
    image = _decode_with_opencv(content, unchanged=True)
    if image is not None:  # the file itself says what is white
      top = max(int(header[1]), 1)
      image = np.round(image * (255 / top)).clip(0, 255).astype(np.uint8)
      image = image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
  else:
    image = _decode_with_opencv(content)
  return _decode_with_pillow(content) if image is None else image


def _decode_with_opencv(content, *, unchanged=False):
  """Returns the image as RGB, or as it is stored, or None."""
  import cv2

  # A file that is no image is reported by an error of ours.
  cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
  how = cv2.IMREAD_UNCHANGED if unchanged else cv2.IMREAD_COLOR_RGB
  # Decoded from bytes: imread cannot open every path.
  try:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), how)
  except cv2.error:
    return None
  if unchanged and image is not None and image.ndim == 3:
    image[..., :3] = image[..., 2::-1].copy()  # blue comes first
  return image


def _decode_with_pillow(content):
  """Returns the image of a file that OpenCV does not read, or says why."""
  import PIL.Image
  import PIL.ImageOps

  kind = file_kinds.of_data(content[: file_kinds.HEAD_SIZE])
  if kind is not None:
    raise _Bad(f"it is {kind}")
  # Its warnings are of files that are refused, or read all the same.
  warnings.filterwarnings("ignore", module=r"PIL\.")
  try:
    with PIL.Image.open(io.BytesIO(content)) as opened:
      opened.load()
      if opened.mode in ("F", "I"):
        what = "float32" if opened.mode == "F" else "int32"
        raise _Bad(_of_type(content, what))
      image = PIL.ImageOps.exif_transpose(opened)
      if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
      return np.array(image.convert("RGB"))
  except _Bad:
    raise
  except Exception as e:  # Pillow's decoders raise all kinds
    text = validation.reason(e)
    if not _ends(content) or "truncated" in text:
      text = "it ends too early: was a copy cut off?"
    elif "cannot identify" in text:
      text = "is it an image?"
    raise _Bad(text) from None


def _of_type(content, dtype):
  article = "an" if f"{dtype}".startswith("i") else "a"
  kind = "TIFF" if content.startswith(_TIFF) else "image"
  return f"it is {article} {dtype} {kind}: convert it to 8 bits"


def _ends(content):
  """Whether a JPEG or PNG has its end; others are decoded to find out."""
  if content.startswith(b"\x89PNG"):
    return 0 <= content.rfind(b"IEND") <= len(content) - 8
  if content.startswith(b"\xff\xd8"):
    # Behind the headers, which may hold a preview with an end of its own.
    at = 2
    while (
      content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] != b"\xda"
    ):
      at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return content.find(b"\xff\xd9", at) >= 0
  return True


def _has_pages(content):
  """Whether a TIFF or GIF has several images."""
  import PIL.Image

  if not content.startswith((*_TIFF, b"GIF8")):
    return False
  try:
    with PIL.Image.open(io.BytesIO(content)) as image:
      return getattr(image, "n_frames", 1) > 1
  except Exception:  # OpenCV reads it all the same
    return False


def to_8_bits(images: np.ndarray) -> np.ndarray:
  """Returns `[..., C]` images of 16 bits as uint8, without transparency.

  Args:
    images: `[..., H, W, C]`; of four channels the last is transparency, of two
      as well. Types other than uint16 are left as they are.
  """
  if images.shape[-1] in (2, 4):
    images = images[..., :-1]
  if images.dtype == np.uint16:
    return (images >> 8).astype(np.uint8)
  return images


def note_unit(name: str, arrays: Sequence[np.ndarray]) -> None:
  """Says where the numbers of images look as if they were in another unit.

  Args:
    name: of the data set.
    arrays: images as they are stored, all of them or a sample.
  """
  by_type: dict[Any, list[np.ndarray]] = {}
  for array in arrays:
    if array.size:
      by_type.setdefault(array.dtype, []).append(array)
  for dtype, some in by_type.items():
    high = max(float(array.max()) for array in some)
    pixels = sum(array.size for array in some)
    if dtype == np.uint16 and pixels >= 1000 and high < 65536 / 8:
      bits = max(int(high).bit_length(), 1)
      validation.note(
        f"images of {name} have 16 bits, but the largest of {pixels:,} "
        f"numbers is {high:.0f} of 65535, so they are nearly black: are they "
        f"of {bits if bits > 8 else 8} bits? Multiply them by "
        f"{1 << (16 - max(bits, 8))}"
      )
    elif dtype == np.uint8 and high == 1:
      validation.note(
        f"images of {name} hold only 0 and 1 of 255, so they are black: if 1 "
        "is white, multiply them by 255"
      )
    elif dtype.kind == "f" and 0 < high <= 1.001 / 255:
      validation.note(
        f"images of {name} are floats of at most {high:.9g}, so they are "
        "black: were they divided by 255 twice?"
      )


def note_files(name: str, paths: Sequence[str]) -> None:
  """Says what is unusual in a sample of files: units, transparency, frames.

  Args:
    name: of the data set.
    paths: of all its files.
  """
  places = np.unique(np.linspace(0, len(paths) - 1, _SAMPLED).astype(int))
  stored, transparent, several = [], 0, 0
  for path in (paths[i] for i in places):
    try:
      if not stat.S_ISREG(os.stat(path).st_mode):
        continue
      with open(path, "rb") as file:
        start = file.read(3)
        # Of 8 bits, one frame, and no transparency; most files are.
        content = b"" if start == b"\xff\xd8\xff" else start + file.read()
    except (OSError, ValueError):  # named when it is read
      continue
    if not (content and _ends(content)):
      continue
    image = _decode_with_opencv(content, unchanged=True)
    if image is None:
      continue
    if image.ndim == 3 and image.shape[2] == 4:
      transparent += int(image[..., 3].min() < image[..., 3].max())
      image = image[..., :3]
    header = _PNM_HEADER.match(content[:512])
    if header is None or header[1] == b"65535":  # else it says what is white
      stored.append(image)
    several += _has_pages(content)
  note_unit(name, stored)
  of = f"of {len(places)} images of {name} that were looked at"
  if transparent:
    validation.note(f"{transparent} {of} have transparency, which is left out")
  if several:
    validation.note(
      f"{several} {of} have several pages or frames: the first is read"
    )
