"""Checks of rows: faults of probabilities and features, and what logits are."""

from collections.abc import Mapping
from typing import Any

from leep_jax import validation
from leep_jax.engine import statistics

# The statistic that counts the faults of an array.
FAULTS = {
  "probs": statistics.probs_faults,
  "features": statistics.features_faults,
}


def refuse(
  field: str, faults: Mapping[str, float], *, count: int, name: str
) -> None:
  """Raises for the faults that the first pass over an array counted.

  Args:
    field: `probs` or `features`.
    faults: what the statistic `FAULTS[field]` returns, summed.
    count: n, the number of rows.
    name: what error messages call the source.

  Raises:
    InputError: if there is a fault; its message names the likely cause.

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import row_checks
    >>> row_checks.refuse("features", {"not_finite": 2}, count=9, name="mine")
    Traceback (most recent call last):
    ...
    leep_jax.validation.errors.InputError: features of mine: 2 of 9 ...
  """
  if faults["not_finite"]:
    beyond = ", or values beyond float32" if field == "features" else ""
    raise validation.InputError(
      f"{field} of {name}: {faults['not_finite']:.0f} of {count} rows hold "
      f"NaN or infinity{beyond}"
    )
  if field != "probs":
    return
  if faults["negative"]:
    raise validation.InputError(
      f"probs of {name}: {faults['negative']:.0f} of {count} rows hold "
      "negative entries: are these logits? Pass them as logits"
    )
  if faults["off"]:
    mean = faults["off_sum"] / faults["off"]
    if not faults["above"] and abs(mean - 1) < 0.05:
      hint = "are they rounded? Divide each row by its sum"
    elif not faults["above"]:
      hint = (
        "is there a sigmoid for each of several labels? These scores need one "
        "distribution over labels of which one is true"
      )
    elif abs(mean - 100) < 1:
      hint = "are these percentages? Divide by 100"
    else:
      hint = "are these logits? Pass them as logits"
    raise validation.InputError(
      f"probs of {name}: {faults['off']:.0f} of {count} rows do not sum to 1, "
      f"but to {mean:.4g} on average: {hint}"
    )


# Bits of what `looks_like` returns.
IN_UNIT_RANGE, IS_DISTRIBUTION, IS_CONFIDENT = 1, 2, 4
# Rounded probabilities sum to 1 (or 100 %) within this. No logits do, in every
# row of a data set.
_ROUNDED_SUM = 0.05


def looks_like(values: Any) -> Any:
  """Tells for each row of supposed logits what else it may be.

  Args:
    values: `[B, K]`, a NumPy or JAX array.

  Returns:
    `[B]` integers, sums of the bits `IN_UNIT_RANGE` (all entries from 0 to 1,
    as of a sigmoid), `IS_DISTRIBUTION` (non-negative, sums to 1 or 100) and
    `IS_CONFIDENT` (an entry is above 0.9).

  Example:
    >>> import numpy as np
    >>> from leep_jax.engine import row_checks
    >>> rows = np.array([[0.95, 0.05], [-3.0, 4.0]])
    >>> row_checks.looks_like(rows).tolist()  # 1 + 2 + 4; a logit above 0.9
    [7, 4]
  """
  # Methods and operators alone, which arrays of NumPy and JAX share.
  low, high = values.min(axis=1), values.max(axis=1)
  total = values.sum(axis=1)
  sums_to_1 = abs(total - 1) <= _ROUNDED_SUM
  sums_to_100 = abs(total / 100 - 1) <= _ROUNDED_SUM
  return (
    IN_UNIT_RANGE * ((low >= 0) & (high <= 1))
    + IS_DISTRIBUTION * ((low >= 0) & (sums_to_1 | sums_to_100))
    + IS_CONFIDENT * (high > 0.9)
  )
