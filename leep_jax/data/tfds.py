"""TFDS data sets, read from `array_record` files without TensorFlow.

No other module imports TFDS.
"""

from collections.abc import Iterator, Mapping, Sequence
import os
import pathlib
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.data import dataset as dataset_lib, images, names

# Usual names of features that are labels, but no ClassLabel.
_OF_LABELS = ("label", "labels", "target", "class", "category", "y")


def open_builder(
  name: str, data_dir: str | None, kinds: Mapping[str, str]
) -> Any:
  """Returns the TFDS builder of a prepared data set.

  Args:
    name: of the data set, perhaps with a configuration or version; the case of
      letters does not matter.
    data_dir: folder with TFDS data sets; by default, that of TFDS.
    kinds: how the names of other kinds of data are written, by their prefixes;
      for advice.

  Raises:
    InputError: if there is no such data set, or it is not prepared.

  Example:
    >>> import leep_jax
    >>> from leep_jax.data import tfds
    >>> try:
    ...   tfds.open_builder("cifar11", None, {"npz": "npz:FILE"})
    ... except leep_jax.InputError as error:
    ...   print(error)
    unknown data set 'cifar11'; did you mean ...
  """
  import tensorflow_datasets as tfds

  known = set(tfds.list_builders(with_community_datasets=False))
  names.check(name, kinds, sorted(known))
  data_dir = os.path.expanduser(data_dir) if data_dir else None
  if data_dir is not None and not validation.exists(data_dir, "dir"):
    raise validation.InputError(f"no folder at data_dir {data_dir}")
  # Data sets that were prepared by a builder of the user's own.
  prepared = _data_sets(data_dir) if data_dir else []
  known |= set(prepared)
  base = name.split("/", maxsplit=1)[0].split(":", maxsplit=1)[0]
  found = names.match(base, sorted(known))
  # TFDS would look for an unknown name on the network.
  if found is None:
    # digits is a name of this package.
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
    hint = f"; {data_dir} holds {validation.some(prepared)}" if prepared else ""
    if validation.exists(found, "dir") and "folder" in kinds:
      hint += f"; for the folder {found} here, write folder:{found}"
    raise validation.InputError(
      f"TFDS data set {name!r} is not prepared in {builder.data_path}; run "
      f"`tfds build {name} --file_format=array_record --data_dir=DIR` where "
      f"TensorFlow is installed, then pass --data_dir=DIR{hint}"
    )
  return builder


def _data_sets(data_dir):
  """Returns the names of the folders in `data_dir`."""
  try:
    with os.scandir(data_dir) as found:
      return sorted(e.name for e in found if e.name[0] != "." and e.is_dir())
  except OSError as e:
    raise validation.InputError(
      f"cannot read data_dir {data_dir}: {e.strerror}"
    ) from e


def _refuse_own_folder(base, data_dir):
  """Refuses the folder of a data set itself, where its parent is needed."""
  if data_dir is None or validation.exists(os.path.join(data_dir, base), "dir"):
    return
  here = pathlib.Path(data_dir)
  if not any(
    any(here.glob(f"{d}dataset_info.json")) for d in ("", "*/", "*/*/")
  ):
    return
  folder = os.path.normpath(data_dir)
  # A short relative path, such as `.`, does not name the folders above it.
  if len(folder.split(os.sep)) <= 3:
    folder = os.path.abspath(folder)
  # Up to three levels: the data set's, its configuration's, its version's.
  for _ in range(3):
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
  *,
  forms: Mapping[str, str],
) -> dataset_lib.Dataset:
  """Opens a TFDS data set of images with one label each, or targets.

  Args:
    name: of the data set.
    split: of the data set, perhaps with a slice.
    data_dir: folder with TFDS data sets.
    target: numeric feature with real-valued targets, instead of the label.
    ignored: labels of examples that are left out.
    forms: how the names of other kinds of data are written, by their prefixes;
      for advice.

  Raises:
    InputError: if there is no such data set or split, or it has other features.

  Example:
    >>> import leep_jax
    >>> from leep_jax.data import tfds
    >>> try:
    ...   tfds.load("tfds:mnist", "train", None, None, (), forms={})
    ... except leep_jax.InputError as error:
    ...   print(error)
    unknown kind of data 'tfds' in tfds:mnist; TFDS names have none: write mnist
  """
  import tensorflow_datasets as tfds

  builder = open_builder(name, data_dir, forms)
  name = _full_name(name, builder)
  features = builder.info.features
  # The features of a data set may be a single one.
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
  if shape[2] == 4:  # `images.to_8_bits` removes transparency
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
  """Returns TFDS's spelling of the name, with the user's configuration."""
  base = name.split("/")[0].split(":")[0]
  return builder.name + name[len(base) :]


def _note_images(name, source, image_key):
  """Notes what is unusual in a sample of images."""
  # From all parts of the split, as it may be ordered by class.
  sample = np.unique(np.linspace(0, max(len(source) - 1, 0), 8).astype(int))
  try:
    rows = source.__getitems__(sample.tolist()) if len(source) else []
  except (
    Exception
  ):  # reading these images later raises an error with their name
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
  """Returns the ranges of examples that a split consists of."""
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
    # ClassLabel: its integers are names of classes, not amounts.
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
  """Says what a label is instead of a ClassLabel, and what to do."""
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
  """Returns the features of a TFDS data set by path: `attributes/Smiling`.

  Args:
    builder: of the data set.

  Example:
    >>> import types
    >>> import numpy as np
    >>> import tensorflow_datasets
    >>> from leep_jax.data import tfds
    >>> kinds = tensorflow_datasets.features
    >>> features = kinds.FeaturesDict(
    ...   {"id": kinds.Text(), "attributes": {"hat": kinds.Scalar(np.bool_)}})
    >>> info = types.SimpleNamespace(features=features)
    >>> sorted(tfds.leaves(types.SimpleNamespace(info=info)))
    ['attributes/hat', 'id']
  """
  import tensorflow_datasets as tfds

  features = builder.info.features
  if not isinstance(features, tfds.features.FeaturesDict):
    return {}
  return dict(_leaves(features, tfds.features.FeaturesDict))


def _leaves(tree, kind, folder=""):
  """Yields the path and the value of each leaf of nested dictionaries."""
  for key, value in tree.items():
    if isinstance(value, kind):
      yield from _leaves(value, kind, f"{folder}{key}/")
    else:
      yield folder + key, value


def is_binary(feature: Any) -> bool:
  """Returns whether a feature is boolean, or a label of two classes.

  Example:
    >>> import tensorflow_datasets
    >>> from leep_jax.data import tfds
    >>> [
    ...   tfds.is_binary(tensorflow_datasets.features.ClassLabel(num_classes=n))
    ...   for n in (2, 10)
    ... ]
    [True, False]
  """
  import tensorflow_datasets as tfds

  if isinstance(feature, tfds.features.ClassLabel):
    return bool(feature.num_classes == 2)
  return is_scalar(feature, "b")


def is_scalar(feature: Any, kinds: str) -> bool:
  """Returns whether a feature is a single number of certain kinds.

  Args:
    feature: of TFDS.
    kinds: NumPy's letters: b, i, u and f for booleans, integers, unsigned ones
      and floats.

  Example:
    >>> import numpy as np
    >>> import tensorflow_datasets
    >>> from leep_jax.data import tfds
    >>> feature = tensorflow_datasets.features.Scalar(np.bool_)
    >>> tfds.is_scalar(feature, "b"), tfds.is_scalar(feature, "iu")
    (True, False)
  """
  scalar = feature.shape == ()
  return scalar and np.dtype(feature.np_dtype).kind in kinds


def read_features(
  builder: Any, name: str, split: str, paths: Sequence[str]
) -> Iterator[list[int]]:
  """Yields the integers of each example, without decoding its image.

  Args:
    builder: of the data set.
    name: of the data set.
    split: of the data set.
    paths: of features that are one boolean or integer each, see `leaves`.

  Raises:
    InputError: if there is no such split.
    DataError: if it cannot be read.

  Example:
    >>> import types
    >>> import leep_jax
    >>> from leep_jax.data import tfds
    >>> def as_data_source(split, **_):
    ...   raise ValueError("no such split")
    >>> builder = types.SimpleNamespace(
    ...   as_data_source=as_data_source, info=types.SimpleNamespace(
    ...     splits=["train", "test"]))
    >>> try:
    ...   next(tfds.read_features(builder, "mine", "val", ["label"]))
    ... except leep_jax.InputError as error:
    ...   print(error)
    cannot take split 'val' of mine: it has train, test; slices are written ...
  """
  import tensorflow_datasets as tfds

  source = _source(
    builder,
    name,
    split,
    deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES,
  )
  # A dictionary of the chosen features alone, as nothing else is decoded then.
  # TFDS has PartialDecoding for it, which needs TensorFlow.
  known = leaves(builder)
  wanted: dict[str, Any] = {}
  for path in paths:
    *folders, last = path.split("/")
    inside = wanted
    for folder in folders:
      inside = inside.setdefault(folder, {})
    inside[last] = known[path]
  features = tfds.features.FeaturesDict(wanted)
  # 1,024 records at a time: images of a full split may not fit in memory.
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
