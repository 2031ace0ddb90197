"""The count of published models that run, and the committed rows."""

import json

import publishers
import pytest

from experiments import model_coverage, model_exports
from leep_jax.bridge.operations import OPERATIONS
from leep_jax.sources import timm_names

ROW = {
  "group": "timm", "module": "mlp_mixer", "name": "mixer_b16_224", "kind": "M",
  "reason": "", "seconds": 3.0, "operations": "add.Tensor linear",
}  # fmt: skip


def test_states():
  assert model_coverage.state(ROW) == "bridge"
  assert model_coverage.state(ROW | {"name": "resnet50"}) == "native"
  assert model_coverage.state(ROW | {"reason": "no"}) == "not covered"
  assert model_coverage.state(ROW | {"reason": None}) == "not checked"
  image = ROW | {"group": "transformers image", "name": "convnext"}
  assert model_coverage.state(image) == "native"
  text = image | {"group": "transformers text"}
  assert model_coverage.state(text) == "bridge"
  keras = ROW | {"group": model_coverage.KERAS, "name": "VGG16"}
  assert model_coverage.state(keras) == "Keras"


def test_the_table_of_rows():
  rows = [
    ROW,
    ROW | {"name": "gmlp_s16_224", "reason": "unknown operations: fft | x"},
    ROW | {"name": "resnet50", "module": "resnet", "reason": None,
           "seconds": None},
    ROW | {"group": model_coverage.WHOLE, "operations": "cat linear"},
  ]  # fmt: skip
  text = model_coverage.table(rows)
  names = [m.architecture for m in timm_names.models().values()]
  mixer, gmlp = names.count("mixer_b16_224"), names.count("gmlp_s16_224")
  resnet = names.count("resnet50")
  assert mixer > 1 < resnet
  assert (
    "| group | names | native | bridge | not covered |\n|---|---|---|---|---|\n"
    f"| timm | {mixer + gmlp + resnet} | {resnet} | {mixer} | {gmlp} |"
  ) in text
  assert f"| mlp_mixer | {mixer + gmlp} | 0 | {mixer} | {gmlp} |" in text
  assert f"`gmlp_s16_224` ({gmlp} name): unknown operations: fft / x" in text
  assert "1 network of timm was exported whole as well" in text
  assert "- `mixer_b16_224`: cat" in text


def test_all_architectures_have_a_row():
  rows = model_coverage.measured()
  found = [row["name"] for row in rows if row["group"] == "timm"]
  known = {model.architecture for model in timm_names.models().values()}
  assert len(found) == len(known)
  assert set(found) == known
  kinds = {row["group"] for row in rows}
  assert kinds == set(model_coverage.GROUPS)


def test_the_bridge_knows_all_operations_of_what_it_runs():
  for row in model_coverage.measured():
    if row["reason"] == "":
      assert set(row["operations"].split()) <= OPERATIONS.keys(), row["name"]


def test_a_network_of_timm_goes_through_the_bridge():
  publishers.load("timm")
  found = model_exports.check(
    "test_resnet", model_exports.timm_attempts("test_resnet")
  )
  assert (found.kind, found.reason) == ("ResNet", "")
  assert "convolution" in found.operations
  [row] = [
    row
    for row in model_coverage.measured()
    if (row["group"], row["name"]) == ("timm", "test_resnet")
  ]
  assert row["operations"].split() == list(found.operations)


def test_networks_that_fail():
  torch = pytest.importorskip("torch")

  class Unknown(torch.nn.Module):
    def forward(self, x):
      return torch.lgamma(x)

  def built(classifier=True, module=None):
    return model_exports.Built(
      module or torch.nn.ReLU(), (torch.zeros(1, 8),), classifier, "Some"
    )

  def raising():
    raise ValueError("two\nlines")

  def reason(*attempts):
    return model_exports.check("it", iter(attempts)).reason

  assert reason() == "there is no such network"
  assert reason(raising) == "ValueError: two lines"
  assert reason(built).startswith("has no last linear layer")
  assert reason(lambda: built(False)) == ""
  assert "unknown operations: " in reason(lambda: built(module=Unknown()))
  # The first that has a graph says more than one that cannot be built.
  assert reason(raising, built).startswith("has no last linear layer")
  assert reason(raising, built, lambda: built(False)) == ""


def test_runs_of_equal_blocks_are_shortened():
  torch = pytest.importorskip("torch")
  linear = torch.nn.Linear
  blocks = [linear(4, 4) for _ in range(5)]
  network = torch.nn.Sequential(
    torch.nn.Sequential(*blocks),
    torch.nn.ModuleList([linear(4, 3), *[linear(3, 3) for _ in range(3)]]),
    torch.nn.Sequential(torch.nn.ReLU(), torch.nn.ReLU(), torch.nn.ReLU()),
  )
  model_exports.shorten(network)
  assert [len(part) for part in network] == [2, 3, 3]
  assert list(network[0]) == blocks[:2]
  assert network[0](torch.zeros(1, 4)).shape == (1, 4)


def test_rows_are_appended_once(tmp_path, monkeypatch):
  path = tmp_path / "rows.jsonl"
  made = []

  def checked(group, name, module):
    made.append(name)
    row = {"group": group, "name": name, "module": module}
    return ROW | row | {"reason": "" if name == "a" else "no"}

  monkeypatch.setattr(model_coverage, "checked", checked)
  monkeypatch.setattr(
    model_coverage, "work", lambda groups: [("timm", n, "m") for n in "ab"]
  )
  # As the committed rows have it, where there is no outcome.
  unknown = ROW | {"name": "a", "reason": None}
  path.write_text(f"{json.dumps(unknown)}\n")
  for retry in (False, False, True):
    model_coverage.export(str(path), ["timm"], retry=retry)
  assert made == ["a", "b", "b"]
