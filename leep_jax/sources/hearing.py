"""The feature extractor of a folder of sounds, as an `AudioPreprocessing`."""

import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from leep_jax import validation
from leep_jax.models import audio_preprocessing

FILE = "preprocessor_config.json"
_WAVEFORMS = "Wav2Vec2FeatureExtractor"
# Of transformers' feature extractors, where a file does not state it.
_RATE = 16000
# Extractors of spectrograms have a length of their own: no sound is cut before.
_LONG = 60.0


def read(folder: pathlib.Path) -> audio_preprocessing.AudioPreprocessing:
  """Returns what turns sounds into a network's input.

  Args:
    folder: with `preprocessor_config.json` of transformers. Networks of
      waveforms need nothing else; spectrograms are made by transformers.

  Raises:
    InputError: if the file is missing or damaged, or transformers is.

  Example:
    >>> import json, pathlib, tempfile
    >>> from leep_jax.sources import hearing
    >>> stated = {"feature_extractor_type": "Wav2Vec2FeatureExtractor"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder)
    ...   _ = (path / hearing.FILE).write_text(json.dumps(stated))
    ...   hearing.read(path).rate
    16000
  """
  path = folder / FILE
  if not path.is_file():
    raise validation.InputError(
      f"{folder} has no {FILE}, which states how sounds are prepared: copy it "
      "from where the model is from"
    )
  try:
    content = path.read_bytes()
    stated = json.loads(content)
    kind = stated.get("feature_extractor_type", _WAVEFORMS)
    rate = int(stated.get("sampling_rate", _RATE))
  except (OSError, ValueError, TypeError, AttributeError) as e:
    raise validation.InputError(
      f"cannot read {path} ({validation.reason(e)}): is it damaged?"
    ) from e
  if kind == _WAVEFORMS:
    return audio_preprocessing.AudioPreprocessing(
      rate=rate,
      normalise=bool(stated.get("do_normalize", True)),
      masked=bool(stated.get("return_attention_mask")),
    )
  extract = _extractor(folder, rate)
  return audio_preprocessing.AudioPreprocessing(
    rate=rate,
    max_seconds=_LONG,
    normalise=False,
    extract=extract,
    features=extract(np.zeros(rate, np.float32)).shape,
    version=hashlib.sha256(content).hexdigest()[:16],
  )


def _extractor(folder, rate) -> Any:
  """The function of a feature extractor of transformers."""
  try:
    import transformers
  except ImportError as e:
    raise validation.InputError(
      f"the spectrograms of {folder} are made by transformers "
      f"({validation.reason(e)}): pip install transformers"
    ) from e
  try:
    found = transformers.AutoFeatureExtractor.from_pretrained(
      folder, local_files_only=True
    )
  except Exception as e:  # whatever transformers' code raises
    raise validation.InputError(
      f"transformers cannot read {folder / FILE}: {type(e).__name__}: "
      f"{validation.reason(e)[:200]}"
    ) from e

  def extract(samples: np.ndarray) -> np.ndarray:
    made = found(samples, sampling_rate=rate, return_tensors="np")
    (name,) = (key for key in made if key.startswith("input_"))
    return np.asarray(made[name][0], np.float32)

  return extract
