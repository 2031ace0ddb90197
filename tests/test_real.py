"""Real weights on real data reproduce what a reference computed.

The reference values are read from the README beside the weights, so that none
is copied by hand. Skipped where ../shared is absent.
"""

import functools
import re

import pytest

import leep_jax
from leep_jax.sources import catalog

pytestmark = pytest.mark.exhaustive


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


MOBILENETS = {"0.25_128": "025", "0.5_160": "050", "0.75_192": "075"}


@pytest.mark.parametrize("folder", MOBILENETS)
def test_real_mobilenet(folder, shared, one_device):
  row = rf"\| {folder} \| (\d+) \| ([-\d.]+) \| ([-\d.]+) \|"
  text = (shared / "weights" / "README.md").read_text()
  size, leep, nce = map(float, re.search(row, text).groups())
  path = shared / "weights" / f"mobilenet_v1_{folder}"
  source = leep_jax.load_source(
    f"mobilenet_v1_{MOBILENETS[folder]}@{path}",
    overrides=catalog.Overrides(crop=1.0),  # as the reference was made
  )
  assert source.preprocessing.image_size == size
  outputs = leep_jax.compute_outputs(
    source,
    leep_jax.load_dataset(
      "cifar100", split="test[:1000]", data_dir=str(shared / "data")
    ),
  )
  assert outputs.num_source_classes == 1001
  values = leep_jax.compute_scores(outputs, names=["leep", "nce"])
  assert values["leep"] == pytest.approx(leep, abs=5e-4)
  assert values["nce"] == pytest.approx(nce, abs=5e-4)
