"""What --dry_run says: counts are exact, times those of measured speeds."""

import re
import time

import numpy as np
import pytest
import running

import leep_jax
from leep_jax import estimates, score
from leep_jax.engine import forward, programs
from leep_jax.racing import result

MODELS = "--model=fashion_mnist_resnet8,cifar10_resnet14"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
  monkeypatch.setenv("LEEP_JAX_CACHE", str(tmp_path / "kept"))


def test_the_speed_is_that_of_a_pass(one_device):
  source = leep_jax.load_source("fashion_mnist_resnet8")
  digits = leep_jax.load_dataset("digits")
  rate = estimates.measure(source, digits)
  start = time.perf_counter()
  outputs = leep_jax.compute_outputs(source, digits)
  seconds = time.perf_counter() - start
  # Machines that tests share are uneven, but not compiled speeds.
  assert len(digits) / rate.per_second == pytest.approx(seconds, rel=0.9)
  kept = [outputs.probs, outputs.features]
  assert rate.width * len(digits) == sum(np.asarray(x).nbytes for x in kept)


def test_compilation_is_told_apart(monkeypatch):
  """A first batch that takes long makes no source slow."""
  compute, calls = forward.compute_part, []

  def slow_at_first(*arguments, **options):
    calls.append(arguments)
    if len(calls) == 1:
      time.sleep(3)
    return compute(*arguments, **options)

  monkeypatch.setattr(forward, "compute_part", slow_at_first)
  with programs.limit(1):
    rate = estimates.measure(
      leep_jax.load_source("fashion_mnist_resnet8"),
      leep_jax.load_dataset("digits", limit=200),
    )
  assert rate.before > 2.5
  assert 200 / rate.per_second < 2.5


def test_rates_are_kept(monkeypatch):
  digits = leep_jax.load_dataset("digits", limit=256)
  loads = []

  def load():
    loads.append(1)
    return leep_jax.load_source("fashion_mnist_resnet8")

  first = estimates.measured("a", load, digits)
  assert estimates.measured("a", load, digits) == first
  assert len(loads) == 1
  estimates.measured("b", load, digits)
  estimates.measured("a", load, digits, dtype="bfloat16")
  assert len(loads) == 3
  monkeypatch.setenv("LEEP_JAX_CACHE", "off")
  estimates.measured("a", load, digits)
  assert len(loads) == 4


def test_a_damaged_rate_is_measured_again(tmp_path):
  digits = leep_jax.load_dataset("digits", limit=256)
  source = leep_jax.load_source("fashion_mnist_resnet8")
  estimates.measured("a", source, digits)
  (file,) = (tmp_path / "kept" / "rates").iterdir()
  for content in ("{", "{}", "[]"):
    file.write_text(content)
    assert estimates.measured("a", source, digits).per_second > 0


def test_rates_of_few_examples_are_not_kept():
  """A batch of one image is padding, and its rate that of nothing else."""
  loads = []

  def load():
    loads.append(1)
    return leep_jax.load_source("fashion_mnist_resnet8")

  few = leep_jax.load_dataset("digits", limit=1)
  estimates.measured("few", load, few)
  estimates.measured("few", load, leep_jax.load_dataset("digits", limit=256))
  assert len(loads) == 2


def test_sums_by_hand():
  """1,000 sources of 2,000 images/s on 100 targets of 5,000 images."""
  rate = estimates.Rate(2000.0, 12_192, 3.0, "photos")
  passes = [estimates.Passes(f"s{i}", [5000] * 100, rate) for i in range(1000)]
  lines = estimates.total(passes)
  assert lines[0].startswith(
    "100,000 forward passes, 500,000,000 images: 69.4 hours on "
  )
  assert lines[1].startswith("loading and compilation: 50 min")
  shown = estimates.table(passes).splitlines()
  assert len(shown) == 22
  assert shown[-1] == "and 980 others: 68.1 hours"
  assert shown[1].split()[-2:] == ["6.1", "GB"]
  assert all(len(line) <= 80 for line in (*lines, *shown))


def test_what_a_race_would_need_at_least():
  """First samples are 100 of 10,000 images: (999 x 100 + 10,000) / 1e7."""
  lines = estimates.race({0: (10_000, 10)}, 1000, 3600.0)
  assert lines[0].startswith("with --race: at least 1 % of these images")
  # No sample of a small set is one: everything runs.
  lines = estimates.race({0: (100, 10)}, 10, 60.0)
  assert "at least 100 %" in lines[0]
  assert "100 to 100 % of them, 60 s to 60 s" in lines[1]


@pytest.mark.parametrize(
  ("file", "shares"),
  [
    ("racing.md", result.MEASURED_SHARES),
    ("racing_many.md", result.MEASURED_SHARES_OF_SYNTHETIC),
  ],
)
def test_shares_are_those_of_the_measured_races(file, shares):
  text = (running.ROOT / "experiments" / "results" / file).read_text()
  found = [
    int(share) / 100 for share in re.findall(r"\| (\d+)% \(\d+% to", text)
  ]
  assert (min(found), max(found)) == shares


def test_the_command(capsys, tmp_path):
  images = np.zeros((60, 8, 8, 1), np.uint8)
  np.savez(tmp_path / "a.npz", images=images, labels=np.arange(60) % 3)
  status, out, err = running.run(
    capsys, score, MODELS, f"--dataset=digits,npz:{tmp_path}/a.npz",
    "--limit=300", "--dry_run", "--race", f"--output={tmp_path}/rows.jsonl",
  )  # fmt: skip
  assert (status, err) == (0, "")
  assert not (tmp_path / "rows.jsonl").exists()
  assert "4 forward passes, 720 images" in out
  assert "fashion_mnist_resnet8       2     360" in out
  assert "with --race: at least" in out
  assert "were measured on digits" in out


def test_a_source_that_fails_leaves_the_others(capsys):
  status, out, err = running.run(
    capsys, score, "--model=none:x,fashion_mnist_resnet8", "--dry_run"
  )
  assert status == 2
  assert err.count("\n") == 1
  assert "1 forward pass, 1,797 images" in out


def test_files_of_outputs_need_no_dry_run(capsys):
  status, _, err = running.run(
    capsys, score, "--predictions=a.npz", "--dry_run"
  )
  assert status == 2
  assert "--dry_run has no meaning with --predictions" in err
