"""Relations between tasks: the tasks, and what the committed rows say."""

import numpy as np

from experiments import task_relations


def test_halves_have_other_images_and_the_same_classes(rng):
  labels = np.append(rng.integers(0, 5, 60), 7)  # class 7 has one image
  first, second = task_relations.halves("x", labels)
  assert first.classes == second.classes == (0, 1, 2, 3, 4)
  both = np.concatenate([first.train, second.train])
  assert sorted(both) == list(range(60))
  assert (first.name, second.name) == ("x a", "x b")


def test_tasks_that_should_be_near_are():
  rows = task_relations.read(task_relations.ROWS)
  values = np.array(next(row["values"] for row in rows if "form" in row))
  others = np.where(np.eye(8, dtype=bool), np.inf, values)
  sets = values.reshape(4, 2, 4, 2).mean(axis=(1, 3))
  digits, fashion, cifar10, cifar100 = range(4)
  # The other half of a set of ten classes is nearest.
  assert (others.argmin(axis=1)[:4] == [1, 0, 3, 2]).all()
  assert sets[digits].argmin() in (digits, fashion)
  assert sets[digits, fashion] < min(sets[digits, [cifar10, cifar100]])
  assert sets[cifar10, cifar100] < min(sets[fashion, [cifar10, cifar100]])
