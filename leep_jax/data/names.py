"""What to write instead of a name that is no data set."""

from collections.abc import Mapping, Sequence
import os
import re

from leep_jax import validation
from leep_jax.data import table_files

# File types by their suffixes, for advice.
_TABLES = {
  ".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow", ".xlsx", ".txt",
}  # fmt: skip
_ARCHIVES = {".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar"}
_OTHER_FILES = {
  ".h5", ".hdf5", ".mat", ".pt", ".pth", ".pkl", ".tfrecord", ".record",
}  # fmt: skip
# Prefixes that users try, from other libraries.
_FOLDER_KINDS = {"imagefolder", "image_folder", "dir", "directory", "folders"}
_HUBS = {"huggingface", "hf", "datasets", "hub"}
_FOLDER = "one sub-folder of images per class, folder:DIR"
_ARRAYS = "arrays images and labels, npz:FILE"


def several(text: str) -> list[str]:
  """Returns the names of data sets that commas separate, each once.

  Commas in braces, as in `wds:{a,b}.tar`, and in a path that is there belong to
  a name.

  Args:
    text: what the user wrote.

  Raises:
    InputError: if a name is empty.

  Example:
    >>> from leep_jax.data import names
    >>> names.several("digits,wds:{a,b}.tar")
    ['digits', 'wds:{a,b}.tar']
  """
  prefix, _, path = text.partition(":")
  whole = text if "," in prefix else path or text
  if "," not in text or os.path.exists(os.path.expanduser(whole)):
    return [text]
  found = [part.strip() for part in re.split(r",(?![^{}]*\})", text)]
  if not all(found):
    raise validation.InputError(f"--dataset={text} has an empty name")
  return list(dict.fromkeys(found))


def check(name: str, kinds: Mapping[str, str], known: Sequence[str]) -> None:
  """Refuses what cannot be the name of a TFDS data set.

  Args:
    name: what the user wrote, without a prefix of `kinds`.
    kinds: how the names of other kinds of data are written, by their prefixes.
    known: names of TFDS data sets.

  Raises:
    InputError: if the name is empty or an address, or has an unknown prefix.

  Example:
    >>> import leep_jax
    >>> from leep_jax.data import names
    >>> try:
    ...   names.check("npy:a.npy", {"npz": "npz:FILE"}, ["mnist"])
    ... except leep_jax.InputError as error:
    ...   print(error)
    unknown kind of data 'npy' in npy:a.npy; write npz:a.npy
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
  # TFDS writes versions so, as in mnist:3.0.1.
  if not colon or re.fullmatch(r"[\d.*]+", rest):
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
  name: str, known: Sequence[str], kinds: Mapping[str, str]
) -> validation.InputError:
  """Returns the error for a name that TFDS does not know.

  Args:
    name: what the user wrote.
    known: names of all data sets.
    kinds: see `check`.

  Example:
    >>> from leep_jax.data import names
    >>> print(names.unknown("cifar11", ["cifar10"], {"npz": "npz:FILE"}))
    unknown data set 'cifar11'; did you mean cifar10?
  """
  path = os.path.expanduser(name)
  suffix = os.path.splitext(name)[1].lower()
  if validation.exists(path, "dir"):
    text = _of_folder(name, path, kinds)
  elif suffix in _TABLES:
    text = _of_table(name, kinds)
  elif suffix in (".npz", ".npy") and "npz" in kinds:
    text = f"{name} is a file's name: write npz:{name}"
  elif suffix == ".tar" and "wds" in kinds:
    text = (
      f"{name} is an archive: write wds:{name} if it is a shard of WebDataset, "
      "or unpack it"
    )
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
  return " or ".join(kinds.values())


def _of_folder(name, path, kinds):
  saved = ("dataset_dict.json", "state.json")  # of datasets.save_to_disk
  if "hf" in kinds and any(file in saved for file in _listed(path)):
    return f"{name} is a folder that datasets saved: write hf:{name}"
  if validation.exists(os.path.join(path, "dataset_info.json"), "file") or any(
    validation.exists(os.path.join(path, version, "dataset_info.json"), "file")
    for version in _listed(path)
  ):
    # The folder is the data set's, or that of one of its versions.
    of_data_set = os.path.abspath(path)
    if validation.exists(os.path.join(path, "dataset_info.json"), "file"):
      of_data_set = os.path.dirname(of_data_set)
    parent, base = os.path.split(of_data_set)
    return (
      f"{name} is a prepared TFDS data set: write --dataset={base} "
      f"--data_dir={parent}"
    )
  if "folder" in kinds:
    return f"{name} is a folder: write folder:{name}"
  return f"{name} is a folder, but attributes come from {_forms(kinds)}"


def _listed(path):
  try:
    return sorted(os.listdir(path))[:100]  # versions are few
  except OSError:
    return []


def _of_table(name, kinds):
  # The path after a prefix such as tsv:, or all of the name.
  path = name.partition(":")[2] or name
  if "folder" not in kinds:  # of attributes
    return f"{name} is a table: write csv:FILE"
  suffix = os.path.splitext(path)[1].lower()
  if suffix in (*table_files.SUFFIXES, ".txt"):
    if not os.path.exists(os.path.expanduser(path)):
      return f"no file at {path}"
    return f"{name} is a table: write csv:{path}"
  return (
    f"{name}: tables of this kind are not read; save it as one that csv:FILE "
    f"is, {validation.some(table_files.SUFFIXES, most=9)}"
  )


def _of_hub(name, kinds, known):
  last = re.split("[:/]", name.rstrip("/"))[-1]
  found = match(last, known)
  if found is not None:
    return (
      f"unknown data set {name!r}; TFDS has {found}: write --dataset={found}"
    )
  if "hf" not in kinds:
    return f"unknown data set {name!r}: write {_forms(kinds)}"
  plain = re.sub(r"^\w+:(//)?(datasets/)?", "", name)
  return (
    f"unknown data set {name!r}: if it is one of the Hugging Face hub, write "
    f"hf:{plain}"
  )


def match(name: str, known: Sequence[str]) -> str | None:
  """Returns the known name that differs only in case, hyphens or underscores.

  Args:
    name: such as CIFAR10 or Fashion-MNIST.
    known: names of all data sets.

  Example:
    >>> from leep_jax.data import names
    >>> names.match("Fashion-MNIST", ["mnist", "fashion_mnist"])
    'fashion_mnist'
  """
  if name in known:
    return name
  found = [other for other in known if _plain(other) == _plain(name)]
  return found[0] if len(found) == 1 else None


def _plain(name):
  return re.sub(r"[-_ ]", "", name.lower())
