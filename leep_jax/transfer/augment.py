"""Random shifts and mirror images of a training batch, on the device."""

import jax
import jax.numpy as jnp


def augment(
  keys: jax.Array, images: jax.Array, *, shift: int, flip: bool
) -> jax.Array:
  """Shifts each image by up to `shift` pixels, over zeros; flips half of them.

  Args:
    keys: `[B]`, a key for each image.
    images: `[B, H, W, C]`.
    shift: largest shift in each direction, in pixels.
    flip: whether images are mirrored, each with probability 1/2.

  Returns:
    `[B, H, W, C]`.

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from leep_jax.transfer import augment
    >>> images = jnp.ones((2, 4, 4, 3))
    >>> keys = augment.keys(jax.random.key(0), 0, 2)
    >>> augment.augment(keys, images, shift=1, flip=True).shape
    (2, 4, 4, 3)
  """
  if not shift and not flip:
    return images
  _, height, width, channels = images.shape
  # A window of the padded image is a shifted image: the offset `shift` is the
  # image itself.
  margins = ((0, 0), (shift, shift), (shift, shift), (0, 0))
  padded = jnp.pad(images, margins)

  def one(key, image):
    shift_key, flip_key = jax.random.split(key)
    top, left = jax.random.randint(shift_key, (2,), 0, 2 * shift + 1)
    image = jax.lax.dynamic_slice(
      image, (top, left, 0), (height, width, channels)
    )
    mirrored = flip & jax.random.bernoulli(flip_key)
    return jnp.where(mirrored, image[:, ::-1], image)

  augmented: jax.Array = jax.vmap(one)(keys, padded)
  return augmented


def keys(root: jax.Array, first: jax.Array | int, count: int) -> jax.Array:
  """Returns the keys of the examples of a batch that one device holds.

  A key depends on the position in the batch alone. So the augmentation is the
  same on any number of devices.

  Args:
    root: key of the batch.
    first: position in the batch of the device's first example.
    count: number of examples on the device.

  Returns:
    `[count]` keys.

  Example:
    >>> import jax
    >>> from leep_jax.transfer import augment
    >>> root = jax.random.key(0)
    >>> batch = augment.keys(root, 0, 4)
    >>> second_device = augment.keys(root, 2, 2)
    >>> bool((batch[2:] == second_device).all())
    True
  """
  positions = first + jnp.arange(count)
  return jax.vmap(jax.random.fold_in, (None, 0))(root, positions)
