"""What the tests of sources share."""

import time

import hub_server
import huggingface_hub
from huggingface_hub import constants
import pytest


@pytest.fixture
def server(tmp_path, monkeypatch):
  """A hub that huggingface_hub takes for the real one, and an empty cache."""
  server = hub_server.Hub()
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
