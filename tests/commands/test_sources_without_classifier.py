"""A file without a head, beside a classifier: what each command makes of it."""

import json

import networks
import numpy as np
import pytest
import references
import running

import leep_jax
from leep_jax import score, sweep
from leep_jax.engine import cache
from leep_jax.sources import catalog, matching
from leep_jax.transfer import __main__ as transfer

SIZES = {
  "width": 32, "depth": 1, "mlp_width": 32, "image_size": 8, "patch_size": 4,
}  # fmt: skip
CLASSIFIER = "test_sources_without_classifier:classifier"
CONFIG = {
  "architecture": "vit_base_patch8_224",
  "num_classes": 0,
  "pretrained_cfg": {"input_size": [3, 8, 8], "num_classes": 0},
}
pytestmark = pytest.mark.filterwarnings("ignore::leep_jax.validation.InputNote")


def classifier():
  return networks.make_source()


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
  """A folder as timm has them of DINO, MAE or SigLIP: no head."""
  folder = tmp_path_factory.mktemp("tower")
  tensors = matching.published(catalog.build("vit", 1, **SIZES))
  references.save(
    {
      name: references.tensor(name, value.shape)
      for name, value in tensors.items()
      if not name.startswith("head.")
    },
    folder / "model.safetensors",
  )
  (folder / "config.json").write_text(json.dumps(CONFIG))
  return f"vit@{folder}"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  images, labels = networks.images_of(0, 120)
  path = tmp_path_factory.mktemp("data") / "data.npz"
  np.savez(path, images=images, labels=labels)
  return f"--dataset=npz:{path}"


def test_scores_and_ranking_of_both(tower, data, tmp_path, capsys):
  path = tmp_path / "rows.jsonl"
  status, printed, _ = running.run(
    capsys, score, f"--model={tower},{CLASSIFIER}", data, f"--output={path}",
    "--scores=probe_accuracy,n_leep,h_score,leep,nce,eep_accuracy",
  )  # fmt: skip
  assert status == 0
  lines = path.read_text().splitlines()
  rows = {row["model"]: row for row in map(json.loads, lines)}
  for name in ("probe_accuracy", "n_leep", "h_score"):
    assert all(np.isfinite(row[name]) for row in rows.values())
  for name in ("leep", "nce", "eep_accuracy"):
    assert rows[tower][name] is None
    assert np.isfinite(rows[CLASSIFIER][name])
  assert rows[tower]["num_source_classes"] is None
  # What all sources have ranks them.
  assert "Best first by probe_accuracy" in printed
  assert "no leep, nce, eep_accuracy: its checkpoint has no classifier" in (
    " ".join(printed.split())
  )


def test_a_score_of_probabilities_alone(tower, data, capsys):
  status, printed, errors = running.run(
    capsys, score, f"--model={tower}", data, "--scores=leep,nce"
  )
  assert "its checkpoint has no classifier" in " ".join(
    (printed + errors).split()
  )
  assert "Traceback" not in errors
  assert status in (0, 1)


def test_sweeps_and_their_cache(tower, data, tmp_path, capsys):
  flags = (
    f"--model={tower},{CLASSIFIER}", data, "--tasks=subsets(count=3,classes=2)",
    "--scores=leep,nce,h_score", "--transfer=retrain_head", "--epochs=2",
    f"--output={tmp_path}",
  )  # fmt: skip
  assert running.run(capsys, sweep, *flags)[0] == 0
  rows = [
    json.loads(line)
    for path in tmp_path.glob("rows-*.jsonl")
    for line in path.read_text().splitlines()
  ]
  scored = [row for row in rows if row["method"] == "score"]
  assert {row["model"] for row in scored} == {tower, CLASSIFIER}
  for row in scored:
    assert np.isfinite(row["scores"]["h_score"])
    assert (row["scores"]["leep"] is None) == (row["model"] == tower)
  # The second time, all is there.
  assert ", 0 of them new" in running.run(capsys, sweep, *flags)[1]
  status, printed, _ = running.run(
    capsys, sweep, f"--output={tmp_path}", "--report"
  )
  assert status == 0
  assert "h_score" in printed


def test_transfer(tower, data, capsys):
  status, printed, _ = running.run(
    capsys, transfer, f"--model={tower}", data, "--method=probe"
  )
  assert status == 0
  assert "probe" in printed


def test_cached_and_saved_outputs(tower, data, tmp_path):
  source = leep_jax.load_source(tower)
  target = leep_jax.load_dataset(data.partition("=")[2])
  kept = cache.Cache(tmp_path)
  first = kept.outputs(source, target)
  again = kept.outputs(source, target)
  assert first.without_probs == again.without_probs == source.without_probs
  assert again.probs is None
  np.testing.assert_array_equal(first.features, again.features)
