"""Batches of a data set: drawn, read ahead, and ended by an error."""

from concurrent import futures
import os
import threading
import time

import numpy as np
import pytest

import leep_jax
from leep_jax.data import dataset as dataset_lib


def test_limit_draws_across_classes():
  dataset = leep_jax.load_dataset("digits", limit=100)
  _, labels = dataset.load()
  assert len(labels) == 100
  assert set(labels) == set(range(10))
  np.testing.assert_array_equal(
    leep_jax.load_dataset("digits", limit=100).indices, dataset.indices
  )
  assert len(leep_jax.load_dataset("digits", limit=10**6)) == 1797


def many(count, fetch):
  return leep_jax.Dataset("made", "all", 2, np.arange(count), None, fetch)


def test_images_are_fetched_one_by_one_and_fitted_at_once():
  lock, held, most = threading.Lock(), 0, 0

  def fetch(indices):
    nonlocal held, most
    assert len(indices) == 1
    with lock:
      held += 1
      most = max(most, held)
    return [np.full((20, 30, 3), i, np.uint8) for i in indices], indices

  def bring(image):
    nonlocal held
    time.sleep(0.001)
    with lock:
      held -= 1
    return image[:10, :10]

  batches = list(many(100, fetch).batches(40, fit=bring))
  assert [len(images) for images, _ in batches] == [40, 40, 20]
  images, labels = (np.concatenate(x) for x in zip(*batches, strict=True))
  np.testing.assert_array_equal(images[:, 0, 0, 0], np.arange(100))
  np.testing.assert_array_equal(labels, np.arange(100))
  assert most <= os.cpu_count()


def test_stopping_early_drops_what_is_left_of_a_batch(monkeypatch):
  fetched = []
  dropped = threading.Event()
  original = futures.ThreadPoolExecutor.shutdown

  def shutdown(pool, **options):
    original(pool, wait=False, **options)
    dropped.set()
    original(pool)

  def fetch(indices):
    fetched.append(indices[0])
    if indices[0] >= 500:
      dropped.wait()
    return [np.zeros((4, 4, 3), np.uint8)], indices

  monkeypatch.setattr(futures.ThreadPoolExecutor, "shutdown", shutdown)
  threads = threading.active_count()
  batches = many(1000, fetch).batches(500, fit=lambda image: image)
  next(batches)
  batches.close()
  assert len(fetched) < 900
  assert threading.active_count() == threads


def test_an_error_of_one_image_ends_the_iteration():
  def fetch(indices):
    if indices[0] == 70:
      raise leep_jax.InputError("cannot read it")
    return [np.zeros((4, 4, 3), np.uint8)], indices

  threads = threading.active_count()
  batches = many(1000, fetch).batches(50, fit=lambda image: image)
  assert len(next(batches)[0]) == 50
  with pytest.raises(leep_jax.InputError, match="^cannot read it$"):
    next(batches)
  assert threading.active_count() == threads


def test_reading_runs_ahead_but_bounded():
  reads = []
  pool = futures.ThreadPoolExecutor()

  def begin(i):
    return lambda: reads.append(i) or i

  source = dataset_lib._ahead(begin, range(100), pool)
  assert next(source) == 0
  while len(reads) < 3:
    time.sleep(0.01)
  time.sleep(0.05)
  assert 2 <= len(reads) <= 5
  threads = threading.active_count()
  source.close()
  assert threading.active_count() == threads - 1


def test_errors_while_reading_reach_the_caller():
  def read():
    raise OSError("disk gone")

  def begin(i):
    return read

  with pytest.raises(OSError, match="disk gone"):
    next(dataset_lib._ahead(begin, range(3), futures.ThreadPoolExecutor()))
