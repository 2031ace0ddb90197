"""A job: the images, options and programs that all runs of a call share."""

from collections.abc import Callable
import functools
import hashlib
import os
import pathlib

import jax
import numpy as np

from leep_jax import data, validation
from leep_jax.sources import source as source_lib
from leep_jax.transfer import checkpoints as checkpoints_lib, runs as runs_lib
from leep_jax.transfer.checkpoints import Checkpoints
from leep_jax.transfer.config import NetworkConfig
from leep_jax.transfer.network.programs import Compiled

Images = tuple[np.ndarray, np.ndarray]


class Job:
  """The images, options and programs that all runs of a call share.

  Attributes:
    source: whose network is trained; it takes the loaded images.
    sets: `(images, labels)` for training and for test.
    init: `seed -> Weights` that a run starts from.
    method: name in results.
    config: how to train.
    keep_params: whether results include the trained weights.
    compiled: programs of the source for this configuration.
    save_seconds: least time between two checkpoints.
    directory: folder for checkpoints, or None.

  Example:
    >>> import numpy as np
    >>> import leep_jax
    >>> from leep_jax import transfer
    >>> from leep_jax.transfer.network.job import Job
    >>> source = leep_jax.load_source("fashion_mnist_resnet8")
    >>> images = np.zeros((4, 28, 28, 1), np.uint8), np.arange(4) % 2
    >>> job = Job(
    ...   source, (images, images), init=lambda seed: source.network.weights,
    ...   method="fine_tune", config=transfer.NetworkConfig(),
    ...   keep_params=False, directory=None, save_seconds=60,
    ... )
    >>> [images.shape for images, _ in job.sets]
    [(4, 28, 28, 1), (4, 28, 28, 1)]
  """

  def __init__(
    self,
    source: source_lib.Source,
    sets: tuple[data.Dataset | Images, data.Dataset | Images],
    *,
    init: Callable[[int], source_lib.Weights],
    method: str,
    config: NetworkConfig,
    keep_params: bool,
    directory: str | os.PathLike[str] | None,
    save_seconds: float,
  ):
    """Loads the images.

    Args:
      source: whose network is trained.
      sets: for training and for test.
      init: `seed -> Weights` that a run starts from.
      method: name in results.
      config: how to train.
      keep_params: whether results include the trained weights.
      directory: folder for checkpoints, or None.
      save_seconds: least time between two checkpoints.

    Raises:
      InputError: if the configuration is that of a head, images do not fit the
        source, or the folder cannot be written to.
    """
    if not isinstance(config, NetworkConfig):
      raise validation.InputError(
        f"config is a {type(config).__name__}, but a network is trained by a "
        "NetworkConfig"
      )
    self.init, self.method, self.config = init, method, config
    self.keep_params = keep_params
    self.source, self.sets = _load(source, sets)
    assert source.network is not None  # `fine_tune` refuses such a source
    self.compiled = Compiled(
      source.network.apply, self.source.preprocessing, config
    )
    self.save_seconds = save_seconds
    self.directory = None
    if directory is not None:
      self.directory = pathlib.Path(directory).expanduser()
      checkpoints_lib.check_folder(self.directory)

  @functools.cached_property
  def digest(self) -> str:
    """A hash of what all results depend on: images and options."""
    found = hashlib.sha256()
    for images, _ in self.sets:
      found.update(repr((images.shape, images.dtype.name)).encode())
      found.update(np.ascontiguousarray(images).data)
    about = (self.source.preprocessing, self.method, self.config)
    found.update(repr((*about, jax.__version__)).encode())
    return found.hexdigest()

  def checkpoints(self, run: runs_lib.Run) -> Checkpoints | None:
    """Returns the checkpoints of a run, or None without a folder for them.

    They are of one run, not of its group: after an interruption, the runs that
    are left form other groups.

    Args:
      run: that is to be trained.
    """
    if self.directory is None:
      return None
    found = hashlib.sha256(self.digest.encode())
    # Sources of one name may differ in their initial weights.
    for leaf in jax.tree.leaves(self.init(run.seed)):
      found.update(np.asarray(leaf).tobytes())
    for array in (run.task.train, run.labels, run.task.test, run.test_labels):
      found.update(array.tobytes())
    what = {
      "source": self.source.name,
      "task": run.task.name,
      "seed": int(run.seed),
      "contents": found.hexdigest(),
    }
    name = hashlib.sha256(repr(what).encode()).hexdigest()[:16]
    return Checkpoints(self.directory / name, what)


def _load(source, sets):
  """Images and labels in memory, and the source in a form that takes them."""
  given, loaded = source, []
  for dataset in sets:
    fitted, images, labels = load_set(given, dataset)
    if fitted is not given:
      source = fitted
    source.check_inputs(images.shape)
    loaded.append((images, labels))
  return source, loaded


def load_set(
  source: source_lib.Source, dataset: data.Dataset | Images
) -> tuple[source_lib.Source, np.ndarray, np.ndarray]:
  """Loads a set into memory for a source.

  Images that differ in size are resized as they are read; what is left for the
  source to do is to normalise them.

  Args:
    source: that takes the images.
    dataset: of images, or its `(images [n, H, W, C], labels [n])`.

  Returns:
    The source in a form that takes the images, the images, and their labels.

  Raises:
    InputError: if images do not fit the source, or labels are no classes.

  Example:
    >>> import leep_jax
    >>> from leep_jax.transfer.network import job
    >>> source = leep_jax.load_source("fashion_mnist_resnet8")
    >>> digits = leep_jax.load_dataset("digits", limit=20)
    >>> _, images, labels = job.load_set(source, digits)
    >>> images.shape, labels.shape
    ((20, 8, 8, 1), (20,))
  """
  fitted = source
  if isinstance(dataset, data.Dataset):
    options, reading = source.reading(dataset)
    if options:
      # Resized as they are loaded, images must not be resized once more.
      fitted = reading
    dataset = dataset.load(**options)
  images, labels = np.asarray(dataset[0]), validation.class_labels(dataset[1])
  if len(images) != len(labels):
    raise validation.InputError(
      f"there are {len(images)} images but {len(labels)} labels"
    )
  images = source.preprocessing.checked(images)
  fitted.check_inputs(images.shape)
  return fitted, images, labels
