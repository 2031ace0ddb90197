"""Real weights on real data reproduce what a reference computed.

The reference values are read from the README beside the weights, so that none
is copied by hand. Skipped where ../shared is absent.
"""

import functools
import re

import pytest

import leep_jax


@pytest.fixture(scope="module")
def run():
  """Runs a source on a data set's test split; remembered within this file."""

  @functools.cache
  def outputs(shared, model, dataset):
    path = shared / "weights" / f"{model}_cifar10.safetensors"
    return leep_jax.compute_outputs(
      leep_jax.load_source(f"{model}@{path}"),
      leep_jax.load_dataset(
        dataset, split="test", data_dir=str(shared / "data")
      ),
    )

  return outputs


def reference(shared):
  text = (shared / "weights" / "README.md").read_text()
  row = (
    r"\| (resnet\d+) \| ([\d.]+) \| (\w+) \| ([-\d.]+) \| ([-\d.]+) \| ([\d.]+)"
  )
  return {
    (model, dataset): tuple(map(float, numbers))
    for model, *numbers, dataset in (
      (m, a, leep, nce, h, d) for m, a, d, leep, nce, h in re.findall(row, text)
    )
  }


@pytest.mark.parametrize(
  "model", ["resnet20", "resnet32", "resnet44", "resnet56"]
)
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "fashion_mnist"])
def test_real_source(model, dataset, shared, one_device, run):
  accuracy, leep, nce, h_score = reference(shared)[model, dataset]
  outputs = run(shared, model, dataset)
  assert len(outputs) == 10_000
  values = leep_jax.compute_scores(outputs, names=["leep", "nce", "h_score"])
  assert values["leep"] == pytest.approx(leep, abs=2e-4)
  assert values["nce"] == pytest.approx(nce, abs=2e-4)
  assert values["h_score"] == pytest.approx(h_score, abs=2e-3)
  if dataset == "cifar10":
    measured = (outputs.probs.argmax(axis=1) == outputs.labels).mean()
    assert measured == pytest.approx(accuracy, abs=5e-4)
