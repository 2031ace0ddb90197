"""Files of images, and the ranges of their values."""

from collections.abc import Sequence
import io
import os
import re
import stat
from typing import Any
import warnings

import numpy as np

from leep_jax import file_kinds, validation
from leep_jax.data import jpeg

SUFFIXES = frozenset({
  ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib",
  ".gif", ".pgm", ".pbm", ".ppm", ".pnm", ".tif", ".tiff", ".jp2", ".j2k",
  ".jpx", ".jpf", ".avif", ".ras", ".tga", ".pcx",
})  # fmt: skip
# First bytes of image files, for files without a suffix: JPEG, PNG, GIF, BMP,
# TIFF of both byte orders, JPEG 2000 as a file and as a stream, Sun raster.
_STARTS = (
  b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM",
  b"II*\x00", b"MM\x00*", b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51",
  b"\x59\xa6\x6a\x95",
)  # fmt: skip
_TIFF = (b"II*\x00", b"MM\x00*")
_PNM = re.compile(rb"P[1-6]\s")
# Width, height and the largest value, between which comments may stand. The
# repeated group keeps the last. P1 and P4 have bits, and no largest value.
_PNM_HEADER = re.compile(
  rb"P[2356](?:\s+|#[^\n]*\n)+(?:(\d+)(?:\s+|#[^\n]*\n)+){3}"
)
# How many files of a data set are read to find out the range of their values.
_SAMPLED = 24


def begins_as_image(path: str) -> bool:
  """Returns whether the first bytes of a regular file are those of an image.

  Args:
    path: of the file.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.data import images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "n02084071_1"
    ...   _ = path.write_bytes(b"\\xff\\xd8\\xff\\xe0")
    ...   images.begins_as_image(str(path))
    True
  """
  # Opening a named pipe would wait for ever.
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
  path: str | os.PathLike[str],
  *,
  name: str | None = None,
  turned: bool = True,
  wanted: jpeg.Wanted | None = None,
) -> np.ndarray | jpeg.Reduced:
  """Returns the image of a file, `[H, W, 3]` uint8.

  It is rotated as its EXIF orientation says, which torchvision's loader does
  not do. 16 bits are scaled to 8, grey is repeated, transparency is removed,
  and of several frames or pages only the first is read.

  Args:
    path: of the file.
    name: what error messages call it; by default, its path.
    turned: whether the EXIF orientation is followed.
    wanted: to which size the image will be resized, see `jpeg.decode`: JPEGs
      that are far larger are decoded at a part of their size.

  Raises:
    DataError: if it cannot be read, is no image, or ends too early.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import PIL.Image
    >>> from leep_jax.data import images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "grey.png"
    ...   PIL.Image.fromarray(np.full((4, 6), 7, np.uint8)).save(path)
    ...   image = images.read(path)
    >>> image.shape, image[0, 0].tolist()
    ((4, 6, 3), [7, 7, 7])
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
  return decode(content, name=name, turned=turned, wanted=wanted)


def decode(
  content: bytes,
  *,
  name: str,
  turned: bool = True,
  wanted: jpeg.Wanted | None = None,
) -> np.ndarray | jpeg.Reduced:
  """Returns the image that the content of a file is of, as `read` does.

  Args:
    content: of the file.
    name: what error messages call it.
    turned: whether the EXIF orientation is followed.
    wanted: as for `read`.

  Raises:
    DataError: if it is no image, or ends too early.

  Example:
    >>> import leep_jax
    >>> from leep_jax.data import images
    >>> try:
    ...   images.decode(b"", name="row 3")
    ... except leep_jax.InputError as error:
    ...   print(error)
    cannot decode row 3: it is empty
  """
  try:
    return _decode(content, turned, wanted)
  except _Bad as e:
    raise validation.DataError(f"cannot decode {name}: {e}") from None


class _Bad(Exception):
  """The reason why a file cannot be used as an image."""


def _decode(content, turned, wanted) -> np.ndarray | jpeg.Reduced:
  """Decodes an image: by OpenCV if it can, as it is three times as fast."""
  if not content:
    raise _Bad("it is empty")
  # OpenCV returns what there is of a file cut short, with the rest in grey.
  if not _is_complete(content):
    return _decode_with_pillow(content, turned)
  if wanted is not None and (reduced := jpeg.decode(content, wanted)):
    return reduced
  if content.startswith(_TIFF):  # may have numbers of any type
    stored = _decode_with_opencv(content, unchanged=True)
    if stored is not None and stored.dtype not in (np.uint8, np.uint16):
      raise _Bad(_of_type(content, stored.dtype))
  header = _PNM_HEADER.match(content[:512])
  image = None
  if header and int(header[1]) not in (255, 65535):
    image = _decode_with_opencv(content, unchanged=True)
    if image is not None:  # the header states which value is white
      top = max(int(header[1]), 1)
      image = np.round(image * (255 / top)).clip(0, 255).astype(np.uint8)
      image = image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
  else:
    image = _decode_with_opencv(content, turned=turned)
  return _decode_with_pillow(content, turned) if image is None else image


def _decode_with_opencv(
  content: bytes, *, unchanged: bool = False, turned: bool = True
) -> np.ndarray | None:
  """Returns the image in RGB, or as it is stored; None if that fails."""
  import cv2

  # OpenCV would print a line on files that an error of this package reports.
  cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
  how = cv2.IMREAD_UNCHANGED if unchanged else cv2.IMREAD_COLOR_RGB
  if not turned:
    how |= cv2.IMREAD_IGNORE_ORIENTATION
  # Decoded from bytes: imread cannot open every path.
  try:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), how)
  except cv2.error:
    return None
  if unchanged and image is not None and image.ndim == 3:
    image[..., :3] = image[..., 2::-1].copy()  # blue comes first
  return image


def _decode_with_pillow(content: bytes, turned: bool) -> np.ndarray:
  """Decodes an image that OpenCV does not read, or says why it cannot."""
  import PIL.Image
  import PIL.ImageOps

  kind = file_kinds.of_data(content[: file_kinds.HEAD_SIZE])
  if kind is not None:
    raise _Bad(f"it is {kind}")
  # Pillow warns of files that are refused here, or read without harm.
  warnings.filterwarnings("ignore", module=r"PIL\.")
  try:
    with PIL.Image.open(io.BytesIO(content)) as opened:
      opened.load()
      if opened.mode in ("F", "I"):
        what = "float32" if opened.mode == "F" else "int32"
        raise _Bad(_of_type(content, what))
      # OpenCV turns images as their EXIF says, so these are turned, too.
      image = PIL.ImageOps.exif_transpose(opened) if turned else opened
      return from_pillow(image)
  except _Bad:
    raise
  except Exception as e:  # Pillow's decoders raise many types
    text = validation.reason(e)
    if not _is_complete(content) or "truncated" in text:
      text = "it ends too early: was a copy cut off?"
    elif "cannot identify" in text:
      text = "is it an image?"
    raise _Bad(text) from None


def from_pillow(image: Any) -> np.ndarray:
  """Returns an image of Pillow as `[H, W, 3]` uint8; 16 bits are scaled to 8.

  Args:
    image: of Pillow.

  Example:
    >>> import numpy as np
    >>> import PIL.Image
    >>> from leep_jax.data import images
    >>> grey = PIL.Image.fromarray(np.full((1, 1), 512, np.uint16))
    >>> images.from_pillow(grey).tolist()
    [[[2, 2, 2]]]
  """
  if image.mode.startswith("I;16"):
    grey = (np.asarray(image) >> 8).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
  return np.array(image.convert("RGB"))


def _of_type(content, dtype):
  article = "an" if f"{dtype}".startswith("i") else "a"
  kind = "TIFF" if content.startswith(_TIFF) else "image"
  return f"it is {article} {dtype} {kind}: convert it to 8 bits"


def _is_complete(content):
  """Whether a JPEG or PNG has its end mark; True for others."""
  if content.startswith(b"\x89PNG"):
    # The type of the last chunk and its checksum, 4 bytes each.
    return 0 <= content.rfind(b"IEND") <= len(content) - 8
  if content.startswith(b"\xff\xd8"):
    return jpeg.is_complete(content)
  return True


def _has_pages(content):
  """Whether a TIFF or GIF has several images."""
  import PIL.Image

  if not content.startswith((*_TIFF, b"GIF8")):
    return False
  try:
    with PIL.Image.open(io.BytesIO(content)) as image:
      return getattr(image, "n_frames", 1) > 1
  except Exception:  # OpenCV reads it nevertheless
    return False


def to_8_bits(images: np.ndarray) -> np.ndarray:
  """Returns images of 16 bits as uint8, and removes transparency.

  Args:
    images: `[..., H, W, C]`. The last of two or four channels is transparency.
      Types other than uint16 are kept.

  Example:
    >>> import numpy as np
    >>> from leep_jax.data import images
    >>> images.to_8_bits(np.full((1, 1, 4), 65535, np.uint16))
    array([[[255, 255, 255]]], dtype=uint8)
  """
  if images.shape[-1] in (2, 4):
    images = images[..., :-1]
  if images.dtype == np.uint16:
    images = (images >> 8).astype(np.uint8)
  return images


def note_unit(name: str, arrays: Sequence[np.ndarray]) -> None:
  """Notes images that are nearly black, as if their values had another unit.

  Args:
    name: of the data set.
    arrays: images as they are stored, all or a sample.

  Example:
    >>> import warnings
    >>> import numpy as np
    >>> from leep_jax.data import images
    >>> with warnings.catch_warnings(record=True) as caught:
    ...   warnings.simplefilter("always")
    ...   images.note_unit("mine", [np.ones((2, 2, 1), np.uint8)])
    >>> print(caught[0].message)
    images of mine hold only 0 and 1 of 255, so they are black: if 1 is white,
    multiply them by 255
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
  """Notes what is unusual in a sample of files: range, transparency, frames.

  Args:
    name: of the data set.
    paths: of all its files.

  Example:
    >>> import pathlib, tempfile, warnings
    >>> import numpy as np
    >>> import PIL.Image
    >>> from leep_jax.data import images
    >>> pixels = np.zeros((4, 4, 4), np.uint8)
    >>> pixels[:2, :, 3] = 255
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "1.png"
    ...   PIL.Image.fromarray(pixels).save(path)
    ...   with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     images.note_files("mine", [str(path)])
    >>> print(caught[0].message)
    1 of 1 images of mine that were looked at have transparency, which is left
    out
  """
  # From all classes, by which files are ordered.
  sample = np.unique(np.linspace(0, len(paths) - 1, _SAMPLED).astype(int))
  stored, transparent, several = [], 0, 0
  for path in (paths[i] for i in sample):
    try:
      if not stat.S_ISREG(os.stat(path).st_mode):
        continue
      with open(path, "rb") as file:
        start = file.read(3)
        # Most files are JPEGs: 8 bits, one frame, no transparency.
        content = b"" if start == b"\xff\xd8\xff" else start + file.read()
    except (OSError, ValueError):  # `read` raises an error with its name
      continue
    if not (content and _is_complete(content)):
      continue
    image = _decode_with_opencv(content, unchanged=True)
    if image is None:
      continue
    if image.ndim == 3 and image.shape[2] == 4:
      transparent += int(image[..., 3].min() < image[..., 3].max())
      image = image[..., :3]
    header = _PNM_HEADER.match(content[:512])
    # Other headers state which value is white.
    if header is None or header[1] == b"65535":
      stored.append(image)
    several += _has_pages(content)
  note_unit(name, stored)
  of = f"of {len(sample)} images of {name} that were looked at"
  if transparent:
    validation.note(f"{transparent} {of} have transparency, which is left out")
  if several:
    validation.note(
      f"{several} {of} have several pages or frames: the first is read"
    )
