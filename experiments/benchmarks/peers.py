"""Compares speed with what people would use instead, within one run.

    python -m experiments.benchmarks.peers

Purpose: is any peer faster than this package on a CPU? The peers are NumPy, the
metrics of the Transfer-Learning-Library ("tllib"), and PyTorch's forward pass.
tllib's metrics stand here as their papers define them and as that library
computes them: in NumPy on whole arrays, with a loop over classes. The limits
are what each score cannot do without: reading its input, or one matrix product
of all features. Printed bounds are the aims of this project.

The forward pass is compared for the architectures that timm has too, both with
random weights in float32 and the same input. PyTorch runs with the memory
format in which it is faster. `--networks` names others; without PyTorch and
timm (`pip install leep_jax[torch]`), that part is left out.

Cost: about eight minutes on two CPU cores. Times are medians of interleaved
repetitions, after compilation. Nothing else should run meanwhile: OpenBLAS's
and PyTorch's threads wait for each other, ours do not.

What came out is in `experiments/results/peers.md`.

- LEEP and NCE meet their aims. NumPy's argmax with a count is a sixth faster
  than NCE, which checks rows as well; in other runs NCE took up to 1.8 times
  the argmax.
- H-score and TransRate do not meet theirs (2.5 products): their sums are of
  float64, which are 2 products of float32. For H-score that is one pass in
  place of two in float32, as directions of little variance keep their digits.
  TransRate needs products of the examples of each class as well, and a Cholesky
  factor of each, of which SciPy computes one at a time; NumPy takes twice as
  long. Products of features in their place gave wrong values.
- Of twelve networks, eleven are faster than in PyTorch, and ViT-S takes 2 %
  longer; in another run, MobileNet V3 and V4 took 4 and 10 % longer. Tried on
  ViT-S and ConvNeXt-T: XLA's fused kernels (two thirds as fast), fast-math (no
  gain), its scheduler for concurrency (no gain), vectors of 512 bits (3 and 12
  % faster, adopted), sums without XLA's tree of partial sums (5 to 9 % faster;
  not adopted, as long sums lose digits). Tried on the first convolution of a
  ResNet: more input channels, space to depth, columns of patches (all slower).
"""

from collections.abc import Callable
import functools
import sys
from typing import Any

from absl import flags
import jax
import numpy as np

from experiments.benchmarks import engine, timing
import leep_jax
from leep_jax import command
from leep_jax.engine import runners
from leep_jax.sources import architectures, network, source as source_lib

FLAGS = flags.FlagValues()
_REPEATS = flags.DEFINE_integer(
  "repeats", 7, "Number of repetitions of each timing.", flag_values=FLAGS
)
_SIZE = flags.DEFINE_integer(
  "size", 50_000, "Number of examples.", flag_values=FLAGS
)
_NETWORKS = flags.DEFINE_list(
  "networks",
  [
    "resnet50",
    "convnext_tiny",
    "mobilenetv1_100",
    "efficientnet_b0",
    "vit_small_patch16_224",
    "mobilenetv2_100",
    "mobilenetv3_large_100",
    "mobilenetv4_conv_small",
    "mnasnet_100",
    "tf_efficientnetv2_b0",
    "seresnet50",
    "darknet53",
  ],
  "timm's names of networks; empty: no forward passes.",
  flag_values=FLAGS,
)
_BATCH = flags.DEFINE_integer(
  "batch_size", 32, "Images of a forward pass.", flag_values=FLAGS
)
_SOURCE_CLASSES, _WIDTH, _CLASSES = 1_000, 512, 100


def inputs(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns probabilities `[n, 1000]`, features `[n, 512]` and labels `[n]`."""
  probs, labels = engine.wide_probabilities(size, _SOURCE_CLASSES)
  rng = np.random.default_rng(1)
  centres = rng.normal(size=(_CLASSES, _WIDTH)).astype(np.float32) / 2
  features = rng.standard_normal((size, _WIDTH), dtype=np.float32)
  return probs, features + centres[labels], labels


def tllib_leep(probs: np.ndarray, labels: np.ndarray) -> float:
  """LEEP as tllib computes it: the EEP of all labels for all examples."""
  n, num_source = probs.shape
  joint = np.zeros((_CLASSES, num_source), np.float32)
  for y in range(_CLASSES):
    joint[y] = probs[labels == y].sum(axis=0) / n
  conditional = (joint / joint.sum(axis=0, keepdims=True)).T
  predicted = probs @ conditional
  return float(np.log(predicted[np.arange(n), labels]).mean())


def tllib_nce(source_labels: np.ndarray, labels: np.ndarray) -> float:
  """NCE as tllib computes it, from hard source labels."""
  n, num_source = len(labels), int(source_labels.max()) + 1
  joint = np.zeros((_CLASSES, num_source))
  np.add.at(joint, (labels, source_labels), 1 / n)
  mass = joint.sum(axis=0, keepdims=True)
  with np.errstate(divide="ignore", invalid="ignore"):
    conditional = joint / mass
    terms = np.where(joint > 0, joint * np.log(conditional), 0)
  return float(terms.sum())


def tllib_h_score(features: np.ndarray, labels: np.ndarray) -> float:
  """H-score as tllib computes it, with the trace that its paper defines."""
  covariance = np.cov(features, rowvar=False)
  means = np.zeros_like(features)
  for y in range(_CLASSES):
    means[labels == y] = features[labels == y].mean(axis=0)
  between = np.cov(means, rowvar=False)
  return float(np.trace(np.linalg.pinv(covariance, rcond=1e-15) @ between))


def tllib_log_me(features: np.ndarray, labels: np.ndarray) -> float:
  """LogME as tllib computes it: fixed-point iterations for each class."""
  values = features.astype(np.float64)
  n, width = values.shape
  _, squares, vectors = np.linalg.svd(values.T @ values)
  singular = np.sqrt(squares)
  left = values @ (vectors.T / singular)
  evidences = []
  for y in range(_CLASSES):
    target = (labels == y).astype(np.float64)
    projected = left.T @ target
    squared = projected**2
    rest = max((target**2).sum() - squared.sum(), 1e-10)
    alpha, beta = 1.0, 1.0
    for _ in range(11):
      ratio = alpha / beta
      gamma = (squares / (squares + ratio)).sum()
      length = (squares * squared / (ratio + squares) ** 2).sum()
      error = (squared / (1 + squares / ratio) ** 2).sum() + rest
      alpha, beta = gamma / (length + 1e-5), (n - gamma) / (error + 1e-5)
      if abs(alpha / beta - ratio) / ratio <= 1e-3:
        break
    evidence = (
      width / 2 * np.log(alpha)
      + n / 2 * np.log(beta)
      - 0.5 * np.log(alpha + beta * squares).sum()
      - beta / 2 * error
      - alpha / 2 * length
      - n / 2 * np.log(2 * np.pi)
    )
    evidences.append(evidence / n)
  return float(np.mean(evidences))


def tllib_trans_rate(
  features: np.ndarray, labels: np.ndarray, eps: float = 1e-4
) -> float:
  """TransRate as tllib computes it: coding rates by `slogdet`."""

  def rate(z):
    n, width = z.shape
    return 0.5 * np.linalg.slogdet(np.eye(width) + z.T @ z / (n * eps))[1]

  centred = features - features.mean(axis=0, keepdims=True)
  within = [rate(centred[labels == y]) for y in np.unique(labels)]
  return float(rate(centred) - np.mean(within))


def scores(repeats: int, size: int) -> None:
  """Prints the scores' rows."""
  probs, features, labels = inputs(size)

  def hard() -> np.ndarray:
    return probs.argmax(axis=1)

  def counted():
    cells = labels * _SOURCE_CLASSES + probs.argmax(axis=1)
    return np.bincount(cells, minlength=_CLASSES * _SOURCE_CLASSES)

  def gram():
    return features.T @ features

  rows = (
    ("leep", probs, lambda: tllib_leep(probs, labels),
     "reading twice", lambda: (probs.sum(), probs.sum()), 3.5),
    ("nce", probs, lambda: tllib_nce(hard(), labels),
     "NumPy's argmax", hard, 1.5),
    ("nce", probs, counted, "reading once", probs.sum, None),
    ("h_score", features, lambda: tllib_h_score(features, labels),
     "one Gram product", gram, 2.5),
    ("logme", features, lambda: tllib_log_me(features, labels),
     "one Gram product", gram, None),
    ("trans_rate", features, lambda: tllib_trans_rate(features, labels),
     "one Gram product", gram, 2.5),
  )  # fmt: skip
  print(
    "| score | ms | peer, ms | over ours | limit, ms | ours over it | aim |"
  )
  print("|---|---|---|---|---|---|---|")
  for name, values, peer, what, limit, aim in rows:
    function = leep_jax.SCORES[name].function
    assert function is not None
    ours, theirs, least = timing.interleaved(
      repeats, functools.partial(function, values, labels), peer, limit
    )
    who = "argmax and bincount" if peer is counted else "tllib"
    print(
      f"| `{name}` | {1e3 * ours:.1f} | {who}: {1e3 * theirs:.1f} "
      f"| {theirs / ours:.2f} | {what}: {1e3 * least:.1f} "
      f"| {ours / least:.2f} | {aim or '-'} |",
      flush=True,
    )


def _pytorch(name: str, last: bool, images: np.ndarray) -> Callable[[], Any]:
  """A forward pass of timm's network; `last`: with channels last in memory."""
  import timm
  import torch

  memory: dict[str, Any] = {
    "memory_format": torch.channels_last if last else torch.contiguous_format
  }
  model = timm.create_model(name, num_classes=1000).eval().to(**memory)
  x = torch.tensor(images).permute(0, 3, 1, 2).contiguous(**memory)

  def run():
    with torch.inference_mode():
      return model(x)

  return run


def forward(repeats: int, names: list[str], batch_size: int) -> None:
  """Prints the rows of forward passes, in the program that scoring runs."""
  try:
    import timm  # noqa: F401
  except ImportError as e:
    print(f"\nNo forward passes: {e}")
    return
  print(f"\nForward pass, batch {batch_size}, 224 px, float32:\n")
  print("| network | images/s | PyTorch | channels last | over the better |")
  print("|---|---|---|---|---|")
  images = np.random.default_rng(0).normal(size=(batch_size, 224, 224, 3))
  images = images.astype(np.float32)
  for name in names:
    seconds = timing.interleaved(
      repeats,
      _ours(name, images),
      _pytorch(name, False, images),
      _pytorch(name, True, images),
    )
    fast, first, second = (batch_size / s for s in seconds)
    print(
      f"| {name} | {fast:.1f} | {first:.1f} | {second:.1f} "
      f"| {fast / max(first, second):.2f} |",
      flush=True,
    )


def _ours(name, images):
  """A forward pass as `compute_outputs` runs it, without its batches."""
  arch = architectures.of_timm()[name]
  model = architectures.build(arch, 1000)
  head = architectures.ARCHITECTURES[arch].head.removesuffix(".weight")
  source: source_lib.Source = network.from_nnx(name, model, head=head)
  runner = runners.of(source, "float32")
  return lambda: jax.block_until_ready(runner.run(images, len(images)))


def _run() -> int:
  print("From `python -m experiments.benchmarks.peers`, which says what the")
  print("columns are, and why some aims are not met.\n")
  timing.versions()
  scores(_REPEATS.value, _SIZE.value)
  if _NETWORKS.value:
    forward(max(_REPEATS.value // 2, 1), _NETWORKS.value, _BATCH.value)
  return 0


if __name__ == "__main__":
  sys.exit(command.main(sys.argv, FLAGS, __doc__ or "", _run))
