"""Models of Flax Linen, Haiku and Equinox as sources."""

from flax import linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import leep_jax
from leep_jax import sources, transfer

PREPROCESSING = leep_jax.Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3)
CLASSES, WIDTH, SIDE = 5, 6, 8


class Linen(linen.Module):
  """A network with BatchNorm and dropout, that returns logits alone."""

  both: bool = False

  @linen.compact
  def __call__(self, images, train):
    x = linen.Conv(WIDTH, (3, 3), strides=2, name="conv")(images)
    x = linen.BatchNorm(use_running_average=not train, name="norm")(x)
    x = linen.relu(x).mean(axis=(1, 2))
    features = linen.Dropout(0.5, deterministic=not train)(x)
    logits = linen.Dense(CLASSES, name="head")(features)
    return (logits, features) if self.both else logits


def of_linen(*, both=False, **options):
  def init(seed):
    variables = Linen().init(
      jax.random.key(seed), jnp.zeros((1, SIDE, SIDE, 3)), train=False
    )
    statistics = {"mean": jnp.full(WIDTH, 0.1), "var": jnp.full(WIDTH, 2.0)}
    return {**variables, "batch_stats": {"norm": statistics}}

  variables = init(0)
  source = sources.from_linen(
    "net", Linen(both), variables, **{
      "head": "" if both else "head", "options": {"train": False},
      "preprocessing": PREPROCESSING, "init": init, **options,
    },
  )  # fmt: skip

  def call(images):
    return Linen().apply(variables, images, train=False)

  return source, call, variables["params"]["head"]["kernel"]


def haiku_network(both=False):
  hk = pytest.importorskip("haiku")

  def network(images, is_training):
    x = hk.Conv2D(WIDTH, 3, stride=2)(images)
    x = hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9)(
      x, is_training
    )
    features = jax.nn.relu(x).mean(axis=(1, 2))
    if is_training:
      features = hk.dropout(hk.next_rng_key(), 0.5, features)
    logits = hk.Linear(CLASSES, name="head")(features)
    return (logits, features) if both else logits

  return hk.transform_with_state(network)


def of_haiku(*, both=False, without_rng=False, **options):
  hk = pytest.importorskip("haiku")
  transformed = haiku_network(both)
  images = jnp.zeros((1, SIDE, SIDE, 3))

  def init(seed):
    params, state = transformed.init(
      jax.random.key(seed), images, is_training=True
    )
    for part, value in (("mean_ema", 0.1), ("var_ema", 2.0)):
      statistics = state[f"batch_norm/~/{part}"]
      statistics["average"] = jnp.full_like(statistics["average"], value)
    return params, state

  params, state = init(0)
  source = sources.from_haiku(
    "net", hk.without_apply_rng(transformed) if without_rng else transformed,
    params, **{
      "state": state, "head": "" if both else "head",
      "options": {"is_training": False}, "preprocessing": PREPROCESSING,
      "init": init, **options,
    },
  )  # fmt: skip

  def call(images):
    logits, _ = haiku_network().apply(
      params, state, None, images, is_training=False
    )
    return logits

  return source, call, params["head"]["w"]


def of_equinox(*, both=False, **options):
  eqx = pytest.importorskip("equinox")

  class Net(eqx.Module):
    conv: eqx.nn.Conv2d
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    fc: eqx.nn.Linear

    def __init__(self, key):
      self.conv = eqx.nn.Conv2d(3, WIDTH, 3, stride=2, key=key)
      self.norm = eqx.nn.BatchNorm(WIDTH, "batch", mode="ema")
      self.dropout = eqx.nn.Dropout()
      self.fc = eqx.nn.Linear(WIDTH, CLASSES, key=key)

    def __call__(self, image, state, key=None):
      x, state = self.norm(self.conv(image), state)
      features = self.dropout(jax.nn.relu(x).mean(axis=(1, 2)), key=key)
      logits = self.fc(features)
      return ((logits, features) if both else logits), state

  def init(seed):
    model, state = eqx.nn.make_with_state(Net)(jax.random.key(seed))
    statistics = tuple(np.full(WIDTH, x, np.float32) for x in (0.1, 2.0))
    statistics = jax.tree.map(jnp.asarray, statistics)
    return model, state.set(model.norm.ema_state_index, statistics)

  model, state = init(0)
  source = sources.from_equinox(
    "net", model, **{
      "state": state, "head": None if both else (lambda model: model.fc),
      "preprocessing": PREPROCESSING, "init": init, **options,
    },
  )  # fmt: skip

  def call(images):
    module = eqx.nn.inference_mode(model)
    logits = [module(image, state)[0] for image in images.transpose(0, 3, 1, 2)]
    return jnp.stack([x[0] if both else x for x in logits])

  return source, call, model.fc.weight.T


MAKERS = {"linen": of_linen, "haiku": of_haiku, "equinox": of_equinox}
each_library = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@pytest.fixture
def images(rng):
  return rng.integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8)


@each_library
@pytest.mark.parametrize("both", [False, True])
def test_outputs_are_those_of_the_library(make, both, images):
  source, call, kernel = make(both=both)
  given = PREPROCESSING(images)
  logits, features = source.apply(source.state, given)
  assert (logits.shape, features.shape) == ((6, CLASSES), (6, WIDTH))
  np.testing.assert_allclose(logits, call(given), rtol=1e-5, atol=1e-6)
  # Biases of the heads are 0, except Equinox's.
  difference = logits - features @ kernel
  np.testing.assert_allclose(
    difference, np.broadcast_to(difference[:1], difference.shape), atol=1e-5
  )
  assert features.std() > 0.01


@each_library
def test_scores(make, images, device_count):
  source, call, _ = make()
  labels = np.arange(6) % 2
  outputs = leep_jax.compute_outputs(source, [(images, labels)])
  probs = jax.nn.softmax(call(PREPROCESSING(images)))
  found = leep_jax.compute_scores(outputs, names=["leep", "h_score"])
  assert found["leep"] == pytest.approx(leep_jax.leep(probs, labels), rel=1e-4)
  assert found["h_score"] is not None


@each_library
def test_without_features(make, images):
  source, _, _ = make(head=None if make is of_equinox else "")
  logits = source.apply(source.state, PREPROCESSING(images))
  assert logits.shape == (6, CLASSES)
  with pytest.raises(leep_jax.InputError, match="it returns logits alone"):
    transfer.fine_tune(
      source, (images, np.arange(6) % 2), (images, np.arange(6) % 2),
      config=transfer.NetworkConfig(batch_size=6),
    )  # fmt: skip


@each_library
def test_training(make, images):
  source, _, kernel = make()
  labels = np.arange(6) % 2
  images[labels == 1] //= 4
  # The head is no part of it: a run has its own.
  shapes = {x.shape for x in jax.tree.leaves(source.network.weights.params)}
  assert not shapes & {kernel.shape, kernel.T.shape, (CLASSES,)}
  assert len(jax.tree.leaves(source.network.weights.params)) == 4
  config = transfer.NetworkConfig(epochs=30, batch_size=6, learning_rate=0.1)
  for method in (transfer.fine_tune, transfer.train_from_scratch):
    (found,) = method(
      source, (images, labels), (images, labels), config=config,
      keep_params=True,
    )  # fmt: skip
    assert found.losses[-1] < 0.7 * found.losses[0]
    assert found.accuracy == 1


@each_library
def test_half_precision(make, images):
  source, _, _ = make()
  exact = leep_jax.compute_outputs(source, [(images, np.arange(6) % 2)])
  half = leep_jax.compute_outputs(
    source, [(images, np.arange(6) % 2)], dtype="bfloat16"
  )
  np.testing.assert_allclose(exact.probs, half.probs, atol=0.02)


@pytest.mark.parametrize(
  ("make", "head", "message"),
  [
    (of_linen, "haed", "unknown layer of net 'haed'; did you mean head"),
    (of_haiku, "haed", "unknown layer of net 'haed'; did you mean head"),
    (of_equinox, lambda model: model.head, "head finds no layer in net"),
  ],
)
def test_heads_that_are_not_there(make, head, message):
  with pytest.raises(leep_jax.InputError, match=message):
    make(head=head)


def test_variables_without_params():
  _, _, kernel = of_linen()
  with pytest.raises(leep_jax.InputError, match="are bias, kernel, without p"):
    sources.from_linen("net", Linen(), {"kernel": kernel, "bias": kernel})


def test_haiku_without_keys(images):
  one, other = (of_haiku(without_rng=value)[0] for value in (False, True))
  given = PREPROCESSING(images)
  np.testing.assert_array_equal(
    one.apply(one.state, given)[0], other.apply(other.state, given)[0]
  )


def test_a_head_that_is_not_called(images):
  class Forgetful(Linen):
    @linen.compact
    def __call__(self, images):
      self.param("head", lambda key: {"kernel": jnp.ones(2)})
      return images.mean(axis=(1, 2))

  variables = {"params": {"head": {"kernel": jnp.ones(2)}}}
  source = sources.from_linen("net", Forgetful(), variables, head="head")
  with pytest.raises(leep_jax.InputError, match="does not call its layer"):
    leep_jax.compute_outputs(source, [(images, np.arange(6) % 2)])


def test_equinox_with_channels_last(images):
  eqx = pytest.importorskip("equinox")

  class Mean(eqx.Module):
    fc: eqx.nn.Linear

    def __call__(self, image):
      return self.fc(image.mean(axis=(0, 1)))

  model = Mean(eqx.nn.Linear(3, CLASSES, key=jax.random.key(0)))
  source = sources.from_equinox(
    "mean", model, head=lambda model: model.fc, channels_first=False
  )
  given = jnp.asarray(images, jnp.float32)
  logits, features = source.apply(source.state, given)
  np.testing.assert_allclose(features, given.mean(axis=(1, 2)), rtol=1e-5)
  np.testing.assert_allclose(logits, jax.vmap(model)(given), rtol=1e-5)
