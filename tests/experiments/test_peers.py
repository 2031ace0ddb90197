"""The peers that speed is compared with compute the same scores."""

import numpy as np
import pytest

from experiments.benchmarks import peers
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
    # Ratios are rounded to 0.01, times to 0.1 ms.
    assert abs(float(ratio) * float(ours) - theirs) < 0.006 * float(ours) + 0.5
    assert (
      abs(float(over) * least - float(ours)) < 0.1 * float(over) * least + 1
    )
