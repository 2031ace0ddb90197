"""Checkpoints of the Hugging Face Hub, from a small one on this machine."""

import contextlib
import hashlib
import http.server
import json
import pathlib
import re
import subprocess
import sys
import threading
import time
import urllib.parse

import huggingface_hub
from huggingface_hub import constants, file_download
import numpy as np
import pytest
import safetensors.numpy

from leep_jax import score, validation
from leep_jax.sources import catalog, checkpoints, hub

REPO = "some-one/res.net"
NAME = f"hf://{REPO}"
FIRST, SECOND = "1" * 40, "2" * 40
SHARDS = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]


def tensors(*names):
  return safetensors.numpy.save(
    {n: np.arange(2000, dtype=np.float32) + len(n) for n in names}
  )


WANTED = {
  "config.json": b'{"model_type": "resnet"}',
  "preprocessor_config.json": b'{"do_resize": true}',
  "model.safetensors": tensors("head.weight", "bias"),
}
UNWANTED = {
  "README.md": b"A network.",
  "pytorch_model.bin": b"pickle",
  "onnx/model.safetensors": b"other",
  "model.fp16.safetensors": b"other",
}
SHARDED = {
  "config.json": WANTED["config.json"],
  "model.safetensors.index.json": json.dumps(
    {"metadata": {}, "weight_map": {"a": SHARDS[0], "bb": SHARDS[1]}}
  ).encode(),
  SHARDS[0]: tensors("a"),
  SHARDS[1]: tensors("bb"),
}


class Hub(http.server.ThreadingHTTPServer):
  """The part of the Hub that a download asks for, and its mishaps.

  Attributes:
    commits: the files of each commit.
    branches: the commit of each branch.
    requests: what was asked for: method, file (or `api`), and Range if any.
    cuts: number of bytes after which each of the next downloads is cut off.
    damaged: whether weights lose a bit on their way.
    refusal: status and error code that everything is answered with, if any.
    gated: the same, for files alone.
  """

  def __init__(self):
    super().__init__(("127.0.0.1", 0), Answer)
    self.commits = {FIRST: WANTED | UNWANTED}
    self.branches = {"main": FIRST, "refs/pr/1": FIRST}
    self.requests = []
    self.cuts = []
    self.damaged = False
    self.refusal = self.gated = None
    self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
    self.thread.start()

  @property
  def address(self):
    return f"http://127.0.0.1:{self.server_port}"

  def stop(self):
    if self.thread.is_alive():
      self.shutdown()
      self.thread.join()
      self.server_close()

  def downloads(self):
    """The files whose content was asked for, and which Range of it."""
    return [r[1:] for r in self.requests if r[0] == "GET" and r[1] != "api"]

  def files_downloaded(self):
    return [file for file, _ in self.downloads()]


class Answer(http.server.BaseHTTPRequestHandler):
  """Answers one request as the Hub does."""

  def log_message(self, *args):
    pass

  def do_HEAD(self):
    self.do_GET()

  def do_GET(self):
    server = self.server
    path = urllib.parse.urlsplit(self.path).path
    api = re.fullmatch(f"/api/models/{REPO}/revision/([^/]+)", path)
    file = re.fullmatch(f"/{REPO}/resolve/([^/]+)/(.+)", path)
    what = file[2] if file else "api" if api else path
    server.requests.append((self.command, what, self.headers["Range"]))
    refusal = server.refusal or (file and server.gated)
    if refusal:
      return self.refuse(*refusal)
    if not (api or file):
      return self.refuse(404, "RepoNotFound")
    revision = urllib.parse.unquote((api or file)[1])
    commit = server.branches.get(revision, revision)
    if commit not in server.commits:
      return self.refuse(404, "RevisionNotFound")
    files = server.commits[commit]
    if api:
      return self.send(json.dumps(listing(commit, files)).encode(), {})
    if what not in files:
      return self.refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
    etag = blob(what, files[what])
    return self.send(
      files[what], {"ETag": f'"{etag}"', "X-Repo-Commit": commit}, what
    )

  def refuse(self, status, code, headers=()):
    self.send_response(status)
    self.send_header("X-Error-Code", code)
    self.send_header("Content-Length", "0")
    for key, value in dict(headers).items():
      self.send_header(key, value)
    self.end_headers()

  def send(self, content, headers, file=""):
    start = 0
    if file.endswith(".safetensors") and self.server.damaged:
      content = content[:-1] + bytes([content[-1] ^ 1])
    if self.headers["Range"]:
      start = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])
      size = len(content)
      headers |= {"Content-Range": f"bytes {start}-{size - 1}/{size}"}
    content = content[start:]
    self.send_response(206 if self.headers["Range"] else 200)
    self.send_header("Content-Length", str(len(content)))
    for key, value in headers.items():
      self.send_header(key, value)
    self.end_headers()
    if self.command == "GET":
      if file.endswith(".safetensors") and self.server.cuts:
        content = content[: self.server.cuts.pop(0)]
      self.wfile.write(content)


def blob(name, content):
  """The name of a file's content: sha256 in LFS, else Git's."""
  if name.endswith(".safetensors"):
    return hashlib.sha256(content).hexdigest()
  return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def listing(commit, files):
  def row(name, content):
    row = {"rfilename": name, "size": len(content), "blobId": "0" * 40}
    if name.endswith(".safetensors"):
      sha256 = blob(name, content)
      size = len(content)
      row["lfs"] = {"sha256": sha256, "size": size, "pointerSize": 130}
    return row

  siblings = [row(*item) for item in files.items()]
  return {"id": REPO, "sha": commit, "siblings": siblings}


@pytest.fixture
def server(tmp_path, monkeypatch):
  """A hub that huggingface_hub takes for the real one, and an empty cache."""
  server = Hub()
  for name, value in {
    "ENDPOINT": server.address,
    "HUGGINGFACE_CO_URL_TEMPLATE": (
      server.address + "/{repo_id}/resolve/{revision}/{filename}"
    ),
    "HF_HUB_CACHE": str(tmp_path / "cache"),
    "HF_HUB_OFFLINE": False,
    "HF_HUB_DISABLE_TELEMETRY": True,
    "HF_HUB_DISABLE_XET": True,
    "HF_TOKEN_PATH": str(tmp_path / "token"),
    # So that what was received before a cut is more than none.
    "DOWNLOAD_CHUNK_SIZE": 1000,
  }.items():
    monkeypatch.setattr(constants, name, value)
  monkeypatch.delenv("HF_TOKEN", raising=False)
  # Whatever asks for another server finds a closed door on this machine.
  monkeypatch.setenv("NO_PROXY", "127.0.0.1")
  monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
  # Nobody waits between tries.
  monkeypatch.setattr(time, "sleep", lambda seconds: None)
  huggingface_hub.close_session()
  yield server
  huggingface_hub.close_session()
  server.stop()


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
  refused(NAME, NAME, "HF_HUB_OFFLINE", constants.HF_HUB_CACHE, "ARCH@DIR")
  assert server.requests == []


def test_without_a_server_and_without_a_cache(server):
  server.stop()
  refused(NAME, NAME, "no connection", server.address, "ARCH@DIR")


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
