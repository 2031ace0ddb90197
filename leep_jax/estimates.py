"""What scoring would cost, from short measurements: `--dry_run`.

Forward passes are counted exactly. Their time is the number of examples over
the examples a second that a source was measured to run, which is kept in the
user's cache, for each source, options and kind of device. Not counted are
scores, which take a small part of it, and training.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import hashlib
import json
import math
import pathlib
import shutil
import time

import jax
import numpy as np

from leep_jax import data, progress, user_cache, version
from leep_jax.engine import forward, programs
from leep_jax.racing import result, samples
from leep_jax.reports import results, tables
from leep_jax.sources import source as source_lib

_SECONDS = 1.0  # of a measurement, about
# Of fewer examples, a batch is mostly padding: their rate is not that of more.
_LEAST = 256
_MOST_BATCHES = 64  # of a measurement
_MOST = 20  # sources, in a table


@dataclasses.dataclass(frozen=True)
class Rate:
  """How fast a source runs, and how much it returns.

  Attributes:
    per_second: examples, on all devices of this process, without compilation.
    width: bytes of outputs of an example, as they are kept.
    before: seconds until it runs: loading, tracing and compilation.
    on: the data set that it was measured on.

  Example:
    >>> from leep_jax import estimates
    >>> estimates.Rate(100.0, 4000, 2.0, "digits").per_second
    100.0
  """

  per_second: float
  width: int
  before: float
  on: str


def measure(
  source: source_lib.Source,
  dataset: data.Dataset,
  *,
  dtype: str = "float32",
  batch_size: int | None = None,
) -> Rate:
  """Runs some batches of a data set through a source.

  Args:
    source: the model.
    dataset: of which the first batches run, as they would with all of it.
    dtype: of the forward pass.
    batch_size: as of `forward.compute_outputs`.

  Raises:
    InputError: as `forward.compute_outputs`.

  Example:
    >>> import leep_jax
    >>> from leep_jax import estimates
    >>> source = leep_jax.load_source("fashion_mnist_resnet8")
    >>> rate = estimates.measure(source, leep_jax.load_dataset("digits"))
    >>> rate.per_second > 0, rate.width == 4 * (10 + 64), rate.on
    (True, True, 'digits')
  """
  rows = forward.rows_per_device(source, dataset, batch_size=batch_size)
  batch = rows * programs.device_count()

  def run(batches):
    count = min(batches * batch, len(dataset))
    start = time.perf_counter()
    outputs = forward.compute_part(
      source,
      dataset,
      np.arange(count),
      batch_size=batch_size,
      dtype=dtype,
      check_mode=False,
    )
    return outputs, count / (time.perf_counter() - start), count

  start = time.perf_counter()
  run(1)
  before = time.perf_counter() - start
  outputs, rate, count = run(1)
  batches = min(math.ceil(rate * _SECONDS / batch), _MOST_BATCHES)
  if batches > 1 and count < len(dataset):
    outputs, rate, count = run(batches)
  width = sum(4 * outputs.store.shape(key)[1] for key in outputs.store.keys())
  return Rate(rate, width, max(before - batch / rate, 0.0), dataset.name)


class KeptRates:
  """Rates that were measured before, in the user's cache.

  Example:
    >>> from leep_jax import estimates
    >>> kept = estimates.KeptRates("float32")
    >>> kept.put("mine", estimates.Rate(100.0, 4000, 2.0, "digits"))
    >>> kept.get("mine").per_second
    100.0
  """

  def __init__(self, *options: object):
    """Reads nothing yet.

    Args:
      *options: what rates depend on besides the source and the devices.
    """
    device = jax.devices()[0].device_kind
    self._same = [
      *map(repr, options), device, programs.device_count(), version.__version__,
    ]  # fmt: skip

  def _file(self, model: str) -> pathlib.Path | None:
    folder = user_cache.folder()
    if folder is None:
      return None
    about = json.dumps([model, *self._same])
    name = hashlib.sha256(about.encode()).hexdigest()[:24]
    return folder / "rates" / f"{name}.json"

  def get(self, model: str) -> Rate | None:
    """Returns the rate of a source; None if it was never measured.

    Args:
      model: name of the source.
    """
    file = self._file(model)
    try:
      return Rate(**json.loads(file.read_text())) if file else None
    except (OSError, ValueError, TypeError):  # none, or of another version
      return None

  def put(self, model: str, rate: Rate) -> None:
    """Keeps the rate of a source, where there is a cache that can be written.

    Args:
      model: name of the source.
      rate: to keep.
    """
    file = self._file(model)
    if file is None:
      return
    try:
      file.parent.mkdir(parents=True, exist_ok=True)
      text = json.dumps(dataclasses.asdict(rate))
      results.replace_file(file, text.encode())
    except OSError:
      pass  # It is measured again.


def measured(
  model: str,
  source: source_lib.Source | Callable[[], source_lib.Source],
  dataset: data.Dataset,
  *,
  overrides: object = None,
  dtype: str = "float32",
  batch_size: int | None = None,
) -> Rate:
  """Returns the rate of a source, kept from before or measured now.

  Args:
    model: name of the source.
    source: itself, or what loads it if it has to be measured.
    dataset: to measure it on.
    overrides: what replaces the configuration of its checkpoint.
    dtype: of the forward pass.
    batch_size: as of `forward.compute_outputs`.

  Raises:
    InputError: if the source cannot be loaded or run.

  Example:
    >>> import leep_jax
    >>> from leep_jax import estimates
    >>> estimates.measured(
    ...   "example", lambda: leep_jax.load_source("fashion_mnist_resnet8"),
    ...   leep_jax.load_dataset("digits")).width
    296
  """
  kept = KeptRates(overrides, dtype, batch_size, dataset.inputs)
  rate = kept.get(model)
  if rate is not None:
    return rate
  start = time.perf_counter()
  if not isinstance(source, source_lib.Source):
    source = source()
  loading = time.perf_counter() - start
  with progress.step(f"{tables.short(model, 30)}: measuring"):
    rate = measure(source, dataset, dtype=dtype, batch_size=batch_size)
  rate = dataclasses.replace(rate, before=rate.before + loading)
  if len(dataset) >= _LEAST:
    kept.put(model, rate)
  return rate


@dataclasses.dataclass(frozen=True)
class Passes:
  """The forward passes of one source.

  Attributes:
    model: name of the source.
    sizes: the number of examples of each pass.
    rate: of the source.

  Example:
    >>> from leep_jax import estimates
    >>> rate = estimates.Rate(100.0, 4000, 2.0, "digits")
    >>> passes = estimates.Passes("mine", (1000, 500), rate)
    >>> passes.examples, passes.seconds, passes.bytes
    (1500, 15.0, 6000000)
  """

  model: str
  sizes: Sequence[int]
  rate: Rate

  @property
  def examples(self) -> int:
    """Examples of all passes."""
    return sum(self.sizes)

  @property
  def seconds(self) -> float:
    """Of all passes, without loading and compilation."""
    return self.examples / self.rate.per_second

  @property
  def bytes(self) -> int:
    """Of the outputs of all passes."""
    return self.examples * self.rate.width


def table(passes: Sequence[Passes], *, noun: str = "images") -> str:
  """Returns a line for each source, the slowest first; of many the first few.

  Args:
    passes: of all sources.
    noun: what examples are called.

  Example:
    >>> from leep_jax import estimates
    >>> rate = estimates.Rate(100.0, 4000, 2.0, "digits")
    >>> print(estimates.table([estimates.Passes("mine", (1000,), rate)]))
    source  passes  images  images/s  time  outputs
    mine         1   1,000       100  10 s     4 MB
  """
  slowest = sorted(passes, key=lambda p: -p.seconds)
  shown = slowest[:_MOST]
  columns = [
    ["source", *tables.short_names([p.model for p in shown], width=30)],
    ["passes", *(f"{len(p.sizes):,}" for p in shown)],
    [noun, *(f"{p.examples:,}" for p in shown)],
    [f"{noun}/s", *(f"{p.rate.per_second:,.3g}" if p.rate.per_second < 10
                    else f"{p.rate.per_second:,.0f}" for p in shown)],
    ["time", *(duration(p.seconds) for p in shown)],
    ["outputs", *(size(p.bytes) for p in shown)],
  ]  # fmt: skip
  widths = [max(map(len, column)) for column in columns]
  lines = []
  for first, *rest in zip(*columns, strict=True):
    cells = [first.ljust(widths[0])]
    cells += [c.rjust(w) for c, w in zip(rest, widths[1:], strict=True)]
    lines.append("  ".join(cells).rstrip())
  if more := slowest[_MOST:]:
    lines.append(
      f"and {len(more):,} others: {duration(sum(p.seconds for p in more))}"
    )
  return "\n".join(lines)


def total(passes: Sequence[Passes], *, noun: str = "images") -> list[str]:
  """Returns lines on all sources: passes, time, and bytes.

  Args:
    passes: of all sources.
    noun: what examples are called.

  Example:
    >>> from leep_jax import estimates
    >>> rate = estimates.Rate(100.0, 4000, 2.0, "digits")
    >>> lines = estimates.total([estimates.Passes("mine", (360000,) * 2, rate)])
    >>> print(lines[0])
    2 forward passes, 720,000 images: 2 hours on ... device...
  """
  seconds = sum(p.seconds for p in passes)
  count = programs.device_count()
  kind = f"{jax.devices()[0].device_kind} device{'s' * (count > 1)}"
  on = sorted({p.rate.on for p in passes})
  first = (
    f"{tables.count(sum(len(p.sizes) for p in passes), 'forward pass')}, "
    f"{sum(p.examples for p in passes):,} {noun}: {duration(seconds)} on "
    f"{count} {kind}"
  )
  before = duration(sum(p.rate.before for p in passes))
  lines = [
    first,
    f"loading and compilation: {before}, if nothing is compiled yet",
  ]
  if on:
    lines.append(
      f"{noun}/s were measured on {', '.join(on)}, its reading included"
    )
  return lines


def race(
  datasets: Mapping[int, tuple[int, int]], sources: int, seconds: float
) -> list[str]:
  """Returns lines on how much of the forward passes a race would run.

  Args:
    datasets: by any key, the number of examples, and of classes (0 for
      regression).
    sources: how many.
    seconds: of all forward passes.

  Example:
    >>> from leep_jax import estimates
    >>> print(*estimates.race({0: (10000, 10)}, 1000, 36000), sep="\\n")
    with --race: at least 1 % of these images (samples of all sources, ...
    races of 8 to 11 real sources: 13 to 56 % of them, 78 min to 5.6 hours
    races of many synthetic ones: 1 to 79 % of them, 6.6 min to 7.9 hours
  """
  images = least = 0
  for count, classes in datasets.values():
    sizes = samples.sizes(count, num_classes=classes)
    least += (sizes[0] if sizes else count) * (sources - 1) + count
    images += count * sources
  share = least / max(images, 1)
  lines = [
    f"with --race: at least {100 * share:.0f} % of these images (samples "
    "of all sources, all of one)"
  ]
  for what, (low, high) in (
    ("8 to 11 real sources", result.MEASURED_SHARES),
    ("many synthetic ones", result.MEASURED_SHARES_OF_SYNTHETIC),
  ):
    low, high = max(low, share), max(high, share)
    lines.append(
      f"races of {what}: {100 * low:.0f} to {100 * high:.0f} % of them, "
      f"{duration(low * seconds)} to {duration(high * seconds)}"
    )
  return lines


def duration(seconds: float) -> str:
  """Returns a time in words.

  Args:
    seconds: of the time.

  Example:
    >>> from leep_jax import estimates
    >>> [estimates.duration(s) for s in (0.4, 59, 600, 9000)]
    ['0.4 s', '59 s', '10 min', '2.5 hours']
  """
  if seconds < 90:
    return f"{seconds:.2g} s"
  if seconds < 5400:
    return f"{seconds / 60:.2g} min"
  hours = seconds / 3600
  return f"{hours:,.0f} hours" if hours >= 100 else f"{hours:.3g} hours"


def size(count: float) -> str:
  """Returns a number of bytes in words.

  Args:
    count: of bytes.

  Example:
    >>> from leep_jax import estimates
    >>> [estimates.size(b) for b in (400, 3e6, 2.5e9, 4e13)]
    ['0.4 kB', '3 MB', '2.5 GB', '40 TB']
  """
  for unit in ("kB", "MB", "GB"):
    count /= 1000
    if count < 1000:
      return f"{count:.3g} {unit}"
  return f"{count / 1000:,.3g} TB"


def free(folder: pathlib.Path) -> str:
  """Returns the free space of the disk that a folder is on, or would be.

  Args:
    folder: which need not exist.

  Example:
    >>> import pathlib
    >>> from leep_jax import estimates
    >>> estimates.free(pathlib.Path("no/such/folder"))
    '... free'
  """
  while not folder.exists() and folder != folder.parent:
    folder = folder.absolute().parent
  return f"{size(shutil.disk_usage(folder).free)} free"
