"""What networks of timm compute, to compare with."""

import numpy as np
import publishers

import leep_jax


def preprocessing(name):
  """The preprocessing that timm states for the weights of a name."""
  stated = publishers.load("timm").get_pretrained_cfg(name)
  return leep_jax.Preprocessing(
    image_size=stated.input_size[1:],
    mean=stated.mean,
    std=stated.std,
    crop=stated.crop_pct,
    interpolation=stated.interpolation,
    crop_mode=stated.crop_mode,
  )


def images(side, *, seed=0):
  """Two images of noise, normalised."""
  drawn = np.random.default_rng(seed).normal(size=(2, side, side, 3))
  return drawn.astype(np.float32)


def outputs(model, images):
  """Logits and features of images `[B, H, W, 3]`; without a head both are."""
  import torch

  with torch.no_grad():
    maps = model.forward_features(torch.tensor(images.transpose(0, 3, 1, 2)))
    features = model.forward_head(maps, pre_logits=True).numpy()
    return model.forward_head(maps).numpy(), features


def close(got, expected):
  """Checks numbers, to 1e-4 of the largest."""
  got, expected = np.asarray(got), np.asarray(expected)
  scale = np.abs(expected).max()
  np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * scale)
