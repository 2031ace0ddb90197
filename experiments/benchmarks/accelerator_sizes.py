"""How much `experiments.benchmarks.accelerator` measures, and in which form."""

from collections.abc import Callable
import dataclasses
from typing import Any

KINDS = (
  "forward", "scores", "leep", "subsets", "heads", "fine_tuning", "devices",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Size:
  """How much work is measured.

  Attributes:
    networks: names of architectures or bundled sources, and sides of images.
    batches: sizes of batches, the usual one first.
    images: of a timing of the forward pass, at least.
    scored: images that are scored.
    scored_networks: those whose outputs are scored.
    tuned: names of networks, sides, types and batches for fine-tuning.
    tuned_images: at least, of an epoch; an epoch has at least 10 batches.
    leep: n and Z of probabilities of 100 classes.
    subsets: class-subset tasks, and the one in so many that a loop runs.
    heads: tasks, one in so many that are trained one by one, and epochs.
    compiles_torch: whether `torch.compile` is measured, too.
    repeats: of each timing.
  """

  networks: tuple[tuple[str, int], ...]
  batches: tuple[int, ...]
  images: int
  scored: int
  scored_networks: tuple[tuple[str, int], ...]
  tuned: tuple[tuple[str, int, str, int], ...]
  tuned_images: int
  leep: tuple[int, int]
  subsets: tuple[int, int]
  heads: tuple[int, int, int]
  compiles_torch: bool
  repeats: int


_NETWORKS = (
  ("resnet50", 224), ("convnext_tiny", 224), ("efficientnet_b0", 224),
  ("mobilenet_v1_100", 224), ("vit_small_16", 224), ("cifar10_resnet14", 32),
)  # fmt: skip
SIZES = {
  # For CI: every kind of measurement, on simulated devices.
  "tiny": Size(
    networks=(("resnet8", 16), ("resnet18", 32)),
    batches=(4,),
    images=8,
    scored=64,
    scored_networks=(("resnet8", 16),),
    tuned=(("resnet8", 16, "float32", 4),),
    tuned_images=8,
    leep=(500, 20),
    subsets=(20, 10),
    heads=(8, 4, 2),
    compiles_torch=False,
    repeats=2,
  ),
  # For a CPU.
  "small": Size(
    networks=_NETWORKS,
    batches=(16,),
    images=32,
    scored=128,
    scored_networks=(("mobilenet_v1_100", 224), ("cifar10_resnet14", 32)),
    tuned=(("cifar10_resnet14", 32, "float32", 64),),
    tuned_images=640,
    leep=(50_000, 1_000),
    subsets=(200, 20),
    heads=(1_000, 100, 20),
    compiles_torch=False,
    repeats=3,
  ),
  # For an accelerator.
  "full": Size(
    networks=_NETWORKS,
    batches=(256, 32, 1024),
    images=4_096,
    scored=4_096,
    scored_networks=(
      ("vit_small_16", 224), ("resnet50", 224), ("cifar10_resnet14", 32),
    ),
    tuned=(
      ("resnet50", 224, "bfloat16", 64), ("resnet50", 224, "float32", 64),
      ("cifar10_resnet14", 32, "float32", 64),
    ),
    tuned_images=640,
    leep=(50_000, 1_000),
    subsets=(200, 10),
    heads=(1_000, 100, 100),
    compiles_torch=True,
    repeats=5,
  ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Variant:
  """One way of doing a case's work.

  Attributes:
    name: of it.
    amount: of work that a run does.
    unit: of the amount.
    run: does it, and waits for its end; None if that is impossible.
    over: names of the variants whose speed its own is divided by.
    why_not: why it cannot run.
    of_torch: whether PyTorch compiles it, and not JAX.
  """

  name: str
  amount: float
  unit: str
  run: Callable[[], object] | None
  over: tuple[str, ...] = ()
  why_not: str = ""
  of_torch: bool = False


@dataclasses.dataclass(frozen=True)
class Case:
  """Work that several variants do.

  Attributes:
    kind: one of `KINDS`.
    name: of the network, or of what is scored.
    settings: all else that decides the work.
    repeats: of each variant.
    prepare: makes data and networks, and returns the variants.
  """

  kind: str
  name: str
  settings: dict[str, Any]
  repeats: int
  prepare: Callable[[], list[Variant]]
