"""Kinds of files, recognised by their first bytes.

A file's name says little: `model.bin` may be a pickle, a Git LFS pointer or a
web page that a server sent instead, and `cat.jpg` an archive. `KINDS` has one
row a kind, with what to tell a user who named such a file where the package
reads images and arrays (`of_data`), or weights (`of_checkpoint`).
"""

from collections.abc import Callable
import dataclasses
import os
import pathlib
import re
import struct
import zipfile

CONVERT = "python -m leep_jax.convert FILE OUT.safetensors"
SOURCE = (
  "make it a source of your own (package.module:factory, a function that "
  "returns a leep_jax.Source), or name a safetensors file of the same weights"
)
_RUNS = f", which can run code when read; convert it: {CONVERT}"
_AGAIN = ": download it again, to its end"
_UNPACK = ": unpack it, and name the file inside"
_PAGE = (
  ", which a server sent instead of the file: is a login or another link "
  "needed? On the hub, a file's own link has /resolve/, not /blob/"
)
_PICKLES = (
  ".pt", ".pth", ".pth.tar", ".tar", ".bin", ".pkl", ".pickle", ".ckpt",
)  # fmt: skip
# Enough for the mark of a tar file, the furthest in, at byte 257.
HEAD_SIZE = 512


@dataclasses.dataclass(frozen=True)
class Beginning:
  """What a file's kind is recognised by.

  Attributes:
    head: the first `HEAD_SIZE` bytes of the file.
    name: its name in lower case, or "" if only its content is known.
    size: in bytes.
    tail: the last 8 bytes of the file.
    members: names in a zip archive; None if it cannot be opened as one.

  Example:
    >>> from leep_jax import file_kinds
    >>> file = file_kinds.Beginning(b"PK", members=("a/data.pkl", "a/data/0"))
    >>> file.starts(b"PK", b"BZh"), file.has_members("data.pkl")
    (True, True)
  """

  head: bytes
  name: str = ""
  size: int = 0
  tail: bytes = b""
  members: tuple[str, ...] | None = None

  def starts(self, *marks: bytes) -> bool:
    """Whether the file starts with one of these bytes."""
    return self.head.startswith(marks)

  def starts_as_text(self, *marks: bytes) -> bool:
    """As `starts`, but ignores case, a byte-order mark and leading spaces."""
    return _text(self.head).lower().startswith(marks)

  def has_members(self, *names: str) -> bool:
    """Whether the file is a zip with members of these names, in any folder."""
    found = {member.rpartition("/")[2] for member in self.members or ()}
    return found.issuperset(names)


@dataclasses.dataclass(frozen=True)
class Kind:
  """One kind of file.

  Attributes:
    name: what it is, to be read after "is".
    matches: whether a file is of this kind.
    checkpoint: what to do where weights were expected, to be read after `name`;
      None if the kind is not looked for there.
    data: the kind, and what to do, where images or arrays were expected, to be
      read after "is"; None if the kind is not looked for there.
    readable: whether `checkpoints.read_tensors` reads it.

  Example:
    >>> from leep_jax import file_kinds
    >>> [kind.name for kind in file_kinds.KINDS if kind.readable]
    ['safetensors', 'npz']
  """

  name: str
  matches: Callable[[Beginning], bool]
  checkpoint: str | None = ""
  data: str | None = None
  readable: bool = False


def _text(head: bytes) -> bytes:
  return head.lstrip(b"\xef\xbb\xbf \t\r\n")


def _header_size(file: Beginning) -> int | None:
  """The number of bytes that a safetensors file says its header has."""
  # The format: the length of a header as 8 bytes, the header in JSON, tensors.
  if len(file.head) < 9 or file.head[8:9] != b"{":
    return None
  size = int(struct.unpack("<Q", file.head[:8])[0])
  # The shortest header is {}; the upper bound is the safetensors library's.
  return size if 2 <= size <= 100_000_000 else None


def _safetensors(file: Beginning) -> bool:
  size = _header_size(file)
  # The header comes after the 8 bytes that state its size.
  return size is not None and size + 8 <= file.size


def _npz(file: Beginning) -> bool:
  members = file.members or ()
  return bool(members) and all(name.endswith(".npy") for name in members)


def _json(file: Beginning) -> bool:
  # A bracket alone may begin anything: the next character must fit, too.
  start = re.match(rb'[{\[]\s*["{\[\]}\d]', _text(file.head))
  return start is not None and file.size > 1


def _onnx(file: Beginning) -> bool:
  # ModelProto has no magic number: it starts with the field ir_version (tag 8)
  # and a small number, and then has the tag of one of its other fields.
  fields = re.match(
    rb"\x08[\x03-\x20][\x12\x1a\x22\x2a\x32\x3a\x42]", file.head
  )
  return fields is not None or file.name.endswith(".onnx")


def _prose(file: Beginning) -> bool:
  """Whether the whole file is a short ASCII text, as a server answers."""
  prose = re.fullmatch(rb"[\x20-\x7e\s]+", file.head)
  # A smaller file is all in `head`.
  return 0 < file.size < HEAD_SIZE and prose is not None


def _msgpack(file: Beginning) -> bool:
  # msgpack has no magic number either: a map (fixmap, map 16 or map 32) whose
  # first key is a short string (fixstr or str 8).
  start = re.match(
    rb"([\x81-\x8f]|\xde..|\xdf....)([\xa1-\xbf]|\xd9.)[\w./-]", file.head, re.S
  )
  return start is not None


def _old_pickle(file: Beginning) -> bool:
  # Protocols 0 and 1 have no mark: these are an OrderedDict and a dict.
  return re.match(rb"ccollections\n|\(dp?\d*\n", file.head) is not None


def _tf_checkpoint(file: Beginning) -> bool:
  return (
    file.tail == b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # ends a LevelDB table
    or re.search(r"\.(index|meta|data-\d+-of-\d+)$", file.name) is not None
  )


# A file is of the first kind that matches. The order matters: one mark may be
# part of another (a PyTorch checkpoint is a zip), and weak marks, such as those
# of JSON, text and names, come last.
KINDS: tuple[Kind, ...] = (
  Kind("an empty file", lambda f: not f.size, _AGAIN, "empty"),
  Kind("safetensors", _safetensors, readable=True),
  Kind(
    "a safetensors file cut short, inside its header",
    lambda f: _header_size(f) is not None,
    _AGAIN,
  ),
  Kind(
    "a Git LFS pointer, not the file it stands for",
    lambda f: f.starts(b"version https://git-lfs", b"# xet version"),
    ": run `git lfs pull` in its folder, or download the file itself",
    "a Git LFS pointer: fetch it by git lfs pull",
  ),
  Kind(
    "a web page",
    lambda f: f.starts_as_text(b"<!doctype html", b"<html", b"<head"),
    _PAGE,
    "an HTML page: has a download failed?",
  ),
  Kind(
    "a web page",
    lambda f: f.starts_as_text(b"<!doctype", b"<?xml"),
    _PAGE,
    "an XML or SVG file",
  ),
  Kind(
    "an XML or SVG file",
    lambda f: f.starts_as_text(b"<svg", b"<error"),
    None,
    "an XML or SVG file",
  ),
  Kind("npz", _npz, readable=True),
  Kind(
    "a TorchScript archive",
    lambda f: f.has_members("constants.pkl", "data.pkl"),
    ", which holds code; if you trust it, write its tensors: torch.save("
    "torch.jit.load(FILE).state_dict(), NEW), then "
    "python -m leep_jax.convert NEW OUT.safetensors",
  ),
  Kind(
    "a checkpoint of PyTorch, a pickle",
    lambda f: f.has_members("data.pkl"),
    _RUNS,
  ),
  Kind(
    "a Keras model",
    lambda f: f.has_members("config.json", "model.weights.h5"),
    f": load it with Keras on its JAX backend and {SOURCE}",
  ),
  Kind("a zip", lambda f: f.members is not None, _UNPACK),
  # Where data are expected, the members of a zip are not read.
  Kind(
    "a zip archive",
    lambda f: f.starts(b"PK\x03\x04"),
    None,
    "a zip archive: unpack it",
  ),
  Kind(
    "an empty zip archive",
    # The record at the end of the central directory, which stands first where
    # there are no members.
    lambda f: f.starts(b"PK\x05\x06"),
    None,
    "a zip archive with nothing in it",
  ),
  Kind(
    "a zip cut short, by its name a checkpoint of PyTorch, a pickle",
    lambda f: f.starts(b"PK") and f.name.endswith(_PICKLES),
    f", which can run code when read{_AGAIN}; then convert it: {CONVERT}",
  ),
  Kind("a zip cut short", lambda f: f.starts(b"PK"), _AGAIN),
  Kind(
    "a pickle",
    # Protocols 2 to 5 begin with their number.
    lambda f: f.starts(b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
    _RUNS,
    "a pickle",
  ),
  Kind("a pickle", _old_pickle, _RUNS, "a pickle"),
  Kind(
    "an HDF5 file, as Keras writes them",
    lambda f: f.starts(b"\x89HDF\r\n\x1a\n"),
    f": load it with the library that wrote it and {SOURCE}",
    "an HDF5 file",
  ),
  Kind(
    "a gzip file",
    lambda f: f.starts(b"\x1f\x8b"),
    f"{_UNPACK} (gunzip, or tar -xzf)",
    "a gzip archive: unpack it",
  ),
  Kind(
    "a compressed file",
    lambda f: f.starts(
      # bzip2, xz, Zstandard, 7z and RAR, in this order.
      b"BZh",
      b"\xfd7zXZ\0",
      b"\x28\xb5\x2f\xfd",
      b"7z\xbc\xaf",
      b"Rar!",
    ),
    _UNPACK,
  ),
  Kind("a tar file", lambda f: f.head[257:262] == b"ustar", _UNPACK),
  Kind("a PDF file", lambda f: f.starts(b"%PDF"), None, "a PDF file"),
  Kind(
    "a MATLAB file",
    lambda f: f.starts(b"MATLAB 5.0"),
    None,
    "a MATLAB file: read it by scipy.io.loadmat",
  ),
  Kind("a Parquet file", lambda f: f.starts(b"PAR1"), None, "a Parquet file"),
  Kind(
    "a HEIC image",
    lambda f: (
      # ISO media files start with the size of their first box, 4 bytes.
      f.head[4:8] == b"ftyp"
      and f.head[8:12] in (b"heic", b"heix", b"mif1", b"hevc")
    ),
    None,
    "a HEIC image: convert it to JPEG or PNG",
  ),
  Kind(
    "a TFLite model",
    # A FlatBuffer starts with the offset of its root, 4 bytes.
    lambda f: f.head[4:8] == b"TFL3",
    f", made for inference elsewhere: {SOURCE}",
  ),
  Kind(
    "a GGUF file, of a language model",
    lambda f: f.starts(b"GGUF"),
    f", not read here: {SOURCE}",
  ),
  Kind(
    "a single array in npy",
    lambda f: f.starts(b"\x93NUMPY"),
    ": a checkpoint has one array for each parameter, by name; save all with "
    "np.savez(OUT.npz, **arrays)",
    "a NumPy array (.npy)",
  ),
  Kind(
    "the graph of a TensorFlow SavedModel",
    lambda f: f.name == "saved_model.pb" or f.name.endswith(".pb"),
    f", not read here: {SOURCE}",
  ),
  Kind(
    "part of a TensorFlow checkpoint",
    _tf_checkpoint,
    ", not read here: tf.train.load_checkpoint(PREFIX) gives its arrays by "
    "name; save them with the names of timm or torchvision in an npz file",
  ),
  Kind("an ONNX model", _onnx, f", not read here: {SOURCE}"),
  Kind(
    "a msgpack file, as Flax writes them",
    _msgpack,
    ": restore it with flax.serialization.from_bytes in the code that defines "
    f"the network and {SOURCE}",
  ),
  Kind(
    "JSON, not weights",
    _json,
    ": name the checkpoint that it belongs to, or their folder",
  ),
  Kind("a short text, such as a server's answer, not weights", _prose, _AGAIN),
  Kind(
    "all zero bytes",
    lambda f: not any(f.head),
    None,
    "all zero bytes: has a download or a copy failed?",
  ),
  Kind("by its name a pickle", lambda f: f.name.endswith(_PICKLES), _RUNS),
)


def of_data(head: bytes) -> str | None:
  """Returns what a file is that should have been an image or an array.

  Args:
    head: the first `HEAD_SIZE` bytes of the file.

  Returns:
    The kind and what to do, to be read after "is"; None if no row of `KINDS`
    matches, as for an image.

  Example:
    >>> from leep_jax import file_kinds
    >>> file_kinds.of_data(b"\\x1f\\x8b\\x08")
    'a gzip archive: unpack it'
    >>> file_kinds.of_data(b"\\xff\\xd8\\xff") is None  # a JPEG
    True
  """
  file = Beginning(head, size=len(head))
  found = (kind.data for kind in KINDS if kind.data and kind.matches(file))
  return next(found, None)


def of_checkpoint(path: str | os.PathLike[str]) -> Kind | None:
  """Returns the kind of a file of weights, or of what was taken for one.

  Args:
    path: of the file.

  Returns:
    The first row of `KINDS` that matches; None if none does.

  Raises:
    OSError, ValueError: if the file cannot be opened.

  Example:
    >>> import pathlib, pickle, tempfile
    >>> from leep_jax import file_kinds
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "model.safetensors"
    ...   path.write_bytes(pickle.dumps({"weight": 1.0}, protocol=4)) > 0
    ...   file_kinds.of_checkpoint(path).name
    True
    'a pickle'
  """
  path = pathlib.Path(path)
  with path.open("rb") as opened:
    head = opened.read(HEAD_SIZE)
    size = opened.seek(0, os.SEEK_END)
    opened.seek(max(0, size - 8))
    tail = opened.read(8)
  members = None
  if head.startswith(b"PK"):
    try:
      with zipfile.ZipFile(path) as archive:
        members = tuple(archive.namelist())
    except Exception:  # zipfile raises many types for damaged archives
      members = None
  file = Beginning(head, path.name.lower(), size, tail, members)
  for kind in KINDS:
    if kind.checkpoint is not None and kind.matches(file):
      return kind
  return None
