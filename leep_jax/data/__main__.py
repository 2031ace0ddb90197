"""Says what may be wrong with labelled data, before anything is scored.

    python -m leep_jax.data photos [--sheet=sheet.png]
    python -m leep_jax.data --dataset=csv:train.csv

Prints the classes with their sizes, sizes of images, copies and near copies
with the classes that they are in, and images that are tiny, grey among others
in colour, or cannot be read. If there is a test set beside, images that are in
both are named. `--sheet` draws a few images of each class as a
network sees them, so that a wrong crop or order of channels shows. Exit status
0; 2 for an error in the input, 130 when interrupted.
"""

from collections.abc import Iterable
import dataclasses
import itertools
import os
import sys
from typing import Any

from absl import flags
import numpy as np

from leep_jax import command, common_flags, progress, validation
from leep_jax.data import inspection
from leep_jax.models.preprocessing import Preprocessing
from leep_jax.reports import tables
from leep_jax.sources import catalog

FLAGS = flags.FlagValues()
_DATA = common_flags.DataFlags(FLAGS)
_SHEET = flags.DEFINE_string(
  "sheet", None, "Image file for a few images of each class.", flag_values=FLAGS
)
_MODEL = flags.DEFINE_string(
  "model",
  None,
  "Source that sees the images of --sheet. Default: 224 pixels, the centre.",
  flag_values=FLAGS,
)
# Classes of the table and of the sheet, and images of a class in the sheet.
_CLASSES, _IMAGES = 20, 6
_GAP = 4  # pixels between images
_USUAL = Preprocessing(image_size=224, crop=0.875)


def _run() -> int:
  dataset, test_split = _DATA.load_training()
  bad: dict[int, str] = {}
  with progress.step(f"{dataset.name}: reading"):
    try:
      found = inspection.inspect(dataset)
    except validation.DataError:
      bad = dataset.unreadable()
      if not bad or len(bad) == len(dataset):
        raise
      kept = np.delete(dataset.indices, list(bad))
      dataset = dataclasses.replace(dataset, indices=kept)
      found = inspection.inspect(dataset)
  print(
    "\n".join(
      [*_lines(dataset, found, bad), *_across(dataset, found, test_split)]
    )
  )
  if _SHEET.value is not None:
    _draw(dataset, _SHEET.value)
  return 0


def _lines(dataset, found, bad):
  """The report, a line for each fact."""
  n, noun = len(dataset), dataset.noun
  used = int((found.counts > 0).sum())
  of = tables.count(used, "class")
  if dataset.num_labels:
    of = f"{tables.count(used, 'label')}, of which an example can have several"
  elif not dataset.num_classes:
    of = "real-valued targets"
  yield f"{dataset.name} ({dataset.split}): {n:,} {noun} of {of}"
  if len(found.counts):
    yield from _classes(dataset, found)
  if len(found.sizes):
    high, wide = map(_range, found.sizes.T)
    yield f"pixels: {high} high, {wide} wide"
  for text in bad.values():
    yield f"cannot be read: {text}"
  tiny = f"shorter than {inspection.TINY} pixels at one side"
  yield from _some(dataset, found.tiny, tiny)
  colour = n - len(found.grey)
  if colour and dataset.inputs == "image":
    yield from _some(dataset, found.grey, f"grey, {colour:,} have colour")
  yield from _groups(dataset, found.copies, "equal")
  if dataset.inputs == "image":
    yield from _groups(dataset, found.near, "nearly equal")


def _across(dataset, found, test_split):
  """Lines on inputs that are in the test set too."""
  if test_split is None:
    return
  try:
    test = _DATA.load_test(test_split)
    with progress.step(f"{test.name} ({test.split}): reading"):
      of_test = inspection.inspect(test)
  except validation.InputError as e:
    # What is said of the training set holds all the same.
    yield f"the test set was not compared: {e}"
    return
  equal, near = inspection.across(found, of_test)
  for groups, what in ((equal, "equal"), (near, "nearly equal")):
    if not groups:
      yield f"no {test.noun} of {test.split} are {what} to others here"
      continue
    count = sum(len(there) for _, there in groups)
    yield (
      f"{count:,} of {len(test):,} {test.noun} of {test.split} are {what} to "
      "others here: a head would be tested on what it was trained on"
    )
    for here, there in groups[:3]:
      pair = dataset.name_of(int(here[0])), test.name_of(int(there[0]))
      yield "  " + " = ".join(pair)


def _classes(dataset, found):
  names = dataset.class_names or tuple(map(str, range(len(found.counts))))
  order = np.argsort(-found.counts, kind="stable")
  empty = order[found.counts[order] == 0]
  order = order[found.counts[order] > 0]
  shown = order if len(order) <= _CLASSES else order[: _CLASSES // 2]
  width = max(len(names[i]) for i in shown)
  for i in shown:
    yield f"  {names[i]:<{width}}  {found.counts[i]:,}"
  if len(shown) < len(order):
    last = order[-1]
    yield (
      f"  ... {len(order) - len(shown):,} more, the smallest {names[last]} "
      f"with {found.counts[last]:,}"
    )
  if len(empty):
    yield (
      f"{tables.count(len(empty), 'class')} without examples: "
      f"{validation.some(names[i] for i in empty)}"
    )
  used = found.counts[found.counts > 0]
  if len(used) and used.max() >= 2 * used.min():
    yield (
      f"classes differ in size: the largest has {used.max() / used.min():.1f} "
      "times the examples of the smallest"
    )


def _range(values):
  low, middle, high = np.quantile(values, [0, 0.5, 1]).astype(int)
  return f"{low}" if low == high else f"{low} to {high} (median {middle})"


def _some(dataset, positions, what):
  if len(positions):
    names = validation.some(dataset.name_of(int(p)) for p in positions)
    count = f"{len(positions):,} of {len(dataset):,} {dataset.noun}"
    yield f"{count} are {what}: {names}"


def _groups(dataset, groups, what):
  """Groups of alike inputs, and those of them in several classes."""
  if not groups:
    yield f"no {dataset.noun} are {what} to others"
    return
  labels = dataset.labels()
  across = [g for g in groups if len(np.unique(labels[g], axis=0)) > 1]
  count = sum(map(len, groups))
  yield (
    f"{count:,} of {len(dataset):,} {dataset.noun} are {what} to others, in "
    f"{tables.count(len(groups), 'group')}, {len(across):,} of them with "
    "different labels"
  )
  for group in (across or groups)[:3]:
    yield "  " + " = ".join(dataset.name_of(int(p)) for p in group[:4])


def _draw(dataset, path):
  """Draws the first images of each class, prepared as for a network."""
  if dataset.inputs != "image":
    raise validation.InputError(
      f"--sheet draws images, but {dataset.name} has {dataset.noun}"
    )
  preprocessing: Any = _USUAL
  if _MODEL.value is not None:
    preprocessing = catalog.load_source(_MODEL.value).preprocessing
  if not isinstance(preprocessing, Preprocessing):
    raise validation.InputError(f"{_MODEL.value} takes no images")
  rows: dict[str, list[np.ndarray]] = {}
  for name, positions in _of_each_class(dataset):
    images, _ = dataset.fetch(dataset.indices[positions])
    rows[name] = [_seen(preprocessing, image) for image in images]
  try:
    _sheet(rows).save(path)
  except (OSError, ValueError) as e:
    raise validation.InputError(
      f"cannot write {path}: {validation.reason(e)}"
    ) from e
  print(f"{path}: {len(rows)} rows of classes: {', '.join(rows)}")


def _sheet(rows):
  """A picture with a row of images for each class, its name at the left."""
  import PIL.Image
  import PIL.ImageDraw
  import PIL.ImageFont

  font = PIL.ImageFont.load_default(size=14)
  room = _GAP + round(max(map(font.getlength, rows))) + _GAP
  height, width = next(iter(rows.values()))[0].shape[:2]
  step = max(height, 16) + _GAP  # a line of text has 16 pixels
  size = room + _IMAGES * (width + _GAP), len(rows) * step
  sheet = PIL.Image.new("RGB", size, "white")
  draw = PIL.ImageDraw.Draw(sheet)
  for i, (name, images) in enumerate(rows.items()):
    middle = i * step + height // 2
    draw.text((_GAP, middle), name, fill="black", font=font, anchor="lm")
    for j, image in enumerate(images):
      place = room + j * (width + _GAP), i * step
      sheet.paste(PIL.Image.fromarray(np.array(image)), place)
  return sheet


def _of_each_class(dataset):
  """Yields names of classes, or labels of sets, and some examples of each."""
  labels = dataset.labels()
  if not dataset.num_classes and not dataset.num_labels:
    order = np.argsort(labels[:, 0], kind="stable")
    yield "lowest", order[:_IMAGES]
    yield "highest", order[-_IMAGES:]
    return
  members: Iterable[tuple[int, np.ndarray]]
  if dataset.num_labels:
    members = enumerate(labels.T)
  else:
    members = ((label, labels == label) for label in np.unique(labels))
  for label, there in itertools.islice(members, _CLASSES):
    every = np.flatnonzero(there)
    # From all of a class: neighbours are often alike.
    some = np.unique(np.linspace(0, len(every) - 1, _IMAGES).astype(int))
    if len(every):
      names = dataset.class_names
      yield names[label] if names else f"{label}", every[some]


def _seen(preprocessing, image):
  """An image as `[H, W, 3]` uint8, after the network's resizing and crop."""
  image = np.asarray(image)
  if image.dtype != np.uint8:
    image = (255 * image.clip(0, 1)).astype(np.uint8)
  if preprocessing.image_size is not None:
    image = preprocessing.fit(image)
  if image.dtype != np.uint8:
    image = (255 * image.clip(0, 1)).round().astype(np.uint8)
  return np.broadcast_to(image, (*image.shape[:2], 3))


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name, perhaps the data set, and flags.

  Example:
    >>> from leep_jax.data import __main__ as data_main
    >>> status = data_main.main(["data", "--dataset=digits", "--limit=40"])
    digits (all): 40 images of 10 classes
    ...
    >>> status
    0
  """
  if len(argv) > 1 and not argv[1].startswith("-"):
    named = f"folder:{argv[1]}" if os.path.isdir(argv[1]) else argv[1]
    argv = [argv[0], f"--dataset={named}", *argv[2:]]
  return command.main(argv, FLAGS, __doc__ or "", _run)


script = command.script(main)  # `leep-data`

if __name__ == "__main__":
  sys.exit(script())
