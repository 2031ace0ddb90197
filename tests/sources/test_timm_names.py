"""timm's pre-trained models, and the listing of all known names."""

import csv
import re

import publishers
import pytest

from experiments import timm_table
import leep_jax
from leep_jax.models import __main__ as models_main
from leep_jax.sources import (
  architectures,
  keras_models,
  known,
  named,
  timm_names,
)

# Of timm 1.0.31: names, architectures, names with a published accuracy, names
# without a classifier.
COUNTS = (1826, 1151, 1177, 269)
# The share of timm's names that a network of this package computes.
NATIVE_AT_LEAST = 0.4


def test_counts():
  models = timm_names.models().values()
  assert (
    len(models),
    len({m.architecture for m in models}),
    sum(m.accuracy is not None for m in models),
    sum(not m.num_classes for m in models),
  ) == COUNTS
  assert list(timm_names.models()) == sorted(timm_names.models())
  assert all(m.parameters > 0 and min(m.image_size) > 0 for m in models)


def test_the_table_is_small():
  assert timm_names._TABLE.stat().st_size < 150_000


def test_each_architecture_has_one_default():
  defaults = [m for m in timm_names.models().values() if m.default]
  assert len({m.architecture for m in defaults}) == len(defaults) == COUNTS[1]


def test_names_are_found_in_any_case():
  found = timm_names.find("ResNet50.TV_in1k")
  assert found == timm_names.models()["resnet50.tv_in1k"]
  assert timm_names.find("RESNET50").name == "resnet50.a1_in1k"
  assert timm_names.default_tag("resnet50") == "resnet50.a1_in1k"
  assert timm_names.default_tag("ConvNeXt_Tiny").startswith("convnext_tiny.")
  assert timm_names.default_tag("resnet50.tv_in1k") is None
  assert timm_names.find("resnet") is None
  tall = timm_names.find("vit_base_patch16_sapiens2.fb")
  assert tall.image_size == (1024, 768)


def test_published_sources_agree():
  compared = 0
  for entry in named.PUBLISHED:
    model = timm_names.find(entry.name)
    if model is not None:
      compared += 1
      side = entry.image_size
      assert model.parameters == entry.parameters
      assert model.image_size == (side, side)
      assert model.num_classes == entry.num_classes
      assert model.accuracy == entry.accuracy
      assert entry.licence.lower() == model.licence or not model.licence
  assert compared >= 15


def test_published_accuracies_are_in_order():
  """As in the file that they are copied from, which finds slips in copying."""
  with timm_table.TOP1.open(newline="") as file:
    rows = list(csv.DictReader(file))
  values = [float(row["top1"]) for row in rows]
  assert values == sorted(values, reverse=True)
  for row in rows:
    model = timm_names.find(row["name"])
    assert model.accuracy == pytest.approx(float(row["top1"]) / 100)
    assert model.image_size == (int(row["image_size"]),) * 2


def test_rows_are_those_of_timm():
  """Five networks are built again, and compared with the table."""
  publishers.load("timm")
  timm = timm_table.load_timm()
  assert set(timm_names.models()) <= set(timm.list_models(pretrained=True)) or (
    timm.__version__ != "1.0.31"
  )
  with timm_names._TABLE.open(newline="") as file:
    rows = {row[0]: row for row in csv.reader(file)}
  published = timm_table.published()
  for name in (
    "resnet50.a1_in1k", "convnext_tiny.fb_in22k", "convnext_tiny.fb_in1k",
    "vit_small_patch14_dinov2.lvd142m", "tinynet_e.in1k",
  ):  # fmt: skip
    assert timm_table.row(timm, name, published) == rows[name]


def test_native_share():
  aliases = architectures.of_timm()
  models = timm_names.models().values()
  native = [m for m in models if m.architecture.lower() in aliases]
  assert len(native) / len(models) >= NATIVE_AT_LEAST


def listed(capsys, pattern):
  status = models_main.main(["models", f"--list={pattern}"])
  return status, *capsys.readouterr()


def test_list(capsys):
  status, printed, _ = listed(
    capsys, "ResNet50.t*,cifar10_*,mixer_b16_224.m*,keras/vgg16"
  )
  assert status == 0
  assert [line.split() for line in printed.splitlines()] == [
    ["name", "params", "input", "classes", "top-1", "backend"],
    ["cifar10_resnet14", "0.17", "M", "32", "10", "0.864", "native"],
    ["keras/VGG16", "138.4", "M", "224", "1,000", "0.713", "keras"],
    ["mixer_b16_224.miil_in21k", "67.7", "M", "224", "11,221", "-", "bridge"],
    ["mixer_b16_224.miil_in21k_ft_in1k", "59.9", "M", "224", "1,000", "0.823",
     "bridge"],
    ["resnet50.tv2_in1k", "25.6", "M", "224", "1,000", "0.808", "native"],
    ["resnet50.tv_in1k", "25.6", "M", "224", "1,000", "0.762", "native"],
    ["6", "names:", "3", "native,", "2", "bridge,", "1", "keras"],
  ]  # fmt: skip


def test_list_of_everything(capsys):
  status, printed, _ = listed(capsys, "*")
  assert status == 0
  lines = printed.splitlines()
  assert max(map(len, lines)) == 80
  names = [row.name for row in known.matching(["*"])]
  assert names == sorted(names, key=str.lower)
  # Long names have a line of their own.
  shown = re.findall(r"^([^\s,]+)(?:\s|$)", "\n".join(lines[1:-1]), re.M)
  assert shown == names
  others = [
    entry.name
    for entry in named.entries()
    if entry.name.lower() not in timm_names.models()
  ]
  keras = len(keras_models.APPLICATIONS)
  assert len(names) == COUNTS[0] + len(others) + keras
  counts = re.findall(r"([\d,]+) (?:native|bridge|keras)", lines[-1])
  count = sum(int(text.replace(",", "")) for text in counts)
  assert lines[-1].startswith(f"{count:,} names: ")
  assert count == len(names)


@pytest.mark.parametrize(
  ("pattern", "message"),
  [
    ("convnxt*", r"'convnxt\*'; did you mean convnext\*"),
    ("resnet50", r"did you mean resnet50\*"),
    ("resnet50.a7_in1k", "did you mean resnet50.a1_in1k"),
    ("resnet50.*,zzz", "'zzz'; 1872 names are known"),
    ("", "--list has an empty pattern"),
  ],
)
def test_patterns_that_match_nothing(capsys, pattern, message):
  status, printed, errors = listed(capsys, pattern)
  assert status == 2
  assert not printed
  assert errors.count("\n") == 1
  assert re.search(message, errors)


def test_a_pattern_that_matches_nothing_in_python():
  with pytest.raises(leep_jax.InputError, match="unknown model"):
    known.matching(["*", "nothing_*"])
