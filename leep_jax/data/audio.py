"""Files of sounds, read by soundfile."""

import io
import os
from typing import Any, NamedTuple

import numpy as np

from leep_jax import validation

# What libsndfile reads whose suffix says so.
SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif"})


class Sound(NamedTuple):
  """A sound of one channel.

  Attributes:
    samples: `[T]` float32, usually in [-1, 1].
    rate: samples a second.

  Example:
    >>> import numpy as np
    >>> from leep_jax.data import audio
    >>> audio.Sound(np.zeros(8000, np.float32), 16000).seconds
    0.5
  """

  samples: np.ndarray
  rate: int

  @property
  def seconds(self) -> float:
    """The length of the sound."""
    return len(self.samples) / self.rate


def _soundfile() -> Any:
  try:
    import soundfile
  except (ImportError, OSError) as e:  # OSError: libsndfile is missing
    raise validation.DataError(
      f"sounds are read by soundfile, which is not there "
      f"({validation.reason(e)}): pip install 'leep_jax[audio]'"
    ) from e
  return soundfile


def read(path: str | os.PathLike[str], *, name: str | None = None) -> Sound:
  """Returns the sound of a file, the mean of its channels.

  Args:
    path: of the file.
    name: what error messages call it; by default, its path.

  Raises:
    DataError: if it cannot be read or is empty, or soundfile is not installed.

  Example:
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import soundfile
    >>> from leep_jax.data import audio
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   path = pathlib.Path(folder) / "stereo.wav"
    ...   soundfile.write(path, np.array([[0.5, 0.0]] * 100), 8000)
    ...   sound = audio.read(path)
    >>> sound.samples.shape, sound.rate, float(sound.samples[0])
    ((100,), 8000, 0.25)
  """
  return _read(path, name or os.fspath(path))


def decode(content: bytes, *, name: str) -> Sound:
  """Returns the sound that the content of a file is of, as `read` does.

  Args:
    content: of the file.
    name: what error messages call it.

  Raises:
    DataError: as `read`.

  Example:
    >>> import leep_jax
    >>> from leep_jax.data import audio
    >>> try:
    ...   audio.decode(b"no sound", name="row 3")
    ... except leep_jax.InputError as error:
    ...   print(error)
    cannot decode row 3: ...
  """
  return _read(io.BytesIO(content), name)


def _read(file, name):
  soundfile = _soundfile()
  try:
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
  except (OSError, RuntimeError, ValueError, TypeError) as e:
    raise validation.DataError(
      f"cannot decode {name}: {validation.reason(e)}"
    ) from e
  if not samples.size:
    raise validation.DataError(f"cannot use {name}: it has no samples")
  if not np.isfinite(samples).all():
    raise validation.DataError(f"cannot use {name}: it holds NaN or infinity")
  return Sound(samples.mean(axis=1, dtype=np.float32), int(rate))


def seconds(file: str | os.PathLike[str] | bytes) -> float:
  """Returns the length that a file's header states; 0 if there is none.

  Args:
    file: its path or content.

  Raises:
    DataError: if soundfile is not installed.

  Example:
    >>> from leep_jax.data import audio
    >>> audio.seconds("no/such/file.wav")
    0.0
  """
  soundfile = _soundfile()
  try:
    if isinstance(file, bytes):
      about = soundfile.info(io.BytesIO(file))
    else:
      about = soundfile.info(file)
  except (OSError, RuntimeError, ValueError, TypeError):
    return 0.0  # `read` says why, when the file is read
  return about.frames / about.samplerate if about.samplerate else 0.0
