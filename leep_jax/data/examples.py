"""Data sets of Python objects: lists, iterables, Grain, PyTorch data sets."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.data import (
  audio,
  columns,
  dataset as dataset_lib,
  images,
  label_sets,
)

# Usual keys of an example that is a mapping.
_INPUTS = ("image", "img", "audio", "text", "sentence", "x", "input")
# How many images are read to see whether they have one size.
_SAMPLED = 16


def from_examples(
  examples: Iterable[Any],
  *,
  name: str = "examples",
  class_names: Sequence[str] | None = None,
  input_key: str | None = None,
  label_key: str | None = None,
  groups: Sequence[Any] | None = None,
) -> dataset_lib.Dataset:
  """Returns a data set of Python objects.

  Args:
    examples: each is `(input, label)` or a mapping, of a sequence (with `len`
      and an index: a list, a data source of Grain, a data set of PyTorch), or
      of an iterable, which is read into memory. Inputs are images `[H, W]` or
      `[H, W, C]` (arrays of uint8, or of floats in [0, 1], or Pillow's), texts,
      or sounds, `(samples [T], rate)`. Labels are integers or text, or, of
      examples that can have several, lists of these or `[T]` of 0 and 1.
    name: of the data set.
    class_names: names of the classes, whose numbers are the labels. Without
      them, all examples of a sequence are read once for their labels.
    input_key: key of inputs in mappings, by default a usual one.
    label_key: key of labels in mappings, by default a usual one.
    groups: of each example, what it shares with those that depend on it, such
      as the name of a patient.

  Raises:
    InputError: if there are no examples, or they are none of the above.

  Example:
    >>> import numpy as np
    >>> from leep_jax import data
    >>> photos = [(np.zeros((8, 6, 3), np.uint8), "cat"),
    ...           (np.ones((4, 4, 3), np.uint8), "dog")]
    >>> dataset = data.from_examples(photos)
    >>> dataset.class_names, dataset.labels().tolist(), dataset.image_shape
    (('cat', 'dog'), [0, 1], None)
  """
  indexed = hasattr(examples, "__getitem__") and hasattr(examples, "__len__")
  items: Any = examples if indexed else list(examples)
  if not len(items):
    raise validation.InputError(f"{name} has no examples")
  keys = (input_key, label_key)
  kind = _kind(name, _parts(name, items[0], keys)[0])
  labels, names = None, tuple(class_names) if class_names else None
  sets = np.ndim(_parts(name, items[0], keys)[1]) > 0
  if names is None or sets or not indexed:
    raw = [_parts(name, items[i], keys)[1] for i in range(len(items))]
    labels, names = _labels(name, raw, names)
  shape = (
    _shape(name, items, keys, every=not indexed) if kind == "image" else None
  )

  def fetch(indices: np.ndarray) -> tuple[list[Any], np.ndarray]:
    found = [_parts(name, items[int(i)], keys) for i in indices]
    inputs = [_input(name, kind, value) for value, _ in found]
    if labels is not None:
      return inputs, labels[indices]
    return inputs, np.asarray([label for _, label in found], np.int32)

  count = 0
  if not sets and labels is not None:
    count = int(labels.max()) + 1
  return dataset_lib.Dataset(
    name=name,
    split="all",
    num_classes=len(names) if names and not sets else count,
    indices=np.arange(len(items)),
    image_shape=shape,
    fetch=fetch,
    class_names=names,
    all_labels=labels,
    in_memory=not indexed,
    groups=_groups(name, groups, len(items)),
    inputs=kind,
    seconds=_seconds(name, items, keys) if kind == "audio" else 0.0,
  )


def _parts(name, item, keys):
  """The input and the label of an example."""
  if isinstance(item, Mapping):
    found = []
    for key, usual in zip(keys, (_INPUTS, columns.LABELS), strict=True):
      wanted = [key] if key is not None else usual
      known = [k for k in wanted if k in item]
      if not known:
        raise validation.InputError(
          f"an example of {name} has the keys {validation.some(item)}: which "
          "is the input, which the label? Pass input_key and label_key"
        )
      found.append(item[known[0]])
    return tuple(found)
  if isinstance(item, (tuple, list)) and len(item) == 2:
    return tuple(item)
  raise validation.InputError(
    f"an example of {name} is a {type(item).__name__}, not (input, label) or a "
    "mapping"
  )


def _kind(name, value):
  if isinstance(value, str):
    return "text"
  if isinstance(value, audio.Sound):
    return "audio"
  if isinstance(value, tuple) and len(value) == 2 and np.ndim(value[0]) == 1:
    return "audio"
  if np.ndim(value) in (2, 3) or hasattr(value, "convert"):
    return "image"
  raise validation.InputError(
    f"an input of {name} is a {type(value).__name__}, no image, text or sound"
  )


def _input(name, kind, value):
  if kind == "text":
    return value
  if kind == "audio":
    samples, rate = value
    return audio.Sound(np.asarray(samples, np.float32), int(rate))
  if hasattr(value, "convert"):  # Pillow's
    return images.from_pillow(value)
  image = np.asarray(value)
  return image[..., None] if image.ndim == 2 else image


def _shape(name, items, keys, *, every):
  """The shape of all images; None if they differ."""
  count = len(items)
  sample = range(count) if every else np.linspace(0, count - 1, _SAMPLED)
  shapes = {
    _input(name, "image", _parts(name, items[int(i)], keys)[0]).shape
    for i in sample
  }
  return shapes.pop() if len(shapes) == 1 else None


def _labels(name, values, names):
  if np.ndim(values[0]):
    return _sets(name, values, names)
  if names is not None:
    return validation.class_labels(values, num_classes=len(names)), names
  text = [columns.as_text(value) for value in values]
  missing = [i for i, value in enumerate(text) if not value]
  if missing:
    raise validation.DataError(
      f"{len(missing):,} of {len(text):,} examples of {name} have no label: "
      f"examples {validation.some(missing)}"
    )
  found = columns.numbered(name, text, ())
  return found.labels, found.names


def _sets(name, values, names):
  """Sets of labels `[n, T]`, and names of the labels."""
  found = label_sets.of_cells(values, names=names)
  if found is None:
    single = next(i for i, value in enumerate(values) if not np.ndim(value))
    raise validation.InputError(
      f"labels of {name} are lists, but that of example {single} is "
      f"{values[single]!r}"
    )
  sets, known = found
  if len(sets) > 1 and sets.shape[1] > 1 and np.all(sets.sum(axis=1) == 1):
    raise validation.InputError(
      f"each example of {name} has one of {sets.shape[1]} labels: pass its "
      "number or name instead of a list"
    )
  label_sets.note(name, sets)
  return sets, known


def _groups(name, values, count):
  if values is None:
    return None
  if len(values) != count:
    raise validation.InputError(
      f"groups of {name} are {len(values)}, but it has {count} examples"
    )
  return columns.group_names(name, "group", values)


def _seconds(name, items, keys):
  sounds = (
    _input(name, "audio", _parts(name, items[i], keys)[0])
    for i in range(len(items))
  )
  return max(sound.seconds for sound in sounds)
