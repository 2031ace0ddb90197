"""timm and transformers, to compare with: what publishers run themselves."""

import warnings

import pytest

_KEPT = []


def load(name):
  """Imports one of the two, or skips the test where there is none.

  Both import torchvision; where it was built for another PyTorch, its
  operators are missing, and importing it fails. No image needs them.
  """
  torch = pytest.importorskip("torch")
  pytest.importorskip("PIL")
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    if not _KEPT and not hasattr(torch.ops.torchvision, "nms"):
      library = torch.library.Library("torchvision", "DEF")
      for operator in ("nms", "qnms"):
        library.define(
          f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> "
          "Tensor"
        )
      _KEPT.append(library)  # its operators go when it does
    return pytest.importorskip(name)
