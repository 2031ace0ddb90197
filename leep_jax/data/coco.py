"""Detection: boxes of COCO's JSON, each cut out as an image with one label.

    coco:FILE.json
    coco:DIR       annotations/instances_SPLIT.json, or SPLIT/FILE.json

An example is the part of an image inside one box, clipped to the image and
rounded outwards; its label is the box's category. Left out are boxes around
groups (iscrowd), and boxes whose shorter side is below `min_box` pixels.

Boxes are of the image whose width and height the file states. If that is the
image as its EXIF orientation turns it, or if both have this size, the image is
turned; if it is only the image as stored, it is not.
"""

from collections import Counter
from collections.abc import Iterator
import json
import math
import os
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.data import (
  crops as crops_lib,
  dataset as dataset_lib,
  files as files_lib,
  folders,
  splits,
)

_KEYS = ("images", "annotations", "categories")
_PREFIX = "instances_"
# Beside the boxes, COCO has files of these, in the same form.
_OTHERS = ("captions_", "person_keypoints_", "stuff_", "panoptic_", "image_")
# Folders of annotations, beside which the images are.
_ANNOTATIONS = {"annotations", "annotation", "labels", "json"}


def load(
  path: str,
  split: str | None,
  *,
  min_box: int = crops_lib.MIN_BOX,
  skips_bad: bool = False,
) -> dataset_lib.Dataset:
  """Opens the boxes of a file, or of one split of a folder.

  Args:
    path: of a JSON file in COCO's form, or of a folder with one for each split.
    split: which of them; by default the one for training by its name.
    min_box: boxes with a shorter side are left out, in pixels.
    skips_bad: whether boxes with faults are left out, and files may be missing.

  Raises:
    InputError: if there is no such file, it has another form, boxes refer to
      nothing or lie outside their images, or files are missing.

  Example:
    >>> import json, pathlib, tempfile
    >>> import numpy as np
    >>> import PIL.Image
    >>> from leep_jax.data import coco
    >>> content = {
    ...   "images": [
    ...     {"id": 7, "file_name": "a.png", "width": 60, "height": 40}],
    ...   "categories": [{"id": 2, "name": "dog"}, {"id": 1, "name": "cat"}],
    ...   "annotations": [
    ...     {"id": 1, "image_id": 7, "category_id": 2, "bbox": [8, 2, 24, 32]},
    ...     {"id": 2, "image_id": 7, "category_id": 1, "bbox": [9.5, 0, 50, 16]}
    ...   ]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   PIL.Image.fromarray(np.zeros((40, 60), np.uint8)).save(
    ...     f"{folder}/a.png")
    ...   _ = pathlib.Path(folder, "a.json").write_text(json.dumps(content))
    ...   dataset = coco.load(f"{folder}/a.json", None)
    ...   images, labels = dataset.fetch([0, 1])
    >>> [image.shape for image in images], [
    ...   dataset.class_names[label] for label in labels], dataset.files
    ([(32, 24, 3), (16, 51, 3)], ['dog', 'cat'], ['a.png box 1', 'a.png box 2'])
  """
  name = f"coco:{path}"
  found = _files(path)
  # A file alone is all there is, whatever its name says.
  chosen = "all"
  if split != "all" or len(found) > 1:
    chosen = splits.choose(name, list(found), split)
  source = found.get(chosen) or next(iter(found.values()))
  content = _read(source)
  sizes, numbers = _sizes(source, content), _numbers(source, content)
  annotations = _without_faults(source, content, sizes, numbers, skips_bad)
  kept = _kept(name, content, annotations, sizes, min_box)
  where = files_lib.Finder(source, beside=_beside(source), root=_root(source))
  order = {image["id"]: i for i, image in enumerate(content["images"])}
  # A stable sort: boxes of an image beside each other, as they are numbered.
  kept = sorted(kept, key=lambda item: order[item[1]["image_id"]])
  used = list(dict.fromkeys(a["image_id"] for _, a in kept))
  names = [f"{content['images'][order[i]]['file_name']}" for i in used]
  place = {image: i for i, image in enumerate(used)}
  crops = crops_lib.Crops(
    # Windows' separators are those of who labelled.
    where.paths([n.replace("\\", "/") for n in names], skips_bad=skips_bad),
    np.asarray([sizes[i] for i in used]),
    np.asarray([place[a["image_id"]] for _, a in kept]),
    np.asarray([_outer(a["bbox"], sizes[a["image_id"]]) for _, a in kept]),
    [f"{names[place[a['image_id']]]} box {number}" for number, a in kept],
  )
  labels = np.asarray([numbers[a["category_id"]] for _, a in kept], np.int32)
  classes = tuple(
    f"{c['name']}" for c in sorted(content["categories"], key=lambda c: c["id"])
  )
  _note_unused(name, classes, labels)
  return crops_lib.dataset(
    name, crops, labels, num_classes=len(classes), class_names=classes,
    split=chosen,
  )  # fmt: skip


def pair(
  path: str, split: str | None, test_split: str | None
) -> tuple[str | None, str | None]:
  """Returns the splits of a folder to train and to test on.

  Args:
    path: of a file or a folder.
    split: to train on, if the user named one.
    test_split: to test on, if the user named one.

  Returns:
    Both. The second is None if there is no test split: a part of the first is
    to be held out.

  Raises:
    InputError: if there is no such file.

  Example:
    >>> import pathlib, tempfile
    >>> from leep_jax.data import coco
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   for split in ("train", "valid"):
    ...     (pathlib.Path(folder) / split).mkdir()
    ...     (pathlib.Path(folder) / split / "_annotations.coco.json").touch()
    ...   coco.pair(folder, None, None)
    ('train', 'valid')
  """
  return folders.pair_of(list(_files(path)), split, test_split)


def _files(path):
  """Files of boxes by split; `all` is one that names no split."""
  if not path:
    raise validation.InputError(
      "coco: has no path: write coco:FILE or coco:DIR"
    )
  root = os.path.expanduser(path)
  if not validation.exists(root, "dir"):
    validation.check_file(root)
    return {"all": root}
  found = list(_below(root))
  for marks in (_is_instances, lambda file: file.endswith(".coco.json")):
    found = list(filter(marks, found)) or found
  if not found:
    raise validation.InputError(
      f"{root} has no JSON file, nor annotations/*.json or SPLIT/*.json: write "
      "coco:FILE"
    )
  named = {_split_of(root, file): file for file in found}
  if len(named) < len(found):
    shown = validation.some(os.path.relpath(file, root) for file in found)
    raise validation.InputError(
      f"{root} has {len(found)} JSON files of {len(named)} splits: {shown}; "
      "write coco:FILE"
    )
  return named


def _below(root) -> Iterator[str]:
  """Yields the JSON files of a folder and of those in it, sorted."""
  for at in (root, *(os.path.join(root, n) for n in sorted(os.listdir(root)))):
    if at != root and not os.path.isdir(at):
      continue
    for name in sorted(os.listdir(at)):
      if name.endswith(".json") and not name.startswith((".", *_OTHERS)):
        yield os.path.join(at, name)


def _is_instances(file):
  return os.path.basename(file).startswith(_PREFIX)


def _stem(file):
  name = os.path.splitext(os.path.basename(file))[0]
  return name.removeprefix(_PREFIX)


def _split_of(root, file):
  """The split of a file: its name or its folder, whichever mentions one."""
  stem = _stem(file)
  folder = os.path.basename(os.path.dirname(file))
  if os.path.dirname(file) == root:
    folder = ""
  names = [name for name in (stem, folder) if folders.role(name)]
  return names[0] if names else "all"


def _root(source):
  """The folder that has the annotations and the images."""
  folder = os.path.dirname(os.path.abspath(source))
  if os.path.basename(folder).lower() in _ANNOTATIONS:
    return os.path.dirname(folder)
  return folder


def _beside(source):
  """Usual folders of images, relative to that of the JSON file."""
  stem = _stem(source)
  names = [stem, f"images/{stem}", f"{stem}/images", "images", "data"]
  return [*names, "..", *(f"../{name}" for name in names)]


def _read(path) -> dict[str, Any]:
  try:
    with open(path, encoding="utf-8-sig") as file:
      content = json.load(file)
  except (OSError, ValueError, RecursionError) as e:
    raise validation.InputError(
      f"cannot read {path} as JSON ({validation.reason(e)}): is it cut short?"
    ) from e
  if not isinstance(content, dict):
    raise validation.InputError(
      f"{path} is no file of COCO's form: it holds a {type(content).__name__}, "
      f"not an object with {', '.join(_KEYS)}; is it of detections?"
    )
  missing = [key for key in _KEYS if not isinstance(content.get(key), list)]
  if missing:
    raise validation.InputError(
      f"{path} is no file of COCO's form: it has no list "
      f"{' and no list '.join(missing)}; it has "
      f"{validation.some(content) or 'nothing'}"
    )
  return content


def _sizes(path, content):
  """Height and width of each image, by its id."""
  _check_rows(path, content["images"], "images", ("id", "file_name"))
  bad = [
    image["file_name"]
    for image in content["images"]
    if not all(
      isinstance(image.get(key), int | float) and image[key] >= 1
      for key in ("width", "height")
    )
  ]
  if bad:
    raise validation.DataError(
      f"{len(bad):,} of {len(content['images']):,} images of {path} have no "
      f"width and height: {validation.some(bad)}; write them, as boxes are "
      "clipped to them"
    )
  return {
    image["id"]: (int(image["height"]), int(image["width"]))
    for image in content["images"]
  }


def _numbers(path, content):
  """Numbers of the classes by the ids of the categories, in their order."""
  _check_rows(path, content["categories"], "categories", ("id", "name"))
  odd = [c["id"] for c in content["categories"] if not isinstance(c["id"], int)]
  if odd:
    raise validation.DataError(
      f"ids of categories of {path} are no integers: {validation.some(odd)}"
    )
  ids = sorted(category["id"] for category in content["categories"])
  return {identity: i for i, identity in enumerate(ids)}


def _check_rows(path, rows, what, keys):
  """Refuses a list that has other things than objects with keys and ids."""
  bad = [
    number
    for number, row in enumerate(rows, 1)
    if not isinstance(row, dict)
    or not all(isinstance(row.get(key), int | str) for key in keys)
  ]
  if bad or not rows:
    raise validation.DataError(
      f"{len(bad):,} of {len(rows):,} {what} of {path} have no "
      f"{' or no '.join(keys)}"
      + (f": numbers {validation.some(bad)}" if bad else "")
    )
  counts = Counter(row["id"] for row in rows)
  twice = [identity for identity, count in counts.items() if count > 1]
  if twice:
    raise validation.DataError(
      f"{what} of {path} share ids: {validation.some(twice)}"
    )


def _without_faults(path, content, sizes, numbers, skips_bad):
  """The annotations that can be used; the others are an error, or a note."""
  kept: list[dict[str, Any]] = []
  faults: dict[str, list[str]] = {}
  for number, one in enumerate(content["annotations"], 1):
    fault, value = _fault(one, sizes, numbers)
    if fault:
      identity = one.get("id", number) if isinstance(one, dict) else number
      faults.setdefault(fault, []).append(f"{identity}{value}")
    else:
      kept.append(one)
  if faults:
    count = sum(map(len, faults.values()))
    text = (
      f"{count:,} of {len(content['annotations']):,} annotations of {path} "
    )
    why = "; ".join(
      f"{len(which):,} {fault} (id {validation.some(which)})"
      for fault, which in faults.items()
    )
    if not (skips_bad and kept):
      advice = ", or leave them out with --skip_bad_images" if kept else ""
      raise validation.DataError(
        f"{text}cannot be used: {why}; correct them{advice}"
      )
    validation.note(f"{text}left out, which cannot be used: {why}")
  return kept


def _fault(one, sizes, numbers):
  """Why an annotation cannot be used, and the value that shows it."""
  if not isinstance(one, dict):
    return "are no objects", ""
  # Ids of another type, such as a list, cannot be looked up.
  image, category = (
    one[key] if isinstance(one.get(key), int | str) else None
    for key in ("image_id", "category_id")
  )
  if image not in sizes:
    return "are of unknown images", f": {one.get('image_id')}"
  if category not in numbers:
    return "are of unknown categories", f": {one.get('category_id')}"
  box = one.get("bbox")
  if not isinstance(box, list) or len(box) != 4:
    return "have no bbox of four numbers", ""
  if not all(isinstance(v, int | float) and math.isfinite(v) for v in box):
    return "have no bbox of four numbers", f": {box}"
  if min(box[2:]) < 0:
    return "have sides below 0", f": {box}"
  left, top, right, bottom = _clipped(box, sizes[image])
  if min(box[2:]) > 0 and (right <= left or bottom <= top):
    height, width = sizes[image]
    return "lie outside their images", f": {box} of {width} x {height}"
  return "", ""


def _clipped(box, size):
  """Left, top, right and bottom of a box inside an image."""
  (x, y, w, h), (height, width) = box, size
  return (
    min(max(x, 0), width),
    min(max(y, 0), height),
    min(x + w, width),
    min(y + h, height),
  )


def _outer(box, size):
  left, top, right, bottom = _clipped(box, size)
  return math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)


def _kept(name, content, annotations, sizes, min_box):
  """The boxes in use, each with its number in its image; a note on others."""
  if annotations and all(max(one["bbox"]) <= 1 for one in annotations):
    raise validation.DataError(
      f"boxes of {name} are at most 1, as parts of an image: in COCO's form "
      "they are pixels; multiply them by the widths and heights"
    )
  kept: list[tuple[int, dict[str, Any]]] = []
  counts: Counter[Any] = Counter()
  crowds = empty = small = 0
  for one in annotations:
    image = one["image_id"]
    counts[image] += 1
    left, top, right, bottom = _clipped(one["bbox"], sizes[image])
    shorter = min(right - left, bottom - top)
    if one.get("iscrowd"):
      crowds += 1
    elif shorter <= 0:  # COCO itself has some
      empty += 1
    elif shorter < min_box:
      small += 1
    else:
      kept.append((counts[image], one))
  why = [
    f"{count:,} {what}"
    for count, what in (
      (crowds, "around groups (iscrowd)"),
      (empty, "without area"),
      (small, f"with a side below {min_box} pixels (--min_box)"),
    )
    if count
  ]
  texts = []
  if why:
    texts.append(
      f"{len(annotations) - len(kept):,} of {len(annotations):,} boxes of "
      f"{name} left out: {', '.join(why)}"
    )
  bare = len(content["images"]) - len(counts)
  if bare:
    texts.append(
      f"{bare:,} of {len(content['images']):,} images of {name} have no box"
    )
  if not kept:
    raise validation.DataError("; ".join(texts) or f"{name} has no boxes")
  if texts:
    validation.note("; ".join(texts))
  return kept


def _note_unused(name, classes, labels):
  counts = np.bincount(labels, minlength=len(classes))
  unused = [c for c, n in zip(classes, counts, strict=True) if not n]
  if unused:
    validation.note(
      f"{len(unused)} of {len(classes)} categories of {name} have no box in "
      f"use: {validation.some(unused)}"
    )
