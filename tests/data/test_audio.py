"""Folders of sounds."""

import numpy as np
import pytest

import leep_jax
from leep_jax import validation
from leep_jax.data import audio, duplicates
from leep_jax.models.audio_preprocessing import AudioPreprocessing

soundfile = pytest.importorskip("soundfile")


def tone(pitch, seconds, rate):
  times = np.arange(round(seconds * rate)) / rate
  return 0.5 * np.sin(2 * np.pi * pitch * times)


def write(path, samples, rate=8000):
  path.parent.mkdir(parents=True, exist_ok=True)
  soundfile.write(path, samples, rate)


@pytest.fixture
def folder(tmp_path):
  write(tmp_path / "low" / "1.wav", tone(100, 0.5, 8000))
  write(tmp_path / "low" / "2.flac", tone(110, 0.25, 8000))
  write(tmp_path / "high" / "a" / "3.wav", tone(900, 1.0, 16000), 16000)
  (tmp_path / "low" / "notes.txt").write_text("pitches")
  return tmp_path


def test_a_folder(folder):
  with pytest.warns(validation.InputNote, match="1 files left out .*txt"):
    dataset = leep_jax.load_dataset(f"folder:{folder}")
  assert (dataset.inputs, dataset.noun) == ("audio", "sounds")
  assert dataset.class_names == ("high", "low")
  assert dataset.files == ["high/a/3.wav", "low/1.wav", "low/2.flac"]
  assert dataset.seconds == pytest.approx(1.0)
  (sound,), label = dataset.fetch(np.array([1]))
  assert (sound.rate, label.tolist()) == (8000, [1])
  np.testing.assert_allclose(sound.samples, tone(100, 0.5, 8000), atol=1e-4)
  with pytest.raises(leep_jax.InputError, match="sounds of .* differ in size"):
    dataset.load()


def test_sounds_beside_images_are_left_out(folder):
  import PIL.Image

  for name in ("low", "high"):
    image = PIL.Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    image.save(folder / name / "1.png")
  with pytest.warns(validation.InputNote, match=r"\.wav 2"):
    dataset = leep_jax.load_dataset(f"folder:{folder}")
  assert dataset.inputs == "image"


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_formats(tmp_path, suffix):
  samples = tone(440, 0.5, 16000)
  write(tmp_path / f"1.{suffix}", np.stack([samples, samples / 2], 1), 16000)
  sound = audio.read(tmp_path / f"1.{suffix}")
  assert sound.samples.dtype == np.float32
  lossy = suffix in ("ogg", "mp3")
  middle = slice(2000, 6000)
  np.testing.assert_allclose(
    sound.samples[middle],
    0.75 * samples[middle],
    atol=0.05 if lossy else 1e-4,
  )


def test_bad_files(folder):
  (folder / "low" / "4.wav").write_bytes(b"RIFF no sound")
  write(folder / "low" / "5.wav", np.zeros(0))
  (folder / "low" / "notes.txt").unlink()
  dataset = leep_jax.load_dataset(f"folder:{folder}")
  fit = AudioPreprocessing(rate=8000, seconds=1.0).fit
  with pytest.raises(validation.DataError, match="2 of 5 sounds .*4.wav"):
    list(dataset.batches(8, fit=fit))
  with pytest.warns(validation.InputNote, match="2 of 5 sounds .* left out"):
    rest = dataset.without_bad_images()
  assert len(rest) == 3


def test_copies(folder):
  (folder / "low" / "notes.txt").unlink()
  # Other files, but the same samples: integers, so that nothing is rounded.
  samples = (1000 * tone(100, 0.5, 8000)).astype(np.int16)
  write(folder / "low" / "1.wav", samples)
  write(folder / "high" / "4.flac", samples)
  dataset = leep_jax.load_dataset(f"folder:{folder}")
  groups = duplicates.find(dataset)
  names = [[dataset.name_of(i) for i in group] for group in groups]
  assert names == [["high/4.flac", "low/1.wav"]]


def test_sounds_are_resampled_cut_and_padded():
  rate = 16000
  sound = audio.Sound(tone(440, 1.0, 8000).astype(np.float32), 8000)
  kept = AudioPreprocessing(rate=rate, seconds=2.0, normalise=False).fit(sound)
  assert (kept.shape, kept.dtype) == ((2 * rate,), np.float32)
  assert not kept[rate:].any()
  inside = slice(1000, rate - 1000)
  np.testing.assert_allclose(
    kept[:rate][inside], tone(440, 1.0, rate)[inside], atol=5e-3
  )
  cut = AudioPreprocessing(rate=rate, seconds=0.25, normalise=False).fit(sound)
  np.testing.assert_array_equal(cut, kept[: rate // 4])


def test_sounds_are_normalised_before_they_are_padded():
  sound = audio.Sound(np.array([1.0, 3.0], np.float32), 2)
  found = AudioPreprocessing(rate=2, seconds=2.0).fit(sound)
  np.testing.assert_allclose(found, [-1, 1, 0, 0], atol=1e-6)
  silence = audio.Sound(np.zeros(4, np.float32), 2)
  assert not AudioPreprocessing(rate=2, seconds=2.0).fit(silence).any()


def test_the_length_is_that_of_the_longest_sound(folder):
  (folder / "low" / "notes.txt").unlink()
  dataset = leep_jax.load_dataset(f"folder:{folder}")
  preprocessing = AudioPreprocessing(rate=8000)
  options, fitted = preprocessing.reading(dataset)
  ((sounds, _),) = dataset.batches(8, **options)
  assert sounds.shape == (3, 8000)
  _, short = AudioPreprocessing(rate=8000, max_seconds=0.5).reading(dataset)
  assert (fitted.samples, short.samples) == (8000, 4000)
