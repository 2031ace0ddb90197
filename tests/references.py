"""What reference definitions computed, and the weights that they did it with.

`golden/generate.py` writes `golden/*.json`: every published tensor's name and
shape, and what the definition named there (of timm or torchvision) computes in
float64. The weights are not stored: `tensor` makes them from tensors' names.
"""

import json
import pathlib
import zlib

import numpy as np
import safetensors.numpy

FOLDER = pathlib.Path(__file__).parent / "golden"
GOLDEN = {path.stem: path for path in sorted(FOLDER.glob("*.json"))}


def tensor(name, shape):
  """The same random numbers for a name, of a size that keeps outputs finite."""
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  if name.endswith("num_batches_tracked"):
    return np.zeros(shape, np.int64)
  if name.endswith("running_var"):
    return rng.uniform(0.8, 1.2, shape).astype(np.float32)
  x = rng.standard_normal(shape).astype(np.float32)
  if len(shape) > 1:
    return x / np.float32(np.sqrt(np.prod(shape[1:])))
  if name.endswith(("weight", "gamma")):
    return 1 + np.float32(0.1) * x
  return np.float32(0.05) * x


def golden(arch):
  """The reference, and the weights that it was computed with."""
  reference = json.loads(GOLDEN[arch].read_text())
  tensors = {n: tensor(n, s) for n, s in reference["tensors"].items()}
  return reference, tensors


def images():
  """Two images of noise, the same each time."""
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)


def save(tensors, path):
  """Writes tensors in any memory layout as safetensors; returns the path."""
  safetensors.numpy.save_file(
    {k: np.ascontiguousarray(v) for k, v in tensors.items()}, path
  )
  return path
