"""The peers that speed is compared with compute the same scores."""

import numpy as np
import pytest

from experiments.benchmarks import peers, ways
import leep_jax


@pytest.fixture(scope="module")
def data():
  probs, features, labels = peers.inputs(3_000)
  return probs, features[:, :40].copy(), labels


def test_leep(data):
  probs, _, labels = data
  assert peers.tllib_leep(probs, labels) == pytest.approx(
    leep_jax.leep(probs, labels), abs=1e-5
  )


def test_nce(data):
  probs, _, labels = data
  assert peers.tllib_nce(probs.argmax(1), labels) == pytest.approx(
    leep_jax.nce(probs, labels), abs=1e-6
  )


def test_h_score(data):
  _, features, labels = data
  assert peers.tllib_h_score(features, labels) == pytest.approx(
    leep_jax.h_score(features, labels), rel=1e-4
  )


def test_logme(data):
  _, features, labels = data
  assert peers.tllib_log_me(features, labels) == pytest.approx(
    leep_jax.logme(features, labels), abs=1e-3
  )


def test_trans_rate(data):
  """With one class, all features are within it, by both definitions."""
  _, features, _ = data
  labels = np.zeros(len(features), int)
  assert peers.tllib_trans_rate(features, labels) == pytest.approx(0, abs=1e-6)
  assert leep_jax.trans_rate(features, labels) == pytest.approx(0, abs=1e-6)


def test_the_table_of_scores_is_printed(capsys):
  peers.scores(1, 500)
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == 2 + 6
  for line in lines[2:]:
    _, _, ours, peer, ratio, limit, over, _, _ = line.split("|")
    theirs, least = (float(x.split(":")[1]) for x in (peer, limit))
    ours, ratio, over = float(ours), float(ratio), float(over)
    # Ratios are rounded to 0.01, times to 0.1 ms.
    assert abs(ratio * ours - theirs) <= 0.06 * (1 + ratio) + 0.006 * ours
    assert abs(over * least - ours) <= 0.06 * (1 + over) + 0.006 * least


@pytest.mark.parametrize("what", ["class_sums", "largest_labels", "grams"])
def test_ways_to_sum_are_measured(what, capsys):
  probs, features, labels = peers.inputs(600)
  given = features if what == "grams" else probs
  ways.table(what, 1, getattr(ways, what)(given, labels))
  lines = capsys.readouterr().out.splitlines()
  assert lines[1] == f"{what}:"
  assert lines[5].endswith("| 1.00 |")
  assert len(lines) > 7
