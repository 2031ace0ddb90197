"""Checkpoints of the Hugging Face hub, from a small one on this machine."""

import contextlib
import json
import pathlib
import re
import subprocess
import sys

from hub_server import (
  FIRST,
  NAME,
  REPO,
  SECOND,
  SHARDED,
  SHARDS,
  UNWANTED,
  WANTED,
  Answer,
  blob,
  tensors,
)
from huggingface_hub import constants, file_download
import numpy as np
import pytest
import safetensors.numpy

from leep_jax import score, validation
from leep_jax.sources import catalog, checkpoints, hub


def content(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in folder.rglob("*")
  }


def refused(name, *words):
  with pytest.raises(validation.InputError) as caught:
    hub.fetch(name)
  text = str(caught.value)
  assert "\n" not in text
  for word in words:
    assert word in text
  return text


def test_the_files_of_a_model_and_no_others_are_downloaded(server, capfd):
  folder = hub.fetch(NAME)
  assert content(folder) == WANTED
  assert folder.name == FIRST
  assert folder.is_relative_to(constants.HF_HUB_CACHE)
  loaded = safetensors.numpy.load_file(folder / "model.safetensors")
  assert set(loaded) == {"head.weight", "bias"}
  assert server.files_downloaded() == list(WANTED)
  assert capfd.readouterr() == ("", "")


def test_a_repository_need_not_have_configurations(server):
  del server.commits[FIRST]["config.json"]
  del server.commits[FIRST]["preprocessor_config.json"]
  assert list(content(hub.fetch(NAME))) == ["model.safetensors"]


def test_the_files_of_a_tokenizer_come_too(server):
  files = server.commits[FIRST]
  names = "tokenizer.json", "tokenizer_config.json", "1_Pooling/config.json"
  files.update(dict.fromkeys((*names, "vocab.txt"), b"{}"))
  folder = hub.fetch(NAME)
  assert all((folder / name).read_bytes() == b"{}" for name in names)
  assert not (folder / "vocab.txt").exists()  # tokenizer.json has its content
  assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("revision", ["", "@main", "@refs/pr/1", f"@{FIRST}"])
def test_what_is_cached_is_not_downloaded_again(server, revision, monkeypatch):
  folder = hub.fetch(NAME + revision)
  server.requests.clear()
  assert hub.fetch(NAME + revision) == folder
  assert server.requests == [("GET", "api", None)]
  server.refusal = (503, "")
  assert hub.fetch(NAME + revision) == folder
  server.stop()
  assert hub.fetch(NAME + revision) == folder
  monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
  assert hub.fetch(NAME + revision) == folder
  assert content(folder) == WANTED


def test_offline_nothing_is_asked(server, monkeypatch):
  monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
  refused(NAME, NAME, "HF_HUB_OFFLINE", constants.HF_HUB_CACHE, "a folder")
  assert server.requests == []


def test_without_a_server_and_without_a_cache(server):
  server.stop()
  refused(NAME, NAME, "no connection", server.address, "a folder")


def test_a_new_commit_is_fetched_and_the_old_one_kept(server, monkeypatch):
  old = hub.fetch(NAME)
  changed = {"model.safetensors": tensors("head.weight")}
  server.commits[SECOND] = WANTED | changed
  server.branches["main"] = SECOND
  server.cuts = [0] * 6
  refused(NAME, "broke off", "model.safetensors")
  with monkeypatch.context() as offline:
    offline.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.fetch(NAME) == old
  server.cuts = []
  new = hub.fetch(NAME)
  assert new.name == SECOND
  assert content(new) == WANTED | changed
  server.stop()
  assert hub.fetch(NAME) == new
  assert hub.fetch(f"{NAME}@{FIRST}") == old
  assert content(old) == WANTED


@pytest.mark.parametrize(
  ("refusal", "words"),
  [
    ((404, "RepoNotFound"), (REPO, "no repository", "HF_TOKEN")),
    ((401, "RepoNotFound"), (REPO, "no repository", "HF_TOKEN")),
    ((401, ""), (REPO, "no repository", "HF_TOKEN")),
    ((403, "GatedRepo"), (NAME, "gated", "HF_TOKEN")),
    ((503, ""), (NAME, "503", "later")),
    ((429, ""), (NAME, "429", "later")),
  ],
)
def test_refusals_of_the_hub(server, refusal, words):
  server.refusal = refusal
  refused(NAME, *words)


def test_files_can_be_refused_where_their_list_is_not(server):
  server.gated = (403, "GatedRepo")
  refused(NAME, "gated", "HF_TOKEN", f"{server.address}/{REPO}")
  server.gated = (503, "")
  refused(NAME, "config.json", "broke off", "503")


def test_another_server_is_not_the_hub(server, monkeypatch):
  monkeypatch.setattr(Answer, "do_GET", lambda self: self.send(b"<html>", {}))
  refused(NAME, server.address, "HF_ENDPOINT")


def test_unknown_revisions(server):
  refused(f"{NAME}@v9", REPO, "'v9'")
  refused(f"{NAME}@{SECOND}", REPO, SECOND)
  server.branches["v9"] = FIRST
  hub.fetch(f"{NAME}@v9")
  del server.branches["v9"]  # cached or not
  refused(f"{NAME}@v9", REPO, "'v9'")


def test_without_safetensors(server):
  server.commits[FIRST] = {"pytorch_model.bin": b"", "config.json": b"{}"}
  refused(NAME, NAME, "pytorch_model.bin", "pickle", "leep_jax.convert")
  server.commits[FIRST] = {"model.onnx": b"", "config.json": b"{}"}
  refused(NAME, NAME, "model.safetensors", "model.onnx")
  server.commits[FIRST] = {}
  refused(NAME, "no files")
  assert server.files_downloaded() == []


def test_a_download_that_is_cut_off_is_resumed(server, capfd, caplog):
  server.cuts = [3500]
  # The first releases of huggingface_hub leave it to the user to try again.
  with contextlib.suppress(validation.InputError):
    hub.fetch(NAME)
  folder = hub.fetch(NAME)
  assert content(folder) == WANTED
  assert server.downloads() == [
    ("config.json", None),
    ("preprocessor_config.json", None),
    ("model.safetensors", None),
    ("model.safetensors", "bytes=3000-"),
  ]
  assert capfd.readouterr() == ("", "")
  assert not caplog.records


def test_a_download_that_is_cut_off_for_good_can_start_again(server):
  server.cuts = [0] * 6
  refused(NAME, NAME, "model.safetensors", "broke off", "start again")
  server.cuts = []
  server.requests.clear()
  assert content(hub.fetch(NAME)) == WANTED
  assert server.files_downloaded() == ["model.safetensors"]


def test_a_disk_that_is_full(server, monkeypatch):
  usage = file_download.shutil.disk_usage(".")
  monkeypatch.setattr(
    file_download.shutil, "disk_usage", lambda path: usage._replace(free=0)
  )
  assert content(hub.fetch(NAME)) == WANTED  # it only warns

  def full(*args, **options):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(file_download, "http_get", full)
  server.commits[SECOND] = {"model.safetensors": tensors("a")}
  refused(f"{NAME}@{SECOND}", "No space left", "disk")


def test_damage_is_noticed_and_mended(server):
  server.damaged = True
  sha256 = blob("model.safetensors", WANTED["model.safetensors"])
  refused(NAME, NAME, "model.safetensors", sha256[:12], "start again")
  cache = pathlib.Path(constants.HF_HUB_CACHE)
  left = {path.name for path in cache.rglob("*")}
  assert not left & {"model.safetensors", sha256, f"{sha256}.incomplete"}
  server.damaged = False
  assert content(hub.fetch(NAME)) == WANTED
  assert server.files_downloaded() == [*WANTED, "model.safetensors"]


def test_shards(server, monkeypatch):
  server.commits[FIRST] = SHARDED | UNWANTED
  folder = hub.fetch(NAME)
  assert content(folder) == SHARDED
  assert server.files_downloaded() == list(SHARDED)
  server.stop()
  assert hub.fetch(NAME) == folder
  monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
  assert hub.fetch(NAME) == folder
  (folder / SHARDS[1]).unlink()
  refused(NAME, "not whole")


def test_one_file_is_taken_before_shards(server):
  server.commits[FIRST] = SHARDED | WANTED
  assert content(hub.fetch(NAME)) == WANTED


@pytest.mark.parametrize(
  ("index", "word"),
  [
    ("{", "index"),
    ("[]", "index"),
    ('{"weight_map": {"a": 1}}', "index"),
    ('{"weight_map": {}}', "no file"),
    ('{"weight_map": {"a": "../x.safetensors"}}', "../x.safetensors"),
    ('{"weight_map": {"a": "x.bin"}}', "x.bin"),
    ('{"weight_map": {"a": "x.safetensors"}}', "x.safetensors"),
  ],
)
def test_a_bad_index_of_shards(server, index, word):
  server.commits[FIRST] = {"model.safetensors.index.json": index.encode()}
  refused(NAME, word)
  server.stop()
  refused(NAME)


@pytest.mark.parametrize(
  ("name", "word"),
  [
    ("hf://", "owner"),
    ("hf://resnet18", "owner"),
    ("hf://resnet18@main", "owner"),
    ("hf://timm/", "slash"),
    ("hf://timm/resnet18/", "slash"),
    ("hf://timm/resnet18/model.safetensors", "folder"),
    ("hf://models/timm/resnet18", "folder"),
    ("hf:///resnet18", "letters"),
    ("hf://timm/res net", "letters"),
    ("hf://timm/../x", "folder"),
    ("hf://timm/..", "letters"),
    ("hf://timm/a--b", "letters"),
    ("hf://timm/résnet", "letters"),
    ("hf://timm/" + "a" * 96, "letters"),
    ("hf://timm/resnet18@", "empty"),
    ("hf://timm/resnet18@main/", "'main/'"),
    ("hf://timm/resnet18@../main", "'../main'"),
    ("hf://timm/resnet18@a b", "'a b'"),
    ("timm/resnet18", "hf://OWNER/NAME"),
  ],
)
def test_malformed_names(server, name, word):
  for refuse in (hub.check, hub.fetch):
    with pytest.raises(validation.InputError, match=re.escape(word)) as caught:
      refuse(name)
    assert repr(name) in str(caught.value)
    assert "hf://OWNER/NAME@REVISION" in str(caught.value)
  assert server.requests == []


def test_names():
  for name in (
    NAME,
    "hf://timm/resnet18.a1_in1k",
    "hf://timm/resnet18@v1.0",
    "hf://google/vit@refs/pr/1",
  ):
    assert hub.is_hub(name)
    hub.check(name)
  assert not hub.is_hub("resnet18")
  assert not hub.is_hub("resnet18@hf.safetensors")


def test_the_environment_is_heeded(server, tmp_path, monkeypatch):
  code = (
    "import sys\n"
    "from leep_jax.sources import hub\n"
    "assert 'huggingface_hub' not in sys.modules\n"
    f"print(hub.fetch({NAME!r}))\n"
  )
  got = subprocess.run(
    [sys.executable, "-W", "error", "-c", code],
    env={
      "PYTHONPATH": ":".join(sys.path),
      "HF_ENDPOINT": server.address,
      "HF_HOME": str(tmp_path),
      "HF_HUB_DISABLE_TELEMETRY": "1",
    },
    check=False,
    capture_output=True,
    text=True,
  )
  assert not got.stderr
  folder = pathlib.Path(got.stdout.strip())
  assert content(folder) == WANTED
  monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
  monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
  assert hub.fetch(NAME) == folder


def test_the_command_scores_a_source_of_the_hub(server, capsys, tmp_path):
  path = tmp_path / "model.safetensors"
  checkpoints.save(catalog.build("resnet8", 3), path, dtype=np.float32)
  config = {
    "architecture": "resnet8",
    "num_classes": 3,
    "pretrained_cfg": {"input_size": [3, 16, 16], "interpolation": "bicubic"},
  }
  server.commits[FIRST] = {
    "config.json": json.dumps(config).encode(),
    "model.safetensors": path.read_bytes(),
  }
  name = f"resnet8@{NAME}@main"
  command = ["score", f"--model={name}", "--limit=50", "--groups=1"]
  assert score.main(command) == 0
  online = capsys.readouterr()
  assert "digits: 50 examples" in online.out
  assert catalog.load_source(name).preprocessing.image_size == 16
  server.stop()  # the cache serves
  assert score.main(command) == 0
  first_score = re.compile(r"^1 .*", re.MULTILINE)
  ranked = first_score.search(online.out)[0].split()[:3]
  assert first_score.search(capsys.readouterr().out)[0].split()[:3] == ranked
  assert score.main(["score", "--model=resnet8@hf://no-one/else"]) == 2
  assert capsys.readouterr().err.count("\n") == 1
