"""Checkpoints of known architectures as sources."""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
from typing import Any, NamedTuple

from flax import nnx
import jax
import numpy as np

from leep_jax import validation
from leep_jax.models.preprocessing import Preprocessing
from leep_jax.sources import (
  architectures,
  checkpoints,
  configs,
  matching,
  network,
  overrides as overrides_lib,
  source as source_lib,
)


class _Filled(NamedTuple):
  """A network with the weights of a checkpoint.

  Attributes:
    model: the network.
    num_classes: number of its source classes.
    options: with which it was built.
    has_head: whether the checkpoint has the last layer.
  """

  model: nnx.Module
  num_classes: int
  options: dict[str, Any]
  has_head: bool


def from_checkpoint(
  name: str,
  arch: str,
  path: pathlib.Path,
  *,
  overrides: overrides_lib.Overrides,
) -> source_lib.Source:
  """Loads a checkpoint of a known architecture as a source.

  Args:
    name: of the source, in tables and rows of results.
    arch: name of the architecture.
    path: a file, or a folder laid out as on the hub; configurations are read
      from the same folder.
    overrides: what replaces these configurations.

  Raises:
    InputError: if the checkpoint is missing or damaged, or it is of another
      architecture or another number of classes.

  Example:
    >>> from leep_jax.sources import catalog, loading
    >>> source = loading.from_checkpoint(
    ...   "mine", "resnet14", catalog.bundled()["cifar10_resnet14"],
    ...   overrides=catalog.Overrides())
    >>> source.name, source.preprocessing.image_size
    ('mine', 32)
  """
  architecture = architectures.ARCHITECTURES[arch]
  file = checkpoints.find(path) if path.is_dir() else path
  tensors, metadata = checkpoints.read_tensors(file)
  model_type = architecture.transformers
  theirs = any(tensor.startswith(f"{model_type}.") for tensor in tensors)
  config = configs.read(
    file if file.is_dir() else file.parent,
    # If `model_type` is missing, names of tensors show that transformers wrote
    # them: its defaults then hold for values that are not stated.
    model_type=model_type if theirs else None,
  )
  if config.timm is None and name.lower().startswith("tf_"):
    # Without a configuration, timm's name says how the weights were trained.
    options = {**configs.TENSORFLOW, **config.options}
    config = dataclasses.replace(config, options=options)
  size = config.preprocessing.get("image_size")
  if architecture.fixed_image_size and isinstance(size, tuple):
    raise configs.OtherNetworkError(
      f"images are {size[0]} x {size[1]} pixels, but the native {arch} takes "
      "squares"
    )
  tensors = _inside(arch, tensors, file)
  options = _told(arch, tensors, config)
  check_network(arch, config, options=options)
  preprocessing = _preprocessing(
    arch, config, metadata, overrides, file, options
  )
  found = preprocessing.image_size
  square = found if isinstance(found, int) else None
  tensors, options = _adapted(arch, tensors, options, square, config)
  filled = _fill(arch, tensors, options, config, overrides, file)
  side = square if architecture.fixed_image_size else None
  source = network.from_nnx(
    name,
    filled.model,
    head=architecture.head.removesuffix(".weight"),
    preprocessing=preprocessing,
    min_image_size=side or architecture.min_image_size,
    init=lambda seed: architectures.build(
      arch, filled.num_classes, seed=seed, **filled.options
    ),
  )
  source = dataclasses.replace(
    source,
    options=f"{arch} {sorted(filled.options.items())}",
    without_probs=config.without_probs,
  )
  if not filled.has_head:
    return _features_alone(
      source, f"its checkpoint has no classifier ({architecture.head})"
    )
  if architecture.projects and _is_projection(arch, tensors):
    return _features_alone(
      source,
      f"its head projects to a space of texts ({architecture.head} has no "
      "bias), and is no classifier",
    )
  return source


def _inside(
  arch: str, tensors: dict[str, np.ndarray], file: pathlib.Path
) -> dict[str, np.ndarray]:
  """Returns the tensors of the network, without a prefix that all have."""
  tensors, others = _stripped(arch, tensors)
  if others:
    validation.note(
      f"{file}: left out {len(others)} tensors ({matching.shortened(others)}), "
      "beside the network"
    )
  return tensors


def _stripped(
  arch: str, tensors: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], list[str]]:
  """Returns the network's tensors, and the names of the others."""
  architecture = architectures.ARCHITECTURES[arch]
  # Only the names of parameters count here: any number of classes will do.
  return matching.strip_prefix(
    tensors,
    architectures.shapes(arch, 1),
    names=architecture.names,
    added=f"{architecture.transformers}." if architecture.transformers else "",
  )


def _told(
  arch: str, tensors: dict[str, np.ndarray], config: configs.Config
) -> dict[str, Any]:
  """Returns the options that the configuration and the tensors tell."""
  architecture = architectures.ARCHITECTURES[arch]
  stated = dict(config.options)
  if config.pool:
    stated["pool"] = config.pool
  for key in ("image_size", "img_size"):
    if key in config.network:
      stated["image_size"] = config.network[key]
  options = {k: v for k, v in stated.items() if k in architecture.options}
  if architecture.infer is None:
    return options
  renamed = matching.rename(tensors, architecture.names)
  arrays = {name: array for name, (_, array) in renamed.items()}
  return architecture.infer(arrays, options)


def _adapted(
  arch: str,
  tensors: dict[str, np.ndarray],
  options: dict[str, Any],
  image_size: int | None,
  config: configs.Config,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Brings tensors to the network, and to the size of its images."""
  architecture = architectures.ARCHITECTURES[arch]
  if architecture.adapt is None:
    return tensors, options
  renamed = matching.rename(tensors, architecture.names)
  options, changes = architecture.adapt(
    {name: array for name, (_, array) in renamed.items()},
    options,
    image_size=image_size,
    publisher=config.transformers,
  )
  tensors = dict(tensors)
  for name, array in changes.items():
    original = renamed[name][0]
    if array is None:
      del tensors[original]
    else:
      tensors[original] = array
  return tensors, options


def _is_projection(arch: str, tensors: dict[str, np.ndarray]) -> bool:
  """Returns whether the head has no bias, or one of zeros."""
  architecture = architectures.ARCHITECTURES[arch]
  renamed = matching.rename(tensors, architecture.names)
  bias = renamed.get(architecture.head.removesuffix("weight") + "bias")
  # timm adds a bias of zeros to a projection.
  return bias is None or not np.any(np.asarray(bias[1], np.float32))


def _fill(
  arch: str,
  tensors: dict[str, np.ndarray],
  options: dict[str, Any],
  config: configs.Config,
  overrides: overrides_lib.Overrides,
  file: pathlib.Path,
) -> _Filled:
  """Builds the network that a checkpoint is of, and loads its weights."""
  architecture = architectures.ARCHITECTURES[arch]
  # The shape of the head says how many classes there are. Without a head, one
  # class will do: nothing reads its logits.
  renamed = matching.rename(tensors, architecture.names)
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
  if overrides.tf_padding is not None:
    if "tf_padding" not in architecture.options:
      raise validation.InputError(f"{arch} has no choice of tf_padding")
    options = {**options, "tf_padding": overrides.tf_padding}
  model = architectures.shapes(arch, num_classes, **options)
  has_head = matching.load_into(
    model,
    tensors,
    names=architecture.names,
    origin=f"{file} ({arch})",
    head=architecture.head,
  )
  return _Filled(model, num_classes, options, has_head)


def _preprocessing(
  arch: str,
  config: configs.Config,
  metadata: dict[str, str],
  overrides: overrides_lib.Overrides,
  file: pathlib.Path,
  options: dict[str, Any],
) -> Preprocessing:
  """Returns the preprocessing: overrides go before what is stated or usual."""
  architecture = architectures.ARCHITECTURES[arch]
  usual = architecture.preprocessing
  if "image_size" in options:
    usual = dataclasses.replace(usual, image_size=options["image_size"])
  stated = dict(config.preprocessing)
  # A bundled source has its card in its own file.
  if "leep_jax" in metadata:
    stated = _card(metadata["leep_jax"], file)
  found = dataclasses.replace(usual, **stated | overrides.preprocessing())
  if len(found.mean) != len(usual.mean):
    raise validation.InputError(
      f"mean {found.mean} has {len(found.mean)} numbers, but "
      f"{arch} takes images of {len(usual.mean)} channels"
    )
  if (
    architecture.fixed_image_size
    and architecture.adapt is None
    and found.image_size != usual.image_size
  ):
    raise validation.InputError(
      f"image_size is {found.image_size}, but {arch} takes images of "
      f"{usual.image_size} pixels alone"
    )
  return found


def _features_alone(source: source_lib.Source, why: str) -> source_lib.Source:
  """Returns a source of features for a network that is no classifier."""
  validation.note(f"{source.name}: {why}: scores of features alone are defined")
  both = source.apply

  def apply(state: Any, images: jax.Array) -> tuple[None, jax.Array]:
    return None, both(state, images)[1]

  return dataclasses.replace(source, apply=apply, without_probs=why)


def check_network(
  arch: str,
  config: configs.Config,
  *,
  options: Mapping[str, Any] | None = None,
) -> None:
  """Refuses a configuration that states another network or another pooling.

  Args:
    arch: name of the architecture.
    config: what lies beside the checkpoint.
    options: of the network, see `Architecture.options`.

  Raises:
    InputError: if they do not agree.

  Example:
    >>> import leep_jax
    >>> from leep_jax.sources import configs, loading
    >>> loading.check_network("resnet50", configs.Config(timm="resnet50"))
    >>> try:
    ...   loading.check_network("resnet50", configs.Config(pool="max"))
    ... except leep_jax.InputError as error:
    ...   print(error)
    the checkpoint's configuration says 'max', but resnet50 is avg
  """
  architecture = architectures.ARCHITECTURES[arch]
  for stated, known in (
    (config.timm, (arch, *architecture.timm, *architecture.configured)),
    (config.transformers, (architecture.transformers,)),
    (
      None if architecture.pool is None else config.pool,
      (architecture.pool, ""),
    ),
  ):
    if stated is not None and stated not in known:
      raise configs.OtherNetworkError(
        f"the checkpoint's configuration says {stated!r}, but {arch} is "
        f"{' or '.join(filter(None, known)) or 'not published there'}"
      )
  sizes = architecture.stated
  if callable(sizes):
    sizes = sizes(**options or {})
  for key, value in config.network.items():
    has: Any = sizes.get(key)
    bound = isinstance(has, range)
    if value not in (has if bound else [has]):
      raise configs.OtherNetworkError(
        f"the checkpoint's configuration says {key} is {value}, but {arch} has "
        f"{f'at most {has[-1]}' if bound else has}"
      )


def _card(text: str, file: pathlib.Path) -> dict[str, Any]:
  """Reads the preprocessing from a card of `experiments/train_source.py`."""
  try:
    card = json.loads(text)
    return {key: card[key] for key in ("image_size", "mean", "std")}
  except (ValueError, TypeError, KeyError) as e:
    raise validation.InputError(
      f"the card inside {file} cannot be read: {validation.reason(e)}"
    ) from e


def architecture_of(name: str, path: pathlib.Path) -> str:
  """Returns the architecture of a folder, by its configuration and its tensors.

  Configurations of timm name the network. Those of transformers name a family,
  and the shapes of the tensors show which of its sizes it is.

  Args:
    name: of the source, for error messages.
    path: of a folder laid out as on the hub, or of a file in it.

  Raises:
    OtherNetworkError: if it is none of `ARCHITECTURES`, or more than one fits.
    InputError: if no configuration names the network.

  Example:
    >>> import json, pathlib, tempfile
    >>> from leep_jax.sources import loading
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder)
    ...   text = json.dumps({"architecture": "vit_small_patch16_224"})
    ...   _ = (path / "config.json").write_text(text)
    ...   loading.architecture_of("mine", path)
    'vit_small_16'
  """
  config = configs.read(path if path.is_dir() else path.parent)
  configs.check_named(name, config)
  if config.timm is not None:
    network_name = config.timm
    fitting = [architectures.of_timm().get(network_name.lower(), "")]
  else:
    network_name = str(config.transformers)
    file = checkpoints.find(path) if path.is_dir() else path
    tensors, _ = checkpoints.read_tensors(file)
    fitting = [
      arch
      for arch, architecture in architectures.ARCHITECTURES.items()
      if config.transformers
      and architecture.transformers == network_name
      and _fits(arch, tensors, config)
    ]
  # A row for one size comes before that of its family.
  if not fitting or not fitting[0]:
    raise configs.OtherNetworkError(
      f"the network {network_name!r} has no definition here"
    )
  return fitting[0]


def _fits(
  arch: str, tensors: dict[str, np.ndarray], config: configs.Config
) -> bool:
  """Returns whether tensors are those of an architecture."""
  architecture = architectures.ARCHITECTURES[arch]
  tensors, _ = _stripped(arch, tensors)
  try:
    options = _told(arch, tensors, config)
    side = options.get("image_size", architecture.preprocessing.image_size)
    tensors, options = _adapted(arch, tensors, options, side, config)
    renamed = matching.rename(tensors, architecture.names)
    _, head = renamed.get(architecture.head, ("", np.empty(())))
    model = architectures.shapes(arch, (*head.shape, 1)[0], **options)
  except validation.InputError:
    return False
  return matching.fits(
    model, tensors, names=architecture.names, head=architecture.head
  )
