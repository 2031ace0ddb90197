"""The ridge probe: what a new head on the features will reach, held out.

A linear head is fitted to one-hot labels by ridge regression, and every example
is predicted by the head that was fitted to all others (`ridge.py`). Accuracy,
log loss and confusions of these predictions are those of examples that a head
has not seen, so a source with more features cannot inflate them.

Symbols: n examples, Y target classes, D features, T columns of real-valued
targets.
"""

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib
from leep_jax.scores import head_predictions, per_example, ridge


def probe_accuracy(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
) -> float:
  """Expected accuracy of a new linear head on the features; 0 to 1.

  This is the leave-one-out accuracy of ridge regression of one-hot labels on
  the standardised features, with the penalty that has the smallest
  leave-one-out squared error. It is the accuracy to expect of such a head on
  new data, if it is trained on as many examples. A logistic head reaches about
  the same, but more where many classes share few features, as regression then
  hides classes behind others.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. The accuracy does not
      depend on it.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, or features are not finite.
    UndefinedScore: if there is only one example.

  Reference: Allen, Technometrics 1974; Golub, Heath & Wahba, Technometrics
  1979; Rifkin & Lippert, "Notes on regularized least squares", MIT 2007.

  Example:
    The first feature tells the classes apart, the second does not.

    >>> import leep_jax
    >>> labels = [0, 0, 0, 1, 1, 1]
    >>> useful, useless = [[0], [1], [2], [5], [6], [7]], [[0], [1], [2]] * 2
    >>> for features in (useful, useless):
    ...   print(round(leep_jax.probe_accuracy(features, labels), 2))
    1.0
    0.17
  """
  return accuracy_parts(_outputs(features, labels, num_classes)).value


def probe_balanced_accuracy(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
) -> float:
  """Mean over classes of the share that `probe_accuracy` counts; 0 to 1.

  Classes without examples do not count.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1.

  Raises:
    InputError: as `probe_accuracy`.
    UndefinedScore: as `probe_accuracy`.

  Reference: Brodersen, Ong, Stephan & Buhmann, "The balanced accuracy and its
  posterior distribution", ICPR 2010.

  Example:
    >>> import leep_jax
    >>> features = [[0.0], [0.1], [0.2], [0.3], [1.0], [1.1]]
    >>> leep_jax.probe_balanced_accuracy(features, [0, 0, 0, 0, 1, 1])
    1.0
  """
  return balanced_accuracy_parts(_outputs(features, labels, num_classes)).value


def probe_log_loss(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
) -> float:
  """Minus the log loss of a new linear head, held out, in nats; at most 0.

  This is the mean logarithm of the probability that the predictions of
  `probe_accuracy` give to the true labels. As other scores it is higher for
  better sources.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1.

  Raises:
    InputError: as `probe_accuracy`.
    UndefinedScore: as `probe_accuracy`.

  Reference: Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural
  networks", ICML 2017 (the temperature, 1 / beta).

  Example:
    >>> import leep_jax
    >>> labels = [0, 0, 0, 1, 1, 1]
    >>> features = [[0], [1], [4], [3], [6], [7]]
    >>> round(leep_jax.probe_log_loss(features, labels), 2)
    -0.42
  """
  return log_loss_parts(_outputs(features, labels, num_classes)).value


def probe_r2(features: npt.ArrayLike, targets: npt.ArrayLike) -> float:
  """Expected R^2 of a ridge regression of targets on features; at most 1.

  R^2 = 1 - sum (t_i - p_i)^2 / sum (t_i - mean)^2, where p_i is predicted by
  the fit to all other examples; the mean over columns of targets that vary. It
  is negative where the mean would predict better.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    targets: `[n, T]` or `[n]` real numbers.

  Raises:
    InputError: if there are no examples, lengths differ, or targets or features
      are not finite.
    UndefinedScore: if there is only one example, or no target varies.

  Reference: Allen, Technometrics 1974 (PRESS).

  Example:
    >>> import leep_jax
    >>> features = [[0.0], [1.0], [2.0], [3.0]]
    >>> round(leep_jax.probe_r2(features, [1.0, 3.0, 5.0, 7.0]), 4)
    1.0
  """
  return r2_parts(_of_targets(features, targets)).value


def probe_mse(features: npt.ArrayLike, targets: npt.ArrayLike) -> float:
  """Minus the expected squared error of a ridge regression; at most 0.

  The sum over columns of targets of the mean squared error of the predictions
  of `probe_r2`, in squared units of the targets.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    targets: `[n, T]` or `[n]` real numbers.

  Raises:
    InputError: as `probe_r2`.
    UndefinedScore: if there is only one example.

  Reference: Allen, Technometrics 1974 (PRESS).

  Example:
    >>> import leep_jax
    >>> features = [[0.0], [1.0], [2.0], [3.0]]
    >>> round(leep_jax.probe_mse(features, [1.0, -1.0, 1.0, -1.0]), 2)
    -1.78
  """
  return mse_parts(_of_targets(features, targets)).value


def _outputs(features, labels, num_classes):
  return outputs_lib.Outputs.from_arrays(
    features=features, labels=labels, num_classes=num_classes
  )


def _of_targets(features, targets):
  return outputs_lib.Outputs.from_arrays(features=features, targets=targets)


def accuracy_parts(outputs: outputs_lib.Outputs) -> per_example.PerExample:
  """Returns `probe_accuracy` as a mean over examples.

  Args:
    outputs: with features and labels.

  Raises:
    InputError: as `probe_accuracy`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import probe
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.1], [1.0], [1.1]], labels=[0, 0, 1, 1])
    >>> probe.accuracy_parts(outputs).contributions.tolist()
    [1.0, 1.0, 1.0, 1.0]
  """
  correct = head_predictions.judged(outputs).predicted == outputs.labels
  return per_example.PerExample.mean(correct.astype(np.float64))


def balanced_accuracy_parts(
  outputs: outputs_lib.Outputs,
) -> per_example.PerExample:
  """Returns `probe_balanced_accuracy` as a mean over examples.

  Args:
    outputs: with features and labels.

  Raises:
    InputError: as `probe_accuracy`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import probe
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.1], [1.0], [1.1]], labels=[0, 0, 1, 1])
    >>> probe.balanced_accuracy_parts(outputs).value
    1.0
  """
  correct = accuracy_parts(outputs).contributions
  counts = outputs.class_counts
  recall = np.bincount(outputs.codes, correct) / counts
  # Deviations from the recall of the class, as the numbers of examples of the
  # classes are not drawn by chance.
  weights = len(correct) / (len(counts) * counts)
  deviation = weights[outputs.codes] * (correct - recall[outputs.codes])
  value = float(recall.mean())
  if np.all(np.isin(recall, (0, 1))):
    # Each class is all right or all wrong: no deviation, but no certainty.
    proportion = bool(np.all(recall == recall[0]))
    if not proportion:
      contributions = value + correct - correct.mean()
    else:
      contributions = correct
    return per_example.PerExample(value, contributions, proportion)
  return per_example.PerExample(value, value + deviation)


def log_loss_parts(outputs: outputs_lib.Outputs) -> per_example.PerExample:
  """Returns `probe_log_loss` as a mean over examples.

  Args:
    outputs: with features and labels.

  Raises:
    InputError: as `probe_accuracy`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import probe
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.1], [0.2]], labels=[0, 0, 0])
    >>> probe.log_loss_parts(outputs).value
    0.0
  """
  logs = head_predictions.judged(outputs).log_likelihood
  return per_example.PerExample(min(float(logs.mean()), 0.0), logs)


def r2_parts(outputs: outputs_lib.Outputs) -> per_example.PerExample:
  """Returns `probe_r2` as a mean over examples.

  Args:
    outputs: with features and targets.

  Raises:
    InputError: as `probe_r2`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import probe
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [1.0], [2.0]], targets=[0.0, 1.0, 2.0])
    >>> round(probe.r2_parts(outputs).value, 4)
    1.0
  """
  errors, targets = _target_errors(outputs), np.asarray(outputs.targets)
  variation = (targets - targets.mean(axis=0)) ** 2
  varies = variation.sum(axis=0) > 0
  if not varies.any():
    raise validation.UndefinedScore("probe_r2 is undefined: no target varies")
  errors, variation = errors[:, varies], variation[:, varies]
  share = errors.sum(axis=0) / variation.sum(axis=0)
  # The derivative of the quotient by the weight of an example.
  change = (errors - share * variation) / variation.mean(axis=0)
  value = float(1 - share.mean())
  return per_example.PerExample(value, value - change.mean(axis=1))


def mse_parts(outputs: outputs_lib.Outputs) -> per_example.PerExample:
  """Returns `probe_mse` as a mean over examples.

  Args:
    outputs: with features and targets.

  Raises:
    InputError: as `probe_r2`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import probe
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [1.0], [2.0]], targets=[0.0, 1.0, 2.0])
    >>> abs(round(probe.mse_parts(outputs).value, 4))
    0.0
  """
  errors = -_target_errors(outputs).sum(axis=1)
  return per_example.PerExample(min(float(errors.mean()), 0.0), errors)


def _target_errors(outputs):
  """Squared leave-one-out errors `[n, T]` of all examples."""
  found = ridge.held_out(outputs)
  errors = (found.predictions - outputs.targets[outputs.share]) ** 2
  return outputs.gathered(errors)
