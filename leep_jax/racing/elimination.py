"""Which of several sources are surely worse than the best of them.

Scores of a sample of m of n examples say how the sources compare on all n. The
difference of two scores varies between samples of m drawn without replacement
like that of a sample of any size, times 1 - m/n (Cochran, "Sampling
techniques", 1977, section 2.5): where m is n, nothing is left to chance.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import numpy as np

from leep_jax.scores import jackknife


@dataclasses.dataclass(frozen=True, eq=False)
class Verdict:
  """What one sample says about the sources.

  Attributes:
    best: index of the source with the highest score; None if none has one.
    intervals: by index, the interval of the best's score minus that of the
      source, on all examples.
    worse: indices of the sources whose interval is above 0.
    tied: whether the other sources with intervals differ from the best by no
      more than the tolerance.

  Example:
    >>> from leep_jax.racing import elimination
    >>> verdict = elimination.Verdict(0, {1: (0.1, 0.3)}, (1,), tied=False)
    >>> verdict.worse
    (1,)
  """

  best: int | None
  intervals: Mapping[int, tuple[float, float]]
  worse: tuple[int, ...]
  tied: bool


def judge(
  estimates: Sequence[jackknife.Estimate | None],
  *,
  level: float,
  tolerance: float = 0.0,
  share: float = 0.0,
) -> Verdict:
  """Compares every source with the best on one sample.

  Args:
    estimates: a score of several sources on the same examples; None where it is
      undefined.
    level: of each interval.
    tolerance: a difference in the score that does not matter.
    share: m/n, the part of all examples that the sample is. 0 judges the
      sources on examples like these, of which there are any number.

  Raises:
    InputError: if the estimates are not of the same examples.

  Example:
    The first source is right on 90 of 100 examples, the second on 60 of those,
    the third on 88 of them:

    >>> import numpy as np
    >>> from leep_jax.racing import elimination
    >>> from leep_jax.scores import per_example
    >>> estimates = [
    ...   per_example.PerExample.mean(np.arange(100.0) < right).estimate()
    ...   for right in (90, 60, 88)
    ... ]
    >>> verdict = elimination.judge(estimates, level=0.99)
    >>> verdict.worse
    (1,)
    >>> low, high = verdict.intervals[1]
    >>> f"{low:.2f} to {high:.2f}"
    '0.18 to 0.41'
  """
  values = [-np.inf if e is None else e.value for e in estimates]
  best = int(np.argmax(values))
  first = estimates[best]
  if first is None:
    return Verdict(None, {}, (), tied=False)
  intervals: dict[int, tuple[float, float]] = {}
  compared = 1
  for i, estimate in enumerate(estimates):
    if estimate is None or i == best:
      continue
    compared += 1
    difference = jackknife.paired_difference(first, estimate)
    interval = difference.interval(level=level)
    # Without a standard error, nothing shows that it is worse.
    if interval is not None:
      middle, half = sum(interval) / 2, (interval[1] - interval[0]) / 2
      half *= np.sqrt(1 - share)
      intervals[i] = float(middle - half), float(middle + half)
  worse = tuple(i for i, (low, _) in intervals.items() if low > 0)
  left = [ends for i, ends in intervals.items() if i not in worse]
  # A source without an interval may differ by any amount.
  tied = len(intervals) + 1 == compared == len(estimates) and all(
    -tolerance <= low and high <= tolerance for low, high in left
  )
  return Verdict(best, intervals, worse, tied)
