r"""CNAPs: a classifier for a new task, from one pass over its examples.

The weights of a backbone f are frozen. From a task's support set of N labelled
images, adaptation networks generate what differs between tasks:

- the FiLM parameters of every block of f, gamma and beta for each of its two
  BatchNorms: `BN(x) gamma + beta`. They come from z_G, an encoding of the
  support images, and z_AR, an encoding of the block's inputs on them under the
  modulations generated so far. Both are means over the support set, so that
  the order of its images does not matter.
- a linear head, weight and bias of class c by one network from the mean of its
  features, so that the order of classes does not matter either.

The networks generate differences from a neutral adaptation. Their last layers
start at 0: FiLM then changes nothing, and the head classifies by the nearest
class mean, with logits `mean_c . x - |mean_c|^2 / 2`. Meta-training samples
tasks from labelled images. It minimises the cross entropy of queries, other
images of the same classes, plus a constant times the sum of
`(gamma - 1)^2 + beta^2`, plus another times the squared norm of the head
generator's last layer, which otherwise learns the classes of training by heart.

Symbols: N support images, M queries, W classes ("ways"), K images a class
("shots"), D features. N and W are rounded up, so that few shapes are compiled.
Padding images have weight 0, padding classes a bias of minus infinity.

Reference: Requeima, Gordon, Bronskill, Nowozin, Turner. Fast and flexible
multi-task classification using conditional neural adaptive processes. NeurIPS
2019, arXiv 1906.07697.
"""

from leep_jax.transfer.cnaps.adaptation import log_probs
from leep_jax.transfer.cnaps.episodes import Config, Episode, sample_episode
from leep_jax.transfer.cnaps.evaluation import Examples, evaluate, transfer
from leep_jax.transfer.cnaps.files import card, load, save
from leep_jax.transfer.cnaps.model import Adapted, Cnaps, create
from leep_jax.transfer.cnaps.training import (
  is_trained,
  make_step,
  meta_train,
  split,
)

__all__ = [
  "Adapted",
  "Cnaps",
  "Config",
  "Episode",
  "Examples",
  "card",
  "create",
  "evaluate",
  "is_trained",
  "load",
  "log_probs",
  "make_step",
  "meta_train",
  "sample_episode",
  "save",
  "split",
  "transfer",
]
