"""A small Hugging Face hub on this machine, and its files."""

import hashlib
import http.server
import json
import re
import threading
import urllib.parse

import numpy as np
import safetensors.numpy

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
