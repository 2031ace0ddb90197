"""Folders of images or sounds, read with all that is below them."""

from collections import Counter
from collections.abc import Iterator
import dataclasses
import os
import re

from leep_jax import validation
from leep_jax.data import audio, images

_DEEPEST = 40  # levels of folders
# Files and folders that operating systems create; hidden ones are skipped, too.
_LITTER = {
  "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir",
  "lost+found", "$recycle.bin", "system volume information", "__pycache__",
}  # fmt: skip
# An ordinary suffix. Files with another, or none, are recognised by content.
_SUFFIX = re.compile(r"\.[a-z][a-z0-9]{0,5}")
BROKEN = "broken links"


@dataclasses.dataclass(frozen=True)
class Folder:
  """The content of a folder.

  Attributes:
    name: last part of the folder's path.
    images: names of the images, or sounds, directly in it.
    folders: its sub-folders, sorted by name.
    left_out: numbers of other files in it and below, by kind.
    total: number of images, or sounds, in it and below.

  Example:
    >>> from collections import Counter
    >>> from leep_jax.data import folder_tree
    >>> cat = folder_tree.Folder("cat", ("1.png", "2.png"), (), Counter(), 2)
    >>> root = folder_tree.Folder("", (), (cat,), Counter(), 2)
    >>> root.has_images_below, list(root.files(""))
    (True, ['cat/1.png', 'cat/2.png'])
  """

  name: str
  images: tuple[str, ...]
  folders: tuple["Folder", ...]
  left_out: Counter[str]
  total: int

  @property
  def has_images_below(self) -> bool:
    """Whether at least 95 % of the images are in sub-folders.

    A stray image beside the classes does not make a folder a class.
    """
    return 20 * len(self.images) <= self.total

  @property
  def full(self) -> list["Folder"]:
    """The sub-folders with images."""
    return [folder for folder in self.folders if folder.total]

  def files(self, above: str) -> Iterator[str]:
    """Yields the images, as paths that begin with `above`."""
    for name in self.images:
      yield above + name
    for folder in self.folders:
      yield from folder.files(f"{above}{folder.name}/")


def _scan_below(
  path: str,
  name: str,
  seen: set[tuple[int, int]],
  inputs: str,
  depth: int = 0,
) -> Folder:
  """Reads a folder; links are followed, but no folder is read twice."""
  try:
    with os.scandir(path) as found:
      # A folder has no order of its own, and classes are numbered in this one.
      entries = sorted(found, key=lambda entry: entry.name)
  except (OSError, ValueError) as e:
    raise validation.InputError(
      f"cannot read folder {path}: {getattr(e, 'strerror', None) or e}"
    ) from e
  if depth > _DEEPEST:
    raise validation.InputError(
      f"{path} lies more than {_DEEPEST} folders deep"
    )
  files: list[str] = []
  folders: list[Folder] = []
  left_out: Counter[str] = Counter()
  for entry in entries:
    if entry.name[0] == "." or entry.name.lower() in _LITTER:
      continue
    if _is_folder(entry):
      about = os.stat(entry.path)
      here = (about.st_dev, about.st_ino)
      if here in seen:  # linked twice, or a link to a folder above
        continue
      # Several classes may link to one folder: each class has its own `seen`.
      inner = {here} | seen if depth == 0 else seen
      inner.add(here)
      folders.append(
        _scan_below(entry.path, entry.name, inner, inputs, depth + 1)
      )
      left_out += folders[-1].left_out
    elif kind := _kind_left_out(entry, inputs):
      left_out[kind] += 1
    else:
      files.append(entry.name)
  total = len(files) + sum(folder.total for folder in folders)
  return Folder(name, tuple(files), tuple(folders), left_out, total)


def scan(path: str, *, inputs: str = "image") -> Folder:
  """Reads a folder; links to the folders that it is in are not followed.

  Args:
    path: of the folder.
    inputs: the files that count, `image` or `audio`.

  Raises:
    InputError: if a folder cannot be read, or folders are nested too deeply.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.data import folder_tree
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   for name in ("1.png", "2.png", "list.txt"):
    ...     (pathlib.Path(folder) / name).touch()
    ...   found = folder_tree.scan(folder)
    >>> found.images, dict(found.left_out)
    (('1.png', '2.png'), {'.txt': 1})
  """
  seen: set[tuple[int, int]] = set()
  at = os.path.realpath(path)
  while True:
    # All folders above are known, so that a link to one of them ends there.
    about = os.stat(at)
    seen.add((about.st_dev, about.st_ino))
    if at == os.path.dirname(at):
      return _scan_below(path, "", seen, inputs)
    at = os.path.dirname(at)


def _is_folder(entry):
  try:
    return entry.is_dir()
  except OSError:  # a link to itself
    return False


def _kind_left_out(entry, inputs):
  """Returns what a file is that does not count; "" for one that does."""
  suffix = os.path.splitext(entry.name)[1].lower()
  if suffix in (audio.SUFFIXES if inputs == "audio" else images.SUFFIXES):
    return ""
  # Sounds are told by their suffix alone.
  if _SUFFIX.fullmatch(suffix) or inputs == "audio":
    return suffix or "other"
  if images.begins_as_image(entry.path):
    return ""
  if entry.is_symlink() and not os.path.exists(entry.path):
    return BROKEN
  return "other"
