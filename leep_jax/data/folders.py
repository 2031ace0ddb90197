"""Folders with one sub-folder of images, or of sounds, per class.

    DIR/CLASS/.../FILE               folder:DIR
    DIR/SPLIT/CLASS/.../FILE         folder:DIR with --split=SPLIT

Sub-folders may be splits or classes. Names (train, test) and the structure show
which: splits contain no images themselves, but sub-folders with the same names.
If classes do so, too, `--split=.` says that they are classes. A folder without
any image, but with sounds, is one of sounds.
"""

from collections import Counter
from collections.abc import Sequence
import os
import re
import unicodedata

import numpy as np

from leep_jax import validation
from leep_jax.data import (
  audio,
  dataset as dataset_lib,
  files as files_lib,
  folder_tree,
)

# Words in the names of splits, by the role of the split.
_ROLES = {
  "train": "train training trn tr learn",
  "test": "test testing tst ts",
  "val": "val valid validation",
  "eval": "eval evaluation dev",
  "pred": "pred predict prediction predictions unlabeled unlabelled",
  "part": "fold cv split part partition extra holdout query gallery",
}
_ROLE = {word: role for role, words in _ROLES.items() for word in words.split()}
# Words that the name of a split may have besides.
_FILLERS = {"set", "sets", "data", "dataset", "images", "imgs", "image", "seg"}


def _words(name):
  """Splits a name into words: seg_train, trainSet, fold-0, train2017."""
  # "invalid" is one word: parts of words, such as "valid", do not count.
  found = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name)
  words = [word.lower() for word in found]
  return [
    word.removesuffix("set") if word.removesuffix("set") in _ROLE else word
    for word in words
  ]


def role(path: str) -> str:
  """Returns the role that the name of a split mentions; "" if none.

  Args:
    path: of a folder, or a name.

  Example:
    >>> from leep_jax.data import folders
    >>> folders.role("data/seg_train"), folders.role("cats")
    ('train', '')
  """
  for word in reversed(_words(path.rpartition("/")[2])):
    if word in _ROLE:
      return _ROLE[word]
  return ""


def with_role(names: Sequence[str], wanted: str) -> str | None:
  """Returns the first name that mentions a role; None if none does.

  Args:
    names: of splits.
    wanted: `train`, `test`, `val` or `eval`.

  Example:
    >>> from leep_jax.data import folders
    >>> folders.with_role(["training", "valid"], "val")
    'valid'
  """
  return next((name for name in names if role(name) == wanted), None)


def pair_of(
  names: Sequence[str], split: str | None, test_split: str | None
) -> tuple[str | None, str | None]:
  """Returns the splits to train and to test on, of those that there are.

  Args:
    names: of all splits.
    split: to train on, if the user named one.
    test_split: to test on, if the user named one.

  Example:
    >>> from leep_jax.data import folders
    >>> folders.pair_of(["training", "valid"], None, None)
    ('training', 'valid')
  """
  split = split or with_role(names, "train")
  for wanted in ("test", "val", "eval"):
    test_split = test_split or with_role(names, wanted)
  return split, test_split


def _named_as_splits(names):
  """Whether all names mention splits: different ones, or only splits.

  Classes may mention one, as "test tube" does, but not all of them.
  """
  roles = [role(name) for name in names]
  # bullet_train and steam_train have one role, and are classes; fold_0 and
  # fold_1 have one role too, but no other words.
  return all(roles) and (len(set(roles)) > 1 or all(map(_pure, names)))


def _pure(name):
  """Whether a name mentions a split and nothing else."""
  words = _words(name)
  return any(word in _ROLE for word in words) and all(
    word in _ROLE or word in _FILLERS or word.isdigit() for word in words
  )


def _unwrapped(folder):
  """Returns the first folder inside with more than a single sub-folder."""
  # Archives often unpack to a folder in a folder, such as seg_train/seg_train.
  while folder.has_images_below and len(folder.full) == 1:
    (folder,) = folder.full
  return folder


def _names_below(folder):
  """Returns the names of sub-folders that may be the classes of a split."""
  inner = _unwrapped(folder)
  return {key(f.name) for f in inner.full} if inner.has_images_below else set()


def key(name: str) -> str:
  """Returns a name in lower case, without outer spaces, in Unicode form NFC.

  Example:
    >>> from leep_jax.data import folders
    >>> folders.key(" Cat") == folders.key("cat")
    True
  """
  # The same letter may be one code point or a base and an accent, according to
  # the system that wrote the name.
  return unicodedata.normalize("NFC", name).strip().casefold()


def _built_as_splits(folders):
  """Whether sub-folders have sub-folders with the same names, and no images."""
  below = [_names_below(folder) for folder in folders]
  # One alone is no set of classes: cat/images, dog/images.
  below = [names for names in below if len(names) > 1]
  # One of them may contain something else, such as all images a second time.
  alike = max(
    ([b for b in below if _agree(a, b)] for a in below), key=len, default=[]
  )
  if len(alike) < 2 or 2 * len(alike) <= len(folders):
    return False
  # If the inner names mention splits, the outer folders are classes.
  return not _named_as_splits(sorted(set().union(*alike)))


def _agree(names, others):
  """Whether at least half of the smaller set of names is in the other."""
  # A test set may lack classes: names of one need not all be in the other.
  return 2 * len(names & others) >= min(len(names), len(others))


def _hold_a_pair(folders):
  """Whether there is a training set with classes, and a test set."""
  roles = {role(folder.name) for folder in folders if _pure(folder.name)}
  return bool(roles & {"test", "val", "eval"}) and any(
    _pure(folder.name)
    and role(folder.name) == "train"
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
  """Returns the paths of the folders whose sub-folders are classes.

  The path of the folder itself is "".
  """
  full = folder.full
  if (len(full) == 1 and full[0].full) or _are_splits(full):
    paths = [
      path
      for inner in full
      # A split of unlabelled images, such as seg_pred, has no classes.
      if inner.has_images_below
      for path in _below(inner, f"{above}{inner.name}/")
    ]
    # The shallowest first: archives often contain all images a second time,
    # further down.
    return sorted(paths, key=lambda path: path.count("/"))
  return [above.rstrip("/")] if len(full) > 1 else []


def _training(paths):
  """Returns the split that is the training set by its name, else the first."""
  return next((path for path in paths if _role_of(path) == "train"), paths[0])


def _role_of(path):
  """Returns the role of the last part of a path that has one; "" if none."""
  for part in reversed(path.split("/")):
    if role(part):
      return role(part)
  return ""


def _refuse_splits(root, split, folder):
  """Refuses a folder of splits, and says which split to choose."""
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
  """Returns the path of the folder with the classes, its content and inputs."""
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
      found = [f.name for f in _scan(root)[0].full]
      hint = f"; {root} holds {validation.some(found) or 'no images'}"
    raise validation.InputError(f"no folder at {where}{hint}")
  return where, *_scan(where)


def _scan(where):
  """Returns the content of a folder, and whether it is images or sounds."""
  folder = folder_tree.scan(where)
  if folder.total or not audio.SUFFIXES & folder.left_out.keys():
    return folder, "image"
  return folder_tree.scan(where, inputs="audio"), "audio"


def load(path: str, split: str | None) -> dataset_lib.Dataset:
  """Opens a folder with one sub-folder of images, or of sounds, per class.

  Args:
    path: of the folder.
    split: path of a sub-folder with the classes. If it ends in `.`, its
      sub-folders are classes even if they look like splits.

  Raises:
    InputError: if there is no such folder, or it has fewer than two classes.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import PIL.Image
    >>> from leep_jax.data import folders
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   for name in ("cat", "dog"):
    ...     path = pathlib.Path(folder) / name / "1.png"
    ...     path.parent.mkdir()
    ...     PIL.Image.fromarray(np.zeros((8, 6, 3), np.uint8)).save(path)
    ...   dataset = folders.load(folder, None)
    ...   images, labels = dataset.fetch([0, 1])
    >>> dataset.class_names, labels.tolist(), images[0].shape
    (('cat', 'dog'), [0, 1], (8, 6, 3))
  """
  where, folder, inputs = _open(path, split)
  noun = dataset_lib.INPUTS[inputs]
  # A "." at the end says that the folders there are classes, whatever their
  # names.
  has_classes = split is not None and split.split("/")[-1] == "."
  if not has_classes:
    _refuse_splits(where, split or "", folder)
  classes = folder.folders
  empty = [inner for inner in classes if not inner.total]
  if len(classes) - len(empty) < 2:
    beside = ""
    if folder.images:
      beside = f" ({len(folder.images):,} {noun} lie beside them)"
    raise validation.InputError(
      f"{where} has {len(folder.full)} sub-folders with {noun}{beside}, but "
      "each class needs one, and there must be at least 2 classes"
    )
  if empty:
    names = validation.some(inner.name for inner in empty)
    raise validation.InputError(
      f"sub-folder {names} of {where} has no {noun}"
      f"{_by_kind(sum((f.left_out for f in empty), Counter()))}: move it away "
      "if it is no class"
    )
  name = f"folder:{path}"
  _note_names(name, [inner.name for inner in classes])
  _note_parts(name, classes, noun)
  left_out = Counter(folder.left_out)
  for inner in folder.images:
    left_out[f"{os.path.splitext(inner)[1].lower()} beside the classes"] += 1
  # Other files beside the classes, such as a list of them, need no note.
  beside = folder.left_out - sum((f.left_out for f in classes), Counter())
  beside.pop(folder_tree.BROKEN, None)  # a broken link may have been a class
  left_out -= beside
  if left_out:
    validation.note(
      f"{left_out.total():,} files left out{_by_kind(left_out)} of {name}"
    )
  return _dataset(name, split, where, classes, inputs)


def _dataset(
  name: str,
  split: str | None,
  where: str,
  classes: tuple[folder_tree.Folder, ...],
  inputs: str,
) -> dataset_lib.Dataset:
  files: list[str] = []
  labels: list[int] = []
  for label, inner in enumerate(classes):
    found = sorted(inner.files(f"{inner.name}/"), key=lambda p: p.split("/"))
    files += found
    labels += [label] * len(found)
  return files_lib.dataset(
    name,
    [os.path.join(where, file) for file in files],
    np.asarray(labels, np.int32),
    shown=files,
    num_classes=len(classes),
    class_names=tuple(inner.name for inner in classes),
    split="all" if split in (None, ".") else split,
    inputs=inputs,
  )


def _by_kind(counts):
  """Returns counts as text, such as " (.txt 10, .mp4 8)"."""
  if not counts:
    return ""
  kinds = [f"{kind} {count:,}" for kind, count in counts.most_common()]
  return f" ({validation.some(kinds, most=6)})"


def _note_names(name, classes):
  """Notes names of classes that a reader may take for the same."""
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


def _note_parts(name, classes, noun):
  """Notes that classes have splits inside, as images of all are used."""
  below = [[f.name for f in inner.full] for inner in classes]
  if all(len(b) > 1 and _named_as_splits(b) for b in below):
    validation.note(
      f"classes of {name} hold the splits {validation.some(below[0])}: {noun} "
      "of all of them are used"
    )


def pair(
  path: str, split: str | None, test_split: str | None
) -> tuple[str | None, str | None]:
  """Returns the splits of a folder to train and to test on.

  Args:
    path: of the folder.
    split: to train on, if the user named one.
    test_split: to test on, if the user named one.

  Returns:
    Both. The second is None if there is no test split: a part of the first is
    to be held out.

  Raises:
    InputError: if there are splits, of which none is for training by its name.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.data import folders
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   for split in ("training", "val"):
    ...     for name in ("cat", "dog"):
    ...       path = pathlib.Path(folder) / split / name
    ...       path.mkdir(parents=True)
    ...       (path / "1.png").touch()
    ...   folders.pair(folder, None, None)
    ('training', 'val')
  """
  if split is not None and test_split is not None:
    return split, test_split
  if not path or not validation.exists(os.path.expanduser(path), "dir"):
    return split, test_split  # `load` refuses the path
  _, folder, _ = _open(path, None)
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
  # Without a test split, `load_pair` holds examples out.
  if split is not None and test_split is None and tests:
    test_split = tests[0]
  return split, test_split
