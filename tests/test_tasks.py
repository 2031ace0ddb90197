"""Tasks: their labels, and what cannot be one."""

import numpy as np
import pytest

import leep_jax
from leep_jax import tasks

LABELS = np.array([7, 3, 3, 9, 7, 9])


def task(classes=(9, 3), train=(1, 2, 3), test=(2, 5)):
  return tasks.Task("t", tuple(classes), np.array(train), np.array(test))


def test_labels_are_places_among_the_classes():
  assert task().labels(LABELS, np.array([3, 1, 5])).tolist() == [0, 1, 0]


def test_whole_is_every_example():
  everything = tasks.whole(LABELS, LABELS[:2])
  assert everything.classes == (3, 7, 9)
  assert everything.labels(LABELS, everything.train).tolist() == [
    1, 0, 0, 2, 1, 2,
  ]  # fmt: skip
  assert everything.test.tolist() == [0, 1]


@pytest.mark.parametrize(
  ("bad", "message"),
  [
    (task(train=()), "has no training examples"),
    (task(test=()), "has no test examples"),
    (task(test=(6,)), "names test example 6, but there are 6"),
    (task(train=(0, 1)), "example 0 is of class 7, which is none of its 2"),
    (task(test=(0,)), "class 7.*does the test set have classes that training"),
    (task(train=(1, 2)), "has one class in training: a classifier needs two"),
    (
      task(classes=(9, 3, 7), test=(0,)),
      "tested on class 7, of which it has no training example",
    ),
  ],
)
def test_tasks_that_cannot_be_trained(bad, message):
  with pytest.raises(leep_jax.InputError, match=message):
    tasks.check([bad], LABELS, LABELS)


def test_no_tasks():
  with pytest.raises(leep_jax.InputError, match="there are no tasks"):
    tasks.check([], LABELS, LABELS)
