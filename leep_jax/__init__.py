"""Which pre-trained model transfers best? Scores from one forward pass."""

from leep_jax.data import Dataset, load_dataset
from leep_jax.engine.forward import compute_outputs
from leep_jax.engine.outputs import Outputs
from leep_jax.ensembles.choosing import choose
from leep_jax.models.preprocessing import Preprocessing
from leep_jax.racing.races import race
from leep_jax.reports.correlation import correlate
from leep_jax.scores import SCORES, compute_scores, estimate_scores
from leep_jax.scores.average_precision import probe_map
from leep_jax.scores.between_sources import cka, rsa, similarity_matrix
from leep_jax.scores.class_means import class_mean_accuracy
from leep_jax.scores.concept_variance import concept_variance
from leep_jax.scores.etran import etran_energy, etran_lda
from leep_jax.scores.gbc import gbc
from leep_jax.scores.h_score import h_score, regularized_h_score
from leep_jax.scores.head_predictions import (
  ProbePredictions,
  probe_predictions,
)
from leep_jax.scores.jackknife import Estimate, paired_difference
from leep_jax.scores.knn import knn_accuracy
from leep_jax.scores.label_sets import mean_leep, mean_nce
from leep_jax.scores.leave_one_out import leep_loo, nce_loo
from leep_jax.scores.leep import EEP, eep_accuracy, leep, leep_bounds
from leep_jax.scores.logme import logme
from leep_jax.scores.n_leep import n_leep
from leep_jax.scores.nce import nce, task_hardness
from leep_jax.scores.ncti import ncti_ncc, ncti_seli, ncti_variability
from leep_jax.scores.otce import f_otce
from leep_jax.scores.pactran import pactran_dirichlet, pactran_gamma
from leep_jax.scores.pactran_gaussian import pactran_gaussian
from leep_jax.scores.parc import parc
from leep_jax.scores.probe import (
  probe_accuracy,
  probe_balanced_accuracy,
  probe_log_loss,
  probe_mse,
  probe_r2,
)
from leep_jax.scores.regression import lab_mse, lin_mse
from leep_jax.scores.sfda import sfda
from leep_jax.scores.trans_rate import trans_rate
from leep_jax.sources.catalog import load_source
from leep_jax.sources.source import Source
from leep_jax.tasks.subset_scores import (
  h_score_of_subsets,
  leep_of_subsets,
  nce_of_subsets,
)
from leep_jax.validation import InputError
from leep_jax.version import __version__

__all__ = [
  "EEP",
  "SCORES",
  "Dataset",
  "Estimate",
  "InputError",
  "Outputs",
  "Preprocessing",
  "ProbePredictions",
  "Source",
  "cka",
  "class_mean_accuracy",
  "choose",
  "compute_outputs",
  "compute_scores",
  "concept_variance",
  "correlate",
  "eep_accuracy",
  "estimate_scores",
  "f_otce",
  "etran_energy",
  "etran_lda",
  "gbc",
  "h_score",
  "h_score_of_subsets",
  "knn_accuracy",
  "lab_mse",
  "leep",
  "leep_bounds",
  "leep_loo",
  "leep_of_subsets",
  "lin_mse",
  "load_dataset",
  "load_source",
  "logme",
  "mean_leep",
  "mean_nce",
  "n_leep",
  "nce",
  "nce_loo",
  "nce_of_subsets",
  "ncti_ncc",
  "ncti_seli",
  "ncti_variability",
  "pactran_dirichlet",
  "pactran_gamma",
  "pactran_gaussian",
  "paired_difference",
  "parc",
  "probe_accuracy",
  "probe_balanced_accuracy",
  "probe_log_loss",
  "probe_map",
  "probe_mse",
  "probe_predictions",
  "probe_r2",
  "race",
  "regularized_h_score",
  "rsa",
  "similarity_matrix",
  "sfda",
  "task_hardness",
  "trans_rate",
  "__version__",
]
