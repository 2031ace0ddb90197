"""Networks of timm and transformers through the bridge, without weights.

Networks are built on PyTorch's device "meta", which allocates nothing, and get
fake tensors of the CPU for parameters: `torch.export` records the graph that it
would record of real weights, and the largest network needs no memory either.
JAX then traces the graph, which finds arguments of operations that the bridge
does not take. Networks that cannot be built so are built with random weights.
"""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import inspect
import logging
import signal
import time
from typing import Any, NamedTuple
from unittest import mock
import warnings

import jax

from experiments import timm_table
from leep_jax import validation
from leep_jax.bridge import export, heads, running
from leep_jax.sources import keras_models, transformers_models

TOKENS = 24
SECONDS_AT_MOST = 300
# Networks with more parameters are exported without memory or not at all.
_MAX_REAL = 500_000_000
# Names of numbers of layers in configurations of transformers. The layers of a
# stage are alike, so that two of them have the operations of all.
_DEPTHS = (
  "num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers",
  "decoder_layers", "num_encoder_layers", "num_decoder_layers",
  "encoder_num_hidden_layers", "decoder_num_hidden_layers", "depth",
)  # fmt: skip
_LAYERS = 2


# What configurations of a type state, and classes have no default for.
_STATED: dict[str, dict[str, Any]] = {
  "esm": {"vocab_size": 33, "pad_token_id": 1},
  "xmod": {"default_language": "en_XX"},
  "hunyuan_v1_dense": {"head_dim": 128},
  "hunyuan_v1_moe": {"head_dim": 128},
  "ministral": {"head_dim": 128},
  "nemotron": {"num_key_value_heads": 8},
  "deepseek_v2": {"num_experts_per_tok": 6},
  "depth_pro": {"image_size": 1536},
}


class Built(NamedTuple):
  """A network to export.

  Attributes:
    module: a PyTorch module, whose tensors may have no values.
    example: its arguments, of a batch of one.
    classifier: whether it returns logits; features otherwise.
    kind: the name of its class.
  """

  module: Any
  example: tuple[Any, ...]
  classifier: bool
  kind: str


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What came of one network.

  Attributes:
    kind: the class that was exported.
    operations: names of the graph's operations, sorted; empty without a graph.
    reason: why the bridge cannot run it, or "".
    seconds: of processor time.
  """

  kind: str
  operations: tuple[str, ...]
  reason: str
  seconds: float


def check(name: str, attempts: Iterator[Callable[[], Built]]) -> Outcome:
  """Takes the first of several networks through the bridge that it can run.

  Args:
    name: of the network.
    attempts: functions that build it, the best first.

  Returns:
    The outcome of the first attempt without a reason against it; if there is
    none, that of the first one with a graph, or else of the first.
  """
  started = time.process_time()
  # PyTorch prints the stack of each failure.
  logging.getLogger("torch").setLevel(logging.CRITICAL)
  tried = []
  for attempt in attempts:
    found = _attempted(name, attempt)
    tried.append(found)
    if not found.reason:
      break
  tried = tried or [Outcome("", (), "there is no such network", 0.0)]
  tried.sort(key=lambda one: (one.reason != "", not one.operations))
  seconds = time.process_time() - started
  return dataclasses.replace(tried[0], seconds=seconds)


def _attempted(name, attempt):
  kind = ""
  operations: tuple[str, ...] = ()
  try:
    with _time_limit(), warnings.catch_warnings():
      warnings.simplefilter("ignore")
      built = attempt()
      kind = built.kind
      with mock.patch.object(export, "array", _shape_of):
        exported = export.export(built.module, built.example, name=name)
      operations = tuple(sorted(exported.graph.operations()))
      _trace(name, built, exported)
    reason = ""
  # Whatever is raised by a library that is asked for the unusual.
  except Exception as e:
    reason = _reason(e)
  return Outcome(kind, operations, reason.removeprefix(f"{name} "), 0.0)


def _trace(name, built, exported):
  """Traces a graph in JAX as sources do, a batch of two examples."""
  graph = exported.graph
  missing = running.missing(graph)
  if missing:
    raise validation.InputError(f"unknown operations: {', '.join(missing)}")
  if built.classifier:
    head = heads.find(graph, name)
  else:
    head = heads.without_classifier(graph, "it has no classifier")

  def one(arrays, *inputs):
    return heads.apply(graph, head, running.Arrays(*arrays), inputs)

  batch = [
    jax.ShapeDtypeStruct((2, *x.shape), _shape_of(x).dtype)
    for x in built.example
  ]
  axes = (None, *(0 for _ in batch))
  arrays = (exported.weights, exported.constants)
  jax.eval_shape(jax.vmap(one, in_axes=axes), arrays, *batch)


def timm_attempts(
  name: str, *, short: bool = True
) -> Iterator[Callable[[], Built]]:
  """Yields ways to build a network of timm.

  Args:
    name: of the architecture.
    short: whether to try first without most of the blocks that are equal.
  """
  timm = timm_table.load_timm()

  def build():
    return timm.create_model(name, pretrained=False)

  def described(network):
    import torch

    size = network.pretrained_cfg["input_size"]
    return Built(
      network, (torch.zeros(1, *size),), network.num_classes > 0,
      type(network).__name__,
    )  # fmt: skip

  if short:
    yield lambda: _fake(build, described, short=True)
  yield lambda: _fake(build, described)
  yield lambda: described(build())


def transformers_attempts(
  kind: str, model_type: str
) -> Iterator[Callable[[], Built]]:
  """Yields ways to build a network of transformers with few layers.

  Args:
    kind: image, text or audio.
    model_type: a type of its configurations.
  """
  timm_table.load_timm()
  import transformers

  for class_name in _classes(kind, model_type):
    cls = getattr(transformers, class_name, None)
    if cls is None:
      continue
    for make in (_fake, _real):
      for inputs in _INPUTS[kind]:

        def attempt(make=make, cls=cls, inputs=inputs):
          config = _config_for(cls, model_type)
          return make(
            lambda: cls(config), lambda model: _one_tensor(model, inputs)
          )

        yield attempt


def transformers_types(kind: str) -> list[str]:
  """Returns transformers' types of classifiers and encoders.

  Args:
    kind: image, text or audio.
  """
  found: set[str] = set()
  for mapping in _mappings(kind):
    found |= set(mapping)
  return sorted(found)


def check_keras(name: str) -> Outcome:
  """Makes a network of `keras.applications` a source, which traces it.

  Args:
    name: of the function that builds it.
  """
  started = time.process_time()
  reason = ""
  try:
    build = getattr(keras_models.on_jax().applications, name)
    keras_models.from_keras(build(weights=None), name=name)
  # Whatever is raised by a library that is asked for the unusual.
  except Exception as e:
    reason = _reason(e).removeprefix(f"{name} ")
  return Outcome("", (), reason, time.process_time() - started)


def _mappings(kind):
  """transformers' classes by type: classifiers, then encoders."""
  from transformers.models.auto import modeling_auto

  names = {
    "image": ("FOR_IMAGE_CLASSIFICATION", "FOR_IMAGE"),
    "text": ("FOR_SEQUENCE_CLASSIFICATION", "FOR_TEXT_ENCODING"),
    "audio": ("FOR_AUDIO_CLASSIFICATION", "FOR_CTC"),
  }[kind]
  return [getattr(modeling_auto, f"MODEL_{n}_MAPPING_NAMES") for n in names]


def _classes(kind, model_type):
  """Names of the classes to try: a classifier, then its encoder."""
  from transformers.models.auto import modeling_auto

  first, second = _mappings(kind)
  # The class that this package takes for a checkpoint without a head.
  own = transformers_models.ENCODERS
  if kind == "image" and model_type in own and model_type not in first:
    yield own[model_type]
  # A network for transcription is no classifier: its encoder is of use.
  tables = [first] if kind == "audio" else [first, second]
  for table in [*tables, modeling_auto.MODEL_MAPPING_NAMES]:
    names = table.get(model_type, ())
    yield from (names,) if isinstance(names, str) else names


def _config_for(cls, model_type):
  """The configuration of a type, as a class reads it."""
  config = _config(model_type)
  if cls.config_class is None or isinstance(config, cls.config_class):
    return config
  # Of a tower of two, and of a class for several types.
  config = getattr(config, "vision_config", config)
  return cls.config_class.from_dict(config.to_dict())


def _config(model_type):
  """The default configuration of a type, with few layers."""
  import transformers

  stated = _STATED.get(model_type, {})
  config = transformers.AutoConfig.for_model(model_type, **stated)
  if model_type == "llama4":  # of texts and images: the text part
    config = config.text_config
  _shorten_config(config)
  for part in vars(config).values():
    if isinstance(part, transformers.PretrainedConfig):
      _shorten_config(part)
  return config


def _shorten_config(config):
  """Leaves few layers in a configuration, in place."""
  # The caches of decoders are outputs that have no place in a graph.
  if hasattr(config, "use_cache"):
    config.use_cache = False
  if getattr(config, "depths", None):
    # All other numbers and lists are of the stages.
    config.depths = [min(n, _LAYERS) for n in config.depths]
    return
  was = getattr(config, "num_hidden_layers", None)
  for name in _DEPTHS:
    value = getattr(config, name, None)
    if isinstance(value, int) and value > _LAYERS:
      with contextlib.suppress(NotImplementedError):  # a sum of other numbers
        setattr(config, name, _LAYERS)
  for name, value in list(vars(config).items()):
    # One entry a layer, such as layer_types.
    listed = isinstance(value, list | tuple)
    if listed and isinstance(was, int) and len(value) == was > _LAYERS:
      setattr(config, name, value[:_LAYERS])


def _one_tensor(model, inputs):
  """A module that returns the logits, or else features, of a model."""
  import torch

  taken = inspect.signature(model.forward).parameters
  example = {
    # A mask that a network does not take is of no use to it.
    name: tensor
    for name, tensor in inputs(model.config, model).items()
    if name != "attention_mask" or name in taken
  }

  class OneTensor(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.model = model

    def forward(self, *tensors):
      found = self.model(**dict(zip(example, tensors, strict=True)))
      for name in ("logits", "pooler_output", "last_hidden_state"):
        value = getattr(found, name, None)
        if value is not None:
          return value
      raise TypeError(f"it returns {type(found).__name__}")

  kind = type(model).__name__
  return Built(
    OneTensor(), tuple(example.values()), "Classification" in kind, kind
  )


def _number(config, *names, default):
  for name in names:
    value = getattr(config, name, None)
    if isinstance(value, int | list | tuple) and value:
      return value
  return default


def _image(config, model):
  import torch

  vision = getattr(config, "vision_config", config)
  side = _number(vision, "image_size", "img_size", default=224)
  height, width = (side, side) if isinstance(side, int) else side[:2]
  channels = _number(vision, "num_channels", "in_channels", default=3)
  return {"pixel_values": torch.zeros(1, channels, height, width)}


def _text(config, model):
  import torch

  ones = torch.ones(1, TOKENS, dtype=torch.long)
  return {"input_ids": ones, "attention_mask": ones.clone()}


def _waveform(config, model):
  import torch

  return {model.main_input_name: torch.zeros(1, 16_000)}


def _spectrogram(config, model):
  import torch

  width = _number(
    config, "num_mel_bins", "feature_projection_input_dim",
    "input_feat_per_channel", default=80,
  )  # fmt: skip
  # Whisper's encoder has channels first, and a fixed number of frames.
  if hasattr(config, "max_source_positions") and hasattr(config, "d_model"):
    shape = 1, width, 2 * config.max_source_positions
  else:
    shape = 1, _number(config, "max_length", default=128), width
  return {model.main_input_name: torch.zeros(*shape)}


def _masked_spectrogram(config, model):
  import torch

  found = _spectrogram(config, model)
  (frames,) = found.values()
  mask = torch.ones(1, frames.shape[1], dtype=torch.long)
  return found | {"attention_mask": mask}


_INPUTS: dict[str, tuple[Callable[[Any, Any], dict[str, Any]], ...]] = {
  "image": (_image,),
  "text": (_text,),
  "audio": (_waveform, _spectrogram, _masked_spectrogram),
}


def shorten(network: Any) -> None:
  """Leaves two blocks of each run of equal blocks in a network, in place.

  Args:
    network: a PyTorch module.
  """
  import torch

  for module in network.modules():
    if type(module) not in (torch.nn.Sequential, torch.nn.ModuleList):
      continue
    kept: list[tuple[str, Any]] = []
    kinds: list[Any] = []
    for name, block in module.named_children():
      shapes = tuple(tuple(t.shape) for t in block.state_dict().values())
      kind = (type(block), repr(block), shapes)
      # Shifted windows and others that alternate are in the first two.
      if shapes and kinds[-2:] == [kind, kind]:
        continue
      kinds.append(kind)
      kept.append((name, block))
    numbered = all(name.isdigit() for name, _ in kept)
    module._modules = {
      f"{i}" if numbered else name: block
      for i, (name, block) in enumerate(kept)
    }


def _fake(build, described, *, short=False):
  """Builds a network without memory."""
  import torch
  from torch._subclasses.fake_tensor import FakeTensorMode

  with torch.device("meta"):
    network = build()
  if short:
    shorten(network)
  # Parameters that are shared stay shared.
  made: dict[int, Any] = {}
  # Arithmetic with tensors that the code of a network makes has to work.
  with FakeTensorMode(allow_non_fake_inputs=True):
    for module in network.modules():
      for tensors in (module._parameters, module._buffers):
        for name, tensor in tensors.items():
          if tensor is None:
            continue
          if id(tensor) not in made:
            empty = torch.empty(tensor.shape, dtype=tensor.dtype)
            if tensors is module._parameters:
              empty = torch.nn.Parameter(empty, requires_grad=False)
            made[id(tensor)] = empty
          tensors[name] = made[id(tensor)]
    return described(network)


def _real(build, described):
  """Builds a network with random weights, if that takes little memory."""
  import torch

  with torch.device("meta"):
    parameters = sum(p.numel() for p in build().parameters())
  if parameters > _MAX_REAL:
    raise validation.InputError(
      f"has {parameters / 1e6:,.0f} million parameters; at most "
      f"{_MAX_REAL / 1e6:,.0f} million are made"
    )
  return described(build())


def _shape_of(tensor):
  """What tracing needs of a tensor: its shape, and its type in JAX."""
  import torch

  name = str(tensor.dtype).removeprefix("torch.")
  name = "float32" if tensor.dtype == torch.bfloat16 else name
  return jax.ShapeDtypeStruct(
    tuple(tensor.shape), jax.dtypes.canonicalize_dtype(name)
  )


@contextlib.contextmanager
def _time_limit():
  """Stops what takes longer than five minutes."""

  def stop(number, frame):
    raise TimeoutError(f"it took more than {SECONDS_AT_MOST} s")

  before = signal.signal(signal.SIGALRM, stop)
  signal.alarm(SECONDS_AT_MOST)
  try:
    yield
  finally:
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _reason(error):
  """An error as one short line."""
  text = " ".join(f"{error}".split())
  if not isinstance(error, validation.InputError):
    text = f"{type(error).__name__}: {text}"
  return text if len(text) <= 240 else f"{text[:239]}…"
