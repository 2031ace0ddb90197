"""Texts and sounds through the forward pass, the cache and races."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import texts

import leep_jax
from leep_jax import data, racing
from leep_jax.data import audio
from leep_jax.engine import cache, forward, programs
from leep_jax.models.audio_preprocessing import AudioPreprocessing
from leep_jax.models.text_preprocessing import TextPreprocessing


@pytest.fixture
def reviews():
  return leep_jax.load_dataset(f"csv:{texts.REVIEWS}")


def by_hand(source, strings):
  """Features of a bag of embeddings, text by text, without padding."""
  tokens, _ = texts.letters(strings, source.preprocessing.max_length)
  embedding = np.asarray(source.state["embedding"])
  return np.stack([embedding[each].mean(axis=0) for each in tokens])


def test_features_are_those_without_padding(reviews):
  source = texts.make_source()
  outputs = leep_jax.compute_outputs(source, reviews, batch_size=8)
  expected = by_hand(source, reviews.load()[0])
  np.testing.assert_allclose(outputs.features, expected, atol=1e-6)
  assert outputs.probs.shape == (48, 3)
  with programs.limit(1):
    alone = leep_jax.compute_outputs(source, reviews, batch_size=5)
  np.testing.assert_allclose(alone.features, expected, atol=1e-6)
  np.testing.assert_array_equal(alone.labels, reviews.labels())


def test_few_shapes_are_compiled(reviews, monkeypatch):
  traced = []
  trace = forward.programs.trace
  monkeypatch.setattr(
    forward.programs,
    "trace",
    lambda *args: traced.append(args[-1].shape) or trace(*args),
  )
  with programs.limit(1):
    leep_jax.compute_outputs(texts.make_source(), reviews, batch_size=2)
  # Twenty-four batches, of texts of up to 37 letters.
  assert sorted(traced) == [(2, 32, 2), (2, 64, 2)]


def test_long_texts_are_cut():
  source = texts.make_source(max_length=40)
  long = ["a" * 50, "b", "ab" * 30]
  prepared = source.preprocessing.prepare(long)
  assert prepared.shape == (3, 40, 2)
  assert prepared[..., 1].sum(axis=1).tolist() == [40, 1, 40]


def test_padding_on_the_left_and_segments():
  def tokenize(strings, most):
    return [[5, 6, 7][:most] for _ in strings], [[0, 0, 1] for _ in strings]

  preprocessing = TextPreprocessing(
    tokenize, pad_id=9, pad_left=True, segments=True, version="constant"
  )
  (row,) = preprocessing.prepare(["any"])
  assert row[-4:].tolist() == [[9, 0, 0], [5, 1, 0], [6, 1, 0], [7, 1, 1]]


def test_empty_texts_have_outputs():
  source = texts.make_source()
  batch = ["", "abc", "..."], np.array([0, 1, 0])
  outputs = leep_jax.compute_outputs(source, [batch])
  assert np.isfinite(outputs.features).all()


def test_batches_of_texts():
  source = texts.make_source()
  strings = ["good", "bad", "ugly"]
  outputs = leep_jax.compute_outputs(source, [(strings, [0, 1, 1])])
  ready = source.preprocessing.prepare(strings)
  again = leep_jax.compute_outputs(source, [(ready, [0, 1, 1])])
  np.testing.assert_array_equal(outputs.features, again.features)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tokens_stay_integers(reviews, dtype):
  source = texts.make_source()
  outputs = leep_jax.compute_outputs(source, reviews, dtype=dtype)
  expected = by_hand(source, reviews.load()[0])
  atol = 1e-6 if dtype == "float32" else 0.02
  np.testing.assert_allclose(outputs.features, expected, atol=atol)


def test_data_that_a_source_does_not_take(reviews):
  image_source = leep_jax.load_source("fashion_mnist_resnet8")
  digits = leep_jax.load_dataset("digits", limit=20)
  text_source = texts.make_source()
  with pytest.raises(
    leep_jax.InputError, match="resnet8 takes images, but csv:.* has texts"
  ):
    leep_jax.compute_outputs(image_source, reviews)
  with pytest.raises(
    leep_jax.InputError, match="bag takes texts, but digits has images"
  ):
    leep_jax.compute_outputs(text_source, digits)
  with pytest.raises(leep_jax.InputError, match="the source takes texts"):
    leep_jax.compute_outputs(text_source, [digits.load()])
  with pytest.raises(leep_jax.InputError, match="The source takes images"):
    leep_jax.compute_outputs(image_source, [(["a", "b"], [0, 1])])
  shape = np.zeros((2, 5, 3), np.int32)
  with pytest.raises(leep_jax.InputError, match="tokens .B, L, 2."):
    leep_jax.compute_outputs(text_source, [(shape, [0, 1])])


def test_the_cache_tells_tokenizers_apart(reviews, tmp_path):
  source = texts.make_source()
  kept = cache.Cache(tmp_path)
  outputs = kept.outputs(source, reviews)
  assert kept.has(source, reviews)
  np.testing.assert_array_equal(
    kept.outputs(source, reviews).features, outputs.features
  )
  for change in ({"version": "other"}, {"max_length": 20}, {"pad_id": 3}):
    other = dataclasses.replace(
      source, preprocessing=dataclasses.replace(source.preprocessing, **change)
    )
    assert not kept.has(other, reviews), change
  assert not kept.has(source, reviews.take(20))


def test_a_race_of_texts():
  rng = np.random.default_rng(0)
  labels = np.arange(400) % 2
  strings = [
    "".join(rng.choice(list("abcde" if label else "efghi"), 20))
    for label in labels
  ]
  dataset = data.Dataset(
    name="letters", split="all", num_classes=2, indices=np.arange(400),
    image_shape=None, fetch=lambda i: ([strings[j] for j in i], labels[i]),
    all_labels=labels, inputs="text",
  )  # fmt: skip
  good, poor = texts.make_source(), texts.make_source(seed=1)
  nothing = {**poor.state, "embedding": 0 * poor.state["embedding"] + 1}
  nothing["embedding"] = nothing["embedding"].at[5].set(2.0)
  poor = dataclasses.replace(poor, name="poor", state=nothing)
  race = racing.race([good, poor], dataset, rank_by="probe_accuracy")
  assert [x.name for x in race.survivors] == ["bag"]
  outputs = leep_jax.compute_outputs(good, dataset)
  np.testing.assert_allclose(
    race.survivors[0].outputs.features, outputs.features, atol=1e-6
  )


def sounds(count, *, rate=1000):
  """Tones of two pitches, and their lengths."""
  rng = np.random.default_rng(0)
  labels = np.arange(count) % 2
  found = []
  for label in labels:
    times = np.arange(rng.integers(rate // 2, rate)) / rate
    tone = np.sin(2 * np.pi * (20 + 60 * label) * times)
    found.append(audio.Sound(tone.astype(np.float32), rate))
  return data.Dataset(
    name="tones", split="all", num_classes=2, indices=np.arange(count),
    image_shape=None, fetch=lambda i: ([found[j] for j in i], labels[i]),
    all_labels=labels, inputs="audio", version="1",
    seconds=max(sound.seconds for sound in found),
  )  # fmt: skip


def spectrum(state, samples):
  """The energy of a sound in 16 bands."""
  energy = jnp.abs(jnp.fft.rfft(samples, 256)) ** 2
  features = energy[:, :128].reshape(len(samples), 16, 8).sum(axis=2)
  return features @ state, features


def test_sounds_through_the_forward_pass(tmp_path):
  dataset = sounds(60)
  source = leep_jax.Source(
    "bands", spectrum, np.ones((16, 3), np.float32), AudioPreprocessing(1000)
  )
  outputs = leep_jax.compute_outputs(source, dataset, batch_size=16)
  scores = leep_jax.compute_scores(outputs, names=["probe_accuracy"])
  assert scores["probe_accuracy"] > 0.9
  _, fitted = source.preprocessing.reading(dataset)
  ready = np.stack([fitted.fit(s) for s in dataset.fetch(dataset.indices)[0]])
  again = leep_jax.compute_outputs(source, [(ready, dataset.labels())])
  np.testing.assert_allclose(outputs.features, again.features, rtol=1e-5)
  kept = cache.Cache(tmp_path)
  kept.outputs(source, dataset)
  assert kept.has(source, dataset)
  longer = dataclasses.replace(
    source, preprocessing=AudioPreprocessing(1000, max_seconds=0.5)
  )
  assert not kept.has(longer, dataset)
  with pytest.raises(leep_jax.InputError, match="takes images, but tones has"):
    leep_jax.compute_outputs(
      leep_jax.load_source("fashion_mnist_resnet8"), dataset
    )
