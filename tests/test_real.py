"""Real weights on real data reproduce what a reference computed.

The reference values are read from the README beside the weights, so that none
is copied by hand, or computed by timm. Skipped where ../shared is absent.
"""

import functools
import json
import re

import numpy as np
import publishers
import pytest
import safetensors.numpy

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


@pytest.mark.parametrize(
  ("arch", "folder"),
  [
    ("efficientnet_lite0", "tf_efficientnet_lite0"),
    ("mobilenetv2_100", "mobilenetv2_100_inat_insects"),
  ],
)
def test_real_network_of_timm(arch, folder, shared):
  timm = publishers.load("timm")
  import PIL.Image
  import torch

  path = shared / "weights" / folder
  stated = json.loads((path / "config.json").read_text())
  model = timm.create_model(
    stated["architecture"],
    num_classes=stated["num_classes"],
    **stated.get("model_args", {}),
  )
  tensors = safetensors.numpy.load_file(path / "model.safetensors")
  model.load_state_dict({k: torch.tensor(v) for k, v in tensors.items()})
  evaluation = stated["pretrained_cfg"]
  transform = timm.data.create_transform(
    **{k: evaluation[k] for k in ("input_size", "interpolation", "mean", "std",
                                  "crop_pct", "crop_mode")}
  )  # fmt: skip
  source = leep_jax.load_source(f"{arch}@{path}")
  classes = sorted((shared / "data" / "photos" / "trashnet").iterdir())
  files = [min(photos.iterdir()) for photos in classes if photos.is_dir()]
  assert len(files) == 6
  photos = [PIL.Image.open(file).convert("RGB") for file in files]
  with torch.no_grad():
    expected = model.eval()(torch.stack([*map(transform, photos)])).numpy()
  fitted = [source.preprocessing.fit(np.asarray(photo)) for photo in photos]
  images = source.preprocessing.fitted(np.stack(fitted))
  logits, _ = source.apply(source.state, images)
  size = np.abs(expected).max()
  np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * size)
