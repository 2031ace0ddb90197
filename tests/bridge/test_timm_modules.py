"""A network of each module of timm computes in JAX what it does in PyTorch."""

import marks
import numpy as np
import publishers
import pytest

from experiments import bridge_parity, model_coverage

NETWORKS = bridge_parity.NETWORKS
# The fastest, and one with several heads.
ALWAYS = ("mlp_mixer", "mobilenetv3", "efficientvim")
NEAR = 1e-4


@pytest.mark.parametrize(
  "module",
  [*ALWAYS, *marks.exhaustive(*(m for m in NETWORKS if m not in ALWAYS))],
)
def test_equals_pytorch(module):
  publishers.load("timm")
  row = bridge_parity.compared(NETWORKS[module])
  assert row["features_error"] < NEAR
  # None for those that have no classifier.
  assert (row["logits_error"] or 0) < NEAR


def test_every_module_with_weights_has_a_network():
  publishers.load("timm")
  found = model_coverage.modules()
  assert set(NETWORKS) == set(found.values())
  for module, network in NETWORKS.items():
    assert found[network.name] == module


def test_committed_rows():
  rows = bridge_parity.measured()
  assert len({row["module"] for row in rows}) == len(rows) >= 60
  for row in rows:
    assert row["name"] == NETWORKS[row["module"]].name
    assert row["features_error"] < NEAR, row["name"]
    assert (row["logits_error"] or 0) < NEAR, row["name"]
    assert row["short"] == NETWORKS[row["module"]].short


def test_errors_are_relative_to_what_differs():
  wanted = np.array([[1.0, -4.0], [2.0, 0.0]])
  assert bridge_parity.error(wanted, wanted) == 0
  found = np.array([[1.0, -3.9], [2.0, 0.0]])
  assert bridge_parity.error(found, wanted) == 0.025
  with pytest.raises(ValueError, match=r"shape \(2, 1\), but"):
    bridge_parity.error(wanted[:, :1], wanted)
  with pytest.raises(ValueError, match="and images by 2.0e"):
    bridge_parity.error(wanted + 0.3, wanted)
  with pytest.raises(ValueError, match="and images by 0.0e"):
    bridge_parity.error(wanted[:1], wanted[:1])
