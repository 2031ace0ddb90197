"""Counts which published models this package can run, and how.

    python -m experiments.model_coverage --rows=FILE.jsonl
    python -m experiments.model_coverage --rows=FILE.jsonl --write

Purpose: of the names under which people know models, which work? The first
command takes one network of each architecture of timm, and of each type of
classifiers and encoders of transformers, through the bridge. It appends a row
for each to the file: the operations of its graph, and why the bridge cannot run
it, if so. It needs neither weights nor their memory (see `model_exports.py`).
It can be interrupted and goes on where it was; `--retry` takes networks with a
reason against them once more. The file may be a copy of the committed rows:
those without an outcome are made. `--write` writes what the file has so far as
`experiments/results/model_coverage.jsonl`, and from that the table
`experiments/results/model_coverage.md`, which counts:

- *native*: the network is defined in this package;
- *bridge*: `torch.export` has a graph of it, the bridge knows all of its
  operations, JAX can trace it, and its classifier is found;
- *Keras*: Keras builds it, and JAX can trace it;
- *not covered*: one of these fails;
- *not checked*: no row yet.

Of runs of equal blocks in a network of timm two are exported, as that takes a
third of the time. The smallest architecture of each module is exported whole,
too, and the table says where the operations differ.

Cost: 5 seconds of a processor for a network (median, at most 31), 20 for one of
Keras; some 2 hours for all, those with native networks included.
"""

import collections
from collections.abc import Iterable, Mapping, Sequence
import pathlib
import statistics
import sys
from typing import Any

from absl import flags

from experiments import bridge_parity, compact, model_exports, timm_table
from leep_jax import command, validation
from leep_jax.reports import results, tables
from leep_jax.sources import architectures, keras_models, timm_names

FLAGS = flags.FlagValues()
_ROWS = flags.DEFINE_string(
  "rows", None, "File to which rows are appended.", flag_values=FLAGS
)
_GROUPS = flags.DEFINE_list(
  "groups", None, "Export networks of these groups only.", flag_values=FLAGS
)
_RETRY = flags.DEFINE_boolean(
  "retry", False, "Repeat those that failed.", flag_values=FLAGS
)
_WRITE = flags.DEFINE_boolean(
  "write", False, "Write the results instead.", flag_values=FLAGS
)
RESULTS = pathlib.Path(__file__).parent / "results"
ROWS = RESULTS / "model_coverage.jsonl"
TABLE = RESULTS / "model_coverage.md"
WHOLE = "timm whole"
KINDS = ("image", "text", "audio")
KERAS = "Keras applications"
GROUPS = ("timm", *(f"transformers {kind}" for kind in KINDS), KERAS, WHOLE)
STATES = ("native", "bridge", "Keras", "not covered", "not checked")
_NOTES = """# Which models run, and how

Written by `python -m experiments.blocks` from `model_coverage.jsonl`; see
`experiments/model_coverage.py`. Groups: names of timm 1.0.31 that have weights;
types of classifiers and encoders of transformers; networks of
`keras.applications`, which Keras itself runs on JAX. *Native*: the network is
defined in this package. *Bridge*: PyTorch exports its graph, and JAX can trace
all of it. *Not checked*: not exported yet. Networks of transformers have their
default sizes, but two layers; the shapes of sounds and images are guessed from
their configurations, so that a reason may speak of the example.

No weights were loaded: see "Parity" for whether networks compute the same
numbers."""


def modules() -> dict[str, str]:
  """Returns timm's modules by architectures, the smallest network first.

  Those that have weights, in the order in which they are exported: the smallest
  of each module, then the others, and last those that are native.
  """
  timm = timm_table.load_timm()
  sizes: dict[str, int] = {}
  for model in timm_names.models().values():
    arch = model.architecture
    sizes[arch] = min(model.parameters, sizes.get(arch, model.parameters))
  by_size = sorted(sizes, key=lambda arch: (sizes[arch], arch))
  found = {arch: timm.models._registry._model_to_module[arch] for arch in sizes}
  native = architectures.of_timm().keys()
  by_size.sort(key=lambda arch: arch.lower() in native)
  first = {found[arch]: arch for arch in reversed(by_size)}
  by_size.sort(
    key=lambda arch: (arch.lower() in native, first[found[arch]] != arch)
  )
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
    elif group == KERAS:
      for name in keras_models.applications():
        yield group, name, "applications"
    else:
      kind = group.rpartition(" ")[2]
      for name in model_exports.transformers_types(kind):
        yield group, name, name


def checked(group: str, name: str, module: str) -> dict[str, Any]:
  """Takes a network through the bridge; returns its row.

  Args:
    group: one of `GROUPS`.
    name: of the architecture or type.
    module: of timm, that has the architecture.
  """
  if group == KERAS:
    found = model_exports.check_keras(name)
  elif group.startswith("timm"):
    found = model_exports.check(
      name, model_exports.timm_attempts(name, short=group != WHOLE)
    )
  else:
    kind = group.rpartition(" ")[2]
    found = model_exports.check(
      name, model_exports.transformers_attempts(kind, name)
    )
  return {
    "group": group,
    "module": module,
    "name": name,
    "kind": found.kind,
    "reason": found.reason,
    "seconds": round(found.seconds, 1),
    "operations": " ".join(found.operations),
  }


def write(path: pathlib.Path) -> None:
  """Writes the results from a file of rows; architectures without one, too.

  Args:
    path: of the file.
  """
  rows = {(row["group"], row["name"]): row for row in _read(path)}
  found = []
  for group, name, module in work(GROUPS):
    unknown = {"kind": "", "reason": None, "seconds": None, "operations": ""}
    row = rows.get((group, name), unknown)
    found.append({"group": group, "module": module, "name": name} | row)
  found.sort(
    key=lambda row: (GROUPS.index(row["group"]), row["module"], row["name"])
  )
  ROWS.write_bytes(compact.compact(found))
  TABLE.write_text(f"{table(measured())}\n")


def measured() -> list[dict[str, Any]]:
  """Returns the committed rows."""
  return _read(ROWS)


def _read(path):
  return results.parse_rows(path.read_bytes(), name=path.name)[0]


def state(row: results.Row) -> str:
  """Returns which of `STATES` a network has, now.

  Args:
    row: of the network.
  """
  arch, group = row["name"].lower(), row["group"]
  if group.startswith("timm"):
    native = arch in architectures.of_timm()
  else:
    types = {a.transformers for a in architectures.ARCHITECTURES.values()}
    native = group == "transformers image" and row["name"] in types
  if native:
    return "native"
  if row["reason"] is None:
    return "not checked"
  if row["reason"]:
    return "not covered"
  return "Keras" if group == KERAS else "bridge"


def table(rows: Sequence[results.Row]) -> str:
  """Returns the counts, and what is not covered, as Markdown.

  Args:
    rows: as `measured` returns them.
  """
  names = collections.Counter(
    model.architecture for model in timm_names.models().values()
  )
  counted = [row for row in rows if row["group"] != WHOLE]
  groups: dict[str, collections.Counter[str]] = {}
  for row in counted:
    tally = groups.setdefault(row["group"], collections.Counter())
    tally[state(row)] += names[row["name"]] if row["group"] == "timm" else 1
  by_module: dict[str, collections.Counter[str]] = {}
  for row in counted:
    if row["group"] == "timm":
      tally = by_module.setdefault(row["module"], collections.Counter())
      tally[state(row)] += names[row["name"]]
  seconds = [row["seconds"] for row in counted if row["seconds"] is not None]
  took = f"{statistics.median(seconds):.0f} s" if seconds else "-"
  return "\n\n".join(
    [
      _NOTES,
      _counts("group", groups),
      f"{len(seconds):,} networks were taken through the bridge, in {took} of "
      "a processor each (median).",
      "## timm's names by module",
      _counts("module", by_module),
      "## Not covered",
      *_not_covered(counted, names),
      "## Whole networks",
      _compared(rows),
      "## Parity",
      _parity(bridge_parity.measured()),
    ]
  )


def _counts(what: str, tallies: Mapping[str, Mapping[str, int]]) -> str:
  """A table of the states of groups, and their sum."""
  shown = [s for s in STATES if any(tally.get(s) for tally in tallies.values())]
  lines = [
    f"| {what} | names | {' | '.join(shown)} |",
    "|---" * (len(shown) + 2) + "|",
  ]
  for name, tally in tallies.items():
    cells = [
      f"{sum(tally.values()):,}",
      *(f"{tally.get(s, 0):,}" for s in shown),
    ]
    lines.append(f"| {name} | {' | '.join(cells)} |")
  return "\n".join(lines)


def _not_covered(rows, names):
  """Paragraphs of networks that nothing runs, with the reasons."""
  for group in GROUPS:
    lost = [
      row
      for row in rows
      if row["group"] == group and state(row) == "not covered"
    ]
    if lost:
      yield f"### {group}"
      yield "\n".join(
        f"- `{row['name']}`"
        + _in_brackets(names[row["name"]] if group == "timm" else 0)
        + f": {row['reason'].replace('|', '/')}"
        for row in lost
      )


def _in_brackets(count):
  return f" ({tables.count(count, 'name')})" if count else ""


def _compared(rows):
  """Where a network has operations that it has not with fewer blocks."""
  short = {row["name"]: row for row in rows if row["group"] == "timm"}
  whole = [row for row in rows if row["group"] == WHOLE and row["seconds"]]
  lines, both = [], 0
  for row in whole:
    other = short.get(row["name"])
    if other is None or other["seconds"] is None:
      continue
    both += 1
    more = set(row["operations"].split()) - set(other["operations"].split())
    if more:
      lines.append(f"- `{row['name']}`: {', '.join(sorted(more))}")
    if bool(row["reason"]) != bool(other["reason"]):
      lines.append(
        f"- `{row['name']}`: {row['reason'] or 'covered'} as a whole"
      )
  were = "was" if both == 1 else "were"
  text = (
    f"{tables.count(both, 'network')} of timm {were} exported whole as well; "
    f"{len(lines)} of them differ from the same with fewer blocks"
  )
  return text + (":\n\n" + "\n".join(lines) if lines else ".")


def _parity(rows):
  """How near the bridge is to PyTorch, of rows of `bridge_parity`."""
  lines = []
  for what in ("logits", "features"):
    errors = {
      row["name"]: row[f"{what}_error"]
      for row in rows
      if row[f"{what}_error"] is not None
    }
    worst = max(errors, key=lambda name: errors[name])
    lines.append(
      f"| {what} | {len(errors)} | {statistics.median(errors.values()):.1e} | "
      f"{errors[worst]:.1e} (`{worst}`) |"
    )
  text = (
    f"One network of each of {len(rows)} of timm's "
    f"{len(bridge_parity.NETWORKS)} modules, with random weights, in PyTorch "
    "and by the bridge: the largest difference, relative to the largest "
    "number. `bridge_parity.jsonl` has those of each network; see "
    "`experiments/bridge_parity.py`."
  )
  head = "| what | networks | median error | largest error |\n|---|---|---|---|"
  return "\n".join([text, "", head, *lines])


def export(path: str, groups: Sequence[str], *, retry: bool = False) -> None:
  """Appends the rows that a file does not have.

  Args:
    path: of the file.
    groups: some of `GROUPS`.
    retry: whether to repeat networks whose rows have a reason against them.
  """
  with results.Rows(path) as rows:
    done = {
      (row["group"], row["name"]): row["reason"] is not None
      and not (retry and row["reason"])
      for row in rows.rows
    }
    for group, name, module in work(groups):
      if done.get((group, name)):
        continue
      row = checked(group, name, module)
      rows.append(row)
      print(f"{group}: {name} {row['seconds']} s {row['reason']}", flush=True)


def _run() -> int:
  groups = _GROUPS.value or GROUPS
  for group in groups:
    if group not in GROUPS:
      raise validation.unknown("group", group, GROUPS)
  if not _ROWS.value:
    raise validation.InputError("--rows=FILE.jsonl is missing")
  if _WRITE.value:
    write(pathlib.Path(_ROWS.value))
  else:
    export(_ROWS.value, groups, retry=_RETRY.value)
  return 0


if __name__ == "__main__":
  sys.exit(command.main(sys.argv, FLAGS, __doc__ or "", _run))
