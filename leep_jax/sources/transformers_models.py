"""PyTorch networks of transformers, ready for the bridge.

A checkpoint that classifies images, texts or sounds gives its logits, and as
features the input of its last linear layer. Any other one is an encoder. Its
features are its pooled output (images), or pooled from its last hidden states:
the first token's, or the mean over the tokens of the text.
"""

from collections.abc import Iterator, Mapping
import contextlib
import json
import pathlib
from typing import Any

from leep_jax import validation
from leep_jax.sources import (
  configs,
  hearing,
  tokenizing,
  torch_model,
)

# Networks of sounds, by transformers' `model_type`.
_AUDIO = frozenset({
  "wav2vec2", "wav2vec2-bert", "wav2vec2-conformer", "hubert", "wavlm",
  "unispeech", "unispeech-sat", "data2vec-audio", "sew", "sew-d",
  "audio-spectrogram-transformer", "whisper",
})  # fmt: skip
# Keys that a `config.json` of a network of images has.
_VISION = ("vision_config", "image_size", "num_channels", "patch_size")
# Networks that classify a text by its first token, `<s>` or `[CLS]`: so do
# their ForSequenceClassification in transformers.
_FIRST_TOKEN = frozenset({
  "albert", "bert", "big_bird", "camembert", "canine", "convbert",
  "data2vec-text", "deberta", "deberta-v2", "distilbert", "electra", "ernie",
  "esm", "flaubert", "fnet", "ibert", "layoutlm", "longformer", "luke",
  "megatron-bert", "mobilebert", "modernbert", "mpnet", "mra", "nezha",
  "nystromformer", "rembert", "roberta", "roberta-prelayernorm", "roc_bert",
  "roformer", "squeezebert", "xlm-roberta", "xlm-roberta-xl", "xmod", "yoso",
})  # fmt: skip
_CLASSIFIERS = (
  "ForImageClassification", "ForSequenceClassification",
  "ForAudioClassification", "ForImageClassificationWithTeacher",
)  # fmt: skip
# The class of a network of images without a head, where transformers' own
# choice for `AutoModel` has two towers or draws random numbers.
ENCODERS: Mapping[str, str] = {
  "vit_mae": "ViTModel", "clip": "CLIPVisionModel",
  "siglip": "SiglipVisionModel", "chinese_clip": "ChineseCLIPVisionModel",
  "metaclip_2": "MetaClip2VisionModel", "aimv2": "Aimv2VisionModel",
}  # fmt: skip
# The length of the example that is exported, in tokens and in seconds.
_TOKENS, _SECONDS = 32, 1
_MODE = "pooling_mode_"  # what keys of sentence-transformers begin with
# The pooler of these is a layer of a task of texts; as here and in timm,
# features are those of the class token.
_NO_POOLER = frozenset({"vit", "deit", "ijepa", "vit_msn"})
_CLASS_TOKEN = ("cls_token", "class_token", "class_embedding")
# A parameter of an encoder's pooler may be missing: it is not used.
_UNUSED = ("pooler.", "decoder.", "masked_spec_embed", "lm_head")


def read_config(folder: pathlib.Path) -> dict[str, Any]:
  """Returns the content of the `config.json` of a folder, empty if none.

  Args:
    folder: of a model.

  Raises:
    InputError: if it cannot be read.

  Example:
    >>> import pathlib
    >>> from leep_jax.sources import transformers_models
    >>> transformers_models.read_config(pathlib.Path("no_such_folder"))
    {}
  """
  return _read_json(folder / "config.json")


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
  return content if isinstance(content, dict) else {}


def inputs_of(config: dict[str, Any]) -> str:
  """Returns what a network takes: `image`, `text` or `audio`.

  Args:
    config: content of its `config.json`.

  Example:
    >>> from leep_jax.sources import transformers_models
    >>> transformers_models.inputs_of(
    ...   {"model_type": "distilbert", "vocab_size": 30522})
    'text'
    >>> transformers_models.inputs_of({"model_type": "vit", "image_size": 224})
    'image'
  """
  if config.get("model_type") in _AUDIO:
    return "audio"
  if "vocab_size" in config and not any(key in config for key in _VISION):
    return "text"
  return "image"


def pooling_of(
  folder: pathlib.Path, config: dict[str, Any], asked: str | None
) -> str:
  """Returns how an encoder's hidden states become one vector of features.

  Args:
    folder: of the model; that of sentence-transformers states it.
    config: content of its `config.json`.
    asked: what the user states instead; one of `overrides.POOLINGS`, or None.

  Example:
    >>> import pathlib
    >>> from leep_jax.sources import transformers_models
    >>> folder = pathlib.Path("no_such_folder")
    >>> for kind in ("bert", "t5"):
    ...   transformers_models.pooling_of(folder, {"model_type": kind}, None)
    'token'
    'mean'
  """
  if asked is not None:
    return asked
  stated = _read_json(folder / tokenizing.POOLING)
  if stated.get("pooling_mode_mean_tokens"):
    return "mean"
  if stated.get("pooling_mode_cls_token"):
    return "token"
  modes = [k for k, on in stated.items() if k.startswith(_MODE) and on is True]
  if modes:
    raise validation.InputError(
      f"{folder / tokenizing.POOLING} states {', '.join(modes)}, but known are "
      f"{_MODE}mean_tokens and {_MODE}cls_token: pass --pooling=mean or token"
    )
  kind = config.get("model_type")
  if kind == "modernbert":
    return "mean" if config.get("classifier_pooling") == "mean" else "token"
  return "token" if kind in _FIRST_TOKEN else "mean"


def build(
  name: str,
  folder: pathlib.Path,
  weights: pathlib.Path,
  *,
  image_size: int | tuple[int, int] | None = None,
  blue_first: bool = False,
  pooling: str | None = None,
) -> torch_model.TorchModel:
  """Returns the network of a folder in transformers' layout.

  transformers itself builds it and reads its weights. PyTorch is needed.

  Args:
    name: of the source, in error messages.
    folder: with `config.json` of transformers, and safetensors.
    weights: the same files without any other, `checkpoints.alone`.
    image_size: side of the images, or height and width, of a network that
      takes images.
    blue_first: whether such a network takes the channels in the order BGR.
    pooling: of an encoder of texts or sounds, instead of what is usual for it.

  Raises:
    InputError: if a library is missing or cannot read the folder, or tensors
      are missing.

  Example:
    >>> import pathlib, tempfile
    >>> import leep_jax
    >>> from leep_jax.sources import transformers_models
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   try:
    ...     path = pathlib.Path(folder)
    ...     transformers_models.build("mine", path, path)
    ...   except leep_jax.InputError as error:
    ...     print(type(error).__name__)  # it has no weights
    InputError
  """
  torch_model.require_torch(name, "transformers")
  config = read_config(folder)
  inputs = inputs_of(config)
  if inputs == "image" and config.get("num_frames"):
    raise validation.InputError(
      f"{name} is a {config.get('model_type')}, which takes videos, not images"
    )
  declared = (config.get("architectures") or [""])[0]
  classifies = declared.endswith(_CLASSIFIERS)
  if classifies and pooling is not None:
    raise validation.InputError(
      f"{name} is a {declared}, which has a classifier with its own features: "
      "pooling is for encoders without one"
    )
  if classifies:
    model, has_pooler = _load(name, weights, declared, ())
    labels = config.get("id2label") or {}
    count = len(labels) or config.get("num_labels")
    # Which head it has is known by now; that table is of networks of images.
    without = configs.without_probs({**config, "architectures": None}, count)
  else:
    kind = ENCODERS.get(str(config.get("model_type")), "AutoModel")
    model, has_pooler = _load(name, weights, kind, _UNUSED)
    if getattr(model.config, "is_encoder_decoder", False):
      model = model.get_encoder()
    without = torch_model.HEADLESS
    if inputs == "image":  # of two towers, that of images
      model = getattr(model, "vision_model", model)
  dynamic = None
  if inputs == "image":
    pooled = config.get("model_type") not in _NO_POOLER
    module = _image_module(model, blue_first, pooled and has_pooler)
    example = torch_model.example_of_images(image_size or 224)
  elif inputs == "audio":
    module = _sound_module(model, classifies, pooling or "mean")
    example, dynamic = _example_of_sounds(folder)
  else:
    chosen = pooling_of(folder, config, pooling)
    module = _text_module(model, classifies, chosen)
    example, dynamic = _example_of_texts(folder, config)
  return torch_model.TorchModel(
    module, example, inputs, classifies, without, dynamic
  )


def _image_module(model, blue_first, pooled):
  """A module that returns the logits, or else the features, of RGB images."""
  import torch

  has_token = any(
    name.rpartition(".")[2] in _CLASS_TOKEN
    for name, _ in model.named_parameters()
  )

  class Images(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.model = model

    def forward(self, pixels):
      if blue_first:
        pixels = pixels.flip(1)
      found = self.model(pixel_values=pixels)
      logits = getattr(found, "logits", None)
      if logits is not None:
        return logits
      output = getattr(found, "pooler_output", None)
      if pooled and output is not None:
        return output.flatten(1)
      last = found.last_hidden_state
      if last.ndim != 3:  # maps, of which the mean is taken later
        return last
      return last[:, 0] if has_token else last.mean(1)

  return Images()


def _load(name, folder, kind, unused):
  """Loads a model of transformers, of which every tensor must be there.

  Returns:
    The model, and whether its pooler, if it has one, is of the checkpoint.
  """
  import torch
  import transformers

  if not hasattr(transformers, kind):
    raise validation.InputError(
      f"{name} is a {kind}, which transformers {transformers.__version__} does "
      "not have: is it of a newer version?"
    )
  options: dict[str, Any] = {}
  if kind == "ViTModel":
    # The pooling layer is of another task, and missing in most files.
    options["add_pooling_layer"] = False
  try:
    with _quiet(transformers):
      model, about = getattr(transformers, kind).from_pretrained(
        folder,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=torch.float32,
        output_loading_info=True,
        **options,
      )
  except Exception as e:  # whatever transformers' code raises
    raise torch_model.failed(name, "transformers", e) from e
  missing = [
    key
    for key in sorted(about["missing_keys"])
    if not any(part in key for part in unused)
  ]
  if missing:
    raise validation.InputError(
      f"{name} lacks {len(missing)} tensors of a {type(model).__name__} "
      f"({validation.some(missing, count=False)}): is it of another network, "
      "or cut short?"
    )
  # What was missing is random.
  has_pooler = not any("pooler." in key for key in about["missing_keys"])
  return model.eval(), has_pooler


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
  """Suppresses transformers' bars and warnings, but not its errors."""
  logging = transformers.utils.logging
  level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
  logging.set_verbosity_error()
  logging.disable_progress_bar()
  try:
    yield
  finally:
    logging.set_verbosity(level)
    if bars:
      logging.enable_progress_bar()


def _example_of_texts(folder, config):
  import torch

  segments = tokenizing.has_segments(folder, config)
  tokens = torch.full((1, _TOKENS), min(5, config["vocab_size"] - 1))
  example: tuple[Any, ...] = (tokens, torch.ones_like(tokens))
  if segments:
    example = (*example, torch.zeros_like(tokens))
  longest = tokenizing.positions(config) or 1 << 14
  axis = torch.export.Dim("length", min=2, max=max(longest, _TOKENS))
  # The arguments of `forward`, which has as many as there are inputs.
  return example, {"inputs": tuple({1: axis} for _ in example)}


def _text_module(model, has_classifier, pooling):
  """A module of tokens, their mask and perhaps segments."""
  import torch

  # Decoders classify the last token of the text, and apply their linear layer
  # to all of them before they select it: features would have the padding in.
  causal = has_classifier and isinstance(
    getattr(model, "score", None), torch.nn.Linear
  )

  class Texts(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.model = model

    def forward(self, *inputs):
      names = ("input_ids", "attention_mask", "token_type_ids")
      given = dict(zip(names, inputs, strict=False))
      mask = given["attention_mask"]
      if has_classifier and not causal:
        return self.model(**given).logits
      base = self.model.base_model if causal else self.model
      hidden = base(**given).last_hidden_state
      if causal:
        places = torch.arange(mask.shape[1]) * mask
        last = (places == places.amax(1, keepdim=True)).to(hidden.dtype)
        return self.model.score((hidden * (last * mask)[..., None]).sum(1))
      if pooling == "token":
        return hidden[:, 0]
      kept = mask[..., None].to(hidden.dtype)
      return (hidden * kept).sum(1) / kept.sum(1)

  return Texts()


def _example_of_sounds(folder):
  import torch

  preprocessing = hearing.read(folder)
  if preprocessing.features:
    return (torch.zeros(1, *preprocessing.features),), None
  axis = torch.export.Dim("samples", min=preprocessing.rate // 4)
  samples = torch.zeros(1, _SECONDS * preprocessing.rate)
  if not preprocessing.masked:
    return (samples,), {"sounds": {1: axis}}
  mask = torch.ones(samples.shape, dtype=torch.long)
  return (samples, mask), {"sounds": {1: axis}, "mask": {1: axis}}


def _sound_module(model, has_classifier, pooling):
  import torch

  class Sounds(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.model = model

    def forward(self, sounds, mask=None):
      options = {} if mask is None else {"attention_mask": mask}
      found = self.model(sounds, **options)
      if has_classifier:
        return found.logits
      hidden = found.last_hidden_state
      if pooling == "token":
        return hidden[:, 0]
      if mask is None:
        return hidden.mean(1)
      # Of the frames that are no padding, as the classifiers of this kind do.
      kept = self.model._get_feature_vector_attention_mask(
        hidden.shape[1], mask
      )[..., None].to(hidden.dtype)
      return (hidden * kept).sum(1) / kept.sum(1)

  return Sounds()
