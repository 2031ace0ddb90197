"""The two scores of ETran for classification: energy, and LDA.

ETran adds both after scaling each over all sources that are compared (`pools`),
so that it is no score of one source. Both depend on the unit of the features;
higher means that the source transfers better. Symbols: n examples, Y target
classes, D features f.
"""

import jax
import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib, passes
from leep_jax.scores import coordinates, discriminant, jackknife


def etran_energy(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
  share: float = 1.0,
) -> float:
  """Mean of log sum_j exp(f_ij), minus the free energy of the features.

  It is meant to tell whether the target data are like those that the source was
  trained on; labels are not used. Higher transfers better.

  The authors' code averages the half per cent of the examples that have the
  least (`share=0.005`), and has no value for fewer than 200.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1.
    share: of the examples, in (0, 1]; those with the least are averaged, at
      least one.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, features are not finite, or `share` is out of range.

  Reference: Gholami, Akbari, Wang, Kamranian & Zhang, "ETran: Energy-Based
  Transferability Estimation", ICCV 2023, arXiv 2308.02027.

  Example:
    >>> import leep_jax
    >>> for features in ([[0.0, 0.0]], [[1.0, 1.0]]):
    ...   print(f"{leep_jax.etran_energy(features, [0]):.4f}")
    0.6931
    1.6931
  """
  return jackknife.value(
    etran_energy_parts(
      outputs_lib.Outputs.from_arrays(
        features=features, labels=labels, num_classes=num_classes
      ),
      share=share,
    )
  )


def etran_lda(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
) -> float:
  """Mean probability of the true label, from 0 to 1.

  It is that of a linear discriminant analysis with a shrunk covariance
  (`discriminant`), fitted to the same examples: the first analysis of `sfda`.
  Higher transfers better.

  The authors' code decomposes a matrix that is not symmetric as if it were, so
  that the directions found are orthogonal, and cancel: it has the identity in
  place of the inverse covariance. With no more examples than features and
  little shrinkage, the score is 1 for any labels.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. The score does not
      depend on it.

  Raises:
    InputError: as `etran_energy`.

  Reference: Gholami, Akbari, Wang, Kamranian & Zhang, "ETran: Energy-Based
  Transferability Estimation", ICCV 2023, arXiv 2308.02027.

  Example:
    >>> import leep_jax
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(200) % 2
    >>> noise = rng.normal(size=(200, 2))
    >>> for features in (noise + 3 * labels[:, None], noise):
    ...   print(f"{leep_jax.etran_lda(features, labels):.3f}")
    0.969
    0.503
  """
  return jackknife.value(
    etran_lda_parts(
      outputs_lib.Outputs.from_arrays(
        features=features, labels=labels, num_classes=num_classes
      )
    )
  )


def etran_energy_parts(
  outputs: outputs_lib.Outputs, *, share: float = 1.0
) -> jackknife.Parts:
  """Returns `etran_energy` as sums and a function of them.

  If only a share of the examples is averaged, the value without a group is
  right to first order: the largest that is averaged stays that of all examples.

  Args:
    outputs: with features and labels.
    share: see `etran_energy`.

  Raises:
    InputError: as `etran_energy`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import etran
    >>> from leep_jax.scores import jackknife
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[1.0], [2.0], [3.0], [4.0]], labels=[0, 0, 1, 1])
    >>> jackknife.value(etran.etran_energy_parts(outputs, share=0.5))
    1.5
  """
  if not 0 < share <= 1:
    raise validation.InputError(f"share is {share}, but must be in (0, 1]")
  outputs.check("features")
  shift, scale = outputs.feature_centre
  rows = passes.over(outputs, {"features"}).stream(
    "features", _energies, (shift.astype(np.float32), np.float32(scale))
  )
  found = outputs.gathered(np.concatenate(list(rows)).astype(np.float64))[:, 0]
  count = max(int(share * len(found)), 1)
  largest = np.partition(found, count - 1)[count - 1]
  # The mean of the least, as a mean over all examples.
  below = np.minimum(found - largest, 0) * (len(found) / count)
  return jackknife.Parts.of_mean(
    largest + below, outputs.group_of, outputs.groups
  )


def _energies(rows, shift, scale):
  """Log sums of exponentials `[B, 1]` of the features as they are given."""
  features = rows * scale + shift[None]
  return jax.nn.logsumexp(features, axis=1, keepdims=True)


def etran_lda_parts(outputs: outputs_lib.Outputs) -> jackknife.Parts:
  """Returns `etran_lda` as sums and a function of them.

  The analysis is fitted again without each group.

  Args:
    outputs: with features and labels.

  Raises:
    InputError: as `etran_energy`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import etran
    >>> from leep_jax.scores import jackknife
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[0.0], [0.0], [0.0], [0.0]], labels=[0, 0, 1, 1])
    >>> jackknife.value(etran.etran_lda_parts(outputs))
    0.5
  """
  dimensions = outputs.num_features or 0

  def fit_to(here):
    amount = discriminant.shrinkage(here.within, here.deviations)
    return discriminant.of_coordinates(here, amount, dimensions)

  known = coordinates.coordinates(outputs)
  return discriminant.mean_probability(outputs, known, fit_to)
