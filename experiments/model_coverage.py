"""Counts which published models this package can run, and how.

    python -m experiments.model_coverage --rows=FILE.jsonl
    python -m experiments.model_coverage --rows=FILE.jsonl --write

Purpose: of the names under which people know models, which work? The first
command exports one network of each architecture of timm, and of each type of
classifiers and encoders of transformers, as a graph of operations, and appends a
row for each to the file: the operations, or why there is no graph. It needs
neither weights nor their memory (see `model_exports.py`). It can be interrupted
and goes on where it was. `--write` writes what the file has so far as
`experiments/results/model_coverage.jsonl`, and from that the table
`experiments/results/model_coverage.md`, which counts:

- *native*: the network is defined in this package;
- *bridge*: `torch.export` has a graph of it, and the bridge knows all operations;
- *not covered*: there is no graph, or one of its operations is not known;
- *not checked*: no row yet.

Of runs of equal blocks in a network of timm two are exported, as that takes a
third of the time. The first architecture of each module, the smallest, is
exported whole, too, and the table says where the operations differ.

Cost: 10 to 20 seconds of a processor for a network, 4 hours for all.
"""

from collections.abc import Iterable, Mapping, Sequence
import collections
import pathlib
import sys
from typing import Any

from absl import flags

from experiments import compact, model_exports, timm_table
from leep_jax import command, validation
from leep_jax.reports import results
from leep_jax.sources import architectures, timm_names

FLAGS = flags.FlagValues()
_ROWS = flags.DEFINE_string(
  "rows", None, "File to which rows are appended.", flag_values=FLAGS
)
_GROUPS = flags.DEFINE_list(
  "groups", None, "Export networks of these groups only.", flag_values=FLAGS
)
_WRITE = flags.DEFINE_boolean(
  "write", False, "Write the results instead.", flag_values=FLAGS
)
RESULTS = pathlib.Path(__file__).parent / "results"
ROWS = RESULTS / "model_coverage.jsonl"
TABLE = RESULTS / "model_coverage.md"
WHOLE = "timm, whole"
KINDS = ("image", "text", "audio")
GROUPS = (WHOLE, *(f"transformers, {kind}" for kind in KINDS), "timm")
STATES = ("native", "bridge", "not covered", "not checked")


def bridged() -> frozenset[str] | None:
  """Returns the operations that the bridge knows, or None without a bridge."""
  return None


def modules() -> dict[str, str]:
  """Returns timm's modules by architectures, the smallest network first.

  Those that have weights, in the order in which they are exported: the smallest
  of each module, then the others.
  """
  timm = timm_table.load_timm()
  sizes: dict[str, int] = {}
  for model in timm_names.models().values():
    arch = model.architecture
    sizes[arch] = min(model.parameters, sizes.get(arch, model.parameters))
  by_size = sorted(sizes, key=lambda arch: (sizes[arch], arch))
  found = {arch: timm.models._registry._model_to_module[arch] for arch in sizes}
  first = {found[arch]: arch for arch in reversed(by_size)}
  by_size.sort(key=lambda arch: first[found[arch]] != arch)
  return {arch: found[arch] for arch in by_size}


def work(groups: Sequence[str]) -> Iterable[tuple[str, str, str]]:
  """Yields the group, the name and the module of each network to export."""
  timm_modules = modules()
  whole = list(dict.fromkeys(timm_modules.values()))
  for group in groups:
    if group == "timm":
      yield from ((group, *item) for item in timm_modules.items())
    elif group == WHOLE:
      for name, module in timm_modules.items():
        if whole and whole[0] == module:
          whole.pop(0)
          yield group, name, module
    else:
      kind = group.rpartition(" ")[2]
      for name in model_exports.transformers_types(kind):
        yield group, name, name


def checked(group: str, name: str, module: str) -> dict[str, Any]:
  """Exports a network; returns its row.

  Args:
    group: one of `GROUPS`.
    name: of the architecture or type.
    module: of timm, that has the architecture.
  """
  if group.startswith("timm"):
    attempts = model_exports.timm_attempts(name, short=group != WHOLE)
  else:
    attempts = model_exports.transformers_attempts(
      group.rpartition(" ")[2], name
    )
  found = model_exports.check(attempts)
  return {
    "group": group,
    "module": module,
    "name": name,
    "network": found.network,
    "reason": found.reason,
    "seconds": round(found.seconds, 1),
    "operations": " ".join(
      name.removeprefix("aten.") for name in found.operations
    ),
  }


def operations(row: results.Row) -> list[str]:
  """Returns the full names of a row's operations."""
  return [
    name if name.count(".") > 1 else f"aten.{name}"
    for name in row["operations"].split()
  ]


def state(
  row: results.Row | None, native: bool, known: frozenset[str] | None
) -> tuple[str, str]:
  """Returns which of `STATES` a network has, and why it is not covered.

  Args:
    row: of the network, or None if it was not exported.
    native: whether the package defines it.
    known: the operations of the bridge.
  """
  if native:
    return "native", ""
  if row is None:
    return "not checked", ""
  if row["reason"]:
    return "not covered", row["reason"]
  missing = [name for name in operations(row) if name not in (known or ())]
  if known is not None and missing:
    return "not covered", f"no {', '.join(missing)}"
  return "bridge", ""
