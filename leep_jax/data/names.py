"""What a name that is no data set may mean, and what to write instead."""

from collections.abc import Sequence
import os
import re

from leep_jax import validation

_TABLES = {
  ".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow", ".xlsx", ".txt",
}  # fmt: skip
_ARCHIVES = {".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar"}
_OTHER_FILES = {
  ".h5", ".hdf5", ".mat", ".pt", ".pth", ".pkl", ".tfrecord", ".record",
}  # fmt: skip
_FOLDER_KINDS = {"imagefolder", "image_folder", "dir", "directory", "folders"}
_HUBS = {"huggingface", "hf", "datasets", "hub"}
_FOLDER = "one sub-folder of images per class, folder:DIR"
_ARRAYS = "arrays images and labels, npz:FILE"


def check(name: str, kinds: Sequence[str], known: Sequence[str]) -> None:
  """Refuses what cannot be the name of a TFDS data set.

  Args:
    name: as it was given; none that begins with one of `kinds` and a colon.
    kinds: prefixes that are read, such as `folder` and `npz`.
    known: names of TFDS data sets.

  Raises:
    InputError: if it is empty, a URL, or has a prefix that is not read.
  """
  if not name.strip():
    raise validation.InputError(
      f"the data set has no name: it is a TFDS name, {_forms(kinds)}"
    )
  if "://" in name:
    if name.lower().startswith("hf://"):
      raise validation.InputError(_of_hub(name, kinds, known))
    raise validation.InputError(
      f"{name} is an address: download it, and write {_forms(kinds)}"
    )
  base, bracket, rest = name.partition("[")
  if bracket and rest.endswith("]") and ":" not in base:
    raise validation.InputError(
      f"unknown data set {name!r}: slices belong to --split, as in "
      f"--dataset={base} --split=train[{rest}"
    )
  prefix, colon, rest = name.partition(":")
  if not colon or re.fullmatch(r"[\d.*]+", rest):  # a version
    return
  kind = prefix.lower()
  hint = f"known: {_forms(kinds)}, or a TFDS name"
  if kind in kinds:
    hint = f"write {kind}:{rest}"
  elif kind in ("npy", "numpy", "npz") and "npz" in kinds:
    hint = f"write npz:{rest}"
  elif kind in _FOLDER_KINDS | {"folder"} and "folder" in kinds:
    hint = f"write folder:{rest}"
  elif kind == "tfds":
    hint = f"TFDS names have none: write {rest}"
  elif kind in _HUBS:
    raise validation.InputError(_of_hub(name, kinds, known))
  elif f".{kind}" in _TABLES:
    raise validation.InputError(_of_table(name, kinds))
  raise validation.InputError(
    f"unknown kind of data {prefix!r} in {name}; {hint}"
  )


def unknown(
  name: str, known: Sequence[str], kinds: Sequence[str]
) -> validation.InputError:
  """Returns an error for a name that TFDS does not know.

  Args:
    name: as it was given.
    known: names of data sets that there are.
    kinds: as for `check`.
  """
  path = os.path.expanduser(name)
  suffix = os.path.splitext(name)[1].lower()
  if validation.exists(path, "dir"):
    text = _of_folder(name, path, kinds)
  elif suffix in _TABLES:
    text = _of_table(name, kinds)
  elif suffix in (".npz", ".npy") and "npz" in kinds:
    text = f"{name} is a file's name: write npz:{name}"
  elif suffix in _ARCHIVES:
    text = f"{name} is an archive: unpack it, and write {_forms(kinds)}"
  elif suffix in _OTHER_FILES or validation.exists(path, "file"):
    text = f"{name} is a file of a kind that is not read: write {_forms(kinds)}"
  elif name[:1] in ("/", ".", "~") or "\\" in name or name.count("/") > 2:
    text = f"no file or folder at {name}; paths are written {_forms(kinds)}"
  elif "/" in name:
    text = _of_hub(name, kinds, known)
  else:
    return validation.unknown("data set", name, known)
  return validation.InputError(text)


def _forms(kinds):
  shown = {"folder": "folder:DIR", "npz": "npz:FILE", "csv": "csv:FILE"}
  return " or ".join(shown.get(kind, kind) for kind in kinds)


def _of_folder(name, path, kinds):
  if validation.exists(os.path.join(path, "dataset_info.json"), "file") or any(
    validation.exists(os.path.join(path, version, "dataset_info.json"), "file")
    for version in _listed(path)
  ):
    whole = os.path.abspath(path)
    if validation.exists(os.path.join(path, "dataset_info.json"), "file"):
      whole = os.path.dirname(whole)
    parent, base = os.path.split(whole)
    return (
      f"{name} is a prepared TFDS data set: write --dataset={base} "
      f"--data_dir={parent}"
    )
  if "folder" in kinds:
    return f"{name} is a folder: write folder:{name}"
  return f"{name} is a folder, but attributes come from {_forms(kinds)}"


def _listed(path):
  try:
    return sorted(os.listdir(path))[:100]
  except OSError:
    return []


def _of_table(name, kinds):
  if "csv" in kinds:
    return f"{name} is a table: write csv:FILE"
  return (
    f"{name}: tables of file names and labels are not read yet; what is: "
    f"{_FOLDER} (links to the files will do), or {_ARRAYS}"
  )


def _of_hub(name, kinds, known):
  last = re.split("[:/]", name.rstrip("/"))[-1]
  there = match(last, known)
  if there is not None:
    return (
      f"unknown data set {name!r}; TFDS has {there}: write --dataset={there}"
    )
  what = f"{_FOLDER}, or {_ARRAYS}" if "folder" in kinds else _forms(kinds)
  return (
    f"unknown data set {name!r}: those of the Hugging Face hub are not read "
    f"yet; save it as {what}"
  )


def match(name: str, known: Sequence[str]) -> str | None:
  """Returns the known name that differs only in case, hyphens or underscores.

  Args:
    name: such as CIFAR10 or Fashion-MNIST.
    known: names of data sets that there are.
  """
  if name in known:
    return name
  found = [other for other in known if _plain(other) == _plain(name)]
  return found[0] if len(found) == 1 else None


def _plain(name):
  return re.sub(r"[-_ ]", "", name.lower())
