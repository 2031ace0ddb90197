"""Sources with a name of their own: bundled ones, and published ones.

Bundled sources are files of this package; `bundled` finds them. Published ones
are the rows of `PUBLISHED`, and are fetched when they are loaded.
"""

import dataclasses
import json
import pathlib

from leep_jax.sources import architectures

_BUNDLED_DIR = pathlib.Path(__file__).parent / "bundled"


@dataclasses.dataclass(frozen=True)
class Entry:
  """What is known of a source before it is loaded.

  Attributes:
    name: of the source, as `--model` takes it.
    architecture: name of the network.
    origin: `bundled`; `hf://owner/name`; or an address from which the user has
      to download and convert the weights.
    data: name of the data set that it was trained on.
    licence: of the weights.
    image_size: side of the network's input, in pixels.
    parameters: number of parameters.
    accuracy: published top-1 accuracy on the test or validation set of its own
      data, 0 to 1: the baseline that ranks sources by their accuracy.
    num_classes: number of classes of its classifier.

  Example:
    >>> from leep_jax.sources import catalog
    >>> entry = {e.name: e for e in catalog.entries()}["resnet50.tv_in1k"]
    >>> entry.architecture, entry.origin, entry.accuracy
    ('resnet50', 'hf://timm/resnet50.tv_in1k', 0.76156)
  """

  name: str
  architecture: str
  origin: str
  data: str
  licence: str
  image_size: int
  parameters: int
  accuracy: float | None
  num_classes: int


def _imagenet(
  name, architecture, origin, size, parameters, accuracy, licence, classes=1000
):
  if not origin.startswith("https:"):
    origin = f"hf://{origin}"
  return Entry(
    name, architecture, origin, "imagenet2012", licence, size, parameters,
    accuracy, classes,
  )  # fmt: skip


_SENET = (
  "https://github.com/rwightman/pytorch-image-models/releases/download/"
  "v0.1-weights/legacy_senet154-e9eb9fe6.pth"
)
# Where the numbers are from. Accuracies of timm's: results/results-imagenet.csv
# of huggingface/pytorch-image-models at 7479d451. Of MobileNets trained in
# TensorFlow: research/slim/nets/mobilenet_v1.md of tensorflow/models at
# 02c04f49. Licences: the cards on the hub; senet154's is timm's default. Some
# networks are evaluated on larger images than they were trained on: sizes and
# accuracies are those of the evaluation.
PUBLISHED: tuple[Entry, ...] = (
  _imagenet(
    "resnet18.tv_in1k",
    "resnet18",
    "timm/resnet18.tv_in1k",
    224,
    11_689_512,
    0.69752,
    "BSD-3-Clause",
  ),
  _imagenet(
    "resnet34.tv_in1k",
    "resnet34",
    "timm/resnet34.tv_in1k",
    224,
    21_797_672,
    0.73298,
    "BSD-3-Clause",
  ),
  _imagenet(
    "resnet50.tv_in1k",
    "resnet50",
    "timm/resnet50.tv_in1k",
    224,
    25_557_032,
    0.76156,
    "BSD-3-Clause",
  ),
  _imagenet(
    "resnet101.tv_in1k",
    "resnet101",
    "timm/resnet101.tv_in1k",
    224,
    44_549_160,
    0.77404,
    "BSD-3-Clause",
  ),
  _imagenet(
    "resnet152.tv_in1k",
    "resnet152",
    "timm/resnet152.tv_in1k",
    224,
    60_192_808,
    0.7833,
    "BSD-3-Clause",
  ),
  _imagenet(
    "mobilenetv1_100.ra4_e3600_r224_in1k",
    "mobilenet_v1_100",
    "timm/mobilenetv1_100.ra4_e3600_r224_in1k",
    256,
    4_231_976,
    0.76086,
    "Apache-2.0",
  ),
  _imagenet(
    "darknet53.c2ns_in1k",
    "darknet53",
    "timm/darknet53.c2ns_in1k",
    288,
    41_609_928,
    0.80542,
    "Apache-2.0",
  ),
  _imagenet(
    "legacy_senet154.in1k",
    "senet154",
    _SENET,
    224,
    115_088_984,
    0.81326,
    "Apache-2.0",
  ),
  _imagenet(
    "convnext_tiny.fb_in1k",
    "convnext_tiny",
    "timm/convnext_tiny.fb_in1k",
    288,
    28_589_128,
    0.82694,
    "Apache-2.0",
  ),
  _imagenet(
    "convnext_small.fb_in1k",
    "convnext_small",
    "timm/convnext_small.fb_in1k",
    288,
    50_223_688,
    0.83704,
    "Apache-2.0",
  ),
  _imagenet(
    "convnext_base.fb_in1k",
    "convnext_base",
    "timm/convnext_base.fb_in1k",
    288,
    88_591_464,
    0.84466,
    "Apache-2.0",
  ),
  _imagenet(
    "vit_small_patch16_224.augreg_in21k_ft_in1k",
    "vit_small_16",
    "timm/vit_small_patch16_224.augreg_in21k_ft_in1k",
    224,
    22_050_664,
    0.81414,
    "Apache-2.0",
  ),
  _imagenet(
    "vit_base_patch16_224.augreg_in21k_ft_in1k",
    "vit_base_16",
    "timm/vit_base_patch16_224.augreg_in21k_ft_in1k",
    224,
    86_567_656,
    0.84532,
    "Apache-2.0",
  ),
  _imagenet(
    "vit_base_patch16_224.augreg2_in21k_ft_in1k",
    "vit_base_16",
    "timm/vit_base_patch16_224.augreg2_in21k_ft_in1k",
    224,
    86_567_656,
    0.8511,
    "Apache-2.0",
  ),
  _imagenet(
    "efficientnet_b0.ra_in1k",
    "efficientnet_b0",
    "timm/efficientnet_b0.ra_in1k",
    224,
    5_288_548,
    0.77696,
    "Apache-2.0",
  ),
  _imagenet(
    "mobilenet_v1_0.75_192",
    "mobilenet_v1_075",
    "google/mobilenet_v1_0.75_192",
    192,
    2_586_329,
    0.672,
    "not stated",
    1001,
  ),
  _imagenet(
    "mobilenet_v1_1.0_224",
    "mobilenet_v1_100",
    "google/mobilenet_v1_1.0_224",
    224,
    4_233_001,
    0.709,
    "not stated",
    1001,
  ),
)


def bundled() -> dict[str, pathlib.Path]:
  """Returns the checkpoints of the bundled sources, by the sources' names.

  Example:
    >>> from leep_jax.sources import catalog
    >>> catalog.bundled()["cifar10_resnet14"].name
    'cifar10_resnet14.safetensors'
  """
  return {p.stem: p for p in sorted(_BUNDLED_DIR.glob("*.safetensors"))}


def names() -> tuple[str, ...]:
  """Returns the names of the bundled sources.

  Example:
    >>> from leep_jax.sources import catalog
    >>> "cifar10_resnet14" in catalog.names()
    True
  """
  return tuple(bundled())


def entries() -> tuple[Entry, ...]:
  """Returns what is known of all bundled and published sources.

  Example:
    >>> from leep_jax.sources import catalog
    >>> {entry.data for entry in catalog.entries()} >= {"imagenet2012"}
    True
  """
  rows = []
  for name, path in bundled().items():
    card = json.loads(path.with_suffix(".json").read_text())
    rows.append(
      Entry(
        name=name,
        architecture=card["architecture"],
        origin="bundled",
        # What the card says of the data begins with their name.
        data=card["data"].partition(",")[0],
        licence=card["licence"],
        image_size=card["image_size"],
        parameters=architectures.parameter_count(
          card["architecture"], len(card["class_names"])
        ),
        accuracy=card["test_accuracy"],
        num_classes=len(card["class_names"]),
      )
    )
  return (*rows, *PUBLISHED)
