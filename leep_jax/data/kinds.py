"""The table of kinds of data, a row each, by how their names are written."""

from collections.abc import Callable, Sequence
import dataclasses
import os

from leep_jax import validation
from leep_jax.data import (
  arrays,
  coco,
  columns as columns_lib,
  crops,
  dataset as dataset_lib,
  folders,
  huggingface,
  masks,
  shards,
  table_files,
  tables,
  tfds,
)


@dataclasses.dataclass(frozen=True)
class Request:
  """The part of a name after the colon, and the options of `load_dataset`.

  Attributes:
    path: the part after the colon; of a TFDS data set, the name.
    split: see `load_dataset`.
    data_dir: see `load_dataset`.
    target: see `load_dataset`.
    ignored: labels of examples that are left out.
    columns: of a table, the names of columns that the user named.
    skips_bad: see `load_dataset`, `skip_bad_images`.
    min_box: see `load_dataset`.
    fast: see `load_dataset`, `fast_decoding`.
    streamed: how many examples are streamed, if they are.

  Example:
    >>> from leep_jax.data import kinds
    >>> kinds.KINDS["digits"].load(kinds.Request("")).num_classes
    10
  """

  path: str
  split: str | None = None
  data_dir: str | None = None
  target: str | None = None
  ignored: Sequence[int] = ()
  columns: columns_lib.Columns = columns_lib.UNNAMED
  skips_bad: bool = False
  min_box: int | None = None
  fast: bool = False
  streamed: int | None = None


@dataclasses.dataclass(frozen=True)
class Kind:
  """One kind of data.

  Attributes:
    form: how names of this kind are written.
    plural: what several data sets of this kind are called.
    load: opens a data set.
    pair: `(request, test_split) -> (split, test_split)` replaces what the user
      left out by the splits to train and to test on. The second is None if a
      part of the first has to be held out for testing.
    has_targets: whether there may be real-valued targets.
    has_integers: whether labels are integers, of which some can be ignored.
    in_data_dir: whether data sets are looked for in `data_dir`.
    has_columns: whether inputs and labels are columns with names.
    can_stream: whether some examples can be read without all.
    has_boxes: whether examples are parts of images, with a smallest size.
    suffixes: of files that are of this kind, whether the name says so or not.

  Example:
    >>> from leep_jax.data import kinds
    >>> kind = kinds.KINDS["npz"]
    >>> kind.form, kind.has_targets
    ('npz:FILE', True)
  """

  form: str
  plural: str
  load: Callable[[Request], dataset_lib.Dataset]
  pair: Callable[[Request, str | None], tuple[str | None, str | None]]
  has_targets: bool = False
  has_integers: bool = False
  in_data_dir: bool = False
  has_columns: bool = False
  has_boxes: bool = False
  can_stream: bool = False
  suffixes: tuple[str, ...] = ()


def _load_digits(request):
  if request.split not in (None, "all"):
    raise validation.InputError(
      f"digits has no splits, but split is {request.split!r}"
    )
  return arrays.digits()


def _load_tfds(request):
  forms = {key: kind.form for key, kind in KINDS.items() if ":" in kind.form}
  return tfds.load(
    request.path,
    request.split or "train",
    request.data_dir,
    request.target,
    request.ignored,
    forms=forms,
  )


# By what a name begins with, before the colon.
KINDS: dict[str, Kind] = {
  "digits": Kind(
    "digits",
    "digits",
    _load_digits,
    lambda request, test_split: (request.split, test_split),
  ),
  "folder": Kind(
    "folder:DIR",
    "folders",
    lambda request: folders.load(request.path, request.split),
    lambda request, test_split: folders.pair(
      request.path, request.split, test_split
    ),
  ),
  "npz": Kind(
    "npz:FILE",
    "npz files",
    lambda request: arrays.load(
      request.path, request.split, request.target, request.ignored
    ),
    lambda request, test_split: arrays.pair(
      request.path, request.split, test_split
    ),
    has_targets=True,
    has_integers=True,
    suffixes=(".npz",),
  ),
  "csv": Kind(
    "csv:FILE",
    "tables",
    lambda request: tables.load(
      request.path,
      request.split,
      target=request.target,
      ignored=request.ignored,
      columns=request.columns,
      skips_bad=request.skips_bad,
    ),
    lambda request, test_split: tables.pair(
      request.path, request.split, test_split, columns=request.columns
    ),
    has_targets=True,
    has_integers=True,
    has_columns=True,
    suffixes=table_files.SUFFIXES,
  ),
  "hf": Kind(
    "hf:NAME",
    "data sets of Hugging Face",
    lambda request: huggingface.load(
      request.path,
      request.split,
      target=request.target,
      ignored=request.ignored,
      columns=request.columns,
      first=request.streamed,
    ),
    lambda request, test_split: huggingface.pair(
      request.path, request.split, test_split
    ),
    has_targets=True,
    has_integers=True,
    has_columns=True,
    can_stream=True,
  ),
  "wds": Kind(
    "wds:SHARDS",
    "shards",
    lambda request: shards.load(
      request.path,
      request.split,
      ignored=tuple(request.ignored),
      columns=request.columns,
    ),
    lambda request, test_split: (request.split, test_split),
    has_integers=True,
    has_columns=True,
  ),
  "coco": Kind(
    "coco:PATH",
    "COCO files",
    lambda request: coco.load(
      request.path,
      request.split,
      min_box=request.min_box or crops.MIN_BOX,
      skips_bad=request.skips_bad,
    ),
    lambda request, test_split: coco.pair(
      request.path, request.split, test_split
    ),
    has_boxes=True,
  ),
  "masks": Kind(
    "masks:DIR",
    "folders of masks",
    lambda request: masks.load(
      request.path,
      request.split,
      ignored=request.ignored,
      min_box=request.min_box or crops.MIN_BOX,
      skips_bad=request.skips_bad,
    ),
    lambda request, test_split: masks.pair(
      request.path, request.split, test_split
    ),
    has_integers=True,
    has_boxes=True,
  ),
}
# All other names.
_TFDS = Kind(
  "NAME",
  "TFDS data sets",
  _load_tfds,
  lambda request, test_split: (
    request.split or "train",
    test_split or "test",
  ),
  has_targets=True,
  has_integers=True,
  in_data_dir=True,
)


def of(name: str) -> tuple[Kind, str]:
  """Returns the kind of a name, and the part after the colon.

  Args:
    name: what the user wrote.

  Example:
    >>> from leep_jax.data import kinds
    >>> kind, path = kinds.of("npz:a.npz")
    >>> kind.form, path
    ('npz:FILE', 'a.npz')
  """
  prefix, colon, path = name.partition(":")
  kind = KINDS.get(prefix)
  # Kinds with a path need a colon: "folder" alone may be a name of TFDS.
  if kind is not None and bool(colon) == (":" in kind.form):
    return kind, path
  # A file that is there needs no prefix.
  for kind in KINDS.values():
    suffix = os.path.splitext(name)[1].lower()
    if suffix in kind.suffixes and os.path.isfile(os.path.expanduser(name)):
      return kind, name
  return _TFDS, name


def having(field: str) -> str:
  """Lists the kinds of data that have something, for error messages.

  Args:
    field: of `Kind`, such as `has_columns`.

  Example:
    >>> from leep_jax.data import kinds
    >>> kinds.having("in_data_dir")
    'TFDS data sets'
  """
  kinds = (*KINDS.values(), _TFDS)
  return " and ".join(kind.plural for kind in kinds if getattr(kind, field))
