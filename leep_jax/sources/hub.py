"""Checkpoints of the Hugging Face Hub, `hf://OWNER/NAME[@REVISION]`.

huggingface_hub does the work: its cache and progress bar serve here, and so do
its settings, such as HF_ENDPOINT, HF_HUB_CACHE, HF_HUB_OFFLINE and HF_TOKEN.
"""

from collections.abc import Iterable, Iterator
import contextlib
import hashlib
import json
import pathlib
import re
from typing import Any
import warnings

from leep_jax import file_kinds, validation

_SCHEME = "hf://"
_MODEL = "model.safetensors"
_INDEX = "model.safetensors.index.json"
# What tells an architecture and its preprocessing, where a repository has it.
_CONFIGS = (
  "config.json",
  "preprocessor_config.json",
  "processor_config.json",
)
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
# Names that end so are files, not repositories.
_FILES = (".safetensors", ".npz", ".json", ".h5", ".keras", *_PICKLES)
_TIMM = re.compile(r"hf[-_]hub:(//)?|timm:(?=\w+/)")
_PAGE = re.compile(
  r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?:models/)?"
  r"([^/\s]+/[^/\s?#@]+)(?:/(?:tree|blob|resolve)/([^/\s?#]+))?(?:/[^\s?#]*)?"
  r"(?:[?#].*)?"
)
# The Hub's rule for an owner's or a repository's name, and Git's for a revision
# (which may have slashes, as refs/pr/1 has).
_PART = re.compile(r"\w([\w.-]*\w)?", re.ASCII)
_REVISION = re.compile(r"[^\s/~^:?*\[\\]+(/[^\s/~^:?*\[\\]+)*")


def is_hub(name: str) -> bool:
  """Returns whether a name is one of the Hugging Face Hub's."""
  return name.startswith(_SCHEME)


def spelled(name: str) -> str:
  """Returns `hf://OWNER/NAME[@REVISION]` for other spellings of it, or "".

  Known are `OWNER/NAME`, timm's `hf-hub:OWNER/NAME` and addresses of pages and
  files. A path that exists is no repository.
  """
  if is_hub(name):
    return name
  page = _PAGE.fullmatch(name)
  if page:
    repo, revision = page[1], page[2]
    return f"{_SCHEME}{repo}" + (f"@{revision}" if revision else "")
  scheme = _TIMM.match(name)
  short = name[scheme.end() :] if scheme else name
  repo, at, revision = short.partition("@")
  owner, slash, model = repo.partition("/")
  if not (slash and _PART.fullmatch(owner) and _PART.fullmatch(model)):
    return ""
  if not scheme and (
    pathlib.Path(owner).exists() or model.endswith(_FILES) or ":" in name
  ):
    return ""
  return f"{_SCHEME}{repo}{at}{revision}"


def check(name: str) -> None:
  """Refuses a name that is no repository's, without asking the Hub.

  Raises:
    InputError: if it is not `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION`.
  """
  _parse(name)


def fetch(name: str) -> pathlib.Path:
  """Downloads a checkpoint, or what of it is not in the cache yet.

  A name without a revision, or with a branch's, means the newest commit. Where
  the Hub cannot be asked, or HF_HUB_OFFLINE forbids it, it means the commit
  that was last fetched whole; a configuration is then missing from the folder
  if another program cached the weights without it.

  Args:
    name: `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION`, a branch, tag or
      commit.

  Returns:
    The folder in the cache with `model.safetensors`, or
    `model.safetensors.index.json` and its shards; and with `config.json`,
    `preprocessor_config.json` and `processor_config.json` where the repository
    has them. All are of one commit.

  Raises:
    InputError: if there is no such repository or revision, or no access to it;
      if it holds no safetensors; if there is no connection and nothing whole in
      the cache; if a download breaks off, or its sha256 is not the Hub's.
  """
  repo, revision = _parse(name)
  with _quiet():
    import huggingface_hub
    from huggingface_hub import constants, errors

    try:
      info = huggingface_hub.HfApi().model_info(
        repo,
        revision=revision,
        files_metadata=True,
        timeout=constants.HF_HUB_ETAG_TIMEOUT,
      )
    except Exception as e:  # its own, those of httpx, httpx2 and JSON
      folder = _cached(repo, revision)
      if folder is None or isinstance(e, errors.RevisionNotFoundError):
        raise _refusal(name, e) from e
      return folder
    commit = str(info.sha)
    files = {file.rfilename: file for file in info.siblings or ()}
    weights = _MODEL if _MODEL in files else _INDEX
    if weights not in files:
      raise _no_weights(name, files)
    # Weights come last: once they are there, so is what explains them.
    for file in (*_CONFIGS, weights):
      if file in files:
        path = _download(name, commit, files[file])
    if weights == _INDEX:
      for shard in _shards(path):
        if shard not in files:
          raise validation.InputError(
            f"{name} has no {shard}, which its {_INDEX} names: is the upload "
            "incomplete?"
          )
        _download(name, commit, files[shard])
    folder = path.parent
    # huggingface_hub's own note of what a branch means, by which the cache is
    # searched, moves on only now: the commit that was whole before serves until
    # this one is. A cache that cannot be written to keeps its note.
    if revision != commit:
      with contextlib.suppress(OSError):
        ref = folder.parents[1] / "refs" / revision
        if not ref.is_file() or ref.read_text() != commit:
          ref.parent.mkdir(parents=True, exist_ok=True)
          ref.write_text(commit)
  return folder


def _parse(name: str) -> tuple[str, str]:
  """Returns the repository and the revision that a name means."""
  repo, at, revision = name.removeprefix(_SCHEME).partition("@")
  owner, slash, model = repo.partition("/")
  cause = ""
  if not slash:
    cause = "the owner is missing"
  elif "/" in model or not model:
    cause = "no folder or slash comes after the name"
  elif not (
    _PART.fullmatch(owner)
    and _PART.fullmatch(model)
    and len(repo) <= 96
    and not re.search(r"--|\.\.|\.git$", repo)
  ):
    cause = "owner and name have letters, digits and single - _ . inside"
  elif at and not revision:
    cause = "the revision after @ is empty"
  elif at and (not _REVISION.fullmatch(revision) or ".." in revision):
    cause = f"{revision!r} is no branch, tag or commit"
  if cause or not is_hub(name):
    raise validation.InputError(
      f"{name!r} is not hf://OWNER/NAME or hf://OWNER/NAME@REVISION"
      + (f": {cause}" if cause else "")
    )
  return repo, revision or "main"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps huggingface_hub's warnings from the user, but not its errors.

  They tell of retries, tokens and free space: what matters of it comes back as
  an exception. A level of logging that the user chose stays.
  """
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from huggingface_hub.utils import logging

    level = logging.get_verbosity()
    if level == logging.WARNING:
      logging.set_verbosity_error()
    try:
      yield
    finally:
      logging.set_verbosity(level)


def _cached(repo: str, revision: str) -> pathlib.Path | None:
  """Returns the folder of a revision whose weights are whole in the cache."""
  import huggingface_hub

  for file in (_MODEL, _INDEX):
    path = huggingface_hub.try_to_load_from_cache(repo, file, revision=revision)
    if isinstance(path, str):
      folder = pathlib.Path(path).parent
      shards = _shards(folder / file) if file == _INDEX else ()
      if all((folder / shard).is_file() for shard in shards):
        return folder
  return None


def _download(name: str, commit: str, file: Any) -> pathlib.Path:
  """Returns the path in the cache of a file, of which the Hub gave metadata."""
  import huggingface_hub

  repo, _ = _parse(name)
  what = file.rfilename
  cached = huggingface_hub.try_to_load_from_cache(repo, what, revision=commit)
  if isinstance(cached, str):
    return pathlib.Path(cached)
  try:
    path = pathlib.Path(
      huggingface_hub.hf_hub_download(repo, what, revision=commit)
    )
  except Exception as e:  # its own, those of httpx, httpx2, xet, the disk's
    raise _refusal(name, e, file=what) from e
  if file.lfs is not None:
    with path.open("rb") as opened:
      found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != file.lfs.sha256:
      _discard(path)
      raise validation.InputError(
        f"{what} of {name} arrived with sha256 {found[:12]}…, not "
        f"{file.lfs.sha256[:12]}…, and was removed: start again; if it comes "
        "back so, does a proxy or mirror alter it?"
      )
  return path


def _discard(path: pathlib.Path) -> None:
  """Removes a file from the cache, and all that it is a link to."""
  while path.is_symlink():
    link, path = path, path.parent / path.readlink()
    link.unlink()
  path.unlink(missing_ok=True)


def _shards(index: pathlib.Path) -> list[str]:
  """Returns the files that the index of a sharded checkpoint names."""
  try:
    shards = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    # A path could lead out of the folder.
    odd = [s for s in shards if "/" in s or not s.endswith(".safetensors")]
  except (ValueError, TypeError, KeyError, AttributeError) as e:
    raise validation.InputError(
      f"{index} is no index of shards ({validation.reason(e)}): is it damaged?"
    ) from e
  if odd or not shards:
    raise validation.InputError(
      f"{index} names {odd[0] if odd else 'no file'!r}, not a .safetensors "
      "beside it"
    )
  return shards


def _no_weights(name: str, files: Iterable[str]) -> validation.InputError:
  """Returns the error for a repository that holds no safetensors."""
  files = sorted(files)
  pickles = [file for file in files if file.endswith(_PICKLES)]
  if pickles:
    return validation.InputError(
      f"{name} has no {_MODEL} but {pickles[0]}, which looks like a pickle and "
      "can run code when read; download it and convert it: "
      f"{file_kinds.CONVERT}"
    )
  holds = ", ".join(files[:5]) + (", …" if len(files) > 5 else "")
  return validation.InputError(
    f"{name} has no {_MODEL}; it has {holds or 'no files'}: is it a model, "
    "with weights for PyTorch?"
  )


def _refusal(
  name: str, error: Exception, *, file: str | None = None
) -> validation.InputError:
  """Returns what an exception of huggingface_hub means to the user.

  Args:
    name: the name that was to be fetched.
    error: the exception.
    file: the file whose download raised it; None where the Hub was only asked.
  """
  from huggingface_hub import constants, errors

  repo, revision = _parse(name)
  at, cache = constants.ENDPOINT, constants.HF_HUB_CACHE
  if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(
    error.__cause__, Exception
  ):
    error = error.__cause__
  response = getattr(error, "response", None)
  status = getattr(response, "status_code", None)
  why = validation.reason(error)
  if isinstance(error, errors.GatedRepoError):
    text = (
      f"{name} is gated: ask for access at {at}/{repo} and set HF_TOKEN to a "
      "token of yours"
    )
  elif isinstance(error, errors.RepositoryNotFoundError) or status == 401:
    text = (
      f"{at} shows no repository {repo}: is the name right? For a private or "
      "gated one, set HF_TOKEN to a token that may read it"
    )
  elif isinstance(error, errors.RevisionNotFoundError):
    text = (
      f"{repo} has no revision {revision!r}: its branches, tags and commits "
      f"are listed at {at}/{repo}/tree/main"
    )
  elif isinstance(error, errors.OfflineModeIsEnabled):
    text = (
      f"{name} is not whole in the cache, {cache}, and HF_HUB_OFFLINE is set: "
      "unset it to download, or pass ARCH@DIR"
    )
  elif file is not None:
    text = (
      f"the download of {file} of {name} broke off ({why}): start again once "
      "the connection or disk is fine; whole files are kept"
    )
  elif isinstance(error, errors.HfHubHTTPError):
    text = (
      f"{at} refused {name} ({why}), and it is not whole in the cache, "
      f"{cache}: try again later, or pass ARCH@DIR"
    )
  else:
    text = (
      f"no connection to {at} for {name} ({why}), and it is not whole in the "
      f"cache, {cache}: offline, or HF_ENDPOINT wrong? Pass ARCH@DIR, or "
      "HF_HUB_CACHE with a cache that has it"
    )
  return validation.InputError(text)
