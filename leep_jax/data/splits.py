"""Training and test examples: which split is which, and splits made here."""

from collections.abc import Sequence
import warnings

import numpy as np
from numpy import typing as npt

from leep_jax import validation
from leep_jax.data import folders


def holdout(
  labels: npt.ArrayLike,
  *,
  fraction: float = 0.2,
  seed: int,
  clusters: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Splits a data set into a training and a test set, class by class.

  Of a class with k examples, round(fraction k) go to the test set, but at least
  one and not all. A class with a single example is in the training set only.

  Args:
    labels: `[N]` integers.
    fraction: of the examples that go to the test set, between 0 and 1.
    seed: of the draw.
    clusters: `[N]` integers, equal for examples that must stay together. Shares
      of classes are then only about the fraction.

  Returns:
    Indices of training and of test examples, int32, ascending. Each example is
    in one of them.

  Raises:
    InputError: if the fraction is out of range, or no class has two examples,
      or clusters are too few.

  Example:
    >>> from leep_jax.data import splits
    >>> train, test = splits.holdout([0] * 10 + [1] * 5, seed=0)
    >>> len(train), len(test), train[0].dtype.name
    (12, 3, 'int32')
  """
  if not 0 < fraction < 1:
    raise validation.InputError(
      f"fraction is {fraction!r}, but must be above 0 and below 1"
    )
  if not isinstance(seed, (int, np.integer)) or seed < 0:
    raise validation.InputError(
      f"seed is {seed}, but must be an integer from 0"
    )
  labels = validation.class_labels(labels)
  if clusters is not None:
    return _of_clusters(labels, fraction, seed, clusters)
  rng = np.random.default_rng(seed)
  train, test = [], []
  for indices in indices_by_class(labels).values():
    size = max(round(fraction * len(indices)), 1)
    # A class of one example keeps it for training.
    size = min(size, len(indices) - 1)
    shuffled = rng.permutation(indices)
    test.append(shuffled[:size])
    train.append(shuffled[size:])
  if not any(map(len, test)):
    raise validation.InputError(
      f"no class has two examples, so none of {len(train)} can be held out for "
      "test: are these class labels?"
    )
  return ascending(train), ascending(test)


def _of_clusters(labels, fraction, seed, clusters):
  """Holds out whole clusters, of every class about the fraction."""
  from sklearn import model_selection

  _, cluster_of = np.unique(clusters, return_inverse=True)
  count = cluster_of.max() + 1
  if count < 2:
    raise validation.InputError(
      "all examples are of one group, so none can be held out for test"
    )
  folds = model_selection.StratifiedGroupKFold(
    min(round(1 / fraction), count), shuffle=True, random_state=seed
  )
  with warnings.catch_warnings():
    # Classes with fewer examples than folds, which the next lines look after.
    warnings.simplefilter("ignore")
    parts = [test for _, test in folds.split(labels, labels, cluster_of)]
  for part in parts:
    tested = np.zeros(count, bool)
    tested[cluster_of[part]] = True
    # A class needs training examples: its groups go back.
    known = np.unique(labels[~tested[cluster_of]])
    tested[cluster_of[~np.isin(labels, known)]] = False
    if tested.any():
      indices = np.arange(len(labels), dtype=np.int32)
      return indices[~tested[cluster_of]], indices[tested[cluster_of]]
  raise validation.InputError(
    f"the classes lie in {count} groups such that none can be held out for "
    "test: are there several groups of each class?"
  )


def choose(name: str, names: Sequence[str], split: str | None) -> str:
  """Returns the split that is asked for, or the one for training.

  Args:
    name: of the data set, for the error.
    names: of all its splits.
    split: what the user wrote; None for the training set.

  Raises:
    InputError: if there is no such split, or none of several is for training.

  Example:
    >>> from leep_jax.data import splits
    >>> splits.choose("mine", ["test2017", "train2017"], None)
    'train2017'
  """
  if split is None and len(names) == 1:
    return names[0]
  chosen = split or folders.with_role(names, "train")
  if chosen is None:
    raise validation.InputError(
      f"{name} holds the splits {validation.some(names)}: choose one, as in "
      f"--split={names[0]}"
    )
  if chosen not in names:
    raise validation.unknown(f"split of {name}", chosen, names)
  return chosen


def indices_by_class(labels: np.ndarray) -> dict[int, np.ndarray]:
  """Returns the indices of the examples of each class, int32, ascending.

  Args:
    labels: `[N]` integers.

  Example:
    >>> import numpy as np
    >>> from leep_jax.data import splits
    >>> found = splits.indices_by_class(np.array([1, 0, 1]))
    >>> {label: indices.tolist() for label, indices in found.items()}
    {0: [1], 1: [0, 2]}
  """
  # A stable sort keeps the examples of a class in order.
  order = np.argsort(labels, kind="stable").astype(np.int32)
  classes, starts = np.unique(labels[order], return_index=True)
  return dict(zip(classes.tolist(), np.split(order, starts[1:]), strict=True))


def ascending(parts: Sequence[np.ndarray]) -> np.ndarray:
  """Returns the elements of several arrays of indices, sorted.

  Example:
    >>> import numpy as np
    >>> from leep_jax.data import splits
    >>> splits.ascending([np.array([4, 1]), np.array([2])])
    array([1, 2, 4])
  """
  return np.sort(np.concatenate(parts))
