"""The keys of timm's and transformers' configurations, and what each means.

Every key belongs to one of these groups:

- it is used by `configs.py` or `processors.py`;
- it must have the value that the networks here have (`Family.constants`);
- it is a size that must be the architecture's (`Family.sizes`);
- it is refused, as it asks for something that is not implemented;
- it changes no output: such keys are listed with the reason.

A note names keys of a configuration that are in none of the tables.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any


def _keys(table: Mapping[str, str]) -> frozenset[str]:
  """Returns all keys of a table from reasons to keys."""
  return frozenset(key for keys in table.values() for key in keys.split())


@dataclasses.dataclass(frozen=True)
class Family:
  """The keys of the configurations of one kind of network.

  Attributes:
    constants: for each key, the values that are implemented.
    options: for each key, the option of the network that it sets, and its
      default; None if the architecture has the default.
    sizes: keys of sizes, separated by spaces; see `Architecture.stated`.
    irrelevant: keys that change no output of this network, by the reason.

  Example:
    >>> from leep_jax.sources import config_keys
    >>> family = config_keys.Family(
    ...   constants={"hidden_act": ("gelu",)}, sizes="depth width")
    >>> sorted(family.known())
    ['depth', 'hidden_act', 'width']
  """

  constants: Mapping[str, tuple[Any, ...]]
  options: Mapping[str, tuple[str, Any]] = dataclasses.field(
    default_factory=dict
  )
  sizes: str = ""
  irrelevant: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def known(self) -> frozenset[str]:
    """Returns all keys."""
    return (
      frozenset(self.constants)
      | frozenset(self.options)
      | frozenset(self.sizes.split())
      | _keys(self.irrelevant)
    )


# `config.json` of transformers: keys that any model may have.
TRANSFORMERS_USED = _keys(
  {
    "by configs.py": """
      model_type architectures num_labels id2label problem_type
      function_to_apply classifier_activation""",
    "by processors.py": "image_size image_processor_type",
  }
)
TRANSFORMERS_IRRELEVANT = _keys(
  {
    "where it came from": """
      _name_or_path name_or_path _commit_hash transformers_version model_name
      finetuning_task""",
    "names of classes; `id2label` or the head count them": """
      label2id _num_labels""",
    "how numbers are stored; they are computed in --dtype here": """
      dtype torch_dtype use_bfloat16""",
    "how it is computed, not what": """
      _attn_implementation _attn_implementation_autoset attn_implementation
      _attn_implementation_internal _experts_implementation
      _experts_implementation_internal experts_implementation torchscript
      chunk_size_feed_forward gradient_checkpointing xla_device
      use_kernels""",
    "what is returned beside the logits": """
      return_dict use_return_dict output_attentions output_hidden_states
      tie_last_hidden_states""",
    "of training alone": """
      initializer_range hidden_dropout_prob attention_probs_dropout_prob
      classifier_dropout_prob drop_path_rate layer_scale_init_value
      semantic_loss_ignore_index tf_legacy_loss""",
    "of text: none goes through an image classifier": """
      is_encoder_decoder is_decoder add_cross_attention
      cross_attention_hidden_size tie_encoder_decoder tie_word_embeddings
      tokenizer_class prefix bos_token_id pad_token_id eos_token_id
      sep_token_id decoder_start_token_id task_specific_params
      vocab_size max_position_embeddings""",
    "of generating text": """
      assistant_confidence_threshold assistant_lookbehind bad_words_ids
      begin_suppress_tokens diversity_penalty do_sample early_stopping
      encoder_no_repeat_ngram_size encoder_repetition_penalty epsilon_cutoff
      eta_cutoff exponential_decay_length_penalty forced_bos_token_id
      forced_eos_token_id length_penalty max_length min_length
      no_repeat_ngram_size num_assistant_tokens num_assistant_tokens_schedule
      num_beam_groups num_beams num_return_sequences output_scores
      remove_invalid_values repetition_penalty return_dict_in_generate
      suppress_tokens target_lookbehind temperature top_k top_p typical_p
      use_cache""",
  }
)
# Refused unless false, empty or null.
TRANSFORMERS_REFUSED = {
  "quantization_config": "its weights are quantised",
  "pruned_heads": "attention heads are left out",
  "per_layer_config": "layers differ from each other",
  "auto_map": "its code is of its own, not of transformers",
}

_VIT = Family(
  constants={
    "hidden_act": ("gelu", "gelu_python"),
    "num_channels": (3,),
  },
  options={
    "layer_norm_eps": ("norm_eps", 1e-12),
    "num_attention_heads": ("num_heads", None),
  },
  sizes="""qkv_bias hidden_size intermediate_size num_hidden_layers patch_size
    image_size""",
  irrelevant={
    "of masked image modelling": "encoder_stride",
    "of the pooler, for models without a head": """
      pooler_act pooler_output_size""",
  },
)
_DINOV2 = Family(
  constants={"hidden_act": ("gelu",), "num_channels": (3,)},
  options={
    "layer_norm_eps": ("norm_eps", 1e-6),
    "num_attention_heads": ("num_heads", None),
  },
  sizes="""hidden_size num_hidden_layers patch_size image_size qkv_bias
    num_register_tokens use_swiglu_ffn""",
  irrelevant={
    "what tensors' shapes tell": "mlp_ratio layerscale_value",
    "of masked image modelling": "use_mask_token",
    "of backbones": """
      out_features out_indices stage_names apply_layernorm
      reshape_hidden_states""",
  },
)
# Keys of encoders with stages, which can be used as backbones.
_STAGES = {
  "of backbones": "out_features out_indices stage_names",
  "it takes images of any size": "image_size",
}
_CONVNEXT = Family(
  constants={
    "hidden_act": ("gelu", "gelu_python"),
    "num_channels": (3,),
    "num_stages": (4,),
    "num_hidden_layers": (4,),  # another name of it
    "patch_size": (4,),
  },
  # transformers has it in the last norm alone; the others have 1e-6.
  options={"layer_norm_eps": ("head_norm_eps", 1e-12)},
  sizes="depths hidden_sizes",
  irrelevant=_STAGES,
)
TRANSFORMERS: Mapping[str, Family] = {
  "vit": _VIT,
  "deit": _VIT,
  "convnext": _CONVNEXT,
  "convnextv2": _CONVNEXT,
  "dinov2": _DINOV2,
  "dinov2_with_registers": _DINOV2,
  "mobilenet_v1": Family(
    constants={
      "hidden_act": ("relu6",),
      "num_channels": (3,),
      "output_stride": (32,),
    },
    options={
      "layer_norm_eps": ("norm_eps", 1e-3),
      "tf_padding": ("tf_padding", True),
    },
    sizes="depth_multiplier min_depth",
    irrelevant={"it takes images of any size": "image_size"},
  ),
  "resnet": Family(
    constants={
      "hidden_act": ("relu",),
      "num_channels": (3,),
      "embedding_size": (64,),
      "downsample_in_first_stage": (False,),
      "downsample_in_bottleneck": (False,),
    },
    sizes="depths hidden_sizes layer_type",
    irrelevant=_STAGES,
  ),
}

# `config.json` of timm: beside `pretrained_cfg`, and in it.
TIMM_USED = _keys(
  {
    "of the network": """
      architecture pretrained_cfg model_args num_classes global_pool""",
    "of images": """
      input_size test_input_size fixed_input_size interpolation crop_pct
      test_crop_pct crop_mode mean std""",
  }
)
TIMM_IRRELEVANT = _keys(
  {
    "where it came from": """
      url file state_dict hf_hub_id hf_hub_filename source tag custom_load
      license description origin_url paper_name paper_ids notes""",
    "names of classes": "label_names label_descriptions labels",
    "what tensors' shapes tell": """
      num_features pool_size test_pool_size first_conv classifier""",
    "a bound that image sizes used here keep": "min_input_size",
    "of transformers' wrapper": "do_pooling initializer_range",
  }
)
TIMM_REFUSED = {
  "label_offset": "timm leaves the first classes of the file out",
  "crop_border_pixels": "timm cuts a border off before it resizes",
}

# timm's `model_args`: those that any network may have.
_ANY_ARGS = {
  "in_chans": (3,),
  "output_stride": (32,),
}
MODEL_ARGS_IRRELEVANT = _keys(
  {
    "of training alone": """
      drop_rate drop_path_rate drop_block_rate proj_drop_rate attn_drop_rate
      pos_drop_rate patch_drop_rate weight_init fix_init zero_init_last
      head_init_scale bn_momentum grad_checkpointing""",
    "how it is computed, not what": "scriptable exportable no_jit dtype device",
    "whether other image sizes would do": """
      dynamic_img_size dynamic_img_pad strict_img_size""",
  }
)
_BATCH_NORM = {
  # None: without the key, the default is that of the architecture.
  "bn_eps": ("norm_eps", None),
  "pad_type": ("tf_padding", None),
}
# The values of `act_layer` for vision transformers, and the activation of each.
ACTIVATIONS = {
  "gelu": "gelu",
  "gelu_tanh": "gelu_tanh",
  "quick_gelu": "quick_gelu",
  "quickgelu": "quick_gelu",
  "silu": "silu",
  "swish": "silu",
}
# The values of `pad_type`.
PAD_TYPES = {"": False, "same": True}
_VIT_ARGS = Family(
  constants={
    **_ANY_ARGS,
    "pool_include_prefix": (False,),
    "pos_embed": ("learn",),
    "qk_norm": (False,),
  },
  options={
    "num_heads": ("num_heads", None),
    "act_layer": ("activation", None),
  },
  sizes="""img_size patch_size embed_dim depth class_token reg_tokens
    no_embed_class pre_norm final_norm fc_norm qkv_bias proj_bias
    scale_attn_norm scale_mlp_norm""",
  irrelevant={"what tensors' shapes tell": "mlp_ratio init_values"},
)
# Activations of networks of mobile blocks, by the first letters of the names
# without `tf_`; the first row counts.
_MOBILE = {
  "efficientnet_lite": ("relu6",),
  "efficientnet_e": ("relu",),  # for Edge TPUs: es, em, el
  **dict.fromkeys(
    ("efficientnet", "gc_efficientnet", "test_efficientnet", "tinynet"),
    ("silu", "swish"),
  ),
  **dict.fromkeys(
    (
      "mobilenetv3_large_minimal", "mobilenetv3_small_minimal",
      "mobilenet_edgetpu", "mnasnet", "semnasnet", "spnasnet", "fbnetc",
      "mixnet",
    ),
    ("relu",),
  ),
  **dict.fromkeys(
    ("mobilenetv3", "fbnetv3", "lcnet", "hardcorenas"), ("hard_swish",)
  ),
  "mobilenetv4_hybrid_large": ("gelu",),
  "mobilenetv4": ("relu",),
  "mobilenetv": ("relu6",),
}  # fmt: skip
_CONVNEXT_ARGS = Family(
  constants={**_ANY_ARGS, "conv_bias": (True,), "patch_size": (4,)},
  sizes="""
    act_layer depths dims head_hidden_size head_norm_first kernel_sizes norm_eps
    stem_type use_grn""",
  irrelevant={
    "1x1 convolutions, or the same as fully connected layers": "conv_mlp",
    "an initial value": "ls_init_value",
  },
)
_RESNET_ARGS = Family(
  constants={**_ANY_ARGS, "act_layer": ("relu",)},
  sizes="""
    avg_down base_width block_reduce_first cardinality channels down_kernel_size
    layers replace_stem_pool stem_type stem_width""",
)
_ANY_NETWORK = Family(constants=_ANY_ARGS)
# By the first letters of the architecture's name, without `tf_`; the first row
# counts.
MODEL_ARGS: Mapping[str, Family] = {
  **dict.fromkeys(
    ("vit_", "deit", "flexivit_", "eva_large_", "beit3_", "aimv2_", "test_vit"),
    _VIT_ARGS,
  ),
  "convnext": _CONVNEXT_ARGS,
  "test_convnext": _CONVNEXT_ARGS,
  **{
    start: Family(
      constants={**_ANY_ARGS, "act_layer": names}, options=_BATCH_NORM
    )
    for start, names in _MOBILE.items()
  },
  **{
    f"{prefix}{start}": _RESNET_ARGS
    for prefix in ("", "se", "eca", "wide_", "test_")
    for start in ("resnet", "resnext")
  },
  "senet154": _RESNET_ARGS,
}


def model_args(architecture: str) -> Family:
  """Returns the keys that `model_args` may have for a network of timm.

  Args:
    architecture: timm's name of the network.

  Example:
    >>> from leep_jax.sources import config_keys
    >>> config_keys.model_args("vit_small_patch16_224").options
    {'num_heads': ('num_heads', None), 'act_layer': ('activation', None)}
  """
  for start, family in MODEL_ARGS.items():
    if architecture.removeprefix("tf_").startswith(start):
      return family
  return _ANY_NETWORK


# `preprocessor_config.json`: keys of all image processors.
PROCESSOR_USED = _keys(
  {
    "which class": "image_processor_type feature_extractor_type",
    "its attributes": """
      do_resize size resample default_to_square crop_pct do_center_crop
      crop_size do_rescale rescale_factor do_normalize image_mean
      image_std""",
  }
)
PROCESSOR_IRRELEVANT = _keys(
  {
    "images have as many channels as the network takes": "do_convert_rgb",
    "what the file belongs to": """
      processor_class auto_map _valid_processor_keys _processor_class
      _commit_hash transformers_version _name_or_path model_input_names""",
    "how it is computed, not what": """
      data_format input_data_format return_tensors device disable_grouping
      use_fast backend""",
    "of segmentation maps and text": """
      do_reduce_labels reduce_labels image_seq_length""",
  }
)
# Refused unless false, empty or null.
PROCESSOR_REFUSED = {
  "do_pad": "transformers adds a border",
  "do_flip_channel_order": "the network takes blue first",
  "do_color_quantize": "colours are made tokens",
  "do_crop_margin": "transformers cuts margins off",
  "do_thumbnail": "transformers resizes twice",
  "do_align_long_axis": "transformers turns tall images",
  "do_split_image": "images are cut into tiles",
  "do_image_splitting": "images are cut into tiles",
  "rescale_offset": "transformers subtracts 1 from scaled pixels",
  "include_top": "transformers normalises twice",
  "size_divisor": "sizes are rounded to its multiples",
  "ensure_multiple_of": "sizes are rounded to its multiples",
  "keep_aspect_ratio": "transformers chooses the side to fit",
  "use_square_size": "transformers replaces size by a square",
}
