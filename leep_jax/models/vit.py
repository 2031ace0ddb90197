"""Vision transformers with a class token (Dosovitskiy et al., 2021), Flax NNX.

S/16 and B/16 for images of 224 pixels, named as in timm; files of torchvision
and transformers are read too. The position embedding fixes the image's size.
"""

import functools

from flax import nnx
import jax
import jax.numpy as jnp

from leep_jax import validation
from leep_jax.models import layers
from leep_jax.models.architecture import Architecture, Names, imagenet

_DEPTH = 12
_HEAD_WIDTH = 64  # of the paper's networks, unless a configuration says another
_PATCH = 16  # side of a patch, in pixels
_IMAGE_SIZE = 224


class Attention(nnx.Module):
  """Multi-head self-attention; queries, keys and values from one product.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import vit
    >>> attention = vit.Attention(128, None, rngs=nnx.Rngs(0))
    >>> attention(jnp.ones((2, 5, 128))).shape
    (2, 5, 128)
  """

  def __init__(self, width: int, num_heads: int | None, *, rngs: nnx.Rngs):
    if num_heads is not None and width % validation.at_least_1(
      "num_heads", num_heads
    ):
      raise validation.InputError(
        f"num_heads is {num_heads}, but must divide the width {width}"
      )
    self.num_heads = num_heads
    self.qkv = nnx.Linear(width, 3 * width, rngs=rngs)
    self.proj = nnx.Linear(width, width, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    batch, tokens, width = x.shape
    heads = self.num_heads or width // _HEAD_WIDTH
    # The outputs of `qkv` are all queries, then all keys, then all values, each
    # head by head: the layout of timm's weights.
    shape = (batch, tokens, 3, heads, width // heads)
    q, k, v = jnp.moveaxis(self.qkv(x).reshape(shape), 2, 0)
    # This function divides by the square root of a head's width, as ViT does.
    mixed = jax.nn.dot_product_attention(q, k, v)
    return self.proj(mixed.reshape(batch, tokens, width))


class Block(nnx.Module):
  """Attention and an MLP, each with a norm before it and a shortcut.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import vit
    >>> block = vit.Block(128, None, eps=1e-6, rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 5, 128))).shape
    (2, 5, 128)
  """

  def __init__(
    self, width: int, num_heads: int | None, *, eps: float, rngs: nnx.Rngs
  ):
    self.norm1 = nnx.LayerNorm(width, epsilon=eps, rngs=rngs)
    self.attn = Attention(width, num_heads, rngs=rngs)
    self.norm2 = nnx.LayerNorm(width, epsilon=eps, rngs=rngs)
    self.mlp = layers.Mlp(width, 4 * width, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    x = x + self.attn(self.norm1(x))
    return x + self.mlp(self.norm2(x))


class VisionTransformer(nnx.Module):
  """On images `[B, 224, 224, 3]`: logits `[B, Z]`, features `[B, D]`.

  The features are the normalised class token. Attention heads have a width of
  64 unless `num_heads` is given: no tensor's shape tells how many there are.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.sources import catalog
    >>> model = catalog.shapes("vit_small_16", 10)  # no values
    >>> images = jnp.zeros((2, 224, 224, 3))
    >>> logits, features = nnx.eval_shape(lambda m: m(images), model)
    >>> logits.shape, features.shape
    ((2, 10), (2, 384))
  """

  def __init__(
    self,
    width: int,
    num_classes: int,
    *,
    norm_eps: float = 1e-6,
    num_heads: int | None = None,
    rngs: nnx.Rngs,
  ):
    self.patch_embed = nnx.Dict(
      proj=layers.conv(
        3, width, _PATCH, stride=_PATCH, padding=0, use_bias=True, rngs=rngs
      )
    )
    # The patches, and the class token before them.
    tokens = (_IMAGE_SIZE // _PATCH) ** 2 + 1
    init = nnx.initializers.normal(0.02)
    self.cls_token = nnx.Param(jnp.zeros((1, 1, width)))
    self.pos_embed = nnx.Param(init(rngs.params(), (1, tokens, width)))
    self.blocks = nnx.List(
      [Block(width, num_heads, eps=norm_eps, rngs=rngs) for _ in range(_DEPTH)]
    )
    self.norm = nnx.LayerNorm(width, epsilon=norm_eps, rngs=rngs)
    self.head = layers.head(width, num_classes, rngs=rngs)

  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = self.patch_embed.proj(x)
    batch, rows, columns, width = x.shape
    # Patches row by row, the order of the position embeddings.
    x = x.reshape(batch, rows * columns, width)
    # Cast, as the parameters may have another type than the images.
    token = jnp.broadcast_to(self.cls_token[...], (batch, 1, width))
    x = jnp.concatenate([token.astype(x.dtype), x], axis=1)
    x = x + self.pos_embed[...]
    for block in self.blocks:
      x = block(x)
    # The norm acts on each token by itself: that of the class token will do.
    features = self.norm(x[:, 0])
    return self.head(features), features


# transformers has three tensors for queries, keys and values: pieces of `qkv`.
_TRANSFORMERS: Names = (
  (r"^vit\.embeddings\.cls_token$", "cls_token"),
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
  (r"^vit\.layernorm\.", "norm."),
  (r"^classifier\.", "head."),
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

ARCHITECTURES = {
  f"vit_{name}_16": Architecture(
    build=functools.partial(VisionTransformer, width),
    head="head.weight",
    # timm's evaluation of Google's weights.
    preprocessing=imagenet(mean=(0.5,) * 3, std=(0.5,) * 3, crop=0.9),
    min_image_size=_IMAGE_SIZE,
    fixed_image_size=True,
    names=_TRANSFORMERS + _TORCHVISION + _GOOGLE,
    options=("norm_eps", "num_heads"),
    stated={
      "hidden_size": width,
      "intermediate_size": 4 * width,
      "num_hidden_layers": _DEPTH,
      "patch_size": _PATCH,
      "image_size": _IMAGE_SIZE,
      # timm's names
      "embed_dim": width,
      "depth": _DEPTH,
      "img_size": _IMAGE_SIZE,
    },
    timm=tuple(f"{kind}_{name}_patch16_224" for kind in ("vit", "deit")),
    transformers="vit",
    pool="token",
  )
  for name, width in (("small", 384), ("base", 768))
}
