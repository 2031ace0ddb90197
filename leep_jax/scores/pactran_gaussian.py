"""PACTran of the features: a bound of the loss of a softmax head.

The score is in nats and at most 0; higher means that the source transfers
better. Symbols: n examples, Y target classes, D features x, of which the mean
is subtracted, W `[Y, D]` the weights of the head.
"""

import numpy as np
import numpy.typing as npt

from leep_jax import validation
from leep_jax.engine import outputs as outputs_lib
from leep_jax.scores import jackknife, softmax_head

# What the authors' evaluation calls `pac_gauss_fix`: a ridge of 10 / n, and a
# prior whose variance is 1 / D.
SPREAD = 0.1
VARIANCE = 1.0


def pactran_gaussian(
  features: npt.ArrayLike,
  labels: npt.ArrayLike,
  *,
  num_classes: int | None = None,
  spread: float = SPREAD,
  variance: float = VARIANCE,
) -> float:
  """Minus a bound of the loss of a head, at most 0, in nats.

  With L the mean cross entropy of a softmax head with biases, and W the weights
  of the least L + ||W||^2 / (2 c), where c = lambda s^2 is the product of the
  bound's temperature lambda and the prior's variance s^2, the score is minus

    L + ||W||^2 / (2 c) + Y D / (2 lambda) log(1 + c / (Y D) tr H),

  where H is the Hessian of L by the weights, tr H = 1/n sum_i |x_i|^2 sum_y
  p_i(y) (1 - p_i(y)). It is Laplace's approximation of the log evidence with
  prior weights of variance s^2, divided by lambda; the logarithm of a mean
  bounds the mean of logarithms of eigenvalues. c is `spread` times n, and s^2
  is `variance` / D. Higher transfers better.

  The score depends on the unit of the features. The optimum is found by
  Newton's method, as far as heads of float32 allow. Published code stops L-BFGS
  after 100 iterations from random weights, and sums H over examples and biases
  where L is a mean.

  Args:
    features: `[n, D]`, the source model's penultimate features.
    labels: `[n]`, target labels from 0.
    num_classes: Y; by default the largest label plus 1. Classes that do not
      occur are left out.
    spread: c / n; the ridge of the head is 1 / (`spread` n).
    variance: s^2 D, above 0.

  Raises:
    InputError: if there are no examples, lengths differ, labels are not
      integers in 0..Y-1, features are not finite, or an option is not above 0.

  Reference: Ding, Chen, Levinboim, Changpinyo & Soricut, "PACTran: PAC-Bayesian
  Metrics for Estimating the Transferability of Pretrained Models to
  Classification Tasks", ECCV 2022, arXiv 2203.05126.

  Example:
    The features of the first source tell the classes apart, those of the second
    do not: the score is below minus the entropy of the labels, -log 2.

    >>> import leep_jax
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(200) % 2
    >>> noise = rng.normal(size=(200, 2))
    >>> for features in (noise + 3 * labels[:, None], noise):
    ...   print(f"{leep_jax.pactran_gaussian(features, labels):.3f}")
    -0.163
    -0.779
  """
  return jackknife.value(
    pactran_gaussian_parts(
      outputs_lib.Outputs.from_arrays(
        features=features, labels=labels, num_classes=num_classes
      ),
      spread=spread,
      variance=variance,
    )
  )


def pactran_gaussian_parts(
  outputs: outputs_lib.Outputs,
  *,
  spread: float = SPREAD,
  variance: float = VARIANCE,
) -> jackknife.Parts:
  """Returns `pactran_gaussian` as sums and a function of them.

  Without a group of examples, the loss is that of the head of all examples,
  which is right to first order, as the head is optimal. The trace is corrected
  to first order for the change of the head, by one solution u of H u = the
  derivative of the trace: it falls by u times the slope of the others' loss.
  The mean of the features stays that of all examples.

  Args:
    outputs: with features and labels.
    spread: see `pactran_gaussian`.
    variance: see `pactran_gaussian`.

  Raises:
    InputError: as `pactran_gaussian`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.scores import jackknife
    >>> from leep_jax.scores import pactran_gaussian
    >>> outputs = leep_jax.Outputs.from_arrays(
    ...   features=[[7.0]] * 4, labels=[0, 0, 1, 1])
    >>> parts = pactran_gaussian.pactran_gaussian_parts(outputs)
    >>> round(jackknife.value(parts), 4)
    -0.6931
  """
  for name, option in (("spread", spread), ("variance", variance)):
    if not 0 < option < np.inf:
      raise validation.InputError(f"{name} is {option}, but must be above 0")
  n, dimensions = len(outputs), outputs.num_features or 0
  found = softmax_head.optimum(outputs, ridge=1 / (spread * n))
  arguments = [
    x.astype(np.float32) for x in (found.head, found.stretch, found.shift)
  ]
  step = np.zeros_like(found.head)
  if outputs.groups > 1:
    slope = found.outputs.ungrouped.sum(softmax_head.trace_slopes, *arguments)
    step = found.solve(slope / n, accuracy=1e-4)
  sums = found.outputs.group_sums(
    softmax_head.outcome, *arguments, step.astype(np.float32)
  )
  squares = found.squares
  # The slope of the penalty along the step, for a ridge of 1.
  pull = np.sum(step * found.head * found.penalties) / found.ridge

  def finalise(sums):
    n = sums["counts"].sum()
    size = np.count_nonzero(sums["counts"]) * dimensions
    product = spread * n
    loss = sums["loss"] / n + squares / (2 * product)
    trace = sums["trace"] / n - (sums["along"] / n + pull / product)
    # Y D / (2 lambda), as lambda is `product` over the prior's variance.
    weight = size * variance / dimensions / (2 * product)
    flatness = weight * np.log1p(product / size * max(trace, 0))
    return 0 - float(loss + flatness)

  return jackknife.Parts.by_group(
    finalise, {**sums, "counts": outputs.group_counts}
  )
