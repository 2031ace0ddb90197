"""The benchmark for accelerators measures, goes on, and compares within a run.

The command runs on eight simulated devices, at its smallest size.
"""

import importlib.util
import statistics

import pytest
import running

from experiments.benchmarks import (
  accelerator,
  accelerator_cases,
  accelerator_rows,
  accelerator_sizes,
  torch_forward,
)
from leep_jax.reports import results
from leep_jax.sources import architectures

# TFDS is not needed. timm is imported beside a torchvision of another PyTorch.
START = """
import sys
sys.modules["tensorflow_datasets"] = None
import publishers, pytest
from experiments.benchmarks import accelerator
try:
  publishers.load("timm")
except pytest.skip.Exception:
  pass
sys.exit(accelerator.main(["accelerator", *sys.argv[1:]]))
"""
ABOUT = {
  "size": "tiny", "device": "card", "platform": "gpu", "devices": 1,
  "cores": 2, "versions": {"jax": "1"}, "commit": None,
}  # fmt: skip


def start(output, *flags):
  """Starts the benchmark."""
  return running.start("-c", START, "--size=tiny", f"--output={output}", *flags)


def finish(process):
  printed, errors = process.communicate()
  assert not process.returncode, errors
  return printed, errors


def read(path):
  """All complete rows of a file."""
  content = path.read_bytes() if path.exists() else b""
  return results.parse_rows(content, name="rows")[0]


@pytest.fixture(scope="module")
def killed_and_finished(tmp_path_factory):
  """A file of rows of two runs, the first of which was killed.

  Returns the path, the rows of the first run, and what the second printed.
  """
  path = tmp_path_factory.mktemp("accelerator") / "rows.jsonl"
  process = start(path, "--minutes=9")
  # The third row is of the first case, which is then not complete.
  running.wait_until(lambda: len(read(path)) > 6, process)
  process.kill()
  process.communicate()
  before = read(path)
  printed, errors = finish(start(path, "--minutes=9"))
  return path, before, printed, errors


def test_a_killed_run_goes_on(killed_and_finished):
  path, before, _, errors = killed_and_finished
  rows = read(path)
  assert rows[: len(before)] == before
  kept = accelerator_rows.complete(before)
  assert kept
  assert f"\n{len(kept)} of " in f"\n{errors}"
  # Each case has rows of one run that is complete.
  found = accelerator_rows.complete(rows)
  assert all(found[key] == group for key, group in kept.items())
  asked = accelerator_sizes.SIZES["tiny"]
  assert len(found) == len(accelerator_cases.plan(asked, torch=True))


def test_rows_are_complete(killed_and_finished):
  path, *_ = killed_and_finished
  found = accelerator_rows.complete(read(path)).values()
  rows = [row for group in found for row in group]
  assert {row["kind"] for row in rows} == set(accelerator_sizes.KINDS)
  for row in rows:
    assert (row["device"], row["devices"], row["size"]) == ("cpu", 8, "tiny")
    assert {"leep_jax", "jax", "torch"} <= row["versions"].keys()
    if "failed" in row:
      assert row["variant"] == "PyTorch"
      assert "timm" in row["failed"] or "PyTorch" in row["failed"]
      continue
    assert len(row["times"]) == accelerator_sizes.SIZES["tiny"].repeats
    assert row["seconds"] == pytest.approx(
      statistics.median(row["times"]), rel=1e-4
    )
    assert 0 < row["lowest"] <= row["seconds"] <= row["highest"]
    assert 0 <= row["compile_seconds"] <= row["first_seconds"]
    # JAX says how long it compiles; NumPy does not compile.
    if row["variant"] in ("leep_jax", "jitted apply", "fine_tune"):
      assert row["compile_seconds"] > 0
    elif "NumPy" in row["variant"]:
      assert not row["compile_seconds"]
    assert row["amount"] > 0
  # Both types of the forward pass are compared with everything.
  forward = {
    (row["case"], row["settings"]["dtype"], row["variant"])
    for row in rows
    if row["kind"] == "forward"
  }
  ways = ("leep_jax", "compute_outputs", "jitted apply", "PyTorch")
  networks = [name for name, _ in accelerator_sizes.SIZES["tiny"].networks]
  assert forward == {
    (name, dtype, way)
    for name in networks
    for dtype in ("float32", "bfloat16")
    for way in ways
  }


def test_pytorch_is_measured_where_it_is_installed(killed_and_finished):
  path, *_ = killed_and_finished
  if not all(importlib.util.find_spec(name) for name in ("torch", "timm")):
    pytest.skip("PyTorch or timm is not installed")
  rows = [row for row in read(path) if row["variant"] == "PyTorch"]
  networks = {row["case"]: row for row in rows}
  assert networks["resnet18"]["seconds"] > 0
  assert networks["resnet8"]["failed"] == "timm has no resnet8"


def test_what_is_measured_is_not_measured_again(killed_and_finished):
  path, _, printed, _ = killed_and_finished
  before = path.read_bytes()
  again, errors = finish(start(path))
  assert path.read_bytes() == before
  assert again == printed
  total = len(accelerator_rows.complete(read(path)))
  assert errors.splitlines()[-1] == f"{total} of {total} cases have rows"


def test_no_time_starts_nothing(tmp_path):
  path = tmp_path / "rows.jsonl"
  printed, errors = finish(start(path, "--minutes=0"))
  assert not read(path)
  assert "no case is complete" in printed
  assert "the same command goes on with them" in errors


def test_the_table_has_ratios_within_a_run(killed_and_finished, capsys):
  path, _, printed, _ = killed_and_finished
  status = running.main(accelerator, "--table", f"--output={path}")
  table = capsys.readouterr().out
  assert not status
  assert table == printed
  title, _, header, rule, *lines = table.splitlines()
  assert title.startswith("8 x cpu, size tiny; leep_jax ")
  assert header.count("|") == rule.count("|")
  cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
  ratios = {(what, of, over): ratio for what, of, over, ratio, *_ in cells}
  assert len(ratios) == len(lines)
  groups = {}
  for row in read(path):
    groups.setdefault(row["run"], {})[row["variant"]] = row
  (heads,) = [group for group in groups.values() if "retrain_head" in group]
  ours, theirs = heads["retrain_head"], heads["jitted steps one by one"]
  speed = ours["amount"] / ours["seconds"] * theirs["seconds"]
  key = "heads, heads 8, epochs 2", "retrain_head", "jitted steps one by one"
  assert ratios[key] == f"{speed / theirs['amount']:.3g}"


def test_a_table_without_rows_is_one_line(tmp_path, capsys):
  path = tmp_path / "rows.jsonl"
  status = running.main(accelerator, "--table", f"--output={path}")
  assert status == 2
  assert "cannot read output" in capsys.readouterr().err


def row(run, variant, seconds, *, over=(), rows=2, **fields):
  """A row of a case of two variants."""
  return {
    **ABOUT, "kind": "leep", "case": "leep", "settings": {"n": 5}, "run": run,
    "rows": rows, "variant": variant, "over": list(over), "amount": 10.0,
    "unit": "examples", **accelerator_rows.measured([seconds] * 2, 2.0, 1.0),
    **fields,
  }  # fmt: skip


def test_rows_of_different_runs_are_not_compared():
  first = [row("a", "ours", 0.1, over=["bare"]), row("a", "bare", 0.2)]
  later = [row("b", "ours", 0.5, over=["bare"]), row("b", "bare", 2.0)]
  killed = [row("c", "ours", 0.001, over=["bare"])]

  def ratio(rows):
    return accelerator_rows.table(rows).splitlines()[-1].split("|")[4].strip()

  assert ratio(first) == "2"
  assert ratio(first + later) == "4"
  assert ratio(first + later + killed) == "4"
  assert not accelerator_rows.table(killed)


def test_other_devices_and_versions_have_tables_of_their_own():
  pair = [row("a", "ours", 0.1, over=["bare"]), row("a", "bare", 0.2)]
  newer = [{**x, "run": "b", "versions": {"jax": "2"}} for x in pair]
  table = accelerator_rows.table(pair + newer)
  titles = [x for x in table.splitlines() if x and x[0] != "|"]
  assert titles == [f"1 x card, size tiny; jax {v}" for v in (1, 2)]
  assert accelerator_rows.key(pair[0]) != accelerator_rows.key(newer[0])


def case(run, *, kind="leep", name="mine", why_not=""):
  """A case of a variant that runs, and of one that is given."""
  variants = [
    accelerator_sizes.Variant("ours", 4, "images", lambda: None, ("other",)),
    accelerator_sizes.Variant("other", 4, "images", run, (), why_not),
  ]
  return accelerator_sizes.Case(kind, name, {"n": 1}, 2, lambda: variants)


def test_what_cannot_be_measured_says_why():
  def broken():
    raise MemoryError("the device has\nno memory")

  ours, other = accelerator.measure(case(broken))
  assert ours["seconds"] >= 0
  assert other["failed"] == "MemoryError: the device has no memory"
  *_, other = accelerator.measure(case(None, why_not="PyTorch is missing"))
  assert other["failed"] == "PyTorch is missing"
  (row,) = accelerator.measure(
    accelerator_sizes.Case("leep", "mine", {}, 2, broken)
  )
  assert row["failed"] == "MemoryError: the device has no memory"
  group = [{**ABOUT, "kind": "leep", "case": "mine", "settings": {}} | row]
  group = [x | {"run": "a", "rows": 1} for x in group]
  assert "the device has no memory" in accelerator_rows.table(group)


def test_a_case_that_may_take_too_long_is_not_started(tmp_path):
  now = [0.0]

  def slow():
    now[0] += 100

  # A first call and two repeats: 300 s each.
  cases = [case(slow, name=name) for name in "abcd"]
  with results.Rows(tmp_path / "rows.jsonl") as rows:
    left = accelerator.measure_all(
      cases, rows, ABOUT, seconds=1000, clock=lambda: now[0]
    )
    assert left == 1
    assert now == [900]
    left = accelerator.measure_all(
      cases, rows, ABOUT, seconds=1000, clock=lambda: now[0]
    )
    assert (left, now) == (0, [1200])
    assert [x["case"] for x in rows.rows] == [*"aabbccdd"]


def test_the_resnet_50_for_pytorch_is_ours():
  pytest.importorskip("torch")
  model = torch_forward.resnet50()
  count = sum(x.numel() for x in model.parameters())
  assert count == architectures.parameter_count("resnet50", 1000)


def test_an_unknown_kind_is_one_line(capsys, tmp_path):
  status = running.main(
    accelerator, "--kinds=heads,tails", f"--output={tmp_path}/rows.jsonl"
  )
  assert status == 2
  assert "tails" in capsys.readouterr().err


@pytest.mark.parametrize("size", accelerator_sizes.SIZES)
def test_a_plan_has_each_case_once_and_the_most_important_first(size):
  work = accelerator_sizes.SIZES[size]
  cases = accelerator_cases.plan(work, torch=True)
  settings = [(c.kind, c.name, str(c.settings)) for c in cases]
  assert len(set(settings)) == len(settings)
  assert {c.kind for c in cases} == set(accelerator_sizes.KINDS)
  assert (cases[0].kind, cases[0].settings["dtype"]) == ("forward", "bfloat16")
  # Every kind has a case before further networks and batches.
  kinds = [c.kind for c in cases]
  first = {kinds.index(kind) for kind in accelerator_sizes.KINDS}
  assert max(first) <= len(accelerator_sizes.KINDS)
