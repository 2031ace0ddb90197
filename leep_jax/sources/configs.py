"""Configurations beside a checkpoint: its network and how it was evaluated.

These are `config.json` in the form of timm, or `config.json` and
`preprocessor_config.json` in that of transformers. A value that is not stated
has the default of the library that wrote the file. `config_keys.py` lists keys.
"""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
import re
from typing import Any

from leep_jax import validation
from leep_jax.models import preprocessing as preprocessing_lib
from leep_jax.sources import config_keys, processors

# timm's defaults.
_TIMM_SIZE = (3, 224, 224)
_TIMM_CROP = 0.875
_TIMM_MEAN = (0.485, 0.456, 0.406)
_TIMM_STD = (0.229, 0.224, 0.225)


# What timm has in its code for networks with `tf_` names, whose weights were
# trained in TensorFlow; `model_args` replace them.
TENSORFLOW = {"norm_eps": 1e-3, "tf_padding": True}
# Names of transformers' networks without a head, or with one for another task.
_OTHER_HEAD = re.compile(r"(Model|For(?!mer|ImageClassification)\w+)$")
# Keys for the order of the channels.
_CHANNELS = ("color_order", "channel_order", "input_space", "color_space")
# Keys under which other libraries state how images are prepared.
_OTHER_PREPROCESSING = ("data_preprocessor", "img_norm_cfg", "preprocess_cfg")


class OtherNetworkError(validation.InputError):
  """A configuration is of a network that is not among those of `models/`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.sources import configs
    >>> issubclass(configs.OtherNetworkError, leep_jax.InputError)
    True
  """


@dataclasses.dataclass(frozen=True)
class Config:
  """What a configuration states.

  Attributes:
    preprocessing: fields of `Preprocessing`.
    num_classes: number of source classes, or None.
    options: of the network, see `Architecture.options`.
    timm: timm's name of the network, or None.
    transformers: the `model_type` of transformers, or None.
    pool: timm's name of the pooling before the head, or None.
    network: sizes of the network, see `Architecture.stated`.
    without_probs: see `Source.without_probs`.
    blue_first: whether the network takes the channels in the order BGR. No
      network of this package does.

  Example:
    >>> from leep_jax.sources import configs
    >>> configs.Config(num_classes=10).preprocessing  # nothing is stated
    {}
  """

  preprocessing: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  num_classes: int | None = None
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  timm: str | None = None
  transformers: str | None = None
  pool: str | None = None
  network: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  without_probs: str = ""
  blue_first: bool = False


def read(
  folder: pathlib.Path, *, model_type: str | None = None, network: bool = True
) -> Config:
  """Reads the configuration in a folder.

  Args:
    folder: in which `config.json` and `preprocessor_config.json` may be.
    model_type: of transformers, known from the names of tensors; used if no
      file states it.
    network: whether to read the options of the network too, and to refuse what
      the networks of this package do not do. The library that wrote the file
      needs no such check.

  Returns:
    The configuration; an empty one if there are no files.

  Raises:
    InputError: if a file is damaged, or asks for something that is not
      implemented.
    OtherNetworkError: if what is not implemented is of the network.

  Example:
    >>> import json, pathlib, tempfile
    >>> from leep_jax.sources import configs
    >>> stated = {"architecture": "resnet50", "num_classes": 10,
    ...   "pretrained_cfg": {"input_size": [3, 160, 160]}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder)
    ...   _ = (path / "config.json").write_text(json.dumps(stated))
    ...   config = configs.read(path)
    >>> config.timm, config.num_classes, config.preprocessing["image_size"]
    ('resnet50', 10, 160)
  """
  config = _read_json(folder / "config.json")
  images = _read_json(folder / "preprocessor_config.json")
  # transformers 5 may nest it in this file, and then ignores the other one.
  nested = _read_json(folder / "processor_config.json").get("image_processor")
  images = images if nested is None else nested
  try:
    for part in (config, config.get("pretrained_cfg"), images):
      _refuse_other_inputs(part if isinstance(part, dict) else {})
    if "pretrained_cfg" in config or "architecture" in config:
      found = _timm(config, str(folder), network)
    else:
      if config.get("model_type") is None and model_type is not None:
        config = {**config, "model_type": model_type}
      found = _transformers(config, images, str(folder), network)
    # Values out of range are refused here, so that the error names the folder.
    # A crop without a size is an error, but the architecture may give the size.
    preprocessing_lib.Preprocessing(**{"image_size": 1, **found.preprocessing})
    return found
  except validation.InputError as e:
    raise type(e)(f"configuration in {folder}: {e}") from e
  except (
    ArithmeticError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
  ) as e:
    raise validation.InputError(
      f"the configuration in {folder} cannot be understood: "
      f"{type(e).__name__}: {validation.reason(e)}"
    ) from e


def check_named(name: str, config: Config) -> None:
  """Refuses a configuration that names no network.

  Args:
    name: of the source.
    config: what lies beside its weights.

  Raises:
    InputError: if neither timm's nor transformers' name is stated.

  Example:
    >>> from leep_jax.sources import configs
    >>> configs.check_named("mine", configs.Config(timm="resnet50"))
  """
  if config.timm is None and config.transformers is None:
    raise validation.InputError(
      f"{name} has no configuration that names its network: put the "
      "config.json of timm or transformers beside it, or pass ARCH@PATH"
    )


def _read_json(path):
  if not path.is_file():
    return {}
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError) as e:
    raise validation.InputError(
      f"cannot read {path} as JSON ({validation.reason(e)}): is the download "
      "cut short?"
    ) from e
  if not isinstance(content, dict):
    raise validation.InputError(f"{path} holds no JSON object")
  return content


def _stated(mapping):
  """Returns the keys that are stated: null means "not stated"."""
  return {key: value for key, value in mapping.items() if value is not None}


def _refuse(stated, table):
  for key, why in table.items():
    if stated.get(key):
      raise validation.InputError(
        f"{key} is {_short(stated[key])}, but that is not done here: {why}"
      )


def _refuse_other_inputs(stated):
  """Refuses channels in another order, and preprocessing of other libraries."""
  for key in _CHANNELS:
    if stated.get(key) is not None and str(stated[key]).upper() != "RGB":
      raise validation.InputError(
        f"{key} is {_short(stated[key])}, but images are fed as RGB here: give "
        "the channels of the first layer in that order"
      )
  for key in _OTHER_PREPROCESSING:
    if stated.get(key):
      raise validation.InputError(
        f"{key} is {_short(stated[key])}, which is not read here: take it out, "
        "and pass --mean and --std, divided by 255, and --image_size"
      )


def _short(value):
  text = repr(value)
  return text if len(text) <= 60 else f"{text[:57]}..."


def _plain(value):
  """Returns one number for a pair of equal numbers, and tuples for lists.

  The same size may be written as 16, [16] or [16, 16].
  """
  if isinstance(value, (list, tuple)):
    same = len(set(map(repr, value))) == 1 and len(value) <= 2
    return value[0] if same else tuple(value)
  return value


def without_probs(config: dict[str, Any], classes: int | None) -> str:
  """Says why outputs are no distribution over classes; "" if they are one.

  Args:
    config: content of a `config.json` of transformers.
    classes: how many classes it states, if it does.

  Raises:
    InputError: if it states a problem that is not known.

  Example:
    >>> from leep_jax.sources import configs
    >>> configs.without_probs({"loss": "bce"}, 10)
    'loss is bce in its configuration: a sigmoid a class'
  """
  problem = config.get("problem_type")
  known = {
    None: "",
    "single_label_classification": "",
    "multi_label_classification": "every class has a sigmoid of its own",
    "regression": "its outputs are numbers, not classes",
  }
  if problem not in known:
    raise validation.unknown("problem_type", str(problem), filter(None, known))
  if known[problem]:
    return f"problem_type is {problem} in its configuration: {known[problem]}"
  for key in ("function_to_apply", "classifier_activation", "head_activation"):
    if config.get(key) not in (None, "default", "softmax"):
      return f"{key} is {config[key]} in its configuration, not softmax"
  for key in ("loss_type", "loss"):
    if re.search("bce|binary|sigmoid", str(config.get(key)), re.IGNORECASE):
      return f"{key} is {config[key]} in its configuration: a sigmoid a class"
  if classes == 0:
    return "its checkpoint has no classifier"
  if classes == 1:
    return "its configuration states 1 class: there is no choice"
  names = config.get("architectures") or []
  if names and all(_OTHER_HEAD.search(str(name)) for name in names):
    return (
      f"architectures is {names[0]} in its configuration: it has no head that "
      "classifies images"
    )
  return ""


def _count(classes):
  # timm writes 0 for a network without a head.
  if classes in (None, 0) and not isinstance(classes, bool):
    return None
  return validation.at_least_1("num_classes", classes)


def _network(stated, family, who):
  """Checks the constants of a family, and returns its options and sizes."""
  for key, values in family.constants.items():
    if key in stated and _plain(stated[key]) not in map(_plain, values):
      raise OtherNetworkError(
        f"{key} is {_short(stated[key])}, but {who} is computed with "
        f"{' or '.join(map(str, values))}"
      )
  options = {}
  for key, (option, usual) in family.options.items():
    value = stated.get(key, usual)
    if value is not None:
      options[option] = _option(key, value)
  sizes = {
    key: _plain(stated[key]) for key in family.sizes.split() if key in stated
  }
  return options, sizes


def _option(key, value):
  if key == "pad_type":
    if value not in config_keys.PAD_TYPES:
      raise validation.InputError(
        f"pad_type is {value!r}, but known are '', 'same'"
      )
    return config_keys.PAD_TYPES[value]
  if key == "act_layer":
    if value not in config_keys.ACTIVATIONS:
      raise validation.unknown("act_layer", str(value), config_keys.ACTIVATIONS)
    return config_keys.ACTIVATIONS[value]
  if key == "tf_padding":
    if not isinstance(value, bool):
      raise validation.InputError(f"tf_padding is {value!r}, not true or false")
  elif key.endswith("eps"):
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (real and 0 <= value < 1):
      raise validation.InputError(
        f"{key} is {value!r}, but must be from 0 below 1"
      )
  else:
    validation.at_least_1(key, value)
  return value


def _timm(config: dict[str, Any], origin: str, network: bool) -> Config:
  """Reads timm's form, by the rules of timm's evaluation (validate.py)."""
  nested = config.get("pretrained_cfg")
  # Early versions of timm had no `pretrained_cfg`: its keys were at the top.
  stated = _stated(config if nested is None else nested)
  top = _stated(config)
  name = str(top.get("architecture", stated.get("architecture", "")))
  wrapped = top.get("model_type") == "timm_wrapper"
  known = config_keys.TIMM_USED | config_keys.TIMM_IRRELEVANT
  known |= frozenset(config_keys.TIMM_REFUSED)
  # transformers can wrap networks of timm, and adds its own keys.
  known |= config_keys.TRANSFORMERS_USED | config_keys.TRANSFORMERS_IRRELEVANT
  for part, where in ((top, ""), (stated, "pretrained_cfg in ")):
    _refuse(part, config_keys.TIMM_REFUSED)
    if network:
      processors.note_unknown(part, known, f"{origin}: {where}config.json")
    # Without `pretrained_cfg`, both are the same: unknown keys are noted once.
    if part == stated:
      break
  args = _stated(top.get("model_args", {}))
  options, sizes = _model_args(args, name) if network else ({}, {})
  if name.startswith("tf_"):
    options = {**TENSORFLOW, **options}
  # At the top, timm writes the number of classes of the file; in
  # `pretrained_cfg`, that of the weights from which training started.
  for part in (args, top, stated):
    classes = part.get("num_classes")
    if classes is not None:
      break
  return Config(
    _timm_preprocessing(stated, args, evaluated=not wrapped),
    _count(classes),
    options,
    timm=name or None,
    pool=args.get("global_pool", top.get("global_pool")),
    network=sizes,
    without_probs=without_probs({**stated, **top}, classes),
  )


def _model_args(args, name):
  family = config_keys.model_args(name)
  known = family.known() | config_keys.MODEL_ARGS_IRRELEVANT
  for key, value in args.items():
    # `_timm` reads these two, which all networks have.
    if key not in known | {"num_classes", "global_pool"}:
      raise OtherNetworkError(
        f"model_args {{{key!r}: {_short(value)}}} change the network in ways "
        f"that are not known here for {name}"
      )
  return _network(args, family, name)


def _timm_preprocessing(stated, args, *, evaluated):
  """Returns fields of `Preprocessing`.

  Empty values mean "not stated", as in `timm.data.resolve_data_config`.

  Args:
    stated: `pretrained_cfg`, without nulls.
    args: `model_args`, without nulls.
    evaluated: whether settings for evaluation replace those for training, as in
      timm; transformers' wrapper of timm ignores them.
  """
  size = stated.get("input_size") or _TIMM_SIZE
  crop = stated.get("crop_pct") or _TIMM_CROP
  fixed = stated.get("fixed_input_size", False)
  if fixed and "img_size" in args:
    side = _plain(args["img_size"])
    size = (3, *(side if isinstance(side, tuple) else (side, side)))
  elif evaluated and not fixed:
    size = stated.get("test_input_size") or size
  if evaluated:
    crop = stated.get("test_crop_pct") or crop
  if not isinstance(size, (list, tuple)) or len(size) != 3:
    raise validation.InputError(
      f"input_size is {_short(size)}, not channels, height and width"
    )
  channels, height, width = size
  if channels != 3:
    raise validation.InputError(
      f"input_size has {channels} channels, but networks here take 3"
    )
  mode = stated.get("crop_mode") or "center"
  # With "random", timm draws a filter for each training image, but evaluates
  # with the bilinear one.
  how = stated.get("interpolation") or "bicubic"
  return {
    "image_size": processors.sides("input_size", height, width),
    "mean": processors.channels("mean", stated.get("mean") or _TIMM_MEAN),
    "std": processors.channels("std", stated.get("std") or _TIMM_STD),
    "crop": crop,
    "interpolation": "bilinear" if how == "random" else how,
    "crop_mode": mode,
  }


def _transformers(
  config: dict[str, Any], images: dict[str, Any], origin: str, network: bool
) -> Config:
  model_type = config.get("model_type")
  stated = _stated(config)
  if network:
    _refuse(stated, config_keys.TRANSFORMERS_REFUSED)
  family = config_keys.TRANSFORMERS.get(str(model_type)) if network else None
  # The library that runs a network of another kind knows all its keys.
  if network and (family is not None or model_type is None):
    _note_unknown(config, origin)
  options, sizes = {}, {}
  if family is not None:
    options, sizes = _network(stated, family, model_type)
    # ViTConfig has 12 heads by default, for any width.
    if "num_attention_heads" in family.options and "hidden_size" in stated:
      options.setdefault("num_heads", 12)
  classes = stated.get("num_labels")
  if stated.get("id2label"):
    classes = len(stated["id2label"])
  preprocessing = processors.read(images, config, origin)
  blue_first = processors.blue_first(images, config)
  if network and blue_first:
    raise OtherNetworkError(
      "do_flip_channel_order is true, but the networks of this package take "
      "red first"
    )
  return Config(
    preprocessing,
    _count(classes),
    options,
    transformers=model_type,
    network=sizes,
    without_probs=without_probs(stated, classes),
    blue_first=blue_first,
  )


def _note_unknown(config, origin):
  """Notes keys of a `config.json` of transformers that are in no table."""
  family = config_keys.TRANSFORMERS.get(str(config.get("model_type")))
  families = config_keys.TRANSFORMERS.values() if family is None else [family]
  known = config_keys.TRANSFORMERS_USED | config_keys.TRANSFORMERS_IRRELEVANT
  known |= frozenset(config_keys.TRANSFORMERS_REFUSED)
  processors.note_unknown(
    config,
    known.union(*(f.known() for f in families)),
    f"{origin}: config.json",
  )
