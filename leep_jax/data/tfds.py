"""TFDS data sets, read from `array_record` files without TensorFlow.

The only module that imports TFDS.
"""

from collections.abc import Iterator, Sequence
import os
import pathlib
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.data import dataset as dataset_lib, images, names

_OF_LABELS = ("label", "labels", "target", "class", "category", "y")


def open_builder(name: str, data_dir: str | None, kinds: Sequence[str]) -> Any:
  """Returns the TFDS builder of a prepared data set.

  Args:
    name: of the data set, with a configuration or version; the case of letters
      does not matter.
    data_dir: where it is.
    kinds: other kinds of data that are read, for what to write instead.

  Raises:
    InputError: if there is no such data set, or it is not prepared.
  """
  import tensorflow_datasets as tfds

  known = set(tfds.list_builders(with_community_datasets=False))
  names.check(name, kinds, sorted(known))
  data_dir = os.path.expanduser(data_dir) if data_dir else None
  if data_dir is not None and not validation.exists(data_dir, "dir"):
    raise validation.InputError(f"no folder at data_dir {data_dir}")
  there = _data_sets(data_dir) if data_dir else []
  known |= set(there)
  base = name.split("/", maxsplit=1)[0].split(":", maxsplit=1)[0]
  found = names.match(base, sorted(known))
  # Asked of TFDS, an unknown name would be looked for on the network.
  if found is None:
    raise names.unknown(name, sorted({*known, "digits"}), kinds)
  name = found + name[len(base) :]
  _refuse_own_folder(found, data_dir)
  try:
    builder = tfds.builder(name, data_dir=data_dir)
  except Exception as e:  # a configuration or version that it has not
    raise validation.InputError(
      f"TFDS cannot open {name!r}: {validation.reason(e)}"
    ) from e
  if not builder.is_prepared():
    hint = f"; {data_dir} holds {validation.some(there)}" if there else ""
    if validation.exists(found, "dir") and "folder" in kinds:
      hint += f"; for the folder {found} here, write folder:{found}"
    raise validation.InputError(
      f"TFDS data set {name!r} is not prepared in {builder.data_path}; run "
      f"`tfds build {name} --file_format=array_record --data_dir=DIR` where "
      f"TensorFlow is installed, then pass --data_dir=DIR{hint}"
    )
  return builder


def _data_sets(data_dir):
  """Names of the folders in it."""
  try:
    with os.scandir(data_dir) as found:
      return sorted(e.name for e in found if e.name[0] != "." and e.is_dir())
  except OSError as e:
    raise validation.InputError(
      f"cannot read data_dir {data_dir}: {e.strerror}"
    ) from e


def _refuse_own_folder(base, data_dir):
  """Refuses a data set's own folder, where its parent is meant."""
  if data_dir is None or validation.exists(os.path.join(data_dir, base), "dir"):
    return
  here = pathlib.Path(data_dir)
  if not any(
    any(here.glob(f"{d}dataset_info.json")) for d in ("", "*/", "*/*/")
  ):
    return
  folder = os.path.normpath(data_dir)
  if len(folder.split(os.sep)) <= 3:
    folder = os.path.abspath(folder)
  for _ in range(3):  # the data set's, its configuration's, its version's
    if os.path.basename(folder) == base:
      parent = os.path.dirname(folder)
      raise validation.InputError(
        f"data_dir {data_dir} is the data set's own folder: pass its parent, "
        f"--data_dir={parent}"
      )
    folder = os.path.dirname(folder)


def _source(builder, name, split, **options):
  try:
    return builder.as_data_source(split=split, **options)
  except NotImplementedError as e:
    raise validation.InputError(
      f"TFDS data set {name!r} is stored as {builder.info.file_format}, which "
      "needs TensorFlow; prepare it with --file_format=array_record"
    ) from e
  except ValueError as e:
    known = validation.some(builder.info.splits)
    raise validation.InputError(
      f"cannot take split {split!r} of {name}: it has {known}; slices are "
      "written train[:20%] or test[100:200]"
    ) from e
  except Exception as e:  # files that are gone or damaged
    raise validation.InputError(
      f"cannot read split {split!r} of {name} in {builder.data_path}: "
      f"{validation.reason(e)}"
    ) from e


def load(
  name: str,
  split: str,
  data_dir: str | None,
  target: str | None,
  ignored: Sequence[int],
) -> dataset_lib.Dataset:
  """Opens a TFDS data set with one image and one label, or targets.

  Args:
    name: of the data set.
    split: of it, slices included.
    data_dir: where it is.
    target: numeric feature with real-valued targets, instead of the label.
    ignored: labels of examples that are left out.

  Raises:
    InputError: if there is no such data set or split, or it has other features.
  """
  import tensorflow_datasets as tfds

  builder = open_builder(name, data_dir, ("folder", "npz"))
  name = _full_name(name, builder)
  features = builder.info.features
  if not hasattr(features, "items"):
    raise validation.InputError(
      f"TFDS data set {name!r} has no named features, so no images"
    )
  image_key = _feature(features, tfds.features.Image, "image", name)
  if target is None:
    label_key = _feature(features, tfds.features.ClassLabel, "label", name)
  else:
    label_key = _numeric_feature(features, target, name)
  source = _source(builder, name, split)
  shape = features[image_key].shape
  if shape[2] == 4:
    shape = (*shape[:2], 3)
  label = features[label_key]
  classes = label.num_classes if target is None else 0

  def fetch(indices):
    try:
      rows = source.__getitems__(indices.tolist())
    except Exception as e:  # each decoder raises its own
      which = validation.some(indices.tolist())
      raise validation.DataError(
        f"cannot read example {which} of {name} ({split}): "
        f"{validation.reason(e)}"
      ) from e
    return (
      [images.to_8_bits(row[image_key]) for row in rows],
      [row[label_key] for row in rows],
    )

  _note_images(name, source, image_key)
  indices, labels = np.arange(len(source)), None
  if target is None and len(ignored):
    found = read_features(builder, name, split, [label_key])
    labels = np.asarray([row for (row,) in found])
    indices = dataset_lib.not_ignored(name, labels, ignored)
  return dataset_lib.Dataset(
    name=name,
    split=split,
    num_classes=classes,
    indices=indices,
    image_shape=None if None in shape else shape,
    fetch=fetch,
    class_names=tuple(label.names) if classes else None,
    all_labels=labels,
    version=str(builder.version),
    ranges=_ranges(builder, split),
  )


def _full_name(name, builder):
  """The name as TFDS writes it, with what was said of the configuration."""
  base = name.split("/")[0].split(":")[0]
  return builder.name + name[len(base) :]


def _note_images(name, source, image_key):
  """Says what is unusual in a sample of images."""
  places = np.unique(np.linspace(0, max(len(source) - 1, 0), 8).astype(int))
  try:
    rows = source.__getitems__(places.tolist()) if len(source) else []
  except Exception:  # named when it is read
    return
  found = [row[image_key] for row in rows]
  transparent = [
    image for image in found
    if image.shape[-1] == 4 and image[..., 3].min() < image[..., 3].max()
  ]  # fmt: skip
  if transparent:
    validation.note(f"images of {name} have transparency, which is left out")
  images.note_unit(name, [image[..., :3] for image in found])


def _ranges(builder, split):
  """The parts of whole splits that a split is."""
  import tensorflow_datasets as tfds

  sizes = {
    name: info.num_examples for name, info in builder.info.splits.items()
  }
  read = tfds.core.ReadInstruction.from_spec(split)
  return tuple(
    (
      part.splitname,
      part.from_ or 0,
      sizes[part.splitname] if part.to is None else part.to,
    )
    for part in read.to_absolute(builder.info.splits)
  )


def _numeric_feature(features, name, dataset):
  """Checks that a TFDS feature holds one or more numbers."""
  if name not in features:
    raise validation.unknown(f"feature of {dataset}", name, features)
  feature = features[name]
  shape, dtype = feature.shape, feature.np_dtype
  if (
    len(shape) > 1
    or None in shape
    or np.dtype(dtype).kind not in "fiub"
    or hasattr(feature, "names")
  ):
    raise validation.InputError(
      f"feature {name!r} of {dataset} is {type(feature).__name__} of shape "
      f"{shape}, not real numbers [T]"
    )
  return name


def _feature(features, kind, name, dataset):
  found = [k for k, v in features.items() if isinstance(v, kind)]
  if name in found:
    return name
  if len(found) == 1:
    return found[0]
  if not found and name == "label":
    like = [k for k in _OF_LABELS if k in features]
    if like:
      raise validation.InputError(
        _no_class_label(features[like[0]], like[0], dataset)
      )
  which = validation.some(found) or f"its features: {validation.some(features)}"
  raise validation.InputError(
    f"TFDS data set {dataset!r} has {len(found) or 'no'} {name} features "
    f"({which}), so it is not one labelled image classification task"
  )


def _no_class_label(feature, name, dataset):
  """What a label is instead of a ClassLabel, and what to do."""
  kind = type(feature).__name__
  if is_scalar(feature, "biuf"):
    kind = np.dtype(feature.np_dtype).name
  text = (
    f"{name} of TFDS data set {dataset!r} is {kind}, not a ClassLabel, so its "
    "classes are not known: prepare it with tfds.features.ClassLabel"
  )
  if is_scalar(feature, "biuf"):
    text += (
      f", or save images and labels for npz:FILE; for regression pass "
      f"--target={name}"
    )
  elif kind == "Text":
    text += ", or save images and labels for npz:FILE, which reads text"
  elif kind == "Sequence":
    text += "; of several labels an example, choose one"
  return text


def leaves(builder: Any) -> dict[str, Any]:
  """Returns features by path, such as `attributes/Smiling`."""
  import tensorflow_datasets as tfds

  features = builder.info.features
  if not isinstance(features, tfds.features.FeaturesDict):
    return {}
  return dict(_leaves(features, tfds.features.FeaturesDict))


def _leaves(tree, kind, folder=""):
  """Yields what nested dictionaries of a kind hold, each with its path."""
  for key, value in tree.items():
    if isinstance(value, kind):
      yield from _leaves(value, kind, f"{folder}{key}/")
    else:
      yield folder + key, value


def is_yes_or_no(feature: Any) -> bool:
  """Returns whether a feature is boolean, or a label of two classes."""
  import tensorflow_datasets as tfds

  if isinstance(feature, tfds.features.ClassLabel):
    return feature.num_classes == 2
  return is_scalar(feature, "b")


def is_scalar(feature: Any, kinds: str) -> bool:
  """Returns whether a feature is one number of these kinds, NumPy's letters."""
  return feature.shape == () and np.dtype(feature.np_dtype).kind in kinds


def read_features(
  builder: Any, name: str, split: str, paths: Sequence[str]
) -> Iterator[list[int]]:
  """Yields integers of each example: images are not decoded.

  Args:
    builder: of the data set.
    name: of the data set.
    split: of it.
    paths: of features that are one boolean or integer each.

  Raises:
    InputError: if there is no such split.
    DataError: if it cannot be read.
  """
  import tensorflow_datasets as tfds

  source = _source(
    builder,
    name,
    split,
    deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
  )
  # A dictionary of the chosen features alone. (TFDS's own PartialDecoding
  # needs TensorFlow.)
  known = leaves(builder)
  wanted: dict[str, Any] = {}
  for path in paths:
    *folders, last = path.split("/")
    inside = wanted
    for folder in folders:
      inside = inside.setdefault(folder, {})
    inside[last] = known[path]
  features = tfds.features.FeaturesDict(wanted)
  for start in range(0, len(source), 1024):
    stop = min(start + 1024, len(source))
    try:
      records = source.__getitems__(list(range(start, stop)))
      examples = [
        dict(_leaves(features.deserialize_example_np(record), dict))
        for record in records
      ]
      rows = [[int(found[path]) for path in paths] for found in examples]
    except Exception as e:  # damaged files
      raise validation.DataError(
        f"cannot read examples {start} to {stop - 1} of {name} ({split}): "
        f"{validation.reason(e)}"
      ) from e
    yield from rows
