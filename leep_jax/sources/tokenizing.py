"""The tokenizer of a folder laid out as on the hub, as a `TextPreprocessing`.

`tokenizer.json` is read by the library tokenizers alone. A folder without it
has the files of an older form, which transformers reads.
"""

from collections.abc import Callable, Iterable, Sequence
import hashlib
import json
import pathlib
from typing import Any

from leep_jax import validation
from leep_jax.models import text_preprocessing

FILE = "tokenizer.json"
# What of a folder decides which tokens a text gets; those that are there.
FILES = (
  FILE, "tokenizer_config.json", "special_tokens_map.json", "vocab.txt",
  "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
  "spm.model", "tokenizer.model", "added_tokens.json",
  "sentence_bert_config.json",
)  # fmt: skip
# Where sentence-transformers states the pooling.
POOLING = "1_Pooling/config.json"
# Of a text without a stated limit, which transformers writes as a huge number.
_USUAL_LENGTH = 512
_NO_LIMIT = 1 << 24


def read(
  folder: pathlib.Path, config: dict[str, Any]
) -> text_preprocessing.TextPreprocessing:
  """Returns what turns texts into the tokens of a network.

  Args:
    folder: with `tokenizer.json`, or the files of an older form.
    config: content of the network's `config.json`.

  Raises:
    InputError: if there is no tokenizer, or a library is missing.

  Example:
    >>> import pathlib, tempfile
    >>> import leep_jax
    >>> from leep_jax.sources import tokenizing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   try:
    ...     tokenizing.read(pathlib.Path(folder), {})
    ...   except leep_jax.InputError as error:
    ...     print(str(error)[-104:-37])
    has no tokenizer: neither tokenizer.json nor vocab.txt or the like;
  """
  stated = _stated(folder, "tokenizer_config.json")
  if (folder / FILE).is_file():
    tokenize, pad_id = _of_tokenizers(folder / FILE, stated)
  else:
    tokenize, pad_id = _of_transformers(folder)
  if pad_id is None:
    pad_id = config.get("pad_token_id") or 0
  return text_preprocessing.TextPreprocessing(
    tokenize,
    _length(folder, config, stated),
    positions=positions(config),
    pad_id=int(pad_id),
    pad_left=stated.get("padding_side") == "left",
    segments=has_segments(folder, config),
    version=digest(folder),
  )


def digest(folder: pathlib.Path) -> str:
  """Returns a digest of the files of a tokenizer, 16 hexadecimal digits.

  Args:
    folder: in which they are.

  Example:
    >>> import pathlib
    >>> from leep_jax.sources import tokenizing
    >>> len(tokenizing.digest(pathlib.Path("no_such_folder")))
    16
  """
  found = hashlib.sha256()
  for name in FILES:
    if (folder / name).is_file():
      content = (folder / name).read_bytes()
      found.update(f"{name} {len(content)} ".encode() + content)
  return found.hexdigest()[:16]


def wanted(files: Iterable[str]) -> list[str]:
  """Returns which files of a repository its tokenizer and pooling need.

  Args:
    files: their names.

  Example:
    >>> from leep_jax.sources import tokenizing
    >>> tokenizing.wanted(["tokenizer.json", "vocab.txt", "model.safetensors"])
    ['tokenizer.json']
  """
  names = set(files)
  found = [name for name in (*FILES, POOLING) if name in names]
  if FILE in names:  # the others say the same in an older form
    found = [name for name in found if name.endswith(".json")]
    found = [name for name in found if name != "vocab.json"]
  return found


def _stated(folder, name) -> dict[str, Any]:
  """The content of a JSON file of a folder; empty if there is none."""
  path = folder / name
  if not path.is_file():
    return {}
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError) as e:
    raise validation.InputError(
      f"cannot read {path} ({validation.reason(e)}): is it damaged?"
    ) from e
  return content if isinstance(content, dict) else {}


def _of_tokenizers(
  path, stated
) -> tuple[text_preprocessing.Tokenize, int | None]:
  """The function of a `tokenizer.json`, and its token of padding."""
  try:
    import tokenizers
  except ImportError as e:
    raise validation.InputError(
      f"{path} needs the library tokenizers ({validation.reason(e)}): pip "
      "install 'leep_jax[text]'"
    ) from e
  try:
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
  except Exception as e:  # of Rust: plain exceptions
    raise validation.InputError(
      f"cannot read {path} ({validation.reason(e)}): is it damaged, or of a "
      "newer version of tokenizers?"
    ) from e
  pad = stated.get("pad_token")
  # Written as text, or as an object that describes the token.
  pad = pad.get("content") if isinstance(pad, dict) else pad
  pad_id = tokenizer.token_to_id(pad) if pad else None
  if pad_id is None and tokenizer.padding:
    pad_id = tokenizer.padding["pad_id"]
  # `TextPreprocessing` pads.
  tokenizer.no_padding()
  side = "left" if stated.get("truncation_side") == "left" else "right"

  def tokenize(texts: Sequence[str], most: int) -> Any:
    tokenizer.enable_truncation(most, direction=side)
    found = tokenizer.encode_batch(list(texts))
    return [each.ids for each in found], [each.type_ids for each in found]

  return tokenize, pad_id


def _of_transformers(
  folder,
) -> tuple[text_preprocessing.Tokenize, int | None]:
  """The function of a tokenizer of an older form, and its token of padding."""
  files = [name for name in FILES if (folder / name).is_file()]
  if not set(files) - {"tokenizer_config.json", "special_tokens_map.json"}:
    raise validation.InputError(
      f"{folder} has no tokenizer: neither {FILE} nor vocab.txt or the like; "
      "copy it from where the model is from"
    )
  try:
    import transformers
  except ImportError as e:
    raise validation.InputError(
      f"{folder} has no {FILE} but {files[0]}, which transformers reads "
      f"({validation.reason(e)}): pip install transformers"
    ) from e
  try:
    tokenizer: Callable[..., Any] = transformers.AutoTokenizer.from_pretrained(
      folder, local_files_only=True
    )
  except Exception as e:  # whatever transformers' code raises
    raise validation.InputError(
      f"transformers cannot read the tokenizer of {folder}: "
      f"{type(e).__name__}: {validation.reason(e)[:200]}"
    ) from e

  def tokenize(texts: Sequence[str], most: int) -> Any:
    found = tokenizer(list(texts), truncation=True, max_length=most)
    kinds = found.get("token_type_ids")
    if kinds is None:
      kinds = [[0] * len(each) for each in found["input_ids"]]
    return found["input_ids"], kinds

  return tokenize, getattr(tokenizer, "pad_token_id", None)


def _length(folder, config, stated) -> int:
  """The most tokens of a text: what the network and its tokenizer allow."""
  limit = positions(config)
  usual = _stated(folder, "sentence_bert_config.json").get("max_seq_length")
  usual = usual or stated.get("model_max_length")
  if not isinstance(usual, (int, float)) or not 0 < usual < _NO_LIMIT:
    usual = _USUAL_LENGTH
  # Attention takes the square of the length: texts are rarely this long.
  usual = min(int(usual), _USUAL_LENGTH)
  return usual if limit is None else min(usual, limit)


def positions(config: dict[str, Any]) -> int | None:
  """Returns the most tokens that a network has positions for, if it says so.

  Args:
    config: content of its `config.json`.

  Example:
    >>> from leep_jax.sources import tokenizing
    >>> tokenizing.positions(
    ...   {"model_type": "roberta", "max_position_embeddings": 514,
    ...    "pad_token_id": 1})
    512
  """
  found = config.get("max_position_embeddings", config.get("n_positions"))
  if not isinstance(found, int) or found < 1:
    return None
  if config.get("model_type") in _OFFSET:
    # Their positions are counted from the token of padding on.
    found -= int(config.get("pad_token_id") or 0) + 1
  return found


# Networks whose first position is that after the token of padding, as in
# `create_position_ids_from_input_ids` of transformers.
_OFFSET = frozenset({
  "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet",
  "longformer", "data2vec-text", "esm", "ibert", "roberta-prelayernorm", "xmod",
  "luke", "mluke", "layoutlmv3", "markuplm", "lilt",
})  # fmt: skip


def has_segments(folder: pathlib.Path, config: dict[str, Any]) -> bool:
  """Returns whether a network is given the segments of tokens, as BERT is.

  Args:
    folder: with its tokenizer.
    config: content of its `config.json`.

  Example:
    >>> import pathlib
    >>> from leep_jax.sources import tokenizing
    >>> folder = pathlib.Path("no_such_folder")
    >>> tokenizing.has_segments(folder, {"type_vocab_size": 2})
    True
  """
  stated = _stated(folder, "tokenizer_config.json")
  named = stated.get("model_input_names")
  if isinstance(named, list):
    return "token_type_ids" in named
  return int(config.get("type_vocab_size") or 0) > 1
