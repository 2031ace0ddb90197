"""The table of scores: one row each.

Symbols as in `leep_jax.scores`.
"""

from collections.abc import Callable
import dataclasses

from leep_jax.engine import outputs as outputs_lib, statistics
from leep_jax.engine.batch import Statistic
from leep_jax.scores import (
  average_precision as _average_precision,
  class_means as _class_means,
  concept_variance as _concept_variance,
  etran as _etran,
  gbc as _gbc,
  h_score as _h_score,
  jackknife,
  knn as _knn,
  label_sets as _label_sets,
  leave_one_out as _leave_one_out,
  leep as _leep,
  logme as _logme,
  n_leep as _n_leep,
  nce as _nce,
  ncti as _ncti,
  otce as _otce,
  pactran as _pactran,
  pactran_gaussian as _pactran_gaussian,
  parc as _parc,
  per_example,
  probe as _probe,
  regression as _regression,
  sfda as _sfda,
  trans_rate as _trans_rate,
)

# What targets can be, under the argument of `Outputs.from_arrays`.
TARGET_KINDS = {
  "labels": "classes",
  "targets": "real numbers",
  "multi_labels": "sets of labels",
}


@dataclasses.dataclass(frozen=True)
class Score:
  """A row of the table.

  Attributes:
    function: public function of arrays; its docstring defines the score.
    parts: function of `Outputs` that returns the score in two parts: sums over
      examples, and the function that turns these sums into the score. A score
      that is a mean of numbers of single examples returns those.
    needs: field that the outputs must have: `probs`, `features`, or `outputs`
      (the numbers that a regressor predicts or, without them, `probs`).
    target_kinds: kinds of targets for which the score is defined, keys of
      `TARGET_KINDS`.
    first_pass: statistics that the score needs and that depend only on the
      outputs, so that one pass over the outputs sums those of all scores.
    source_examples: whether the score needs `Outputs.source_examples`.

  Example:
    >>> import leep_jax
    >>> leep_jax.SCORES["leep"].needs
    'probs'
    >>> leep_jax.SCORES["logme"].target_kinds
    ('labels', 'targets', 'multi_labels')
  """

  function: Callable[..., float]
  parts: Callable[
    [outputs_lib.Outputs], jackknife.Parts | per_example.PerExample
  ]
  needs: str
  target_kinds: tuple[str, ...] = ("labels",)
  first_pass: tuple[Statistic, ...] = ()
  source_examples: bool = False

  def missing(self, outputs: outputs_lib.Outputs) -> str | None:
    """Returns why the outputs have no such score, or None if they have one.

    Args:
      outputs: of any source.
    """
    if not outputs.has(self.needs):
      if self.needs == "probs" and outputs.without_probs:
        return outputs.without_probs
      return f"the source gives no {self.needs}"
    (kind,) = outputs.targets_by_name
    if kind in self.target_kinds:
      if self.source_examples and outputs.source_examples is None:
        return (
          "it needs examples of the source's own data: source_features and "
          "source_labels of a file of --predictions, or of Outputs.from_arrays"
        )
      return None
    needed = TARGET_KINDS[self.target_kinds[0]]
    return f"the targets are {TARGET_KINDS[kind]}, not {needed}"


# In the order in which tables print them. A score without `first_pass` reads
# the outputs on the host, or needs parameters that an earlier pass estimates.
SCORES: dict[str, Score] = {
  "probe_accuracy": Score(
    _probe.probe_accuracy,
    _probe.accuracy_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "leep": Score(
    _leep.leep, _leep.leep_parts, "probs", first_pass=(statistics.joint,)
  ),
  "leep_loo": Score(
    _leave_one_out.leep_loo,
    _leave_one_out.leep_loo_parts,
    "probs",
    first_pass=(statistics.joint,),
  ),
  "nce": Score(
    _nce.nce,
    _nce.nce_parts,
    "probs",
    first_pass=(statistics.dummy_label_counts,),
  ),
  "nce_loo": Score(
    _leave_one_out.nce_loo,
    _leave_one_out.nce_loo_parts,
    "probs",
    first_pass=(statistics.dummy_label_counts,),
  ),
  "eep_accuracy": Score(
    _leep.eep_accuracy,
    _leep.eep_accuracy_parts,
    "probs",
    first_pass=(statistics.joint,),
  ),
  "h_score": Score(
    _h_score.h_score,
    _h_score.h_score_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "regularized_h_score": Score(
    _h_score.regularized_h_score,
    _h_score.regularized_h_score_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "logme": Score(
    _logme.logme,
    _logme.logme_parts,
    "features",
    target_kinds=("labels", "targets", "multi_labels"),
    first_pass=(statistics.moments,),
  ),
  "probe_log_loss": Score(
    _probe.probe_log_loss,
    _probe.log_loss_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "probe_balanced_accuracy": Score(
    _probe.probe_balanced_accuracy,
    _probe.balanced_accuracy_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "n_leep": Score(
    _n_leep.n_leep,
    _n_leep.n_leep_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "trans_rate": Score(
    _trans_rate.trans_rate, _trans_rate.trans_rate_parts, "features"
  ),
  "gbc": Score(
    _gbc.gbc,
    _gbc.gbc_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "pactran_dirichlet": Score(
    _pactran.pactran_dirichlet,
    _pactran.pactran_dirichlet_parts,
    "probs",
    first_pass=(statistics.joint,),
  ),
  "pactran_gamma": Score(
    _pactran.pactran_gamma,
    _pactran.pactran_gamma_parts,
    "probs",
    first_pass=(statistics.joint,),
  ),
  "pactran_gaussian": Score(
    _pactran_gaussian.pactran_gaussian,
    _pactran_gaussian.pactran_gaussian_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "sfda": Score(
    _sfda.sfda,
    _sfda.sfda_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "etran_energy": Score(
    _etran.etran_energy, _etran.etran_energy_parts, "features"
  ),
  "etran_lda": Score(
    _etran.etran_lda,
    _etran.etran_lda_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "ncti_variability": Score(
    _ncti.ncti_variability,
    _ncti.ncti_variability_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "ncti_seli": Score(
    _ncti.ncti_seli,
    _ncti.ncti_seli_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "ncti_ncc": Score(
    _ncti.ncti_ncc,
    _ncti.ncti_ncc_parts,
    "features",
    first_pass=(statistics.moments,),
  ),
  "parc": Score(_parc.parc, _parc.parc_parts, "features"),
  "knn_accuracy": Score(_knn.knn_accuracy, _knn.knn_accuracy_parts, "features"),
  "class_mean_accuracy": Score(
    _class_means.class_mean_accuracy,
    _class_means.class_mean_accuracy_parts,
    "features",
    first_pass=(_class_means.class_totals,),
  ),
  "concept_variance": Score(
    _concept_variance.concept_variance,
    _concept_variance.concept_variance_parts,
    "features",
  ),
  "f_otce": Score(
    _otce.f_otce, _otce.f_otce_parts, "features", source_examples=True
  ),
  "probe_r2": Score(
    _probe.probe_r2,
    _probe.r2_parts,
    "features",
    target_kinds=("targets",),
    first_pass=(statistics.moments,),
  ),
  "probe_mse": Score(
    _probe.probe_mse,
    _probe.mse_parts,
    "features",
    target_kinds=("targets",),
    first_pass=(statistics.moments,),
  ),
  "lin_mse": Score(
    _regression.lin_mse,
    _regression.lin_mse_parts,
    "features",
    target_kinds=("targets",),
    first_pass=(statistics.moments,),
  ),
  "lab_mse": Score(
    _regression.lab_mse,
    _regression.lab_mse_parts,
    "outputs",
    target_kinds=("targets",),
  ),
  "probe_map": Score(
    _average_precision.probe_map,
    _average_precision.map_parts,
    "features",
    target_kinds=("multi_labels",),
    first_pass=(statistics.moments,),
  ),
  "mean_leep": Score(
    _label_sets.mean_leep,
    _label_sets.mean_leep_parts,
    "probs",
    target_kinds=("multi_labels",),
    first_pass=(_label_sets.label_joint,),
  ),
  "mean_nce": Score(
    _label_sets.mean_nce,
    _label_sets.mean_nce_parts,
    "probs",
    target_kinds=("multi_labels",),
    first_pass=(_label_sets.label_counts,),
  ),
}
