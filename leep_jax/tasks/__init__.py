"""Target tasks: their definition, samplers, and scores of many tasks.

`task_scores` and `subset_scores` score many tasks from one source's outputs.
"""

from leep_jax.data.splits import holdout
from leep_jax.tasks.sampler import Sampler
from leep_jax.tasks.samplers import (
  SAMPLERS,
  All,
  ExamplesCurve,
  FewShot,
  Imbalanced,
  LabelNoise,
  Small,
  Subsets,
)
from leep_jax.tasks.specs import draw, from_row, parse
from leep_jax.tasks.task import Task, all_examples, check, share

__all__ = [
  "SAMPLERS",
  "All",
  "ExamplesCurve",
  "FewShot",
  "Imbalanced",
  "LabelNoise",
  "Sampler",
  "Small",
  "Subsets",
  "Task",
  "all_examples",
  "check",
  "draw",
  "from_row",
  "holdout",
  "parse",
  "share",
]
