"""Checkpoints of the Hugging Face Hub, `hf://OWNER/NAME[@REVISION]`.

They are downloaded by huggingface_hub, with its cache, its progress bar and its
settings, such as HF_ENDPOINT, HF_HUB_CACHE, HF_HUB_OFFLINE and HF_TOKEN.
"""

from collections.abc import Iterable, Iterator
import contextlib
import hashlib
import json
import logging as python_logging
import pathlib
import re
from typing import Any
import warnings

from leep_jax import file_kinds, validation
from leep_jax.sources import tokenizing

_SCHEME = "hf://"
_MODEL = "model.safetensors"
_INDEX = "model.safetensors.index.json"
# Files that state the architecture and the preprocessing; none is required.
_CONFIGS = (
  "config.json",
  "preprocessor_config.json",
  "processor_config.json",
)
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
# Names with these suffixes are files, not repositories.
_FILES = (".safetensors", ".npz", ".json", ".h5", ".keras", *_PICKLES)
# Owners of the models whose names had no owner on the hub before 2024.
_OWNERS = {
  "albert-": "albert", "bert-": "google-bert", "distilbert-": "distilbert",
  "distilgpt2": "distilbert", "distilroberta-": "distilbert",
  "gpt2": "openai-community", "roberta-": "FacebookAI", "t5-": "google-t5",
  "xlm-roberta-": "FacebookAI", "xlnet-": "xlnet",
}  # fmt: skip
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
  """Returns whether a name begins with `hf://`.

  Example:
    >>> from leep_jax.sources import hub
    >>> hub.is_hub("hf://timm/resnet50.a1_in1k")
    True
  """
  return name.startswith(_SCHEME)


def spelled(name: str) -> str:
  """Returns `hf://OWNER/NAME[@REVISION]` for other spellings of it, or "".

  Args:
    name: `OWNER/NAME`, timm's `hf-hub:OWNER/NAME`, or the address of a page or
      file. If OWNER is a folder that exists, the name is a path.

  Example:
    >>> from leep_jax.sources import hub
    >>> hub.spelled("https://huggingface.co/google/vit-base-patch16-224")
    'hf://google/vit-base-patch16-224'
    >>> hub.spelled("weights.safetensors")
    ''
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
  if not slash and not repo.endswith(_FILES):
    owned = model_of_old(repo)
    return f"{_SCHEME}{owned}{at}{revision}" if owned else ""
  if not (slash and _PART.fullmatch(owner) and _PART.fullmatch(model)):
    return ""
  if not scheme and (
    pathlib.Path(owner).exists() or model.endswith(_FILES) or ":" in name
  ):
    return ""
  return f"{_SCHEME}{repo}{at}{revision}"


def model_of_old(name: str) -> str:
  """Returns `OWNER/NAME` of a model known by its name alone, or "".

  Args:
    name: as of the first models of transformers.

  Example:
    >>> from leep_jax.sources import hub
    >>> hub.model_of_old("distilbert-base-uncased")
    'distilbert/distilbert-base-uncased'
  """
  for start, owner in _OWNERS.items():
    exact = not start.endswith("-")
    if name == start or (name.startswith(start) and (not exact or "-" in name)):
      return f"{owner}/{name}" if _PART.fullmatch(name) else ""
  return ""


def check(name: str) -> None:
  """Refuses a name that no repository can have, without a connection.

  Args:
    name: should be `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION`.

  Raises:
    InputError: if it is something else.

  Example:
    >>> import leep_jax
    >>> from leep_jax.sources import hub
    >>> try:
    ...   hub.check("hf://resnet50")
    ... except leep_jax.InputError as error:
    ...   print(error)
    'hf://resnet50' is not hf://OWNER/NAME or hf://OWNER/NAME@REVISION: the
    owner is missing
  """
  _parse(name)


def fetch(name: str) -> pathlib.Path:
  """Downloads a checkpoint, except for files that are in the cache.

  A name without a revision, or with a branch, means the newest commit. If there
  is no connection, or HF_HUB_OFFLINE is set, it means the last commit that was
  fetched completely. A configuration is then missing if another program fetched
  only the weights.

  Args:
    name: `hf://OWNER/NAME` or `hf://OWNER/NAME@REVISION`; the revision is a
      branch, tag or commit.

  Returns:
    The folder in the cache with `model.safetensors`, or
    `model.safetensors.index.json` and its shards; and with `config.json`,
    `preprocessor_config.json`, `processor_config.json` and the files of a
    tokenizer if the repository has them. All are of one commit.

  Raises:
    InputError: if there is no such repository or revision, or no access to it;
      if it has no safetensors; if there is no connection and no complete
      checkpoint in the cache; if a download fails, or its sha256 is wrong.

  Example:
    >>> import leep_jax
    >>> from leep_jax.sources import hub
    >>> try:
    ...   hub.fetch("hf://resnet50@")  # refused before any connection
    ... except leep_jax.InputError as error:
    ...   print(str(error)[:34])
    'hf://resnet50@' is not hf://OWNER
  """
  repo, revision = _parse(name)
  with _quiet():
    import huggingface_hub
    from huggingface_hub import constants, errors

    try:
      # One request for the commit and all checksums, so that all files are of
      # one commit, even if the branch moves meanwhile.
      info = huggingface_hub.HfApi().model_info(
        repo,
        revision=revision,
        files_metadata=True,
        timeout=constants.HF_HUB_ETAG_TIMEOUT,
      )
    except Exception as e:  # of huggingface_hub, httpx, httpx2 or JSON
      folder = _cached(repo, revision)
      if folder is None or isinstance(e, errors.RevisionNotFoundError):
        raise _refusal(name, e) from e
      return folder
    commit = str(info.sha)
    files = {file.rfilename: file for file in info.siblings or ()}
    weights = _MODEL if _MODEL in files else _INDEX
    if weights not in files:
      raise _no_weights(name, files)
    # Weights come last: if they are in the cache, so are the configurations.
    beside = tokenizing.wanted(files)
    for file in (*_CONFIGS, *beside, weights):
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
    # huggingface_hub keeps the commit of each branch in a file, and searches
    # the cache by it. This file is changed only now: until the new commit is
    # complete, the last complete one is used offline. A read-only cache stays
    # as it is.
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
  """Suppresses warnings of huggingface_hub, but not its errors.

  The warnings are about retries, tokens and disk space; if something fails,
  there is an exception as well. A logging level that the user set is kept.
  """
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from huggingface_hub.utils import logging

    level = logging.get_verbosity()
    if level == python_logging.WARNING:  # the default
      logging.set_verbosity_error()
    try:
      yield
    finally:
      logging.set_verbosity(level)


def _cached(repo: str, revision: str) -> pathlib.Path | None:
  """Returns the folder of a revision whose weights are all in the cache."""
  import huggingface_hub

  # Files of weights are fetched last: where they are, the configurations are.
  for file in (_MODEL, _INDEX):
    path = huggingface_hub.try_to_load_from_cache(repo, file, revision=revision)
    if isinstance(path, str):
      folder = pathlib.Path(path).parent
      # A download may have been cut off between two shards.
      shards = _shards(folder / file) if file == _INDEX else ()
      if all((folder / shard).is_file() for shard in shards):
        return folder
  return None


def _download(name: str, commit: str, file: Any) -> pathlib.Path:
  """Returns the path of a file in the cache; downloads it if it is missing.

  Args:
    name: of the repository.
    commit: from which the file is taken.
    file: its metadata, as the Hub returned them.
  """
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
  except Exception as e:  # of huggingface_hub, httpx, httpx2, xet or the disk
    raise _refusal(name, e, file=what) from e
  # Only of files in LFS does the hub state a sha256.
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
  """Removes a file from the cache, and the files that it is a link to."""
  # The cache has links to the files, whose names are their checksums: with the
  # file left there, the next download would link to it again.
  while path.is_symlink():
    link, path = path, path.parent / path.readlink()
    link.unlink()
  path.unlink(missing_ok=True)


def _shards(index: pathlib.Path) -> list[str]:
  """Returns the files that the index of a sharded checkpoint names."""
  try:
    shards = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    # An index is a download: its paths must not lead to other folders.
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
  """Returns the error for a repository without safetensors."""
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
  """Returns the error for the user, for an exception of huggingface_hub.

  Args:
    name: of the repository.
    error: the exception.
    file: that was being downloaded; None if only metadata were asked for.
  """
  from huggingface_hub import constants, errors

  repo, revision = _parse(name)
  at, cache = constants.ENDPOINT, constants.HF_HUB_CACHE
  # hf_hub_download raises it for whatever has kept it from downloading: the
  # cause says more.
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
      "unset it to download, or pass a folder"
    )
  elif file is not None:
    text = (
      f"the download of {file} of {name} broke off ({why}): start again once "
      "the connection or disk is fine; whole files are kept"
    )
  elif isinstance(error, errors.HfHubHTTPError):
    text = (
      f"{at} refused {name} ({why}), and it is not whole in the cache, "
      f"{cache}: try again later, or pass a folder"
    )
  else:
    text = (
      f"no connection to {at} for {name} ({why}), and it is not whole in the "
      f"cache, {cache}: offline, or HF_ENDPOINT wrong? Pass a folder, or "
      "HF_HUB_CACHE with a cache that has it"
    )
  return validation.InputError(text)
