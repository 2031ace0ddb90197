"""A forward pass that is interrupted goes on, to the same files."""

import dataclasses
import filecmp
import json
import pathlib
import signal

import jax.numpy as jnp
import networks
import numpy as np
import pytest
import running
import texts

import leep_jax
from leep_jax import data
from leep_jax.data import audio
from leep_jax.engine import cache, runners, unfinished
from leep_jax.models.audio_preprocessing import AudioPreprocessing

COUNT, BATCH = 100, 16  # seven batches, the last of four examples


class StopHereError(Exception):
  """Raised in the middle of a pass."""


def images(targets=None):
  """Images with labels, or with targets `[n, T]`."""
  pixels, labels = networks.images_of(0, COUNT)
  truth = labels if targets is None else targets
  return data.Dataset(
    name="squares", split="all", indices=np.arange(COUNT),
    num_classes=0 if truth.dtype.kind == "f" else 4, image_shape=(8, 8, 1),
    fetch=lambda i: (pixels[i], truth[i]), all_labels=truth, version="1",
  )  # fmt: skip


def strings():
  """Texts of different lengths."""
  rng = np.random.default_rng(0)
  found = ["".join(rng.choice(list("abcde"), 1 + i % 40)) for i in range(COUNT)]
  labels = np.arange(COUNT) % 2
  return data.Dataset(
    name="letters", split="all", num_classes=2, indices=np.arange(COUNT),
    image_shape=None, fetch=lambda i: ([found[j] for j in i], labels[i]),
    all_labels=labels, inputs="text", version="1",
  )  # fmt: skip


def tones():
  """Sounds of different lengths."""
  rng = np.random.default_rng(0)
  found = [
    audio.Sound(rng.normal(size=200 + 3 * i).astype(np.float32), 1000)
    for i in range(COUNT)
  ]
  labels = np.arange(COUNT) % 2
  return data.Dataset(
    name="tones", split="all", num_classes=2, indices=np.arange(COUNT),
    image_shape=None, fetch=lambda i: ([found[j] for j in i], labels[i]),
    all_labels=labels, inputs="audio", version="1",
    seconds=max(sound.seconds for sound in found),
  )  # fmt: skip


def energy(state, samples):
  features = jnp.abs(jnp.fft.rfft(samples, 64))
  return features @ state, features


def case(kind):
  """A source, and a data set that it takes."""
  rng = np.random.default_rng(1)
  if kind == "texts":
    return texts.make_source(), strings()
  if kind == "sounds":
    weights = rng.normal(size=(33, 3)).astype(np.float32)
    return (
      leep_jax.Source("energy", energy, weights, AudioPreprocessing(1000)),
      tones(),
    )
  targets = {
    "images": None,
    "label sets": rng.random((COUNT, 3)) < 0.5,
    "targets": rng.normal(size=(COUNT, 2)),
  }[kind]
  return networks.make_source(), images(targets)


@pytest.fixture
def ran(monkeypatch):
  """The number of examples of each batch that ran."""
  counted = []
  original = runners.of

  def of(source, dtype):
    runner = original(source, dtype)

    class Counting:
      def run(self, inputs, rows):
        counted.append(len(inputs))
        return runner.run(inputs, rows)

    return Counting()

  monkeypatch.setattr(runners, "of", of)
  return counted


def entry_of(folder):
  (entry,) = folder.glob("[!.]*")
  return entry


def same_files(one, other):
  """Whether two entries are the same folder of the same bytes."""
  one, other = entry_of(one), entry_of(other)
  names = sorted(p.name for p in one.iterdir())
  assert one.name == other.name
  assert names == sorted(p.name for p in other.iterdir())
  equal, *_ = filecmp.cmpfiles(one, other, names, shallow=False)
  return sorted(equal) == names


def interrupt(folder, source, dataset, after, **options):
  """Stops a pass when so many examples are done."""

  def progress(done):
    if done >= after:
      raise StopHereError

  with pytest.raises(StopHereError):
    cache.Cache(folder).outputs(
      source, dataset, batch_size=BATCH, progress=progress, **options
    )


KINDS = ["images", "label sets", "targets", "texts", "sounds"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_are_those_of_an_uninterrupted_pass(
  kind, tmp_path, ran, one_device
):
  source, dataset = case(kind)
  cache.Cache(tmp_path / "once").outputs(source, dataset, batch_size=BATCH)
  assert sum(ran) in (COUNT, COUNT + BATCH)  # one looks for training mode
  plain = leep_jax.compute_outputs(
    source, dataset, batch_size=BATCH, keep="disk", directory=tmp_path / "plain"
  )
  written = sorted(p.name for p in (tmp_path / "plain").iterdir())
  equal, *_ = filecmp.cmpfiles(
    tmp_path / "plain", entry_of(tmp_path / "once"), written, shallow=False
  )
  assert sorted(equal) == written
  assert len(plain.store.array("features")) == COUNT
  notes, seen = [], []
  for after in (20, 60):
    interrupt(tmp_path / "twice", source, dataset, after)
    assert not list((tmp_path / "twice").glob("[!.]*"))
  kept = cache.Cache(tmp_path / "twice", on_note=notes.append)
  ran.clear()
  kept.outputs(source, dataset, batch_size=BATCH, progress=seen.append)
  assert ran == [16, 16, 4]
  assert seen == [80, 96, 100]
  (note,) = notes
  assert "goes on after 64 of 100 examples" in note
  assert same_files(tmp_path / "once", tmp_path / "twice")
  assert not list((tmp_path / "twice").glob(".part*"))


def test_on_several_devices(tmp_path, ran):
  source, dataset = case("images")
  cache.Cache(tmp_path / "once").outputs(source, dataset, batch_size=BATCH)
  interrupt(tmp_path / "twice", source, dataset, 40)
  ran.clear()
  cache.Cache(tmp_path / "twice").outputs(source, dataset, batch_size=BATCH)
  assert ran == [16, 16, 16, 4]
  assert same_files(tmp_path / "once", tmp_path / "twice")


def test_an_input_that_cannot_be_read_today(tmp_path, ran, one_device):
  source, dataset = case("images")
  cache.Cache(tmp_path / "once").outputs(source, dataset, batch_size=BATCH)

  def fetch(i):
    if 70 in i:
      raise leep_jax.validation.DataError("the disk is away")
    return dataset.fetch(i)

  broken = dataclasses.replace(dataset, fetch=fetch)
  with pytest.raises(leep_jax.InputError, match="cannot be read"):
    cache.Cache(tmp_path / "twice").outputs(source, broken, batch_size=BATCH)
  ran.clear()
  cache.Cache(tmp_path / "twice").outputs(source, dataset, batch_size=BATCH)
  # One batch ran behind the one that failed, and its outputs were not fetched.
  assert ran == [16, 16, 16, 4]
  assert same_files(tmp_path / "once", tmp_path / "twice")


KILLED = """
import os, pathlib, signal, sys
import test_unfinished
from leep_jax.engine import cache, programs, unfinished

unfinished._SECONDS = 0.0
source, dataset = test_unfinished.case("images")

def progress(done):
  if done >= 48:
    os.kill(os.getpid(), signal.SIGKILL)

with programs.limit(1):
  cache.Cache(sys.argv[1]).outputs(
    source, dataset, batch_size=test_unfinished.BATCH, progress=progress
  )
"""


def test_a_killed_process(tmp_path, ran, one_device):
  process = running.start("-c", KILLED, str(tmp_path / "twice"))
  _, errors = process.communicate()
  assert process.returncode == -signal.SIGKILL, errors
  source, dataset = case("images")
  cache.Cache(tmp_path / "once").outputs(source, dataset, batch_size=BATCH)
  (part,) = (tmp_path / "twice").glob(".part*")
  # As a process leaves files that was killed while it wrote.
  with open(part / "probs.npy", "ab") as file:
    file.write(b"half a row")
  (part / f"{unfinished.JOURNAL}.new").write_text("{")
  ran.clear()
  cache.Cache(tmp_path / "twice").outputs(source, dataset, batch_size=BATCH)
  assert ran == [16, 16, 16, 4]
  assert same_files(tmp_path / "once", tmp_path / "twice")


def truncate(path):
  path.write_bytes(path.read_bytes()[:-7])


def flip(path):
  content = bytearray(path.read_bytes())
  content[-5] ^= 16
  path.write_bytes(content)


def change_owner(path):
  journal = json.loads((path.parent / unfinished.JOURNAL).read_text())
  journal["about"]["data_version"] = "2"
  (path.parent / unfinished.JOURNAL).write_text(json.dumps(journal))


DAMAGES = [
  *((d, f"{n}.npy") for d in (truncate, flip) for n in ("probs", "labels")),
  (pathlib.Path.unlink, "features.npy"),
  (truncate, unfinished.JOURNAL),
  (change_owner, unfinished.JOURNAL),
]


@pytest.mark.parametrize(("damage", "name"), DAMAGES)
def test_damaged_ones_are_computed_again(
  tmp_path, ran, one_device, damage, name
):
  source, dataset = case("images")
  cache.Cache(tmp_path / "once").outputs(source, dataset, batch_size=BATCH)
  interrupt(tmp_path / "twice", source, dataset, 40)
  (part,) = (tmp_path / "twice").glob(".part*")
  damage(part / name)
  notes = []
  ran.clear()
  cache.Cache(tmp_path / "twice", on_note=notes.append).outputs(
    source, dataset, batch_size=BATCH
  )
  assert sum(ran) == COUNT
  (note,) = notes
  assert "cannot be continued" in note
  assert "\n" not in note
  assert same_files(tmp_path / "once", tmp_path / "twice")


def test_other_batches_are_other_work(tmp_path, ran, one_device):
  source, dataset = case("images")
  interrupt(tmp_path, source, dataset, 40)
  notes = []
  ran.clear()
  cache.Cache(tmp_path, on_note=notes.append).outputs(
    source, dataset, batch_size=20
  )
  assert ran == [20] * 5
  assert "something else" in notes[0]


@pytest.mark.parametrize("step", ["rename", "write_text"])
def test_a_complete_pass_without_its_name(tmp_path, ran, one_device, step):
  source, dataset = case("images")
  cache.Cache(tmp_path / "once").outputs(source, dataset, batch_size=BATCH)

  def full(*_):
    raise OSError(28, "No space left on device")

  kept = cache.Cache(tmp_path / "twice")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(pathlib.Path, step, full)
    with pytest.raises(leep_jax.InputError, match="No space left"):
      kept.outputs(source, dataset, batch_size=BATCH)
  ran.clear()
  kept.outputs(source, dataset, batch_size=BATCH)
  assert ran == []
  assert same_files(tmp_path / "once", tmp_path / "twice")


def test_what_is_refused_is_not_kept(tmp_path, one_device):
  _, dataset = case("images")

  def probabilities(state, inputs):
    features = inputs.mean(axis=(1, 2))
    return jnp.full((len(inputs), 2), 0.5) + 0 * state.sum(), features

  twice = leep_jax.Source("twice", probabilities, np.ones(2, np.float32))
  with pytest.raises(leep_jax.InputError, match="not logits"):
    cache.Cache(tmp_path).outputs(twice, dataset, batch_size=4)
  assert not list(tmp_path.glob(".part*"))


def test_a_journal_after_some_time_and_at_the_end(tmp_path):
  with unfinished.UnfinishedFolder(tmp_path / "a", {}) as folder:
    folder.add({"features": np.ones((2, 3))}, state=None)
    assert not (tmp_path / "a" / unfinished.JOURNAL).exists()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(unfinished, "_SECONDS", 0.0)
    with unfinished.UnfinishedFolder(tmp_path / "a", {}) as folder:
      folder.add({"features": np.zeros((1, 3))}, state=[1])
      text = (tmp_path / "a" / unfinished.JOURNAL).read_text()
      assert json.loads(text)["count"] == 3
  with unfinished.UnfinishedFolder(tmp_path / "a", {}) as folder:
    assert (folder.count, folder.state) == (3, [1])
    np.testing.assert_array_equal(
      folder.read("features"), [[1, 1, 1], [1, 1, 1], [0, 0, 0]]
    )
