"""Races of sources: the best one, without running all examples through all.

All sources run on a small sample. Those that are surely worse than the best
leave; the others run on a sample of twice the size that contains the first, and
so on. Those that are left at the end run on all examples, and have the scores
that they would have without a race. Each example runs through a source at most
once.

**How sure.** A source leaves if the paired interval of the best's score minus
its own lies above 0. There are R rounds, known from the number of examples
before any is seen, and m - 1 sources besides the best. The intervals have the
level 1 - (1 - level) / (R (m - 1)). For the best source to leave, in one of R
rounds one of m - 1 others has to be ahead of it by an interval above 0; by the
union bound, whichever source happens to lead and however long the race lasts,
that has a probability of at most 1 - level (Bonferroni). Intervals are of the
difference on all examples of the data set, see `elimination.py`.

**What this does not cover.** A score of a sample is that of a head that is
trained on few examples. All scores rise with the number of examples, and those
of sources with many features rise for longer. So a source may be behind on the
first sample, surely, and ahead on all examples. Two things make this rare: no
sample has fewer than 100 examples, or 10 of each class on average; and close
sources do not leave early. `experiments/results/racing.md` has what was
measured.
"""

from leep_jax.racing.contest import Contest, run_together
from leep_jax.racing.forwarded import Forwarded, Loaded
from leep_jax.racing.races import race, race_outputs
from leep_jax.racing.result import TOLERANCE, Eliminated, Race, Round, Survivor

__all__ = [
  "TOLERANCE",
  "Contest",
  "Eliminated",
  "Forwarded",
  "Loaded",
  "Race",
  "Round",
  "Survivor",
  "race",
  "race_outputs",
  "run_together",
]
