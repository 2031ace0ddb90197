"""Random shifts and mirror images of a training batch, on the device."""

import jax
import jax.numpy as jnp


def augment(
  keys: jax.Array, images: jax.Array, *, crop: int, flip: bool
) -> jax.Array:
  """Shifts each image by up to `crop` pixels, over zeros; flips half of them.

  Args:
    keys: `[B]`, one an image, so that the device it is on does not matter.
    images: `[B, H, W, C]`.
    crop: largest shift, in pixels.
    flip: whether images are mirrored.
  """
  if not crop and not flip:
    return images
  _, height, width, channels = images.shape
  padded = jnp.pad(images, ((0, 0), (crop, crop), (crop, crop), (0, 0)))

  def one(key, image):
    shift_key, flip_key = jax.random.split(key)
    top, left = jax.random.randint(shift_key, (2,), 0, 2 * crop + 1)
    image = jax.lax.dynamic_slice(
      image, (top, left, 0), (height, width, channels)
    )
    mirrored = flip & jax.random.bernoulli(flip_key)
    return jnp.where(mirrored, image[:, ::-1], image)

  return jax.vmap(one)(keys, padded)


def keys(root: jax.Array, first: jax.Array | int, count: int) -> jax.Array:
  """Returns the keys of the examples of a batch that are on one device.

  Args:
    root: of the batch.
    first: index in the batch of the first of them.
    count: of examples.
  """
  return jax.vmap(jax.random.fold_in, (None, 0))(
    root, first + jnp.arange(count)
  )
