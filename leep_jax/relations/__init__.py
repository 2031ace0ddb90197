"""Relations between tasks: how near they are, and what transfers to what.

`task2vec` embeds tasks by the Fisher information of a probe network, `p2l`
compares mean features of data sets, and `affinity` compares sources by trained
transfers.
"""

from leep_jax.relations.affinity import affinities, win_rates
from leep_jax.relations.p2l import divergence
from leep_jax.relations.task2vec import distance, distances, embed

__all__ = [
  "affinities",
  "distance",
  "distances",
  "divergence",
  "embed",
  "win_rates",
]
