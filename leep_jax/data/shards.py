"""WebDataset shards: tar files whose members are examples, read where they lie.

    wds:shard-{0000..0009}.tar, wds:train/*.tar

Members with the same path up to the first dot of their name are one example:
0001.jpg and 0001.cls, or 0001.json. Members are read by their place in the
file, so that shards need no unpacking; compressed ones have no such places.
"""

from collections.abc import Iterator
import glob
import itertools
import json
import os
import re
import tarfile
from typing import Any, NamedTuple

import numpy as np

from leep_jax import validation
from leep_jax.data import (
  audio,
  columns as columns_lib,
  dataset as dataset_lib,
  files,
  images,
)

# Usual parts of examples with a label, and keys of JSON objects.
_LABELS = ("cls", "label", "target", "class", "category")
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")
# Of labels and JSON; a larger member is none.
_LARGEST_LABEL = 1 << 20


class _Member(NamedTuple):
  shard: int
  offset: int
  size: int


def load(
  pattern: str,
  split: str | None,
  *,
  ignored: tuple[int, ...] = (),
  columns: columns_lib.Columns = columns_lib.UNNAMED,
) -> dataset_lib.Dataset:
  """Opens shards of images, sounds or texts with labels.

  Args:
    pattern: path of a tar file; `{0000..0009}` is a range of numbers, `{a,b}` a
      choice, and `*` any text.
    split: None or `all`: shards of a split have a pattern of their own.
    ignored: labels of examples that are left out.
    columns: the extension of the inputs, such as `jpg`, and that of the labels,
      such as `cls`, or a key of the JSON objects.

  Raises:
    InputError: if there are no such files, they are damaged or compressed, or
      examples have no inputs or no labels.

  Example:
    >>> import io, pathlib, tarfile, tempfile
    >>> from leep_jax.data import shards
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "0.tar"
    ...   with tarfile.open(path, "w") as tar:
    ...     for name, content in (("a.txt", b"good"), ("a.cls", b"1"),
    ...                           ("b.txt", b"bad"), ("b.cls", b"0")):
    ...       member = tarfile.TarInfo(name)
    ...       member.size = len(content)
    ...       tar.addfile(member, io.BytesIO(content))
    ...   dataset = shards.load(str(path), None)
    ...   texts, labels = dataset.fetch(dataset.indices)
    >>> texts, labels.tolist()
    (['good', 'bad'], [1, 0])
  """
  name = f"wds:{pattern}"
  if split not in (None, "all"):
    raise validation.InputError(
      f"{name} has no splits, but split is {split!r}: write a pattern of the "
      "shards of that split"
    )
  paths = expand(pattern)
  examples: list[tuple[str, dict[str, _Member]]] = []
  for number, path in enumerate(paths):
    examples += _examples(number, path)
  if not examples:
    raise validation.InputError(f"{name} has no examples")
  extension, kind = _inputs(name, examples, columns.inputs)
  values = _label_values(name, paths, examples, columns.labels)
  numbers, kept, names, count = columns_lib.numbered(name, values, ignored)
  groups = None
  if columns.groups is not None:
    groups = columns_lib.group_names(
      name,
      columns.groups,
      [_label(paths, examples[i][1], columns.groups) for i in kept],
    )
  members = [examples[i][1][extension] for i in kept]
  shown = [f"{examples[i][0]}.{extension}" for i in kept]
  read = _reader(paths, kind)
  return dataset_lib.Dataset(
    name=name,
    split="all",
    num_classes=count,
    groups=groups,
    indices=np.arange(len(members)),
    image_shape=None,
    fetch=lambda indices, **how: (
      [read(members[i], shown[i], **how) for i in indices],
      numbers[indices],
    ),
    class_names=names,
    all_labels=numbers,
    version=dataset_lib.digest((*map(files.stamp, paths), numbers.tobytes())),
    inputs=kind,
    reduces=kind == "image",
    seconds=_seconds(read, members, shown) if kind == "audio" else 0.0,
  )


def expand(pattern: str) -> list[str]:
  """Returns the files that a pattern names, sorted where `*` finds them.

  Of a folder, those are its `.tar` files.

  Args:
    pattern: as `load` takes it.

  Raises:
    InputError: if one of them is not there.

  Example:
    >>> import leep_jax
    >>> from leep_jax.data import shards
    >>> try:
    ...   shards.expand("train-{00..02}.tar")
    ... except leep_jax.InputError as error:
    ...   print(error)
    3 of 3 shards are not there: train-00.tar, train-01.tar, train-02.tar
  """
  if not pattern:
    raise validation.InputError("wds: has no path: write wds:FILE.tar")
  named = list(_braces(os.path.expanduser(pattern)))
  found: list[str] = []
  for path in named:
    if os.path.isdir(path):
      path = os.path.join(glob.escape(path), "*.tar")
    found += sorted(glob.glob(path)) if glob.has_magic(path) else [path]
  missing = [path for path in found if not os.path.isfile(path)]
  if missing or not found:
    which = validation.some(missing or named)
    raise validation.InputError(
      f"{len(missing or named)} of {len(found or named)} shards are not there: "
      f"{which}"
    )
  return found


def _braces(pattern) -> Iterator[str]:
  numbers, choice = _RANGE.search(pattern), _CHOICE.search(pattern)
  match = numbers or choice
  if match is None:
    yield pattern
    return
  if numbers is not None:
    first, last = numbers.groups()
    width = len(first)
    words = [f"{i:0{width}}" for i in range(int(first), int(last) + 1)]
  else:
    words = match[1].split(",")
  for word in words:
    yield from _braces(pattern[: match.start()] + word + pattern[match.end() :])


def _examples(number, path):
  """The examples of a shard: names, and members by extension."""
  with open(path, "rb") as file:
    if file.read(2) == b"\x1f\x8b":
      raise validation.InputError(
        f"{path} is compressed, so that its members have no places: gunzip it"
      )
  try:
    with tarfile.open(path, "r:") as tar:
      members = [
        (m.name, _Member(number, m.offset_data, m.size))
        for m in tar
        if m.isfile()
      ]
  except (OSError, tarfile.TarError) as e:
    raise validation.InputError(
      f"cannot read {path} as a tar file ({validation.reason(e)}): is the "
      "download cut short?"
    ) from e
  for key, group in itertools.groupby(members, lambda item: _key(item[0])[0]):
    yield key, {_key(name)[1]: member for name, member in group}


def _key(name):
  """The path of a member up to the first dot of its name, and the rest."""
  folder, slash, file = name.rpartition("/")
  key, _, extension = file.partition(".")
  return folder + slash + key, extension.lower()


def _inputs(name, examples, asked):
  """The extension of the inputs, and what they are."""
  found = list(dict.fromkeys(itertools.chain(*(e for _, e in examples))))
  if asked is not None:
    candidates = [asked.lower().removeprefix(".")]
  else:
    candidates = sorted(found, key=lambda e: _kind(e) == "text")
    candidates = [e for e in candidates if _kind(e)]
  for extension in candidates:
    missing = [key for key, parts in examples if extension not in parts]
    if len(missing) == len(examples):
      continue
    if missing:
      raise validation.DataError(
        f"{len(missing):,} of {len(examples):,} examples of {name} have no "
        f".{extension}: {validation.some(missing)}"
      )
    return extension, _kind(extension) or "image"
  raise validation.InputError(
    f"{name} has no images, sounds or texts"
    + (f" with the extension {asked}" if asked else "")
    + f": its members are of {validation.some(found)}"
  )


def _kind(extension):
  suffix = f".{extension.rpartition('.')[2]}"
  if suffix in images.SUFFIXES:
    return "image"
  if suffix in audio.SUFFIXES:
    return "audio"
  return "text" if extension in ("txt", "text") else ""


def _label_values(name, paths, examples, asked):
  """The labels as text."""
  values, bad = [], []
  for key, parts in examples:
    value = _label(paths, parts, asked)
    values.append(value)
    if value == "":
      bad.append(key)
  if bad:
    what = (
      f"label {asked}" if asked else "label (.cls, or a key label of .json)"
    )
    raise validation.DataError(
      f"{len(bad):,} of {len(examples):,} examples of {name} have no {what}: "
      f"{validation.some(bad)}; name it by --label_column"
    )
  return values


def _label(paths, parts, asked):
  wanted = _LABELS if asked is None else (asked,)
  for extension in wanted:
    if extension in parts:
      return (
        _content(paths, parts[extension]).decode("utf-8", "replace").strip()
      )
  if "json" in parts and parts["json"].size <= _LARGEST_LABEL:
    try:
      content = json.loads(_content(paths, parts["json"]))
    except ValueError:
      return ""
    for key in wanted:
      if isinstance(content, dict) and content.get(key) is not None:
        return str(content[key]).strip()
  return ""


def _content(paths, member):
  with open(paths[member.shard], "rb") as file:
    file.seek(member.offset)
    return file.read(member.size)


def _reader(paths, kind):
  def read(member: _Member, name: str, **how: Any) -> Any:
    content = _content(paths, member)
    if kind == "text":
      return content.decode("utf-8", "replace").strip()
    return files.decoder(kind)(content, name=name, **how)

  return read


def _seconds(read, members, shown):
  return max(
    read(member, name).seconds
    for member, name in zip(members, shown, strict=True)
  )
