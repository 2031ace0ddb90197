"""Writes the table of timm's pre-trained models that the package ships.

    python -m experiments.timm_table

Purpose: `leep_jax/sources/timm_names.csv` says of every model that timm 1.0.31
has weights of what can be known without the weights. The number of parameters
is that of the network, built without memory (PyTorch's device "meta"), with the
number of classes of the weights. Input size, classes, licence and the default
tag of an architecture are timm's own configurations (`PretrainedCfg`): the size
is that of timm's evaluation, and 0 classes mean that there is no classifier. A
licence that timm does not state is empty.

The accuracy is the top-1 accuracy on ImageNet's validation set at that size. It
is copied to `published/timm_top1.csv` from `results/results-imagenet.csv` of
huggingface/pytorch-image-models at commit 7479d451, the last that measured all
models; where the file has several sizes of a model, it holds the larger one.
Models that are newer than the file have no accuracy.

Cost: 10 minutes of a processor. What came out: 1,826 names of 1,151
architectures; 1,177 names have a published accuracy, and 269 no classifier.
"""

import csv
import io
import pathlib
import sys
from typing import Any, NamedTuple
import warnings

from absl import flags

from leep_jax import command
from leep_jax.reports import results

FLAGS = flags.FlagValues()
TABLE = (
  pathlib.Path(__file__).parents[1] / "leep_jax" / "sources" / "timm_names.csv"
)
TOP1 = pathlib.Path(__file__).parent / "published" / "timm_top1.csv"
COLUMNS = (
  "name", "parameters", "image_size", "num_classes", "top1", "licence",
  "default",
)  # fmt: skip
# A library of PyTorch: its operators would go with it.
_KEPT: list[Any] = []


class Published(NamedTuple):
  """An accuracy and the side of the images that it was measured on."""

  image_size: int
  top1: str


def load_timm() -> Any:
  """Returns timm, also where torchvision was built for another PyTorch.

  torchvision's operators are missing there, and importing it fails; networks
  of timm use none of them.
  """
  import torch

  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    if not hasattr(torch.ops.torchvision, "nms"):
      library = torch.library.Library("torchvision", "DEF")
      for operator in ("nms", "qnms"):
        library.define(
          f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> "
          "Tensor"
        )
      _KEPT.append(library)
    import timm

  return timm


def published() -> dict[str, Published]:
  """Returns the published accuracies by the names of models."""
  with TOP1.open(newline="") as file:
    return {
      row["name"]: Published(int(row["image_size"]), row["top1"])
      for row in csv.DictReader(file)
    }


def row(timm: Any, name: str, known: dict[str, Published]) -> list[str]:
  """Returns the cells of one model.

  Args:
    timm: the library.
    name: of the model, with its tag.
    known: the published accuracies.
  """
  import torch

  with torch.device("meta"):
    network = timm.create_model(name, pretrained=False)
  config = timm.get_pretrained_cfg(name)
  size = config.input_size
  if config.test_input_size and not config.fixed_input_size:
    size = config.test_input_size
  _, height, width = size
  square = f"{height}" if height == width else f"{height}x{width}"
  found = known.get(name)
  measured = found and f"{found.image_size}" == square
  default = timm.get_pretrained_cfg(name.partition(".")[0])
  return [
    name,
    f"{sum(p.numel() for p in network.parameters())}",
    square,
    f"{config.num_classes}",
    found.top1 if found and measured else "",
    config.license or "",
    "1" if default.tag == config.tag else "",
  ]


def _run() -> int:
  timm = load_timm()
  known = published()
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(COLUMNS)
  names = timm.list_models(pretrained=True)
  for done, name in enumerate(sorted(names), 1):
    writer.writerow(row(timm, name, known))
    if done % 200 == 0:
      print(f"{done} of {len(names)}", flush=True)
  results.replace_file(TABLE, text.getvalue().encode())
  return 0


if __name__ == "__main__":
  sys.exit(command.main(sys.argv, FLAGS, __doc__ or "", _run))
