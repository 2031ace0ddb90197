"""Folders with one sub-folder of images per class.

    DIR/CLASS/.../FILE               folder:DIR
    DIR/SPLIT/CLASS/.../FILE         folder:DIR with --split=SPLIT

Folders that hold splits are told from those that hold classes by their names
and by their structure: splits hold no image themselves, but sub-folders of the
same names. Where classes do so, `--split=.` says that they are classes.
"""

from collections import Counter
from collections.abc import Iterator
import dataclasses
import os
import re
import unicodedata

import numpy as np

from leep_jax import validation
from leep_jax.data import dataset as dataset_lib, images

_DEEPEST = 40  # folders in each other
# What systems leave behind; hidden files are left out, too.
_LITTER = {
  "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir",
  "lost+found", "$recycle.bin", "system volume information", "__pycache__",
}  # fmt: skip
# An ordinary suffix; what has another is told by its first bytes.
_SUFFIX = re.compile(r"\.[a-z][a-z0-9]{0,5}")
_BROKEN = "broken links"
_ROLES = {
  "train": "train training trn tr learn",
  "test": "test testing tst ts",
  "val": "val valid validation",
  "eval": "eval evaluation dev",
  "pred": "pred predict prediction predictions unlabeled unlabelled",
  "part": "fold cv split part partition extra holdout query gallery",
}
_ROLE = {word: role for role, words in _ROLES.items() for word in words.split()}
_FILLERS = {"set", "sets", "data", "dataset", "images", "imgs", "image", "seg"}


@dataclasses.dataclass(frozen=True)
class _Folder:
  """What is below a folder.

  Attributes:
    name: its last part.
    images: names of the images in it.
    folders: its sub-folders, by name.
    left_out: how many files below it are no images, by kind.
    total: images in it and below.
  """

  name: str
  images: tuple[str, ...]
  folders: tuple["_Folder", ...]
  left_out: Counter
  total: int

  @property
  def holds_folders(self) -> bool:
    """Whether the images are in sub-folders, but for a stray one or two."""
    return 20 * len(self.images) <= self.total

  @property
  def full(self) -> list["_Folder"]:
    """The sub-folders with images."""
    return [folder for folder in self.folders if folder.total]

  def files(self, above: str) -> Iterator[str]:
    """Yields the images, as paths that begin with `above`."""
    for name in self.images:
      yield above + name
    for folder in self.folders:
      yield from folder.files(f"{above}{folder.name}/")


def _scan(
  path: str, name: str, seen: set[tuple[int, int]], depth: int = 0
) -> _Folder:
  """Returns what is below a folder; links are followed, each folder once."""
  try:
    with os.scandir(path) as found:
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
  folders: list[_Folder] = []
  left_out: Counter[str] = Counter()
  for entry in entries:
    if entry.name[0] == "." or entry.name.lower() in _LITTER:
      continue
    if _is_folder(entry):
      about = os.stat(entry.path)
      here = (about.st_dev, about.st_ino)
      if here in seen:  # linked twice, or in a circle
        continue
      # Classes may share a linked folder; in one it is read once.
      inner = {here} | seen if depth == 0 else seen
      inner.add(here)
      folders.append(_scan(entry.path, entry.name, inner, depth + 1))
      left_out += folders[-1].left_out
    elif kind := _kind_left_out(entry):
      left_out[kind] += 1
    else:
      files.append(entry.name)
  total = len(files) + sum(folder.total for folder in folders)
  return _Folder(name, tuple(files), tuple(folders), left_out, total)


def _scan_root(path):
  """Returns what is below a folder; links to what it is in are not followed."""
  seen, at = set(), os.path.realpath(path)
  while True:
    about = os.stat(at)
    seen.add((about.st_dev, about.st_ino))
    if at == os.path.dirname(at):
      return _scan(path, "", seen)
    at = os.path.dirname(at)


def _is_folder(entry):
  try:
    return entry.is_dir()
  except OSError:  # a link in a circle
    return False


def _kind_left_out(entry):
  """What a file is that is no image, or "" for an image."""
  suffix = os.path.splitext(entry.name)[1].lower()
  if suffix in images.SUFFIXES:
    return ""
  if _SUFFIX.fullmatch(suffix):
    return suffix
  if images.begins_as_image(entry.path):
    return ""
  if entry.is_symlink() and not os.path.exists(entry.path):
    return _BROKEN
  return "other"


def _words(name):
  """Lower-case words of a name: of seg_train, trainSet, fold-0, train2017."""
  found = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name)
  words = [word.lower() for word in found]
  return [
    word.removesuffix("set") if word.removesuffix("set") in _ROLE else word
    for word in words
  ]


def _role(path):
  """Which split the name of a folder speaks of, or ""."""
  for word in reversed(_words(path.rpartition("/")[2])):
    if word in _ROLE:
      return _ROLE[word]
  return ""


def _named_as_splits(names):
  """Whether all names speak of splits, of different ones or of nothing else."""
  roles = [_role(name) for name in names]
  return all(roles) and (len(set(roles)) > 1 or all(map(_pure, names)))


def _pure(name):
  """Whether a name speaks of a split and of nothing else."""
  words = _words(name)
  return any(word in _ROLE for word in words) and all(
    word in _ROLE or word in _FILLERS or word.isdigit() for word in words
  )


def _unwrapped(folder):
  """The first folder inside that holds more than another one alone."""
  while folder.holds_folders and len(folder.full) == 1:
    (folder,) = folder.full
  return folder


def _names_below(folder):
  """Names of what may be classes inside what may be a split."""
  inner = _unwrapped(folder)
  return {key(f.name) for f in inner.full} if inner.holds_folders else set()


def key(name: str) -> str:
  """Returns a name without case, spaces at its ends, or form of Unicode."""
  return unicodedata.normalize("NFC", name).strip().casefold()


def _built_as_splits(folders):
  """Whether sub-folders hold sub-folders of the same names, and no images."""
  below = [_names_below(folder) for folder in folders]
  below = [names for names in below if len(names) > 1]
  # Some may be of something else, such as all of it once more.
  alike = max(
    ([b for b in below if _agree(a, b)] for a in below), key=len, default=[]
  )
  if len(alike) < 2 or 2 * len(alike) <= len(folders):
    return False
  # If these are splits, they are in the classes.
  return not _named_as_splits(sorted(set().union(*alike)))


def _agree(names, others):
  """Whether at least half of the smaller set of names is in the other."""
  return 2 * len(names & others) >= min(len(names), len(others))


def _hold_a_pair(folders):
  """Whether some are a training set, which holds classes, and a test set."""
  roles = {_role(folder.name) for folder in folders if _pure(folder.name)}
  return bool(roles & {"test", "val", "eval"}) and any(
    _pure(folder.name)
    and _role(folder.name) == "train"
    and len(_names_below(folder)) > 1
    for folder in folders
  )


def _are_splits(folders):
  return len(folders) > 1 and (
    _named_as_splits([folder.name for folder in folders])
    or _hold_a_pair(folders)
    or _built_as_splits(folders)
  )


def _below(folder, above=""):
  """Paths of the folders inside whose sub-folders are classes; itself is ""."""
  full = folder.full
  if (len(full) == 1 and full[0].full) or _are_splits(full):
    paths = [
      path
      for inner in full
      if inner.holds_folders
      for path in _below(inner, f"{above}{inner.name}/")
    ]
    # The shallowest first: deeper down there may be all of it once more.
    return sorted(paths, key=lambda path: path.count("/"))
  return [above.rstrip("/")] if len(full) > 1 else []


def _training(paths):
  """Which of several splits is the training set, by name; else the first."""
  return next((path for path in paths if _role_of(path) == "train"), paths[0])


def _role_of(path):
  """The role of the last part of a path that has one."""
  for part in reversed(path.split("/")):
    if _role(part):
      return _role(part)
  return ""


def _refuse_splits(root, split, folder):
  """Refuses a folder that does not hold classes, with the split to choose."""
  full = folder.full
  names = [inner.name for inner in full]
  splits = _are_splits(full)
  if not (splits or (len(full) == 1 and full[0].full)):
    return
  above = f"{split.rstrip('/')}/" if split else ""
  paths = [above + path for path in _below(folder)]
  as_classes = f"--split={above}."
  if not splits:
    if paths:
      raise validation.InputError(
        f"{root} holds one sub-folder, {names[0]}, and the classes are further "
        f"in: write --split={_training(paths)}"
      )
    return
  shown = validation.some(names)
  if not paths:
    raise validation.InputError(
      f"{root} holds the splits {shown}, but none of them a sub-folder per "
      "class: arrange the images as DIR/SPLIT/CLASS/FILE; if those are the "
      f"classes, write {as_classes}"
    )
  if _named_as_splits(names) or _hold_a_pair(full):
    raise validation.InputError(
      f"{root} holds the splits {shown}, not classes: choose one, as in "
      f"--split={_training(paths)}; if those are the classes, write "
      f"{as_classes}"
    )
  inside = validation.some(sorted(f.name for f in _unwrapped(full[0]).full))
  raise validation.InputError(
    f"{root} holds splits, or classes with sub-folders of the same names: "
    f"{shown} hold {inside}. For a split write --split={_training(paths)}; if "
    f"{validation.some(names[:2])} are classes, {as_classes}"
  )


def _open(path, split):
  """The folder of classes, and what is below it."""
  if not path:
    raise validation.InputError("folder: has no path: write folder:DIR")
  root = os.path.expanduser(path)
  if validation.exists(root, "file"):
    raise validation.InputError(
      f"{root} is a file: folder:DIR is for a folder with a sub-folder of "
      "images per class"
    )
  if split in (None, ".") or not validation.exists(root, "dir"):
    where = root
  else:
    where = os.path.join(root, split)
  if not validation.exists(where, "dir"):
    hint = ""
    if where != root:
      there = [f.name for f in _scan_root(root).full]
      hint = f"; {root} holds {validation.some(there) or 'no images'}"
    raise validation.InputError(f"no folder at {where}{hint}")
  return where, _scan_root(where)


def load(path: str, split: str | None) -> dataset_lib.Dataset:
  """Opens a folder with one sub-folder of images per class.

  Args:
    path: of the folder.
    split: a path inside it, whose sub-folders are the classes; one that ends
      in `.` says that they are classes, even if they look like splits.

  Raises:
    InputError: if there is no such folder, or it does not hold two classes.
  """
  where, folder = _open(path, split)
  surely = split is not None and split.split("/")[-1] == "."
  if not surely:
    _refuse_splits(where, split or "", folder)
  classes = folder.folders
  empty = [inner for inner in classes if not inner.total]
  if len(classes) - len(empty) < 2:
    beside = ""
    if folder.images:
      beside = f" ({len(folder.images):,} images lie beside them)"
    raise validation.InputError(
      f"{where} has {len(folder.full)} sub-folders with images{beside}, but "
      "each class needs one, and there must be at least 2 classes"
    )
  if empty:
    names = validation.some(inner.name for inner in empty)
    raise validation.InputError(
      f"sub-folder {names} of {where} has no images"
      f"{_by_kind(sum((f.left_out for f in empty), Counter()))}: move it away "
      "if it is no class"
    )
  name = f"folder:{path}"
  _note_names(name, [inner.name for inner in classes])
  _note_parts(name, classes)
  left_out = Counter(folder.left_out)
  for inner in folder.images:
    left_out[f"{os.path.splitext(inner)[1].lower()} beside the classes"] += 1
  # Those beside the classes that are no images, such as a list, are expected.
  beside = folder.left_out - sum((f.left_out for f in classes), Counter())
  beside.pop(_BROKEN, None)  # each may be a class
  left_out -= beside
  if left_out:
    validation.note(
      f"{left_out.total():,} files left out{_by_kind(left_out)} of {name}"
    )
  return _dataset(name, split, where, classes)


def _dataset(name, split, where, classes):
  files: list[str] = []
  labels: list[int] = []
  for label, inner in enumerate(classes):
    found = sorted(inner.files(f"{inner.name}/"), key=lambda p: p.split("/"))
    files += found
    labels += [label] * len(found)
  target = np.asarray(labels, np.int32)
  paths = [os.path.join(where, file) for file in files]
  images.note_files(name, paths)
  return dataset_lib.Dataset(
    name=name,
    split="all" if split in (None, ".") else split,
    num_classes=len(classes),
    indices=np.arange(len(files)),
    image_shape=None,
    fetch=lambda i: (
      [images.read(paths[j], name=files[j]) for j in i],
      target[i],
    ),
    class_names=tuple(inner.name for inner in classes),
    all_labels=target,
    version=dataset_lib.digest(
      (file, *_stamp(path)) for file, path in zip(files, paths, strict=True)
    ),
  )


def _stamp(path):
  """Size and time of a file; of a broken link, its own."""
  try:
    about = os.stat(path)
  except OSError:
    about = os.lstat(path)
  return about.st_size, about.st_mtime_ns


def _by_kind(counts):
  """Such as " (.txt 10, .mp4 8)"."""
  if not counts:
    return ""
  kinds = [f"{kind} {count:,}" for kind, count in counts.most_common()]
  return f" ({validation.some(kinds, most=6)})"


def _note_names(name, classes):
  """Says where names of classes differ in what the eye passes over."""
  by_key: dict[str, list[str]] = {}
  for each in classes:
    by_key.setdefault(key(each), []).append(each)
  alike = [
    " and ".join(map(repr, same)) for same in by_key.values() if len(same) > 1
  ]
  if alike:
    validation.note(
      f"classes of {name} whose names differ only in case, spaces or form of "
      f"Unicode are counted as several: {validation.some(alike)}"
    )


def _note_parts(name, classes):
  """Says where classes hold splits, which are all read."""
  below = [[f.name for f in inner.full] for inner in classes]
  if all(len(b) > 1 and _named_as_splits(b) for b in below):
    validation.note(
      f"classes of {name} hold the splits {validation.some(below[0])}: images "
      "of all of them are used"
    )


def pair(
  path: str, split: str | None, test_split: str | None
) -> tuple[str | None, str | None]:
  """Returns the splits of a folder to train and to test on.

  Args:
    path: of the folder.
    split: to train on, if it was said.
    test_split: to test on, if it was said.

  Returns:
    Both; the second is None where there is none, and a part of the first is to
    be held out.

  Raises:
    InputError: if there are splits, but not which is for what.
  """
  if split is not None and test_split is not None:
    return split, test_split
  if not path or not validation.exists(os.path.expanduser(path), "dir"):
    return split, test_split  # refused when it is opened
  _, folder = _open(path, None)
  paths = [found for found in _below(folder) if found]
  tests = [
    found
    for role in ("test", "val", "eval")
    for found in paths
    if _role_of(found) == role
  ]
  if split is None:
    train = [found for found in paths if _role_of(found) == "train"]
    if train:
      split = train[0]
    elif test_split is not None or tests:
      raise validation.InputError(
        f"folder:{path} has no folder train: which split is for training? It "
        f"holds {validation.some(paths) or 'no splits'}"
      )
  if split is not None and test_split is None and tests:
    test_split = tests[0]
  return split, test_split
