"""Large photos at full detail, put together from small ones, for benchmarks."""

import io
import pathlib

import numpy as np
import PIL.Image

from leep_jax.data import images

QUALITY = 90  # of JPEGs


def mosaic(photos, count, rng) -> np.ndarray:
  """Returns one photo of `count = (rows, columns)` others, drawn at random."""
  rows, columns = count
  chosen = rng.choice(len(photos), rows * columns, rows * columns > len(photos))
  parts = [photos[i] for i in chosen]
  # Those of the smallest, so that all are whole pixels.
  height, width = (min(part.shape[axis] for part in parts) for axis in (0, 1))
  parts = [part[:height, :width] for part in parts]
  return np.concatenate(
    [
      np.concatenate(parts[row * columns : (row + 1) * columns], axis=1)
      for row in range(rows)
    ]
  )


def jpeg_of(pixels: np.ndarray) -> bytes:
  """Returns pixels as the content of a JPEG."""
  content = io.BytesIO()
  PIL.Image.fromarray(pixels).save(content, "JPEG", quality=QUALITY)
  return content.getvalue()


def large_photos(folder, count: int, size: tuple[int, int]) -> list[bytes]:
  """Returns JPEGs of one size, each put together from photos of a folder."""
  paths = sorted(pathlib.Path(folder).rglob("*.jpg"))
  photos = [np.asarray(images.read(path)) for path in paths]
  least = (min(photo.shape[axis] for photo in photos) for axis in (0, 1))
  tiles = tuple(-(-a // b) for a, b in zip(size, least, strict=True))
  rng = np.random.default_rng(0)
  return [
    jpeg_of(mosaic(photos, tiles, rng)[: size[0], : size[1]])
    for _ in range(count)
  ]
