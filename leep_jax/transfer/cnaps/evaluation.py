"""Transfer by CNAPs: adaptation to tasks, and test performance."""

from collections.abc import Callable, Sequence
import time
from typing import Any

import numpy as np

from leep_jax import tasks as tasks_lib, validation
from leep_jax.transfer import metrics
from leep_jax.transfer.cnaps.adaptation import log_probs
from leep_jax.transfer.cnaps.model import Cnaps

# Images [n, H, W, C], uint8 or floats in [0, 1], and their labels [n].
Examples = tuple[np.ndarray, np.ndarray]


def evaluate(
  model: Cnaps,
  support_images: np.ndarray,
  support_labels: np.ndarray,
  query_images: np.ndarray,
  query_labels: np.ndarray,
  *,
  task: str = "task",
) -> metrics.Transferred:
  """Adapts to a support set, and tests on queries.

  Args:
    model: a CNAPs.
    support_images: `[N, H, W, C]`, uint8 or floats in [0, 1].
    support_labels: `[N]` integers from 0 to W - 1.
    query_images: `[M, H, W, C]`.
    query_labels: `[M]`, of the same classes.
    task: name of the task in the result.

  Returns:
    The result. `losses` and `accuracies` are empty, as there are no epochs;
    `params` is the generated head.

  Raises:
    InputError: as `log_probs`, or if a query is of a class that has no support
      images.

  Example:
    >>> import numpy as np
    >>> from leep_jax.transfer import cnaps
    >>> images = np.zeros((4, 8, 8, 1), np.uint8)
    >>> images[1::2] = 255  # class 0 is black, class 1 white
    >>> labels = np.array([0, 1, 0, 1])
    >>> model = cnaps.create("fashion_mnist_resnet8")
    >>> cnaps.evaluate(model, images, labels, images, labels).accuracy
    1.0
  """
  started = time.monotonic()
  labels = validation.class_labels(query_labels)
  if len(query_images) != len(labels):
    raise validation.InputError(
      f"there are {len(query_images)} query images and {len(labels)} labels"
    )
  missing = np.setdiff1d(labels, np.asarray(support_labels))
  if len(missing):
    raise validation.InputError(
      f"queries are of class {int(missing[0])}, of which there is no support "
      "image"
    )
  logs, adapted = log_probs(model, support_images, support_labels, query_images)
  ways = logs.shape[1]
  confusion = np.zeros((ways, ways))
  np.add.at(confusion, (labels, logs.argmax(axis=1)), 1)
  chosen = logs[np.arange(len(labels)), labels]
  return metrics.transferred(
    confusion,
    # In float64, as there may be many queries.
    -float(chosen.astype(np.float64).sum()),
    # Adaptation is one pass, without epochs.
    losses=np.zeros(0),
    accuracies=np.zeros(0),
    seconds=time.monotonic() - started,
    task=task,
    seed=0,
    method="cnaps",
    params=(adapted.kernel, adapted.bias),
  )


def transfer(
  model: Cnaps,
  train: Examples,
  test: Examples,
  *,
  tasks: Sequence[tasks_lib.Task],
  on_result: Callable[[metrics.Transferred], Any] = lambda result: None,
  progress: Callable[[int, int], Any] = lambda done, total: None,
) -> list[metrics.Transferred]:
  """Adapts to each task's training examples and tests on its test examples.

  Args:
    model: a CNAPs.
    train: images and labels of the training set; of the test set for tasks
      within one set, such as `tasks.FewShot` draws.
    test: images and labels of the test set.
    tasks: to adapt to.
    on_result: called with each result as soon as it is known.
    progress: called with the number of images done, and with the number of all
      support and query images.

  Returns:
    A result for each task, see `evaluate`.

  Raises:
    InputError: if a task cannot be trained or tested on (see `tasks.check`),
      or images are not as in `evaluate`.

  Example:
    >>> import numpy as np
    >>> from leep_jax import tasks
    >>> from leep_jax.transfer import cnaps
    >>> images = np.zeros((4, 8, 8, 1), np.uint8)
    >>> images[1::2] = 255  # class 0 is black, class 1 white
    >>> labels = np.array([0, 1, 0, 1])
    >>> (found,) = cnaps.transfer(
    ...   cnaps.create("fashion_mnist_resnet8"),
    ...   (images, labels), (images, labels),
    ...   tasks=[tasks.all_examples(labels, labels)],
    ... )
    >>> found.task, found.accuracy
    ('all', 1.0)
  """
  tasks_lib.check(tasks, train[1], test[1])
  found = []
  done, total = 0, sum(len(task.train) + len(task.test) for task in tasks)
  for task in tasks:
    result = evaluate(
      model,
      train[0][task.train],
      task.train_labels(train[1]),
      test[0][task.test],
      task.test_labels(test[1]),
      task=task.name,
    )
    found.append(result)
    on_result(result)
    done += len(task.train) + len(task.test)
    progress(done, total)
  return found
