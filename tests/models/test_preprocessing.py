"""Preprocessing against Pillow: geometry, kernels, levels, mistakes."""

import math

import jax
import marks
import numpy as np
import PIL.Image
import pytest

import leep_jax
from leep_jax.models import resize

INTERPOLATIONS = sorted(resize.INTERPOLATIONS)
# Height and width of images that shrink to 224 with every crop below.
SHRINK = [
  (375, 500), (500, 375), (300, 300), (257, 300), (448, 448), (900, 260),
]  # fmt: skip
SIZE = 224


def preprocessing(**options):
  """One that gives levels, so that they compare with Pillow's."""
  options = {"image_size": SIZE, "std": (1 / 255,) * 3, **options}
  return leep_jax.Preprocessing(**options)


def made(kind, height, width, rng):
  if kind == "noise":
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
  if kind == "black and white":  # where kernels overshoot and halves occur
    return 255 * rng.integers(0, 2, (height, width, 3), dtype=np.uint8)
  y, x, c = np.ogrid[:height, :width, :3]
  waves = 127 + 60 * np.sin(x / 17 + c) + 60 * np.cos(y / 23 - c)
  return waves.astype(np.uint8)


def evaluation(image, *, crop, interpolation, squash=False, size=SIZE):
  """torchvision's Resize and CenterCrop, with Pillow."""
  how = PIL.Image.Resampling[interpolation.upper()]
  height, width = image.shape[:2]
  short = math.floor(size / crop)
  if squash:
    new_width = new_height = short
  elif width <= height:
    new_width, new_height = short, int(short * height / width)
  else:
    new_width, new_height = int(short * width / height), short
  picture = PIL.Image.fromarray(image)
  # In one step, Pillow 13 begins images of more than 2:1 with their height.
  if height > 2 * width or squash:
    picture = picture.resize((new_width, height), how)
  picture = picture.resize((new_width, new_height), how)
  left = round((new_width - size) / 2.0)
  top = round((new_height - size) / 2.0)
  return np.asarray(picture.crop((left, top, left + size, top + size)))


def on_device(function, image):
  return np.asarray(jax.jit(function)(image[None]))[0]


def assert_same_levels(got, expected):
  difference = np.abs(got.astype(np.float64) - expected)
  assert difference.max() <= 1 + 1e-4
  assert (difference < 1e-3).mean() > 0.999


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(
  "kind", ["noise", *marks.exhaustive("black and white", "smooth")]
)
def test_shrinking_gives_the_levels_of_pillow(kind, interpolation, rng):
  crops = (1.0, 0.875, 0.95, 0.887)
  for i, shape in enumerate(SHRINK):
    image, crop = made(kind, *shape, rng), crops[i % 4]
    expected = evaluation(image, crop=crop, interpolation=interpolation)
    source = preprocessing(crop=crop, interpolation=interpolation)
    np.testing.assert_array_equal(source.fit(image), expected)
    assert_same_levels(on_device(source, image), expected)


@pytest.mark.parametrize("crop", [1.0, 0.875, 0.95, 0.887])
@pytest.mark.parametrize("shape", SHRINK)
def test_geometry_is_that_of_evaluation(shape, crop, rng):
  image = made("noise", *shape, rng)
  source = preprocessing(crop=crop, interpolation="bicubic")
  expected = evaluation(image, crop=crop, interpolation="bicubic")
  np.testing.assert_array_equal(source.fit(image), expected)
  assert_same_levels(on_device(source, image), expected)


@pytest.mark.parametrize("shape", [(375, 500), (300, 100), (100, 300)])
@pytest.mark.parametrize("crop", [1.0, 0.9])
def test_squash(shape, crop, rng):
  image = made("noise", *shape, rng)
  source = preprocessing(crop=crop, crop_mode="squash")
  expected = evaluation(image, crop=crop, interpolation="bilinear", squash=True)
  np.testing.assert_array_equal(source.fit(image), expected)
  # Also where one side shrinks and the other grows, levels are whole.
  assert_same_levels(on_device(source, image), expected)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_enlarging_keeps_what_pillow_rounds(interpolation, rng):
  image = made("black and white", 40, 53, rng)
  options = {"crop": 0.875, "interpolation": interpolation}
  source = preprocessing(**options)
  got = on_device(source, image)
  assert (got.min(), got.max()) == (0, 255)
  # Each of two passes rounds by half a level at most; negative lobes make more
  # of the first.
  slack = {"bicubic": 1.15, "lanczos": 1.3}.get(interpolation, 1.0)
  assert np.abs(got - evaluation(image, **options)).max() <= slack + 1e-4
  exact = source(image[None] / np.float32(255))[0]
  np.testing.assert_allclose(got, exact, atol=1e-3)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(
  ("shape", "options"),
  [
    ((40, 53, 3), {"crop": 0.875}),
    ((53, 40, 1), {}),
    ((31, 64, 4), {"crop": 0.9, "crop_mode": "squash"}),
    ((50, 64, 3), {"crop_mode": "squash"}),  # of the right width already
    ((30, 100, 3), {}),
  ],
)
def test_enlarged_on_host_as_on_device(shape, options, interpolation, rng):
  image = 255 * rng.integers(0, 2, shape, dtype=np.uint8)
  black, white = (0.0,) * shape[2], (1.0,) * shape[2]
  source = leep_jax.Preprocessing(
    64, black, white, interpolation=interpolation, **options
  )
  fitted = source.fit(image)
  assert (fitted.dtype, fitted.shape) == (np.float32, (64, 64, shape[2]))
  assert (fitted.min(), fitted.max()) == (0, 1)
  np.testing.assert_allclose(on_device(source, image), fitted, atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 64), (70, 64), (65, 65), (30, 100)])
def test_levels_stay_whole_where_nothing_or_one_side_grows(shape, rng):
  mode = "squash" if shape == (30, 100) else "center"
  source = preprocessing(image_size=64, crop_mode=mode)
  image = made("noise", *shape, rng)
  fitted = source.fit(image)
  assert (fitted.dtype, fitted.shape) == (np.uint8, (64, 64, 3))
  assert_same_levels(on_device(source, image), fitted)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(
  ("old", "new"),
  [
    ((37, 53), (16, 24)),
    ((17, 23), (60, 41)),
    ((30, 20), (10, 60)),
    ((50, 40), (5, 10)),
    ((9, 9), (9, 9)),
    ((1, 3), (4, 1)),
  ],
)
def test_matrices_are_those_of_pillow(old, new, interpolation, rng):
  image = rng.random(old, np.float32)
  how = PIL.Image.Resampling[interpolation.upper()]
  expected = np.asarray(PIL.Image.fromarray(image).resize(new[::-1], how))
  rows, columns = (
    resize.matrix(a, b, interpolation) for a, b in zip(old, new, strict=True)
  )
  assert rows.shape == (new[0], old[0])
  np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-12)
  np.testing.assert_allclose(rows @ image @ columns.T, expected, atol=1e-5)
  got = resize.resize(image[None, :, :, None], rows, columns)
  np.testing.assert_allclose(got[0, :, :, 0], expected, atol=1e-5)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("old", "new"), [(9, 32), (64, 20), (300, 7), (5, 5)])
def test_products_are_bands_to_the_last_bit(old, new, interpolation, rng):
  """What a TPU multiplies, and what a CPU does."""
  images = rng.integers(0, 256, (2, old, old, 3), np.uint8)
  images[0] = 255  # the largest sums
  matrix = resize.matrix(old, new, interpolation)
  options = {
    "rows": matrix[1:], "columns": matrix, "limit": 255, "rounded": True
  }  # fmt: skip
  bands = resize.by_bands(images, **options)
  assert np.array_equal(resize.by_products(images, **options), bands)
  options |= {"rounded": False, "limit": None}
  np.testing.assert_allclose(
    resize.by_products(images, **options),
    resize.by_bands(images, **options),
    atol=1e-4,
  )


def test_sums_that_a_float32_would_round_are_no_products():
  one = np.eye(1)
  assert resize._is_exact(one, resize.matrix(70, 1, "box"), 255)
  assert not resize._is_exact(one, resize.matrix(70_000, 1, "box"), 255)
  assert not resize._is_exact(one, one, None)  # the second axis is not limited


def test_a_tpu_multiplies_and_a_cpu_picks_pixels():
  matrix = resize.matrix(9, 32, "bicubic")

  def text(platform):
    traced = jax.jit(
      lambda x: resize.resize(x, matrix, matrix, limit=255, rounded=True)
    ).trace(jax.ShapeDtypeStruct((1, 9, 9, 3), np.uint8))
    return traced.lower(lowering_platforms=(platform,)).as_text()

  assert "gather" in text("cpu")
  assert "dot_general" not in text("cpu")
  assert "gather" not in text("tpu")
  assert "dot_general" in text("tpu")


def test_floats_are_clipped_where_they_have_a_range(rng):
  image = rng.integers(0, 2, (1, 20, 20, 3)).astype(np.float32)
  options = {"image_size": 40, "interpolation": "lanczos"}
  got = leep_jax.Preprocessing(std=(0.5,) * 3, **options)(image)
  assert (got.min(), got.max()) == (0, 2)
  free = leep_jax.Preprocessing(**options)(image)
  assert free.min() < -0.01
  assert free.max() > 1.01


def test_floats_that_shrink_are_not_rounded(rng):
  image = made("noise", 60, 80, rng)
  source = preprocessing(image_size=20)
  levels = on_device(source, image)
  floats = on_device(source, (image / 255).astype(np.float32))
  np.testing.assert_array_equal(levels, np.rint(levels))
  assert np.abs(floats - np.rint(floats)).max() > 0.4
  np.testing.assert_allclose(floats, levels, atol=1)


def test_grey_images_have_equal_channels(rng):
  image = made("noise", 300, 257, rng)[..., :1]
  source = preprocessing(crop=0.875)
  got = on_device(source, image)
  expected = source.fit(image)
  assert expected.shape == (SIZE, SIZE, 1)
  np.testing.assert_allclose(got, np.repeat(expected, 3, axis=2), atol=1e-4)


@pytest.mark.parametrize("channels", [2, 4])
def test_no_channel_is_taken_for_alpha(channels, rng):
  image = rng.integers(0, 256, (40, 50, channels), dtype=np.uint8)
  source = preprocessing(
    image_size=20, mean=(0.0,) * channels, std=(1 / 255,) * channels
  )
  np.testing.assert_allclose(
    on_device(source, image), source.fit(image), atol=1e-4
  )


def test_nothing_is_done_where_nothing_is_to_do(rng):
  image = made("noise", 32, 32, rng)
  source = preprocessing(image_size=32, interpolation="lanczos")
  np.testing.assert_array_equal(source.fit(image), image)
  levels = leep_jax.Preprocessing(image_size=32, interpolation="lanczos")
  np.testing.assert_allclose(on_device(levels, image), image / 255, rtol=1e-6)
  # Of the right height already: cropped and no more.
  wide = made("noise", 32, 45, rng)
  np.testing.assert_array_equal(source.fit(wide), wide[:, 6:38])
  np.testing.assert_allclose(on_device(source, wide), wide[:, 6:38], atol=1e-4)


def test_what_is_left_after_fitting(rng):
  source = preprocessing(crop=0.875, crop_mode="squash", mean=(0.5, 0.4, 0.3))
  fitted = source.fit(made("noise", 300, 400, rng))
  got = source.fitted(fitted[None])[0]
  np.testing.assert_allclose(
    got, (fitted / 255 - [0.5, 0.4, 0.3]) * 255, atol=1e-3
  )


def test_images_of_several_sizes_are_fitted_once(rng):
  images = [made("noise", *shape, rng) for shape in SHRINK]
  dataset = leep_jax.Dataset(
    name="made",
    split="all",
    num_classes=2,
    indices=np.arange(len(images)),
    image_shape=None,
    fetch=lambda i: ([images[j] for j in i], i % 2),
  )
  source = leep_jax.Source(
    "flat", lambda s, x: (x[:, 0, 0], x.reshape(len(x), -1)), (),
    preprocessing(crop=0.875),
  )  # fmt: skip
  features = leep_jax.compute_outputs(source, dataset).features
  for got, image in zip(features, images, strict=True):
    expected = evaluation(image, crop=0.875, interpolation="bilinear")
    np.testing.assert_allclose(got, expected.ravel(), atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_small_and_large_images_as_each_is_on_the_device(channels, rng):
  shapes = [(300, 400), (20, 30), (64, 64), (50, 90), (90, 50), (200, 65)]
  images = [made("noise", *shape, rng)[..., :channels] for shape in shapes]
  dataset = leep_jax.Dataset(
    name="made",
    split="all",
    num_classes=2,
    indices=np.arange(len(images)),
    image_shape=None,
    fetch=lambda i: ([images[j] for j in i], i % 2),
  )
  source = leep_jax.Preprocessing(64)
  # Batches of one type and of both.
  for batch_size, dtypes in ((6, "f"), (1, "ufuffu"), (2, "fff")):
    batches = list(dataset.batches(batch_size, fit=source.fit))
    assert "".join(batch.dtype.kind for batch, _ in batches) == dtypes
    fitted = [source.fitted(batch) for batch, _ in batches]
    for got, image in zip(np.concatenate(fitted), images, strict=True):
      np.testing.assert_allclose(got, on_device(source, image), atol=1e-6)


def test_preprocessing_repeats_resizes_and_normalises(rng):
  source = leep_jax.Preprocessing(
    image_size=4, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125)
  )
  images = rng.integers(0, 256, (2, 2, 2, 1), dtype=np.uint8)
  got = source(images)
  assert got.shape == (2, 4, 4, 3)
  # Bilinear with half-pixel centres: weights 1, 3/4, 1/4, 0 along each axis.
  weight = np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
  grey = np.einsum("yh,bhw,xw->byx", weight, images[..., 0] / 255, weight)
  expected = (grey[..., None] - [0.1, 0.2, 0.3]) / [0.5, 0.25, 0.125]
  np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"std": (0.5, 0.5, 0)}, "std above 0"),
    ({"image_size": 0}, "image_size is 0, but must be an integer from 1"),
    ({"crop": 0}, "crop is 0, but must be above 0 and at most 1"),
    ({"crop": 87.5}, "crop is 87.5, .* at most 1: is it in percent"),
    ({"crop": float("nan")}, "crop is nan, but"),
    ({"crop": "0.875"}, "crop is '0.875', but"),
    ({"interpolation": "cubic"}, "interpolation 'cubic'; did you mean bicubic"),
    ({"interpolation": 3}, "unknown interpolation '3'; known: bicubic, .*box"),
    ({"crop_mode": "no"}, "unknown crop_mode 'no'"),
    ({"crop_origin": "ceil"}, "unknown crop_origin 'ceil'; known: floor, roun"),
    ({"mean": (123.675, 116.28, 103.53)}, "mean 123.675 is on the scale 0..25"),
    ({"crop": 0.5, "image_size": None}, "crop is 0.5, but image_size is None"),
    (
      {"crop_mode": "squash", "image_size": None},
      "crop_mode is squash, but image_size is",
    ),
  ],
)
def test_bad_preprocessing(options, message):
  with pytest.raises(leep_jax.InputError, match=message) as caught:
    preprocessing(**options)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("mean", "std", "message"),
  [
    (123.675, 58.395, "mean 123.675 is .* divide by 255, and std too; here"),
    (123.675, 1.0, "mean 123.675 is .* divide by 255, and std too"),  # Caffe
    (124, 0.229, "mean 124 is on the scale 0..255: divide by 255; here"),
    (0.485, 58.395, "std 58.395 is on the scale 0..255: divide by 255; h"),
    (0.0, 255, "std 255 is on the scale 0..255: divide by 255; here"),
    (-103.9, 1.0, "mean -103.9 is on the scale 0..255"),
  ],
)
def test_numbers_on_the_scale_of_8_bits_are_refused(mean, std, message):
  with pytest.raises(leep_jax.InputError, match=message):
    preprocessing(mean=(mean,) * 3, std=(std,) * 3)


@pytest.mark.parametrize(
  ("mean", "std"), [(0, 1), (0, 1 / 255), (0.5, 0.5), (1.0000001, 1), (1, 0.1)]
)
def test_numbers_of_pixels_from_0_to_1_are_not(mean, std):
  preprocessing(mean=(mean,) * 3, std=(std,) * 3)


def test_images_that_cannot_be_fitted():
  image = np.zeros((4, 4, 3), np.uint8)
  with pytest.raises(leep_jax.InputError, match="image_size is None: which"):
    preprocessing(image_size=None).fit(image)
  for bad in (image[0], image[:0], image / 255):
    with pytest.raises(leep_jax.InputError, match="not uint8 of shape .H, W, "):
      preprocessing().fit(bad)
  with pytest.raises(leep_jax.InputError, match="unknown interpolation 'area'"):
    resize.matrix(4, 4, "area")


def test_any_range():
  assert leep_jax.Preprocessing(mean=[0, 0, 0], std=[1, 1, 1]).takes_any_range
  assert not preprocessing().takes_any_range


@pytest.mark.parametrize("shape", [(1, 500, 3), (500, 1, 3)])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_thin_images_keep_a_pixel(shape, mode):
  fitted = leep_jax.Preprocessing(image_size=32, crop_mode=mode).fit(
    np.full(shape, 9, np.uint8)
  )
  assert fitted.shape == (32, 32, 3)
