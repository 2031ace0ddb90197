"""Sources by name: bundled, published, checkpoints, users' own.

`load_source` turns what a user writes after `--model=` into a `Source`.
"""

import dataclasses
import functools
import importlib
import json
import os
import pathlib
import re
from typing import Any

from flax import nnx
import jax
import numpy as np

from leep_jax import validation
from leep_jax.models import (
  cifar_resnet,
  convnext,
  darknet,
  efficientnet,
  mobilenet_v1,
  resnet,
  senet,
  vit,
)
from leep_jax.models.architecture import Architecture
from leep_jax.models.preprocessing import Preprocessing
from leep_jax.sources import (
  checkpoints,
  configs,
  file_kinds,
  hub,
  network,
  source as source_lib,
)
from leep_jax.sources.published import PUBLISHED, Entry

ARCHITECTURES: dict[str, Architecture] = {
  name: architecture
  for module in (
    cifar_resnet, resnet, mobilenet_v1, darknet, senet, convnext, vit,
    efficientnet,
  )
  for name, architecture in module.ARCHITECTURES.items()
}  # fmt: skip

# How alike a name must be to one that is suggested for it, 0 to 1.
_ALIKE = 0.85
_BUNDLED_DIR = pathlib.Path(__file__).parent / "bundled"


@dataclasses.dataclass(frozen=True)
class Overrides:
  """What replaces a checkpoint's own configuration, where it is not None.

  Attributes:
    image_size: side of the network's input, in pixels.
    crop: crop fraction, see `Preprocessing`.
    interpolation: name of Pillow's filter.
    mean: per-channel mean.
    std: per-channel standard deviation.
    num_classes: number of source classes that the checkpoint must have.
    tf_padding: whether convolutions pad as TensorFlow does.
  """

  image_size: int | None = None
  crop: float | None = None
  interpolation: str | None = None
  mean: tuple[float, ...] | None = None
  std: tuple[float, ...] | None = None
  num_classes: int | None = None
  tf_padding: bool | None = None

  def __post_init__(self):
    if self.num_classes is not None:
      validation.at_least_1("num_classes", self.num_classes)
    # Refused here, before anything is loaded; what is not given is made to fit.
    given = self.preprocessing()
    for one, other in (("mean", "std"), ("std", "mean")):
      if one in given:
        given.setdefault(other, (0.5,) * len(given[one]))
    Preprocessing(**{"image_size": 1, **given})

  def preprocessing(self) -> dict[str, Any]:
    """Returns the fields of `Preprocessing` that are replaced."""
    fields = dataclasses.asdict(self)
    del fields["num_classes"], fields["tf_padding"]
    return {key: value for key, value in fields.items() if value is not None}


def bundled() -> dict[str, pathlib.Path]:
  """Returns the checkpoint of each bundled source, by its name."""
  return {p.stem: p for p in sorted(_BUNDLED_DIR.glob("*.safetensors"))}


def names() -> tuple[str, ...]:
  """Returns the names of the bundled sources."""
  return tuple(bundled())


def entries() -> tuple[Entry, ...]:
  """Returns what is known of every source with a name of its own."""
  rows = []
  for name, path in bundled().items():
    card = json.loads(path.with_suffix(".json").read_text())
    rows.append(
      Entry(
        name=name,
        architecture=card["architecture"],
        origin="bundled",
        data=card["data"].partition(",")[0],
        licence=card["licence"],
        image_size=card["image_size"],
        parameters=parameter_count(
          card["architecture"], len(card["class_names"])
        ),
        accuracy=card["test_accuracy"],
      )
    )
  return (*rows, *PUBLISHED)


def build(
  arch: str, num_classes: int, *, seed: int = 0, **options: Any
) -> nnx.Module:
  """Returns a freshly initialised network in evaluation mode.

  Args:
    arch: name of an architecture.
    num_classes: number of source classes.
    seed: of the initial weights.
    **options: those of `Architecture.options`.
  """
  if arch not in ARCHITECTURES:
    raise validation.unknown("architecture", arch, ARCHITECTURES)
  constructor = ARCHITECTURES[arch].build
  model = constructor(num_classes, rngs=nnx.Rngs(seed), **options)
  model.eval()
  return model


class _OneKey:
  """Stands in for `nnx.Rngs` where shapes alone are wanted.

  Drawing keys in a trace takes ten times as long as all the rest.
  """

  def __getattr__(self, name):
    return lambda: jax.random.key(0)


def shapes(arch: str, num_classes: int, **options: Any) -> nnx.Module:
  """Returns what `build` does without values: for `checkpoints.load_into`."""

  def make():
    model = ARCHITECTURES[arch].build(num_classes, rngs=_OneKey(), **options)
    model.eval()
    return model

  return nnx.eval_shape(make)


@functools.cache
def parameter_count(arch: str, num_classes: int) -> int:
  """Returns how many parameters a network has, BatchNorm's sums left out."""
  model = shapes(arch, num_classes)
  leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
  return sum(leaf.size for leaf in leaves)


@functools.cache
def _aliases() -> dict[str, str]:
  """Architectures by all their names: timm's, torchvision's; small letters."""
  theirs = {"vit_b_16": "vit_base_16", "vit_s_16": "vit_small_16"}
  for arch, architecture in ARCHITECTURES.items():
    theirs |= dict.fromkeys(architecture.timm, arch)
  ours = {arch: arch for arch in ARCHITECTURES}
  return {key.lower(): arch for key, arch in (theirs | ours).items()}


def _resolve(name: str) -> tuple[str, str]:
  """The architecture and the checkpoint that a name stands for.

  The architecture is empty where the checkpoint's configuration is to tell it.
  """
  in_lower_case = {known.lower(): known for known in bundled()}
  for entry in PUBLISHED:
    in_lower_case[entry.name.lower()] = entry.name
  known = in_lower_case.get(name.lower(), name)
  if known in bundled():
    path = os.fspath(bundled()[known])
    return json.loads(checkpoints.read_metadata(path)["leep_jax"])[
      "architecture"
    ], path
  for entry in PUBLISHED:
    if entry.name == known:
      return entry.architecture, entry.origin
  arch, at, path = name.partition("@")
  if at and "/" not in arch and ":" not in arch:
    exists = os.path.exists(os.path.expanduser(path))
    path = path if exists else hub.spelled(path) or path
    return _aliases().get(arch.lower(), arch), path
  repository = "" if os.path.exists(name) else hub.spelled(name)
  tagged = name if not repository else ""
  if repository.startswith("hf://timm/"):
    tagged = repository.removeprefix("hf://timm/")
  arch, dot, _ = tagged.partition(".")
  if dot and "/" not in tagged and arch.lower() in _aliases():
    return _aliases()[arch.lower()], repository or f"hf://timm/{name}"
  return "", repository


def check_source(name: str) -> None:
  """Refuses a name that cannot be loaded, without loading it.

  Raises:
    InputError: if the architecture or source is unknown, or there is no
      checkpoint at the path.
  """
  arch, path = _resolve(name)
  if path:
    if arch in bundled():
      own, _ = _resolve(arch)
      raise validation.InputError(
        f"{arch} is a bundled source, with weights of its own: for the weights "
        f"in {path} pass {own}@{path}"
      )
    if arch not in ARCHITECTURES and not (hub.is_hub(path) and not arch):
      raise validation.unknown("architecture", arch, ARCHITECTURES)
    if hub.is_hub(path):
      hub.check(path)
    elif path.startswith(("https:", "http:")):
      raise validation.InputError(
        f"{name} is published as a pickle at {path}: download and convert it "
        f"({file_kinds.CONVERT}), then pass {arch}@OUT.safetensors"
        if name in (row.name for row in PUBLISHED)
        else f"{path} is not fetched: download it, then pass {arch}@FILE"
      )
    elif re.match(r"\w+://", path):
      raise validation.InputError(
        f"{path} is not fetched: download it, then pass {arch}@FILE"
      )
    elif not os.path.exists(os.path.expanduser(path)):
      index = os.path.expanduser(f"{path}.index")  # what TensorFlow names
      if os.path.exists(index):
        checkpoints.read_tensors(index)
      raise validation.InputError(f"no checkpoint at {path}")
  elif name.lower() in _aliases():
    arch = _aliases()[name.lower()]
    known = "" if arch == name else f" ({arch} here)"
    raise validation.InputError(
      f"{name}{known} is an architecture, not trained weights: pass "
      f"{arch}@CHECKPOINT.safetensors or {arch}@hf://OWNER/NAME"
    )
  elif re.match(r"\w+://", name) and not hub.is_hub(name):
    raise validation.InputError(
      f"{name} is an address, which is not fetched: download it, then pass "
      "ARCH@FILE"
    )
  elif name.endswith((".safetensors", ".npz")) or os.path.exists(name):
    raise validation.InputError(
      f"{name} is a checkpoint without an architecture: pass ARCH@{name}, "
      f"ARCH being one of {', '.join(ARCHITECTURES)}"
    )
  elif ":" not in name:
    # Other weights of a name that is much alike are not what is meant.
    raise validation.unknown(
      "model", name, [row.name for row in entries()], cutoff=_ALIKE
    )


def _architecture_of(name: str, folder: pathlib.Path) -> str:
  """The architecture of a repository, by its configuration and its tensors."""
  config = configs.read(folder)
  if config.timm is not None:
    kind = config.timm
    fitting = [_aliases().get(kind.lower(), "")]
  else:
    kind = str(config.transformers)
    tensors, _ = checkpoints.read_tensors(checkpoints.find(folder))
    fitting = [
      arch
      for arch, architecture in ARCHITECTURES.items()
      if config.transformers
      and architecture.transformers == kind
      and checkpoints.fits(
        shapes(arch, 1),
        tensors,
        names=architecture.names,
        head=architecture.head,
        added=f"{kind}.",
      )
    ]
  if len(fitting) != 1 or not fitting[0]:
    raise validation.InputError(
      f"{name} is of the network {kind!r}, of none of the sizes known here; "
      "python -m leep_jax.models lists the architectures: if one has its "
      f"tensors, pass ARCH@{name}"
    )
  return fitting[0]


def load_source(
  name: str, *, overrides: Overrides = Overrides()
) -> source_lib.Source:
  """Loads a source model by name.

  Args:
    name: a bundled or published source (`python -m leep_jax.models` lists
      them); `ARCH@PATH`, an architecture with a checkpoint, which is a file, a
      folder laid out as on the hub, an Orbax checkpoint, or
      `hf://owner/name[@revision]`; `hf://owner/name` alone, where its
      configuration tells the architecture, and a timm name such as
      `resnet50.a1_in1k`; or `package.module:factory`, a function
      without arguments that returns a `Source`.
    overrides: what replaces the checkpoint's own configuration.

  Raises:
    InputError: if there is no such source, or its checkpoint is missing,
      damaged, of another architecture, or of another number of classes.
  """
  check_source(name)
  arch, path = _resolve(name)
  if not path:
    return _from_factory(name, overrides)
  folder = hub.fetch(path) if hub.is_hub(path) else pathlib.Path(path)
  arch = arch or _architecture_of(path, folder)
  return _from_checkpoint(name, arch, folder.expanduser(), overrides)


def _from_checkpoint(name, arch, path, overrides):
  architecture = ARCHITECTURES[arch]
  file = checkpoints.find(path) if path.is_dir() else path
  tensors, metadata = checkpoints.read_tensors(file)
  kind = architecture.transformers
  named = any(name.startswith(f"{kind}.") for name in tensors)
  config = configs.read(
    file if file.is_dir() else file.parent,
    model_type=kind if named else None,  # whose names they are
  )
  _check_network(arch, config)
  tensors, beside = checkpoints.strip_prefix(
    tensors,
    shapes(arch, 1),
    names=architecture.names,
    added=f"{architecture.transformers}." if architecture.transformers else "",
  )
  if beside:
    validation.note(
      f"{file}: left out {checkpoints.some(beside)}, beside the network"
    )
  renamed = checkpoints.rename(tensors, architecture.names)
  _, head = renamed.get(architecture.head, ("", np.empty(())))
  num_classes = (*head.shape, 1)[0]
  if not num_classes:
    raise validation.InputError(
      f"{file} has no classes: its head is {head.shape}"
    )
  for wanted, who in (
    (overrides.num_classes, "asked for"),
    (config.num_classes, "in its configuration"),
  ):
    if wanted is not None and head.shape and wanted != num_classes:
      raise validation.InputError(
        f"{file} has {num_classes} classes ({architecture.head} "
        f"{head.shape}), but {wanted} are {who}"
      )
  options = {
    key: value
    for key, value in config.options.items()
    if key in architecture.options
  }
  if overrides.tf_padding is not None:
    if "tf_padding" not in architecture.options:
      raise validation.InputError(f"{arch} has no choice of tf_padding")
    options["tf_padding"] = overrides.tf_padding
  model = shapes(arch, num_classes, **options)
  has_head = checkpoints.load_into(
    model,
    tensors,
    names=architecture.names,
    origin=f"{file} ({arch})",
    head=architecture.head,
  )
  stated = dict(config.preprocessing)
  if "leep_jax" in metadata:
    stated = _card(metadata["leep_jax"], file)
  preprocessing = dataclasses.replace(
    architecture.preprocessing, **stated | overrides.preprocessing()
  )
  if len(preprocessing.mean) != len(architecture.preprocessing.mean):
    raise validation.InputError(
      f"mean {preprocessing.mean} has {len(preprocessing.mean)} numbers, but "
      f"{arch} takes images of {len(architecture.preprocessing.mean)} channels"
    )
  fixed = architecture.preprocessing.image_size
  if architecture.fixed_image_size and preprocessing.image_size != fixed:
    raise validation.InputError(
      f"image_size is {preprocessing.image_size}, but {arch} takes images of "
      f"{fixed} pixels alone"
    )
  source = network.from_nnx(
    name,
    model,
    head=architecture.head.removesuffix(".weight"),
    preprocessing=preprocessing,
    min_image_size=architecture.min_image_size,
    init=lambda seed: build(arch, num_classes, seed=seed, **options),
  )
  source = dataclasses.replace(
    source,
    options=f"{arch} {sorted(options.items())}",
    without_probs=config.without_probs,
  )
  return source if has_head else _without_head(source, architecture.head)


def _without_head(source, head):
  """The source of features alone that a network without its last layer is."""
  why = f"the checkpoint has no head ({head})"
  validation.note(f"{source.name}: {why}: scores of features alone are defined")
  whole = source.apply

  def apply(state, images):
    return None, whole(state, images)[1]

  return dataclasses.replace(source, apply=apply, without_probs=why)


def _check_network(arch, config):
  """Refuses a configuration that states another network or another pooling."""
  architecture = ARCHITECTURES[arch]
  for stated, known in (
    (config.timm, (arch, *architecture.timm)),
    (config.transformers, (architecture.transformers,)),
    (config.pool, (architecture.pool, "")),
  ):
    if stated is not None and stated not in known:
      raise validation.InputError(
        f"the checkpoint's configuration says {stated!r}, but {arch} is "
        f"{' or '.join(filter(None, known)) or 'not published there'}"
      )
  for key, value in config.network.items():
    has: Any = architecture.stated.get(key)
    bound = isinstance(has, range)
    if value not in (has if bound else [has]):
      raise validation.InputError(
        f"the checkpoint's configuration says {key} is {value}, but {arch} has "
        f"{f'at most {has[-1]}' if bound else has}"
      )


def _card(text, file):
  """Preprocessing as `experiments/train_source.py` writes it in a file."""
  try:
    card = json.loads(text)
    return {key: card[key] for key in ("image_size", "mean", "std")}
  except (ValueError, TypeError, KeyError) as e:
    raise validation.InputError(
      f"the card inside {file} cannot be read: {validation.reason(e)}"
    ) from e


def _from_factory(name, overrides):
  module_name, _, attribute = name.partition(":")
  try:
    factory: Any = importlib.import_module(module_name)
    for part in attribute.split("."):
      factory = getattr(factory, part)
    source = factory()
  except (Exception, SystemExit) as e:  # whatever the user's code raises
    raise validation.InputError(
      f"cannot make a source with {name}: {type(e).__name__}: "
      f"{validation.reason(e)}"
    ) from e
  if not isinstance(source, source_lib.Source):
    raise validation.InputError(
      f"{name} returned a {type(source).__name__}, not a leep_jax.Source"
    )
  if overrides.num_classes is not None or overrides.tf_padding is not None:
    raise validation.InputError(
      f"num_classes and tf_padding are for checkpoints, not for {name}"
    )
  changed = overrides.preprocessing()
  return dataclasses.replace(
    source,
    preprocessing=dataclasses.replace(source.preprocessing, **changed),
  )
