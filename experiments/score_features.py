"""The table of features of all scores in the guide: cost, inputs, results.

    python -m experiments.blocks

writes it. Costs are of `python -m experiments.score_benchmark --stages=costs`:
median seconds of 1,000 digits and a MobileNet V1 with 1,024 features and 1,001
source labels, on two CPU cores, after compilation.
"""

from experiments import (
  score_benchmark,
  score_benchmark_rows as rows_lib,
  score_benchmark_tables as tables,
)
import leep_jax

_ONE_EXAMPLE = "one example"
# For which inputs a score has no value, or one that says nothing.
WITHOUT_VALUE = {
  "probe_accuracy": _ONE_EXAMPLE,
  "leep": "never",
  "leep_loo": (
    "several classes of a single example each; rows of 0 and 1, if a source "
    "label has no other example of the class"
  ),
  "nce": "never",
  "nce_loo": "several classes of a single example each",
  "eep_accuracy": "never",
  "h_score": "never; the same for all sources if n <= D",
  "regularized_h_score": "never",
  "logme": "one class; features fit a class exactly (n > D)",
  "probe_log_loss": _ONE_EXAMPLE,
  "probe_balanced_accuracy": _ONE_EXAMPLE,
  "n_leep": "never",
  "trans_rate": "never",
  "gbc": "never",
  "pactran_dirichlet": "never",
  "pactran_gamma": "never",
  "pactran_gaussian": "never",
  "sfda": "never; 1 for any labels if n <= D and features are large",
  "etran_energy": "never",
  "etran_lda": "never; 1 for any labels if n <= D and features are large",
  "ncti_variability": "never",
  "ncti_seli": "no more examples than components (64 at most) and classes",
  "ncti_ncc": "never",
  "parc": "no two examples share a class, or none differ; features of an "
  "example all equal",
  "knn_accuracy": _ONE_EXAMPLE,
  "class_mean_accuracy": _ONE_EXAMPLE,
  "concept_variance": "one example; constant features",
  "f_otce": "no source examples",
  "probe_r2": "one example; targets do not vary",
  "probe_mse": _ONE_EXAMPLE,
  "lin_mse": "never",
  "lab_mse": "never",
  "probe_map": "one example; no label both occurs and is missing",
  "mean_leep": "no label both occurs and is missing",
  "mean_nce": "no label both occurs and is missing",
}
_INPUTS = {
  "probs": "probabilities", "features": "features",
  "outputs": "outputs or probabilities",
}  # fmt: skip


def table() -> str:
  """Returns a row for each score, in Markdown."""
  found = rows_lib.measured()
  cells = found.cells()
  costs = {row["score"]: row for row in rows_lib.rows_of("costs")}
  lines = [
    "| score | of | targets | s, with error | no value | tau, regret |",
    "|---|---|---|---|---|---|",
  ]
  for name, row in leep_jax.SCORES.items():
    inputs = _INPUTS[row.needs]
    if row.source_examples:
      inputs += ", source examples"
    cost = costs.get(name)
    seconds = (
      "-" if cost is None else f"{cost['value']:g}, {cost['with_error']:g}"
    )
    lines.append(
      f"| `{name}` | {inputs} | {_targets(row.target_kinds)} | {seconds} | "
      f"{WITHOUT_VALUE[name]} | {_fared(found, name, cells)} |"
    )
  return "\n".join(lines)


def _targets(kinds):
  names = {"labels": "classes", "targets": "numbers", "multi_labels": "sets"}
  return ", ".join(names[kind] for kind in kinds)


def _fared(found, name, cells):
  if name not in score_benchmark.SCORES:
    return "-"
  tau, regret = (
    tables.summary(found, name, tables.METRICS[metric], cells)
    for metric in ("weighted tau", "regret")
  )
  if tau is None or regret is None:
    return "-"
  note = ""
  if tau.undefined:
    note = f" ({tau.undefined} of {len(cells)} undefined)"
  return f"{tau.value:.2f}, {regret.value:.1f}{note}"
