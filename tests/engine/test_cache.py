"""Kept outputs are those of the same work, whole, or not used."""

from concurrent import futures
import dataclasses
import json
import pathlib

import networks
import numpy as np
import PIL.Image
import pytest

import leep_jax
from leep_jax import data, version
from leep_jax.engine import cache, forward
from leep_jax.sources import catalog

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def source():
  return networks.make_source()


@pytest.fixture
def dataset(tmp_path):
  images, labels = networks.images_of(0, 60)
  np.savez(tmp_path / "data.npz", images=images, labels=labels)
  return data.load_dataset(f"npz:{tmp_path / 'data.npz'}")


@pytest.fixture
def calls(monkeypatch):
  """Counts forward passes."""
  counted = []
  original = forward.compute_rest

  def compute(*args, **options):
    counted.append(args[1].split)
    return original(*args, **options)

  monkeypatch.setattr(forward, "compute_rest", compute)
  return counted


def same(one, other):
  np.testing.assert_array_equal(one.probs, other.probs)
  np.testing.assert_array_equal(one.features, other.features)
  np.testing.assert_array_equal(one.labels, other.labels)


def test_computed_once(source, dataset, calls, tmp_path):
  plain = leep_jax.compute_outputs(source, dataset)
  notes = []
  kept = cache.Cache(tmp_path / "cache", on_note=notes.append)
  assert not kept.has(source, dataset)
  same(kept.outputs(source, dataset), plain)
  assert kept.has(source, dataset)
  for _ in range(2):
    same(cache.Cache(tmp_path / "cache").outputs(source, dataset), plain)
  assert len(calls) == 1
  assert notes == []
  names = [p.name for p in (tmp_path / "cache").iterdir()]
  assert sorted(name[0] == "." for name in names) == [False, True]  # a lock


def changes(source, dataset):
  state = networks.make_source().state
  state["conv"]["bias"][...] += 1
  other = dataclasses.replace(source.preprocessing, std=(0.6,))
  return {
    "weights": (dataclasses.replace(source, state=state), dataset),
    "preprocessing": (
      dataclasses.replace(source, preprocessing=other), dataset,
    ),
    "options": (dataclasses.replace(source, options="padding"), dataset),
    "name": (dataclasses.replace(source, name="other"), dataset),
    "examples": (source, dataset.take(30)),
    "version": (source, dataclasses.replace(dataset, version="2")),
    "split": (source, dataclasses.replace(dataset, split="test")),
  }  # fmt: skip


def test_anything_else_is_another_entry(source, dataset, calls, tmp_path):
  kept = cache.Cache(tmp_path / "cache")
  kept.outputs(source, dataset)
  for what, (model, other) in changes(source, dataset).items():
    assert not kept.has(model, other), what
  assert not kept.has(source, dataset, dtype="bfloat16")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(version, "__version__", "0.0.1")
    assert not kept.has(source, dataset)
  model, other = changes(source, dataset)["weights"]
  changed = kept.outputs(model, other)
  assert len(calls) == 2
  assert np.abs(changed.probs - kept.outputs(source, dataset).probs).max() > 0


def truncate(path):
  path.write_bytes(path.read_bytes()[:-7])


def flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 16
  path.write_bytes(content)


def remove(path):
  path.unlink()


DAMAGES = [
  (damage, name)
  for damage in (truncate, flip, remove)
  for name in ("probs.npy", "features.npy", "labels.npy", "checksums.json")
]


@pytest.mark.parametrize(("damage", "name"), DAMAGES)
def test_damaged_entries_are_made_anew(
  source, dataset, calls, tmp_path, damage, name
):
  notes = []
  kept = cache.Cache(tmp_path / "cache", on_note=notes.append)
  plain = np.array(kept.outputs(source, dataset).probs)
  (entry,) = (tmp_path / "cache").glob("[!.]*")
  damage(entry / name)
  found = kept.outputs(source, dataset)
  np.testing.assert_array_equal(found.probs, plain)
  assert len(calls) == 2
  (note,) = notes
  assert "damaged" in note
  assert "\n" not in note


def test_an_entry_of_something_else_is_not_used(
  source, dataset, calls, tmp_path
):
  notes = []
  kept = cache.Cache(tmp_path / "cache", on_note=notes.append)
  kept.outputs(source, dataset)
  (entry,) = (tmp_path / "cache").glob("[!.]*")
  text = json.loads((entry / "checksums.json").read_text())
  text["about"]["leep_jax"] = "0.0.1"
  (entry / "checksums.json").write_text(json.dumps(text))
  kept.outputs(source, dataset)
  assert len(calls) == 2
  assert "something else" in notes[0]


def test_a_folder_that_cannot_be_written(source, dataset):
  with pytest.raises(leep_jax.InputError, match="cannot write cache_dir"):
    cache.Cache("/proc/no").outputs(source, dataset)


def test_threads_and_processes_wait_for_each_other(
  source, dataset, calls, tmp_path
):
  with futures.ThreadPoolExecutor(2) as pool:
    waiting = [
      pool.submit(cache.Cache(tmp_path / "cache").outputs, source, dataset)
      for _ in range(2)
    ]
    same(*(one.result() for one in waiting))
  assert len(calls) == 1


def test_other_users_can_read_entries(source, dataset, tmp_path):
  cache.Cache(tmp_path / "cache").outputs(source, dataset)
  (entry,) = (tmp_path / "cache").glob("[!.]*")
  assert entry.stat().st_mode & 0o444 == 0o444


def test_a_source_without_weights_is_not_kept(dataset, tmp_path):
  fixed = leep_jax.Source(
    name="fixed",
    apply=lambda _, images: images.mean((1, 2)) * 2,
    state=(),
  )
  with pytest.raises(leep_jax.InputError, match="hands over no weights"):
    cache.Cache(tmp_path / "cache").outputs(fixed, dataset)


def test_digest_covers_what_the_function_computes(source):
  def closed(scale, weights):
    return leep_jax.Source(
      name="closed",
      apply=lambda _, images: images.mean((1, 2)) @ weights * scale,
      state=(),
    )

  ones = np.ones((3, 4), np.float32)
  digests = [
    cache.source_digest(closed(scale, weights))
    for scale, weights in ((1.0, ones), (2.0, ones), (1.0, 2 * ones))
  ]
  assert len(set(digests)) == 3
  assert cache.source_digest(closed(1.0, ones.copy())) == digests[0]
  # Of a checkpoint the options say what is computed.
  assert cache.source_digest(source) == cache.source_digest(source)


def test_a_function_that_cannot_be_traced_names_the_way_out():
  def apply(state, images):
    raise ValueError("only 299 pixels")

  broken = leep_jax.Source("broken", apply, {"w": np.ones(3)})
  with pytest.raises(leep_jax.InputError, match="only 299.*image_size"):
    cache.source_digest(broken)


def test_digests_of_bundled_sources_are_those_of_committed_rows():
  # Rows with another digest would be computed again.
  found = {}
  for path in (ROOT / "experiments" / "results").rglob("*.jsonl"):
    for line in path.read_text().splitlines():
      row = json.loads(line)
      row = row.get("header", row)
      if row.get("model") in catalog.bundled() and "source_digest" in row:
        found.setdefault(row["model"], set()).add(row["source_digest"])
  assert len(found) == 4
  for name, digests in found.items():
    assert digests == {cache.source_digest(leep_jax.load_source(name))}


def test_photos_decoded_at_a_part_of_their_size_are_other_work(tmp_path, calls):
  for label in "ab":
    (tmp_path / "photos" / label).mkdir(parents=True)
    pixels = np.full((400, 500, 3), ord(label), np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "photos" / label / "1.jpg")
  source = leep_jax.Source(
    "colours",
    lambda state, images: images.mean(axis=(1, 2)) @ state,
    np.eye(3, dtype=np.float32),
    preprocessing=leep_jax.Preprocessing(image_size=8),
  )
  kept = cache.Cache(tmp_path / "cache")
  name = f"folder:{tmp_path / 'photos'}"
  for fast in (False, True, False, True):
    kept.outputs(source, data.load_dataset(name, fast_decoding=fast))
  assert len(calls) == 2
