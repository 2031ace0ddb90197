"""Sets of sources: what several of them know together.

Two ways to use sources together are scored from their kept outputs, held out:

- one head on the joined features of all (`features.py`), by the ridge probe;
- a mixture of what their EEPs predict (`mixtures.py`), with the weights that
  maximise held-out LEEP (`weights.py`).

`choosing.py` adds one source after another to the best.
"""

from leep_jax.ensembles.choosing import OF_MIXTURES, choose, ranking_score
from leep_jax.ensembles.features import join
from leep_jax.ensembles.mixtures import Mixture, mix
from leep_jax.ensembles.result import Added, Choice

__all__ = [
  "OF_MIXTURES",
  "Added",
  "Choice",
  "Mixture",
  "choose",
  "join",
  "mix",
  "ranking_score",
]
