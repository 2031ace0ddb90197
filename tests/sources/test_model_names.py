"""Names of models as users know them, and what is meant by them."""

import json

import hub_server
import huggingface_hub
import numpy as np
import pytest
import tensor_names

import leep_jax
from leep_jax import validation
from leep_jax.sources import catalog, hub, matching

ON_NATIVE = catalog.Overrides(backend="native")
HF = "hf://google/vit-base-patch16-224"


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("timm/resnet50.a1_in1k", ("", "hf://timm/resnet50.a1_in1k")),
    ("resnet50.a1_in1k", ("", "hf://timm/resnet50.a1_in1k")),
    ("hf-hub:timm/resnet50.a1_in1k", ("", "hf://timm/resnet50.a1_in1k")),
    ("hf_hub:o/n@v1", ("", "hf://o/n@v1")),
    ("google/vit-base-patch16-224", ("", HF)),
    ("https://huggingface.co/google/vit-base-patch16-224", ("", HF)),
    ("https://huggingface.co/google/vit-base-patch16-224/tree/main",
     ("", f"{HF}@main")),
    ("https://hf.co/o/n/blob/v2/model.safetensors", ("", "hf://o/n@v2")),
    ("huggingface.co/o/n?library=timm", ("", "hf://o/n")),
    ("vit_base_16@google/vit-base-patch16-224", ("vit_base_16", HF)),
    ("vit_b_16@https://huggingface.co/google/vit-base-patch16-224",
     ("vit_base_16", HF)),
    ("vit_base_patch16_224@o/n@v1", ("vit_base_16", "hf://o/n@v1")),
    ("ResNet50@o/n", ("resnet50", "hf://o/n")),
    ("ResNet50.TV_in1k", ("resnet50", "hf://timm/resnet50.tv_in1k")),
    ("resnet50d.a1_in1k", ("", "hf://timm/resnet50d.a1_in1k")),
    ("senet154.gluon_in1k", ("", "hf://timm/senet154.gluon_in1k")),
    ("senet154@o/n", ("senet154", "hf://o/n")),
    ("hf://o/n", ("", "hf://o/n")),
    ("resnet50d", ("", "hf://timm/resnet50d.ra2_in1k")),
    ("timm/resnet50d", ("", "hf://timm/resnet50d.ra2_in1k")),
    ("distilbert-base-uncased", ("", "hf://distilbert/distilbert-base-uncased")),
    ("gpt2", ("", "hf://openai-community/gpt2")),
  ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.* means .* as in timm")
def test_spellings(name, expected):
  assert catalog.parse(name)[1] == expected
  catalog.check_source(name)


def test_another_case_of_a_bundled_name():
  assert leep_jax.load_source("CIFAR10_ResNet14").state


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("vit_b_16", r"\(vit_base_16 here\) is an architecture.*vit_base_16@"),
    ("resnet50.a1_in1kk", r"unknown model.*did you mean resnet50\.a1_in1k"),
    ("swin_tiny", "unknown model.*did you mean swin_tiny_patch4_window7_224"),
    ("resnet50@https://example.com/a.safetensors", "download it, then pass"),
    ("resnet50@some/folder/deep", "no checkpoint at some/folder/deep"),
    ("resnet50@dir/model.safetensors", "no checkpoint at dir/model"),
    ("a/b/c", "no folder or file at a/b/c"),
    ("bert-mine.safetensors", "checkpoint without an architecture"),
  ],
)
def test_what_cannot_be_resolved(name, message):
  with pytest.raises(validation.InputError, match=message) as caught:
    catalog.check_source(name)
  assert len(str(caught.value)) <= 600


def test_a_folder_is_not_a_repository(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "runs").mkdir()
  with pytest.raises(validation.InputError, match="no checkpoint at runs/best"):
    catalog.check_source("resnet50@runs/best")


def as_file(tensors):
  import safetensors.numpy

  return safetensors.numpy.save(
    {name: np.ascontiguousarray(value) for name, value in tensors.items()}
  )


def serve(server, config, tensors):
  commit = f"{len(server.commits):040}"
  server.branches["main"] = commit
  server.commits[commit] = {
    "config.json": json.dumps(config).encode(),
    "model.safetensors": as_file(tensors),
  }


def test_timms_configuration_tells_the_architecture(server):
  model = catalog.build("resnet18", 3)
  tensors = matching.published(model)
  serve(server, {"architecture": "resnet18", "num_classes": 3}, tensors)
  for name in (hub_server.NAME, hub_server.REPO, f"hf-hub:{hub_server.REPO}"):
    assert leep_jax.load_source(name).options.startswith("resnet18 ")
  serve(server, {"architecture": "resnet18e", "num_classes": 3}, tensors)
  with pytest.raises(validation.InputError, match="'resnet18e' has no def"):
    leep_jax.load_source(hub_server.REPO, overrides=ON_NATIVE)


@pytest.mark.parametrize("multiplier", [25, 50])
def test_sizes_tell_the_architecture(server, multiplier):
  arch = f"mobilenet_v1_0{multiplier}"
  model = catalog.build(arch, 3, norm_eps=1e-3, tf_padding=True)
  tensors = {
    tensor_names.transformers_mobilenet(name): value
    for name, value in matching.published(model).items()
  }
  serve(server, {"model_type": "mobilenet_v1"}, tensors)
  assert leep_jax.load_source(hub_server.REPO).options.startswith(f"{arch} ")
  serve(server, {"model_type": "swin"}, tensors)
  with pytest.raises(validation.InputError, match="network 'swin' has no def"):
    leep_jax.load_source(hub_server.REPO, overrides=ON_NATIVE)


def test_without_a_connection_the_repository_is_named(server):
  server.stop()
  huggingface_hub.close_session()
  for name in ("resnet50.a1_in1k", "timm/resnet50.a1_in1k"):
    with pytest.raises(
      validation.InputError, match="hf://timm/resnet50.a1_in1k"
    ):
      leep_jax.load_source(name)


def test_other_schemes_are_none():
  for name in ("my.module:factory", "a/b/c", "model.safetensors", "x", ""):
    assert hub.spelled(name) == ""


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("gs://bucket/x", "gs://bucket/x is an address.*download it"),
    ("file:///tmp/x", "is an address"),
    ("https://x.y/m.safetensors", "is an address"),
    ("resnet8@s3://b/m", "is not fetched: download it, then pass resnet8@FILE"),
    ("fashion_mnist_resnet8@x", "pass resnet8@x"),
  ],
)
def test_addresses_and_bundled_names_with_files(name, message):
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.load_source(name)


@pytest.mark.parametrize(
  ("name", "kind"),
  [
    ("cifar10_resnet14", "named"),
    ("resnet50.tv_in1k", "named"),
    ("resnet50.a1_in1k", "timm"),
    ("resnet50@a.npz", "checkpoint"),
    ("hf://o/n", "hub"),
    ("my_models:small", "factory"),
  ],
)
def test_each_name_is_of_one_kind(name, kind):
  assert catalog.parse(name)[0] is catalog.KINDS[kind]


def test_a_row_is_all_that_a_new_kind_needs(monkeypatch):
  bundled = leep_jax.load_source("cifar10_resnet14")
  row = catalog.Kind(
    "mine:N",
    lambda name: name.removeprefix("mine:") if "mine:" in name else None,
    lambda name, parsed: None,
    lambda name, parsed, overrides: bundled,
  )
  monkeypatch.setattr(catalog, "KINDS", {"mine": row, **catalog.KINDS})
  catalog.check_source("mine:1")
  assert leep_jax.load_source("mine:1") is bundled
