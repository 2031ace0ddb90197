"""Vision transformers (Dosovitskiy et al., 2021) in Flax NNX, one for all.

`Design` says how the networks of AugReg, DeiT, DINO, DINOv2, MAE, I-JEPA, CLIP,
SigLIP, BEiT-3, AIMv2 and others differ. Attributes are named as in timm. The
position embedding fixes the image's size. `vit_files.py` reads a design from
the tensors of a file, `vit_rows.py` has the table of what they do not tell.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from leep_jax import validation
from leep_jax.models import layers

# JAX's GELU is the approximation by tanh unless told otherwise.
ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
  "gelu": functools.partial(jax.nn.gelu, approximate=False),
  "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
  "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
  "silu": jax.nn.silu,
}
# Features are the class token; the mean of the patches; both, one after the
# other; the mean of class and distillation token; or what a learnt query finds.
POOLS = ("token", "avg", "token_avg", "distilled", "map")
_HEAD_WIDTH = 64
# Published networks of these widths have 16 heads.
_SIXTEEN_HEADS = (1152, 1280, 1408, 1664)


@dataclasses.dataclass(frozen=True)
class Design:
  """How one vision transformer differs from others.

  Attributes:
    width: number of features of a token.
    depth: number of blocks.
    patch_size: side of a patch, in pixels.
    image_size: side of an image, in pixels.
    mlp_width: number of inputs of an MLP's last layer.
    num_heads: of attention; None for `width / head_width`.
    head_width: None for 64, or the width that has 16 heads in published
      networks of 1152, 1280, 1408 and 1664 features.
    activation: of MLPs, one of `ACTIVATIONS`.
    mlp: `plain`; or with a gate, the product of two layers' outputs: `packed`
      where one tensor has both layers, else `gated`.
    class_token: whether there is one.
    dist_token: whether a distillation token comes after it.
    dist_head: whether that token has a classifier; logits are then the mean.
    registers: number of further tokens before the patches.
    embed_prefix: whether these tokens have position embeddings, too.
    pool: one of `POOLS`; empty where the other fields decide.
    pool_prefix: whether the learnt query attends to tokens that are no patches.
    norm: of the last layer: `norm` before pooling, `fc_norm` after it, or
      empty for none.
    norm_eps: added to variances.
    rms_norm: whether norms divide by the root mean square alone.
    pre_norm: whether there is a norm before the first block.
    patch_norm: whether there is a norm before position embeddings are added.
    inner_norms: whether there is a norm inside attention and MLP.
    post_norm: whether a block's norms come after attention and MLP.
    layer_scale: whether branches are scaled by a number for each feature.
    patch_bias: whether the layer that embeds patches has a bias.
    qkv_bias: whether queries, keys and values have one.
    proj_bias: whether the other layers of a block have one.

  Raises:
    InputError: if the heads do not divide the width, or a name is unknown.

  Example:
    >>> from leep_jax.models import vit
    >>> design = vit.Design(width=384, depth=6, patch_size=32)
    >>> design.heads, design.grid, design.prefix, design.pooling
    (6, 7, 1, 'token')
  """

  width: int = 768
  depth: int = 12
  patch_size: int = 16
  image_size: int = 224
  mlp_width: int = 3072
  num_heads: int | None = None
  head_width: int | None = None
  activation: str = "gelu"
  mlp: str = "plain"
  class_token: bool = True
  dist_token: bool = False
  dist_head: bool = False
  registers: int = 0
  embed_prefix: bool = True
  pool: str = ""
  pool_prefix: bool = False
  norm: str = "norm"
  norm_eps: float = 1e-6
  rms_norm: bool = False
  pre_norm: bool = False
  patch_norm: bool = False
  inner_norms: bool = False
  post_norm: bool = False
  layer_scale: bool = False
  patch_bias: bool = True
  qkv_bias: bool = True
  proj_bias: bool = True

  def __post_init__(self) -> None:
    if self.num_heads is not None:
      validation.at_least_1("num_heads", self.num_heads)
    if self.width % self.heads:
      raise validation.InputError(
        f"num_heads is {self.heads}, but must divide the width {self.width}"
      )
    if self.activation not in ACTIVATIONS:
      raise validation.unknown("activation", self.activation, ACTIVATIONS)
    if self.pooling not in POOLS:
      raise validation.unknown("pooling", self.pool, POOLS)
    if not self.class_token and self.pooling in ("token", "token_avg"):
      raise validation.InputError(
        f"the pooling is {self.pool!r}, but there is no class token"
      )

  @property
  def heads(self) -> int:
    """Number of attention heads."""
    if self.num_heads is not None:
      return self.num_heads
    if self.head_width is None and self.width in _SIXTEEN_HEADS:
      return 16
    return max(1, self.width // (self.head_width or _HEAD_WIDTH))

  @property
  def grid(self) -> int:
    """Number of patches along a side."""
    return self.image_size // self.patch_size

  @property
  def prefix(self) -> int:
    """Number of tokens before the patches."""
    return self.class_token + self.dist_token + self.registers

  @property
  def pooling(self) -> str:
    """What features are, one of `POOLS`."""
    usual = "distilled" if self.dist_token else "token"
    return self.pool or (usual if self.class_token else "avg")


def _norm(design: Design, width: int, rngs: nnx.Rngs) -> nnx.Module:
  kind = nnx.RMSNorm if design.rms_norm else nnx.LayerNorm
  return kind(width, epsilon=design.norm_eps, rngs=rngs)


def _attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
  """Attention of `[B, T, H, D / H]`, as `[B, T, D]`."""
  # This function divides by the square root of a head's width, as ViT does.
  mixed = jax.nn.dot_product_attention(q, k, v)
  return mixed.reshape(*mixed.shape[:2], -1)


class Attention(nnx.Module):
  """Multi-head self-attention; queries, keys and values from one product.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import vit
    >>> attention = vit.Attention(vit.Design(width=128), rngs=nnx.Rngs(0))
    >>> attention(jnp.ones((2, 5, 128))).shape
    (2, 5, 128)
  """

  def __init__(self, design: Design, *, rngs: nnx.Rngs):
    width = design.width
    self.heads = design.heads
    self.qkv = nnx.Linear(width, 3 * width, use_bias=design.qkv_bias, rngs=rngs)
    if design.inner_norms:
      self.norm = _norm(design, width, rngs)
    self.proj = nnx.Linear(width, width, use_bias=design.proj_bias, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    batch, tokens, width = x.shape
    # The outputs of `qkv` are all queries, then all keys, then all values, each
    # head by head: the layout of timm's weights.
    shape = (batch, tokens, 3, self.heads, width // self.heads)
    x = _attend(*jnp.moveaxis(self.qkv(x).reshape(shape), 2, 0))
    return self.proj(self.norm(x) if hasattr(self, "norm") else x)


class AttentionPool(nnx.Module):
  """Attention of one learnt query to all tokens, then an MLP (SigLIP).

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import vit
    >>> design = vit.Design(width=128, mlp_width=512)
    >>> pool = vit.AttentionPool(design, rngs=nnx.Rngs(0))
    >>> pool(jnp.ones((2, 5, 128))).shape
    (2, 128)
  """

  def __init__(self, design: Design, *, rngs: nnx.Rngs):
    width = design.width
    self.heads = design.heads
    init = nnx.initializers.normal(width**-0.5)
    self.latent = nnx.Param(init(rngs.params(), (1, 1, width)))
    self.q = nnx.Linear(width, width, rngs=rngs)
    self.kv = nnx.Linear(width, 2 * width, rngs=rngs)
    self.proj = nnx.Linear(width, width, rngs=rngs)
    self.norm = _norm(design, width, rngs)
    self.mlp = Mlp(
      dataclasses.replace(design, mlp="plain", inner_norms=False), rngs=rngs
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    batch, tokens, width = x.shape
    shape = (self.heads, width // self.heads)
    q = self.q(self.latent[...].astype(x.dtype)).reshape(1, 1, *shape)
    k, v = jnp.moveaxis(self.kv(x).reshape(batch, tokens, 2, *shape), 2, 0)
    x = self.proj(_attend(jnp.broadcast_to(q, (batch, *q.shape[1:])), k, v))
    return (x + self.mlp(self.norm(x)))[:, 0]


class Mlp(nnx.Module):
  """Two fully connected layers, the first perhaps with a gate.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import vit
    >>> design = vit.Design(width=64, mlp_width=96, mlp="packed")
    >>> mlp = vit.Mlp(design, rngs=nnx.Rngs(0))
    >>> mlp.fc1.kernel.shape, mlp(jnp.ones((2, 5, 64))).shape
    ((64, 192), (2, 5, 64))
  """

  def __init__(self, design: Design, *, rngs: nnx.Rngs):
    self.activation = design.activation
    self.kind = design.mlp
    bias = design.proj_bias

    def first(factor):
      hidden = factor * design.mlp_width
      return nnx.Linear(design.width, hidden, use_bias=bias, rngs=rngs)

    if self.kind == "gated":
      self.fc1_g, self.fc1_x = first(1), first(1)
    else:
      self.fc1 = first(2 if self.kind == "packed" else 1)
    if design.inner_norms:
      self.norm = _norm(design, design.mlp_width, rngs)
    self.fc2 = nnx.Linear(
      design.mlp_width, design.width, use_bias=bias, rngs=rngs
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    activation = ACTIVATIONS[self.activation]
    if self.kind == "gated":
      x = activation(self.fc1_g(x)) * self.fc1_x(x)
    elif self.kind == "packed":
      gate, x = jnp.split(self.fc1(x), 2, axis=-1)
      x = activation(gate) * x
    else:
      x = activation(self.fc1(x))
    return self.fc2(self.norm(x) if hasattr(self, "norm") else x)


class Block(nnx.Module):
  """Attention and an MLP, each with a norm and a shortcut.

  Example:
    >>> from flax import nnx
    >>> import jax.numpy as jnp
    >>> from leep_jax.models import vit
    >>> block = vit.Block(vit.Design(width=128), rngs=nnx.Rngs(0))
    >>> block(jnp.ones((2, 5, 128))).shape
    (2, 5, 128)
  """

  def __init__(self, design: Design, *, rngs: nnx.Rngs):
    self.post_norm = design.post_norm
    self.norm1 = _norm(design, design.width, rngs)
    self.attn = Attention(design, rngs=rngs)
    self.norm2 = _norm(design, design.width, rngs)
    self.mlp = Mlp(design, rngs=rngs)
    self.layer_scale = design.layer_scale
    if design.layer_scale:
      self.ls1, self.ls2 = (
        nnx.Dict(gamma=nnx.Param(jnp.full(design.width, 1e-5)))
        for _ in range(2)
      )

  def __call__(self, x: jax.Array) -> jax.Array:
    if self.post_norm:
      x = x + self.norm1(self.attn(x))
      return x + self.norm2(self.mlp(x))
    if self.layer_scale:
      gammas = [
        scale.gamma[...].astype(x.dtype) for scale in (self.ls1, self.ls2)
      ]
      first, second = (gamma[None, None] for gamma in gammas)
      x = x + first * self.attn(self.norm1(x))
      return x + second * self.mlp(self.norm2(x))
    x = x + self.attn(self.norm1(x))
    return x + self.mlp(self.norm2(x))


class VisionTransformer(nnx.Module):
  """On images `[B, S, S, 3]`: logits `[B, Z]`, features `[B, D]`.

  Args:
    usual: the design.
    num_classes: number of source classes, Z.
    rngs: of the initial weights.
    **changes: fields of the design that differ.

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
    self, usual: Design, num_classes: int, *, rngs: nnx.Rngs, **changes: Any
  ):
    design = dataclasses.replace(usual, **changes)
    width, patch = design.width, design.patch_size
    self.design = design
    self.patch_embed = nnx.Dict(
      proj=layers.conv(
        3,
        width,
        patch,
        stride=patch,
        padding=0,
        use_bias=design.patch_bias,
        rngs=rngs,
      )
    )
    if design.patch_norm:
      self.patch_embed["norm"] = _norm(design, width, rngs)
    init = nnx.initializers.normal(0.02)
    for name, count in _prefix(design):
      value = jnp.zeros((1, count, width))
      if name != "cls_token":
        value = init(rngs.params(), value.shape)
      setattr(self, name, nnx.Param(value))
    tokens = design.grid**2 + design.prefix * design.embed_prefix
    self.pos_embed = nnx.Param(init(rngs.params(), (1, tokens, width)))
    if design.pre_norm:
      self.norm_pre = _norm(design, width, rngs)
    self.blocks = nnx.List(
      [Block(design, rngs=rngs) for _ in range(design.depth)]
    )
    if design.norm == "norm":
      self.norm = _norm(design, width, rngs)
    elif design.norm:
      self.fc_norm = _norm(design, width, rngs)
    if design.pooling == "map":
      self.attn_pool = AttentionPool(design, rngs=rngs)
    outputs = 2 * width if design.pooling == "token_avg" else width
    self.head = layers.head(outputs, num_classes, rngs=rngs)
    if design.dist_head:
      self.head_dist = layers.head(width, num_classes, rngs=rngs)

  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = self._embed(x)
    for block in self.blocks:
      x = block(x)
    features, *dist = self._pool(x)
    if self.design.norm == "fc_norm":
      features = self.fc_norm(features)
    logits = self.head(features)
    if self.design.dist_head:
      # Each of the two tokens has a classifier of its own.
      tokens = dist[0]
      logits = (self.head(tokens[:, 0]) + self.head_dist(tokens[:, 1])) / 2
    return logits, features

  def _embed(self, x: jax.Array) -> jax.Array:
    """Returns the tokens that the first block takes, `[B, T, D]`."""
    design = self.design
    x = self.patch_embed.proj(x)
    batch, rows, columns, width = x.shape
    # Patches row by row, the order of the position embeddings.
    x = x.reshape(batch, rows * columns, width)
    if design.patch_norm:
      x = self.patch_embed.norm(x)
    # Cast, as the parameters may have another type than the images.
    position = self.pos_embed[...].astype(x.dtype)
    if not design.embed_prefix:
      x = x + position
    before = [
      jnp.broadcast_to(getattr(self, name)[...], (batch, count, width))
      for name, count in _prefix(design)
    ]
    x = jnp.concatenate([*(t.astype(x.dtype) for t in before), x], axis=1)
    if design.embed_prefix:
      x = x + position
    return self.norm_pre(x) if design.pre_norm else x

  def _pool(self, x: jax.Array) -> tuple[jax.Array, ...]:
    """Returns features, and the tokens that both classifiers read."""
    pooling, prefix = self.design.pooling, self.design.prefix
    # A norm acts on each token by itself: those that are read will do.
    if pooling in ("token", "distilled"):
      x = x[:, : 1 if pooling == "token" else 2]
    elif pooling == "avg" or (pooling == "map" and not self.design.pool_prefix):
      x = x[:, prefix:]
    if self.design.norm == "norm":
      x = self.norm(x)
    if pooling == "token":
      return (x[:, 0],)
    if pooling == "distilled":
      return _mean(x), x
    if pooling == "map":
      return (self.attn_pool(x),)
    if pooling == "avg":
      return (_mean(x),)
    both = [x[:, 0].astype(jnp.float32), _mean(x[:, prefix:])]
    return (jnp.concatenate(both, axis=-1),)


def _mean(x: jax.Array) -> jax.Array:
  """The mean of tokens in float32, which scores read."""
  return jnp.mean(x, axis=1, dtype=jnp.float32)


def _prefix(design: Design) -> list[tuple[str, int]]:
  """Names of the tokens before the patches, and how many each name has."""
  tokens = (
    ("cls_token", int(design.class_token)),
    ("dist_token", int(design.dist_token)),
    ("reg_token", design.registers),
  )
  return [(name, count) for name, count in tokens if count]
