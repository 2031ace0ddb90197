"""Networks of timm and transformers as graphs of operations, without weights.

Networks are built on PyTorch's device "meta", which allocates nothing, and get
fake tensors of the CPU for parameters: `torch.export` records the graph that it
would record of real weights, and the largest network needs no memory either.
Networks that cannot be built so are built with random weights.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import inspect
import signal
import time
from typing import Any
import warnings

from experiments import timm_table

# A batch of one: `jax.vmap` adds the batch.
BATCH = 1
# Enough that no length is mistaken for another size.
TOKENS = 24
SECONDS_AT_MOST = 900
# Names of the numbers of layers in configurations of transformers. Layers of one
# stage are alike, so that one or two of them have the operations of all.
_DEPTHS = (
  "num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers",
  "decoder_layers", "num_encoder_layers", "num_decoder_layers",
  "encoder_num_hidden_layers", "decoder_num_hidden_layers", "depth",
)  # fmt: skip
_LAYERS = 2


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What came of one network.

  Attributes:
    network: the class that was exported.
    operations: names of the graph's operations, sorted; empty if it failed.
    reason: why there is no graph, or "".
    seconds: that building and exporting took.
  """

  network: str
  operations: tuple[str, ...]
  reason: str
  seconds: float


def check(attempts: Iterator[Callable[[], tuple[Any, Mapping]]]) -> Outcome:
  """Exports the first network of several that can be exported.

  Args:
    attempts: functions that return a network and its keyword arguments.

  Returns:
    The outcome of the first attempt that succeeds; if none does, that of the
    first one.
  """
  started = time.monotonic()
  first = None
  for attempt in attempts:
    name = ""
    try:
      with _time_limit(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network, inputs = attempt()
        name = type(network).__name__
        found = operations(network, inputs)
      return Outcome(name, found, "", time.monotonic() - started)
    # Whatever is raised by a library that is asked for the unusual.
    except Exception as e:
      first = first or (name, _reason(e))
  name, reason = first or ("", "there is no such network")
  return Outcome(name, (), reason, time.monotonic() - started)


def operations(network: Any, inputs: Mapping[str, Any]) -> tuple[str, ...]:
  """Returns the names of a network's operations, such as aten.add.Tensor.

  Args:
    network: a PyTorch module.
    inputs: its arguments, by name.
  """
  import torch

  network.eval()
  with torch.no_grad():
    program = torch.export.export(network, (), dict(inputs), strict=False)
    program = program.run_decompositions()
  return tuple(
    sorted(
      {
        str(node.target)
        for node in program.graph.nodes
        if node.op == "call_function"
      }
    )
  )


def timm_attempts(
  name: str, *, short: bool = True
) -> Iterator[Callable[[], tuple[Any, Mapping]]]:
  """Yields ways to build a network of timm, and an image for it.

  Args:
    name: of the architecture.
    short: whether to try first without most of the blocks that are equal.
  """
  timm = timm_table.load_timm()

  def build():
    return timm.create_model(name, pretrained=False)

  def inputs(network):
    first, *_ = inspect.signature(network.forward).parameters
    return {first: (BATCH, *network.pretrained_cfg["input_size"])}

  if short:
    yield lambda: _fake(build, inputs, short=True)
  yield lambda: _fake(build, inputs)
  yield lambda: _real(build, inputs)


def transformers_attempts(
  kind: str, model_type: str
) -> Iterator[Callable[[], tuple[Any, Mapping]]]:
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
    for shapes in _SHAPES[kind]:
      for make in (_fake, _real):

        def attempt(make=make, cls=cls, shapes=shapes):
          config = _config(model_type)
          return make(lambda: cls(config), lambda net: shapes(config, net))

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

  tables = [*_mappings(kind), modeling_auto.MODEL_MAPPING_NAMES]
  for table in tables:
    names = table.get(model_type, ())
    yield from (names,) if isinstance(names, str) else names


def _config(model_type):
  """The default configuration of a type, with few layers."""
  import transformers

  config = transformers.AutoConfig.for_model(model_type)
  configs = [config]
  for value in vars(config).values():
    if isinstance(value, transformers.PretrainedConfig):
      configs.append(value)
  for part in configs:
    _shorten(part)
  return config


def _shorten(config):
  """Leaves few layers in a configuration, in place."""
  was = getattr(config, "num_hidden_layers", None)
  # The caches of decoders are outputs that have no place in a graph.
  if hasattr(config, "use_cache"):
    config.use_cache = False
  # Where stages have depths, other numbers count the stages.
  for name in () if hasattr(config, "depths") else _DEPTHS:
    value = getattr(config, name, None)
    if isinstance(value, int) and value > _LAYERS:
      setattr(config, name, _LAYERS)
  for name, value in list(vars(config).items()):
    if not isinstance(value, list | tuple) or not value:
      continue
    if name == "depths":
      setattr(config, name, [min(n, _LAYERS) for n in value])
    # One entry a layer, such as layer_types.
    elif isinstance(was, int) and len(value) == was > _LAYERS:
      setattr(config, name, value[:_LAYERS])


def _size(config, *names, default):
  for name in names:
    value = getattr(config, name, None)
    if isinstance(value, Mapping):
      value = tuple(value.values())
    if isinstance(value, int | list | tuple) and value:
      return value
  return default


def _image(config, network):
  vision = getattr(config, "vision_config", config)
  side = _size(vision, "image_size", "img_size", default=224)
  height, width = (side, side) if isinstance(side, int) else side[:2]
  channels = _size(vision, "num_channels", "in_channels", default=3)
  return {"pixel_values": (BATCH, channels, height, width)}


def _text(config, network):
  return {
    "input_ids": ((BATCH, TOKENS), 1),
    "attention_mask": ((BATCH, TOKENS), 1),
  }


def _waveform(config, network):
  return {network.main_input_name: (BATCH, 16_000)}


def _spectrogram(config, network):
  width = _size(
    config, "num_mel_bins", "feature_projection_input_dim", "input_size",
    "input_feat_per_channel", default=80,
  )  # fmt: skip
  # Whisper's encoder takes 3,000 frames, as channels come first.
  if hasattr(config, "max_source_positions") and hasattr(config, "d_model"):
    frames = 2 * config.max_source_positions
    return {network.main_input_name: (BATCH, width, frames)}
  frames = _size(config, "max_length", default=128)
  return {network.main_input_name: (BATCH, frames, width)}


def _frames_first(config, network):
  width = _size(config, "num_mel_bins", "input_feat_per_channel", default=80)
  frames = max(128, _size(config, "max_length", default=128))
  return {
    network.main_input_name: (BATCH, frames, width),
    "attention_mask": ((BATCH, frames), 1),
  }


_SHAPES = {
  "image": (_image,),
  "text": (_text,),
  "audio": (_waveform, _spectrogram, _frames_first),
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
      f"{i}" if numbered else name: block for i, (name, block) in enumerate(kept)
    }


def _fake(build, inputs, *, short=False):
  """Builds a network without memory, and its inputs."""
  import torch
  from torch._subclasses.fake_tensor import FakeTensorMode

  with torch.device("meta"):
    network = build()
  if short:
    shorten(network)
  # Parameters that are shared stay shared.
  made: dict[int, Any] = {}
  with FakeTensorMode():
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
    return network, _tensors(network, inputs)


def _real(build, inputs):
  network = build()
  return network, _tensors(network, inputs)


def _tensors(network, inputs):
  """Float tensors of the shapes; a pair is of a shape and an integer."""
  import torch

  found = {}
  taken = inspect.signature(network.forward).parameters
  for name, shape in inputs(network).items():
    # A mask that a network does not take is of no use to it.
    if name == "attention_mask" and name not in taken:
      continue
    if isinstance(shape[0], tuple):
      found[name] = torch.full(shape[0], shape[1], dtype=torch.long)
    else:
      found[name] = torch.zeros(shape)
  return found


@contextlib.contextmanager
def _time_limit():
  """Stops what takes longer than a quarter of an hour."""

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
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  text = lines[0] if lines else ""
  text = text if len(text) <= 160 else f"{text[:159]}…"
  return f"{type(error).__name__}: {text}"
