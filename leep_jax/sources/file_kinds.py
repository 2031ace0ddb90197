"""Kinds of files that users take for checkpoints, told by their first bytes.

A name says little: `model.bin` is a pickle, a Git LFS pointer or a page that a
server sent instead. One row a kind, with what to do about a file of it.
"""

from collections.abc import Callable
import dataclasses
import os
import pathlib
import re
import struct
from typing import Any
import zipfile

from leep_jax import validation

CONVERT = "python -m leep_jax.convert FILE OUT.safetensors"
_RUNS = f"which can run code when read; convert it: {CONVERT}"
_SOURCE = (
  "make it a source of your own (package.module:factory, a function that "
  "returns a leep_jax.Source), or name a safetensors file of the same weights"
)
_AGAIN = "download it again, to its end"
_UNPACK = "unpack it, and name the file inside"
_PICKLES = (
  ".pt", ".pth", ".pth.tar", ".tar", ".bin", ".pkl", ".pickle", ".ckpt",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Beginning:
  """What tells the kind of a file.

  Attributes:
    name: of the file, in small letters.
    size: in bytes.
    head: its first 512 bytes.
    tail: its last 8 bytes.
    members: names in it, where it is a zip; None where it is none.
  """

  name: str
  size: int
  head: bytes
  tail: bytes
  members: tuple[str, ...] | None

  def starts(self, *marks: bytes) -> bool:
    """Whether its first bytes are one of these."""
    return self.head.startswith(marks)

  def holds(self, *names: str) -> bool:
    """Whether it is a zip with members of all these names, in any folder."""
    found = {member.rpartition("/")[2] for member in self.members or ()}
    return found.issuperset(names)


@dataclasses.dataclass(frozen=True)
class Kind:
  """One kind of file.

  Attributes:
    name: what it is, to be read after "is".
    tells: whether a file is of this kind.
    advice: what to do, to be read after the name and a separator.
    readable: whether `weights.read_tensors` reads it.
  """

  name: str
  tells: Callable[[Beginning], bool]
  advice: str = ""
  readable: bool = False

  def refusal(self, path: Any) -> validation.InputError:
    """Returns the error that refuses such a file and says what to do."""
    return validation.InputError(f"{path} is {self.name}{self.advice}")


def _header_size(file: Beginning) -> int | None:
  """The bytes that a safetensors file says its header has."""
  if len(file.head) < 9 or file.head[8:9] != b"{":
    return None
  size = struct.unpack("<Q", file.head[:8])[0]
  return size if 2 <= size <= 100_000_000 else None


def _safetensors(file):
  size = _header_size(file)
  return size is not None and size + 8 <= file.size


def _page(file):
  text = file.head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
  return text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head"))


def _json(file):
  text = file.head.lstrip(b"\xef\xbb\xbf \t\r\n")
  return re.match(rb'[{\[]\s*["{\[\]}\d]', text) is not None


def _onnx(file):
  # ModelProto: its version, then one of its other fields.
  fields = re.match(
    rb"\x08[\x03-\x20][\x12\x1a\x22\x2a\x32\x3a\x42]", file.head
  )
  return fields is not None or file.name.endswith(".onnx")


def _text(file: Beginning) -> bool:
  """Whether it is prose, as a server answers."""
  prose = re.fullmatch(rb"[\x20-\x7e\s]+", file.head)
  return 0 < file.size < 512 and prose is not None


def _msgpack(file):
  # A map whose first key is a short string.
  return re.match(
    rb"([\x81-\x8f]|\xde..|\xdf....)([\xa1-\xbf]|\xd9.)[\w./-]", file.head, re.S
  )


def _pickle(file):
  # Protocol 2 and later say so; earlier ones begin with what they build.
  start = rb"\x80[\x02-\x05]|ccollections\n|\(dp?\d*\n"
  return re.match(start, file.head) is not None


# The first that tells is meant.
KINDS: tuple[Kind, ...] = (
  Kind("an empty file", lambda f: not f.size, f": {_AGAIN}"),
  Kind("safetensors", _safetensors, readable=True),
  Kind(
    "a safetensors file cut short, inside its header",
    lambda f: _header_size(f) is not None,
    f": {_AGAIN}",
  ),
  Kind(
    "a Git LFS pointer, not the file it stands for",
    lambda f: f.starts(b"version https://git-lfs", b"# xet version"),
    ": run `git lfs pull` in its folder, or download the file itself",
  ),
  Kind(
    "a web page",
    _page,
    ", which a server sent instead of the file: is a login or another link "
    "needed? On the hub, a file's own link has /resolve/, not /blob/",
  ),
  Kind(
    "npz",
    lambda f: (
      bool(f.members) and all(m.endswith(".npy") for m in f.members or ())
    ),
    readable=True,
  ),
  Kind(
    "a TorchScript archive",
    lambda f: f.holds("constants.pkl", "data.pkl"),
    ", which holds code; if you trust it, write its tensors: torch.save("
    "torch.jit.load(FILE).state_dict(), NEW), then "
    "python -m leep_jax.convert NEW OUT.safetensors",
  ),
  Kind(
    "a checkpoint of PyTorch, a pickle",
    lambda f: f.holds("data.pkl"),
    f", {_RUNS}",
  ),
  Kind(
    "a Keras model",
    lambda f: f.holds("config.json", "model.weights.h5"),
    f": load it with Keras on its JAX backend and {_SOURCE}",
  ),
  Kind("a zip", lambda f: f.members is not None, f": {_UNPACK}"),
  Kind(
    "a zip cut short, by its name a checkpoint of PyTorch, a pickle",
    lambda f: f.starts(b"PK") and f.name.endswith(_PICKLES),
    f", which can run code when read: {_AGAIN}; then convert it: {CONVERT}",
  ),
  Kind("a zip cut short", lambda f: f.starts(b"PK"), f": {_AGAIN}"),
  Kind("a pickle", _pickle, f", {_RUNS}"),
  Kind(
    "an HDF5 file, as Keras writes them",
    lambda f: f.starts(b"\x89HDF\r\n\x1a\n"),
    f": load it with the library that wrote it and {_SOURCE}",
  ),
  Kind(
    "a gzip file",
    lambda f: f.starts(b"\x1f\x8b"),
    f": {_UNPACK} (gunzip, or tar -xzf)",
  ),
  Kind(
    "a compressed file",
    lambda f: f.starts(
      b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!"
    ),
    f": {_UNPACK}",
  ),
  Kind("a tar file", lambda f: f.head[257:262] == b"ustar", f": {_UNPACK}"),
  Kind(
    "a TFLite model",
    lambda f: f.head[4:8] == b"TFL3",
    f", made for inference elsewhere: {_SOURCE}",
  ),
  Kind(
    "a GGUF file, of a language model",
    lambda f: f.starts(b"GGUF"),
    f", not read here: {_SOURCE}",
  ),
  Kind(
    "a single array in npy",
    lambda f: f.starts(b"\x93NUMPY"),
    ": a checkpoint has one array for each parameter, by name; save all with "
    "np.savez(OUT.npz, **arrays)",
  ),
  Kind(
    "the graph of a TensorFlow SavedModel",
    lambda f: f.name == "saved_model.pb" or f.name.endswith(".pb"),
    f", not read here: {_SOURCE}",
  ),
  Kind(
    "part of a TensorFlow checkpoint",
    lambda f: (
      f.tail == b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # of a LevelDB table
      or re.search(r"\.(index|meta|data-\d+-of-\d+)$", f.name) is not None
    ),
    ", not read here: tf.train.load_checkpoint(PREFIX) gives its arrays by "
    "name; save them with the names of timm or torchvision in an npz file",
  ),
  Kind("an ONNX model", _onnx, f", not read here: {_SOURCE}"),
  Kind(
    "a msgpack file, as Flax writes them",
    lambda f: _msgpack(f) is not None,
    ": restore it with flax.serialization.from_bytes in the code that defines "
    f"the network and {_SOURCE}",
  ),
  Kind(
    "JSON, not weights",
    lambda f: _json(f) and f.size > 1,
    ": name the checkpoint that it belongs to, or their folder",
  ),
  Kind(
    "a short text, such as a server's answer, not weights",
    _text,
    f": {_AGAIN}",
  ),
  Kind(
    "by its name a pickle",
    lambda f: f.name.endswith(_PICKLES),
    f", {_RUNS}",
  ),
)


def kind_of(path: str | os.PathLike[str]) -> Kind | None:
  """Returns the kind of a file, or None where no row of `KINDS` tells it.

  Raises:
    InputError: if the file cannot be opened.
  """
  path = pathlib.Path(path)
  try:
    with path.open("rb") as opened:
      head = opened.read(512)
      size = opened.seek(0, os.SEEK_END)
      opened.seek(max(0, size - 8))
      tail = opened.read(8)
  except (OSError, ValueError) as e:
    raise validation.InputError(
      f"cannot read {path}: {validation.reason(e)}"
    ) from e
  members = None
  if head.startswith(b"PK"):
    try:
      with zipfile.ZipFile(path) as archive:
        members = tuple(archive.namelist())
    except Exception:  # zipfile raises many types for damaged archives
      members = None
  file = Beginning(path.name.lower(), size, head, tail, members)
  return next((kind for kind in KINDS if kind.tells(file)), None)


def folder_refusal(folder: pathlib.Path) -> validation.InputError | None:
  """Returns what is to be said of a folder that holds no checkpoint.

  Args:
    folder: one without safetensors and Orbax metadata.

  Returns:
    An error with advice if a known kind of file lies in it, or else None.
  """
  if (folder / "saved_model.pb").exists():
    return validation.InputError(
      f"{folder} is a TensorFlow SavedModel, not read here: {_SOURCE}"
    )
  files = sorted(p for p in folder.iterdir() if p.is_file())
  for path in files:
    kind = kind_of(path)
    if kind and not kind.readable and not kind.name.startswith("JSON"):
      return kind.refusal(path)
  return None
