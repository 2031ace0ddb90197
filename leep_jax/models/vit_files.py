"""What the tensors of a vision transformer tell, and publishers' names of them.

Tensors have timm's names here, to which `NAMES` translates those of others.
"""

from collections.abc import Mapping
import dataclasses
import math
import re
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.models import resize, vit
from leep_jax.models.architecture import Names

# transformers has three tensors for queries, keys and values: pieces of `qkv`.
# Its DINOv2 and DeiT have names of their own besides.
_TRANSFORMERS: Names = (
  (r"^(?:deit|dinov2|dinov2_with_registers)\.", "vit."),
  (r"^vit\.embeddings\.cls_token$", "cls_token"),
  (r"^vit\.embeddings\.distillation_token$", "dist_token"),
  (r"^vit\.embeddings\.register_tokens$", "reg_token"),
  (r"^vit\.embeddings\.mask_token$", "mask_token"),
  (r"^vit\.embeddings\.position_embeddings$", "pos_embed"),
  (r"^vit\.embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
  # "layers" and "o_proj" are of transformers 5.9 and later.
  (r"^vit\.(?:encoder\.layer|layers)\.(\d+)\.", r"blocks.\1."),
  (r"^(blocks\..*)\.layernorm_before\.", r"\1.norm1."),
  (r"^(blocks\..*)\.layernorm_after\.", r"\1.norm2."),
  (r"^(blocks\..*)\.attention\.attention\.query\.(\w+)$", r"\1.attn.qkv.\2#0"),
  (r"^(blocks\..*)\.attention\.attention\.key\.(\w+)$", r"\1.attn.qkv.\2#1"),
  (r"^(blocks\..*)\.attention\.attention\.value\.(\w+)$", r"\1.attn.qkv.\2#2"),
  (r"^(blocks\..*)\.attention\.output\.dense\.", r"\1.attn.proj."),
  (r"^(blocks\..*)\.intermediate\.dense\.", r"\1.mlp.fc1."),
  (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
  (r"^(blocks\..*)\.attention\.q_proj\.(\w+)$", r"\1.attn.qkv.\2#0"),
  (r"^(blocks\..*)\.attention\.k_proj\.(\w+)$", r"\1.attn.qkv.\2#1"),
  (r"^(blocks\..*)\.attention\.v_proj\.(\w+)$", r"\1.attn.qkv.\2#2"),
  (r"^(blocks\..*)\.attention\.o_proj\.", r"\1.attn.proj."),
  (r"^(blocks\.\d+)\.layer_scale(\d)\.lambda1$", r"\1.ls\2.gamma"),
  (r"^(blocks\.\d+\.mlp)\.weights_in\.", r"\1.fc1."),
  (r"^(blocks\.\d+\.mlp)\.gate_proj\.(\w+)$", r"\1.fc1.\2#0"),
  (r"^(blocks\.\d+\.mlp)\.up_proj\.(\w+)$", r"\1.fc1.\2#1"),
  (r"^(blocks\.\d+\.mlp)\.(?:weights_out|down_proj)\.", r"\1.fc2."),
  (r"^vit\.layernorm\.", "norm."),
  (r"^(?:cls_)?classifier\.", "head."),
  (r"^distillation_classifier\.", "head_dist."),
)
_TORCHVISION: Names = (
  (r"^class_token$", "cls_token"),
  (r"^conv_proj\.", "patch_embed.proj."),
  (r"^encoder\.pos_embedding$", "pos_embed"),
  (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
  (r"^(blocks\.\d+)\.ln_(\d)\.", r"\1.norm\2."),
  (r"^(blocks\.\d+)\.self_attention\.in_proj_", r"\1.attn.qkv."),
  (r"^(blocks\.\d+)\.self_attention\.out_proj\.", r"\1.attn.proj."),
  (r"^(blocks\.\d+\.mlp)\.(?:0|linear_1)\.", r"\1.fc1."),
  (r"^(blocks\.\d+\.mlp)\.(?:3|linear_2)\.", r"\1.fc2."),
  (r"^encoder\.ln\.", "norm."),
  (r"^heads\.head\.", "head."),
)

# Google's npz files, written by Flax. Their kernels have the input channels
# first, and those of attention an axis of heads: `checkpoints.read_tensors` has
# changed both when these names are applied.
_GOOGLE: Names = (
  (r"^cls$", "cls_token"),
  (r"^embedding\.", "patch_embed.proj."),
  (r"^Transformer\.posembed_input\.pos_embedding$", "pos_embed"),
  (r"^Transformer\.encoderblock_(\d+)\.", r"blocks.\1."),
  (r"^Transformer\.encoder_norm\.", "norm."),
  (r"^(blocks\.\d+)\.LayerNorm_0\.", r"\1.norm1."),
  (r"^(blocks\.\d+)\.LayerNorm_2\.", r"\1.norm2."),
  (r"^(blocks\.\d+)\.MlpBlock_3\.Dense_0\.", r"\1.mlp.fc1."),
  (r"^(blocks\.\d+)\.MlpBlock_3\.Dense_1\.", r"\1.mlp.fc2."),
  (
    r"^(blocks\.\d+)\.MultiHeadDotProductAttention_1\.query\.(\w+)$",
    r"\1.attn.qkv.\2#0",
  ),
  (
    r"^(blocks\.\d+)\.MultiHeadDotProductAttention_1\.key\.(\w+)$",
    r"\1.attn.qkv.\2#1",
  ),
  (
    r"^(blocks\.\d+)\.MultiHeadDotProductAttention_1\.value\.(\w+)$",
    r"\1.attn.qkv.\2#2",
  ),
  (
    r"^(blocks\.\d+)\.MultiHeadDotProductAttention_1\.out\.",
    r"\1.attn.proj.",
  ),
)

# Of the repositories of DeiT III and DINOv2 on GitHub.
_META: Names = (
  (r"^register_tokens$", "reg_token"),
  (r"^(blocks\.\d+)\.gamma_(\d)$", r"\1.ls\2.gamma"),
  (r"^(blocks\.\d+\.mlp)\.w12\.", r"\1.fc1."),
  (r"^(blocks\.\d+\.mlp)\.w3\.", r"\1.fc2."),
)
NAMES: Names = _TRANSFORMERS + _TORCHVISION + _GOOGLE + _META

# Fields that a row for networks of one size has itself.
SIZES = ("width", "depth", "patch_size", "mlp_width")
# For resampling with PyTorch's cubic filter, where nothing is averaged.
_CUBIC = -0.75


def infer(
  tensors: Mapping[str, np.ndarray],
  stated: Mapping[str, Any],
  *,
  usual: vit.Design,
  fixed: tuple[str, ...] = (),
) -> dict[str, Any]:
  """Returns the fields of a design that differ from the usual one.

  Args:
    tensors: of a file, by timm's names.
    stated: fields that its configuration states; the tensors decide others.
    usual: design of the row.
    fixed: fields that are the row's, whatever the tensors are.

  Raises:
    InputError: if the tensors are of no such network.

  Example:
    >>> import functools
    >>> from leep_jax.models import vit, vit_files
    >>> from leep_jax.sources import catalog, matching
    >>> small = dict(width=64, depth=2, image_size=32, registers=4)
    >>> tensors = matching.published(catalog.build("vit", 10, **small))
    >>> vit_files.infer(tensors, {}, usual=vit.Design())
    {'width': 64, 'depth': 2, 'registers': 4, 'image_size': 32}
  """
  shapes = {name: value.shape for name, value in tensors.items()}
  if len(shapes.get("patch_embed.proj.weight", ())) != 4:
    # `load_into` says what such a file lacks.
    return dict(stated)
  found = _from_shapes(shapes, usual)
  # timm calls the pooling of both tokens "token", too.
  told = ("image_size", "pool") if found["dist_token"] else ("image_size",)
  found |= {key: value for key, value in stated.items() if key not in told}
  found = {key: found[key] for key in found if key not in fixed}
  prefix = found.pop("prefix")
  if len(shapes.get("pos_embed", ())) == 3:
    patch = found.get("patch_size", usual.patch_size)
    grid, embedded = _grid(shapes["pos_embed"][1], prefix)
    side = stated.get("image_size")
    # The configuration's size may leave pixels at the border out.
    fits = isinstance(side, int) and side // patch == grid
    found["image_size"] = side if fits else grid * patch
    found["embed_prefix"] = embedded
  return {
    key: value for key, value in found.items() if value != getattr(usual, key)
  }


def _from_shapes(
  shapes: Mapping[str, tuple[int, ...]], usual: vit.Design
) -> dict[str, Any]:
  """Returns fields of a design, and `prefix`, the number of other tokens."""
  width, _, patch, _ = shapes["patch_embed.proj.weight"]
  blocks = [re.match(r"blocks\.(\d+)\.", name) for name in shapes]
  first = shapes.get("blocks.0.mlp.fc1.weight", (0,))[0]
  hidden = shapes.get("blocks.0.mlp.fc2.weight", (0, 0))[-1]
  gated = "blocks.0.mlp.fc1_g.weight" in shapes
  has_head, dist_head = "head.weight" in shapes, "head_dist.weight" in shapes
  tokens = {
    name: shapes.get(name, (1, 0))[1]
    for name in ("cls_token", "dist_token", "reg_token")
  }
  found: dict[str, Any] = {
    "width": width,
    "depth": 1 + max((int(block[1]) for block in blocks if block), default=-1),
    "patch_size": patch,
    "mlp_width": hidden,
    "mlp": "gated" if gated else "packed" if first == 2 * hidden else "plain",
    "class_token": tokens["cls_token"] == 1,
    "dist_token": tokens["dist_token"] == 1,
    "dist_head": dist_head,
    "registers": tokens["reg_token"],
    "prefix": sum(tokens.values()),
    "norm": next(
      (n for n in ("norm", "fc_norm") if f"{n}.weight" in shapes), ""
    ),
    "rms_norm": "blocks.0.norm1.bias" not in shapes,
    "pre_norm": "norm_pre.weight" in shapes,
    "patch_norm": "patch_embed.norm.weight" in shapes,
    "inner_norms": "blocks.0.mlp.norm.weight" in shapes,
    "layer_scale": "blocks.0.ls1.gamma" in shapes,
    "patch_bias": "patch_embed.proj.bias" in shapes,
    "qkv_bias": "blocks.0.attn.qkv.bias" in shapes,
    "proj_bias": "blocks.0.attn.proj.bias" in shapes,
  }
  if found["mlp"] != "plain":
    found["activation"] = "silu"
  if not usual.pool:
    found["pool"] = _pool(shapes, found, has_head)
  return found


def _pool(shapes, found, has_head):
  """Returns the pooling that tensors show, or "" for a design's usual one."""
  if "attn_pool.latent" in shapes:
    return "map"
  if has_head and shapes["head.weight"][-1] == 2 * found["width"]:
    return "token_avg"
  # timm moves the last norm behind the pooling if that is a mean.
  if found["class_token"] and found["norm"] == "fc_norm":
    return "avg"
  # transformers trains the first classifier alone, too.
  if found["dist_token"] and has_head and not found["dist_head"]:
    return "token"
  return ""


def _grid(tokens: int, prefix: int) -> tuple[int, bool]:
  """Returns the patches along a side, and whether other tokens are counted."""
  for other, embedded in ((prefix, True), (0, False), (1, True)):
    grid = math.isqrt(max(0, tokens - other))
    # One position before those of patches: the class token's, without those of
    # registers, as Meta has it. `adapt` adds it to the token.
    if tokens > other and grid**2 == tokens - other:
      return grid, embedded and other == prefix
  raise validation.InputError(
    f"pos_embed has {tokens} positions, {prefix} of them perhaps of other "
    "tokens than patches: images are no squares"
  )


def adapt(
  tensors: Mapping[str, np.ndarray],
  fields: Mapping[str, Any],
  *,
  usual: vit.Design,
  image_size: int,
  publisher: str | None,
  resample: str | None,
) -> tuple[dict[str, Any], dict[str, np.ndarray | None]]:
  """Brings the tensors of a file to a network, and to a size of images.

  Position embeddings are resampled as their publisher does: timm and DINOv2
  with registers average where the grid shrinks, transformers does not
  (timm 1.0.31, `layers/pos_embed.py`; transformers 5.24, `modeling_dinov2.py`).

  Args:
    tensors: of a file, by timm's names.
    fields: what `infer` returned.
    usual: design of the row.
    image_size: side of the images that the network is to take.
    publisher: the `model_type` of transformers; None for other publishers.
    resample: name of the filter; None if this network is never resampled.

  Returns:
    The fields for this size, and the tensors that change, None for those that
    are left out.

  Raises:
    InputError: if embeddings would have to be resampled, and are not.

  Example:
    >>> import numpy as np
    >>> from leep_jax.models import vit, vit_files
    >>> tensors = {"pos_embed": np.ones((1, 5, 8), np.float32)}
    >>> usual = vit.Design(width=64, image_size=32)
    >>> fields, changes = vit_files.adapt(
    ...   tensors, {}, usual=usual, image_size=48, publisher=None,
    ...   resample="bicubic")
    >>> fields, changes["pos_embed"].shape
    ({'image_size': 48}, (1, 10, 8))
  """
  design = dataclasses.replace(usual, **fields)
  changes: dict[str, np.ndarray | None] = {
    name: None
    for name in tensors
    # These are of pre-training, or of a pooling that is not asked for.
    if name == "mask_token"
    or (design.pooling != "map" and name.startswith("attn_pool."))
  }
  if "pos_embed" not in tensors:
    return dict(fields), changes
  embedding = tensors["pos_embed"]
  if not design.embed_prefix and embedding.shape[1] == design.grid**2 + 1:
    changes["cls_token"] = tensors["cls_token"] + embedding[:, :1]
    embedding = embedding[:, 1:]
    changes["pos_embed"] = embedding
  new = image_size // design.patch_size
  if new != design.grid:
    if resample is None or not new:
      raise validation.InputError(
        f"image_size is {image_size}, but these weights take images of "
        f"{design.image_size} pixels alone"
      )
    prefix = design.prefix * design.embed_prefix
    averages = publisher in (None, "dinov2_with_registers")
    changes["pos_embed"] = _resampled(
      embedding,
      prefix,
      (resize.matrix if averages else _sampled)(design.grid, new, resample),
    )
  return {**fields, "image_size": image_size}, changes


def _resampled(embedding, prefix, matrix):
  """Multiplies both axes of the grid of patches by a matrix."""
  grid = matrix.shape[1]
  patches = embedding[0, prefix:].astype(np.float64).reshape(grid, grid, -1)
  patches = np.einsum("ir,js,rsd->ijd", matrix, matrix, patches, optimize=True)
  patches = patches.reshape(-1, embedding.shape[2]).astype(embedding.dtype)
  return np.concatenate([embedding[0, :prefix], patches])[None]


def _sampled(size, new_size, interpolation):
  """The matrix of PyTorch's `interpolate` without `antialias`, bicubic."""
  del interpolation  # transformers has no other
  at = (np.arange(new_size) + 0.5) * (size / new_size) - 0.5
  first = np.floor(at).astype(int)
  weights = np.zeros((new_size, size))
  for offset in range(-1, 3):
    x = np.abs(at - first - offset)
    near = ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * _CUBIC
    # Pixels outside are those of the border.
    pixel = np.clip(first + offset, 0, size - 1)
    np.add.at(
      weights, (np.arange(new_size), pixel), np.where(x <= 1, near, far)
    )
  return weights
