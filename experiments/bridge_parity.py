"""Compares PyTorch with the bridge, for one network of each module of timm.

    python -m experiments.bridge_parity

Purpose: does a graph of core ATen operations that JAX runs compute what
PyTorch computes? `NETWORKS` has a small network of each module of timm 1.0.31;
of runs of equal blocks, many have two left, which takes a third of the time.
Each gets random weights. Those that timm sets to constants, such as the scales
of layers, become random too, for a branch that is multiplied by 0 hides its
errors. BatchNorm gets the statistics of two random batches. Then PyTorch and
the bridge, compiled, see the same two random images. The largest difference is
divided by the largest number that PyTorch returns.

Features are compared with `forward_head(..., pre_logits=True)`, but for the
networks of `LAST_INPUT`: there the last layers read something else, and their
inputs are recorded by hooks. A network without a classifier is compared by its
output, the mean over places.

Rows are appended to `results/bridge_parity.jsonl`, one for each network that
has none. Run `python -m experiments.compact` and `python -m experiments.blocks`
afterwards.

Cost: 9 seconds of a processor for a network (median).
"""

import sys
import time
from typing import Any, NamedTuple
import warnings

from absl import flags
import jax
import numpy as np

from experiments import model_exports, section, timm_table
from leep_jax import command
from leep_jax.bridge import program
from leep_jax.reports import results

ROWS = section.RESULTS / "bridge_parity.jsonl"
_IMAGES = 2
_CALIBRATING = 2
# Each program runs once: compiling it takes longer than running it.
_QUICKLY = {"xla_backend_optimization_level": 0}


class Network(NamedTuple):
  """A network of timm to compare.

  Attributes:
    name: of the architecture.
    size: of the images, where it is not the network's own.
    resized: whether the network is built for that size; otherwise it takes
      images of any size.
    short: whether two blocks of each run of equal ones are left.
  """

  name: str
  size: int = 0
  resized: bool = False
  short: bool = False


NETWORKS = {
  "beit": Network("beit_base_patch16_224", short=True),
  "byoanet": Network("eca_botnext26ts_256"),
  "byobnet": Network("mobileone_s1"),
  "cait": Network("cait_xxs24_224"),
  "coat": Network("coat_lite_tiny"),
  "convit": Network("convit_tiny"),
  "convmixer": Network("convmixer_768_32", 112),
  "convnext": Network("convnext_atto"),
  "cpubone": Network("cpubone_nano"),
  "crossvit": Network("crossvit_tiny_240"),
  "csatv2": Network("csatv2", short=True),
  "cspnet": Network("cs3darknet_focus_s", short=True),
  "cspnext": Network("cspnext_tiny", short=True),
  "davit": Network("davit_tiny", short=True),
  "deepseek_vit": Network("deepseek_vit_412m", short=True),
  "deit": Network("deit_tiny_distilled_patch16_224", short=True),
  "densenet": Network("densenet121", 112, short=True),
  "dla": Network("dla46x_c", short=True),
  "dpn": Network("dpn68", 112, short=True),
  "edgenext": Network("edgenext_xx_small"),
  "efficientformer": Network("efficientformer_l1", short=True),
  "efficientformer_v2": Network("efficientformerv2_s0", short=True),
  "efficientnet": Network("mobilenetv2_050", short=True),
  "efficientvim": Network("efficientvim_m1", short=True),
  "efficientvit_mit": Network("efficientvit_b0", short=True),
  "efficientvit_msra": Network("efficientvit_m0"),
  "eva": Network("eva02_tiny_patch14_224", short=True),
  "fasternet": Network("fasternet_t0", short=True),
  "fastvit": Network("fastvit_t8", short=True),
  "focalnet": Network("focalnet_tiny_srf", short=True),
  "gcvit": Network("gcvit_xxtiny", short=True),
  "gemma4_vit": Network("gemma4_vit_167m", short=True),
  "ghostnet": Network("ghostnet_100", short=True),
  "hardcorenas": Network("hardcorenas_a", short=True),
  "hgnet": Network("hgnetv2_b0"),
  "hiera": Network("hiera_tiny_224", short=True),
  "hieradet_sam2": Network("sam2_hiera_tiny", short=True),
  "hrnet": Network("hrnet_w18_small", 128, short=True),
  "iformer": Network("iformer_t", short=True),
  "inception_next": Network("inception_next_atto", short=True),
  "inception_resnet_v2": Network("inception_resnet_v2", 139, short=True),
  "inception_v3": Network("inception_v3", 139, short=True),
  "inception_v4": Network("inception_v4", 139, short=True),
  "lcnetv2": Network("lcnetv2_small", short=True),
  "levit": Network("levit_128s", short=True),
  "lowformer": Network("lowformer_b0", short=True),
  "mambaout": Network("mambaout_femto", short=True),
  "maxxvit": Network("maxvit_rmlp_pico_rw_256", short=True),
  "metaformer": Network("poolformerv2_s12", short=True),
  "mlp_mixer": Network("resmlp_12_224", short=True),
  "mobilenetv3": Network("mobilenetv3_small_050", short=True),
  "mobilenetv5": Network("mobilenetv5_300m", 256, short=True),
  "mobilevit": Network("mobilevit_xxs", short=True),
  "mvitv2": Network("mvitv2_tiny", short=True),
  "naflexvit": Network("naflexvit_base_patch16_gap", short=True),
  "nasnet": Network("nasnetalarge", 107, short=True),
  "nest": Network("nest_tiny_jx", short=True),
  "nextvit": Network("nextvit_small", short=True),
  "nfnet": Network("nf_regnet_b1", 128, short=True),
  "pit": Network("pit_ti_distilled_224", short=True),
  "pnasnet": Network("pnasnet5large", 107, short=True),
  "pvt_v2": Network("pvt_v2_b0", short=True),
  "qwen3_vit": Network("qwen3_vit_88m", short=True),
  "rdnet": Network("rdnet_tiny", 128, short=True),
  "regnet": Network("regnety_002", short=True),
  "repghost": Network("repghostnet_050", short=True),
  "repvit": Network("repvit_m1", short=True),
  "res2net": Network("res2next50", 128),
  "resnest": Network("resnest14d", short=True),
  "resnet": Network("resnet18", short=True),
  "resnetv2": Network("resnetv2_18", short=True),
  "rexnet": Network("rexnet_100", short=True),
  "selecsls": Network("selecsls42b", short=True),
  "senet": Network("legacy_seresnet18", short=True),
  "sequencer": Network("sequencer2d_s", 64, short=True),
  "shvit": Network("shvit_s1", short=True),
  "sknet": Network("skresnet18", short=True),
  "starnet": Network("starnet_s1", short=True),
  "swiftformer": Network("swiftformer_xs", short=True),
  "swin_transformer": Network("swin_tiny_patch4_window7_224", short=True),
  "swin_transformer_v2": Network("swinv2_tiny_window8_256", short=True),
  "swin_transformer_v2_cr": Network("swinv2_cr_tiny_ns_224", short=True),
  "tiny_vit": Network("tiny_vit_5m_224", short=True),
  "tnt": Network("tnt_s_patch16_224", short=True),
  "tresnet": Network("tresnet_m", short=True),
  "twins": Network("twins_svt_small", short=True),
  "vgg": Network("vgg11", 64, short=True),
  "visformer": Network("visformer_tiny", short=True),
  "vision_transformer": Network("vit_tiny_patch16_224", short=True),
  "vision_transformer_hybrid": Network("vit_tiny_r_s16_p8_224", short=True),
  "vision_transformer_relpos": Network(
    "vit_relpos_small_patch16_224", short=True
  ),
  "vision_transformer_sam": Network("samvit_base_patch16", 256, True, True),
  "vitamin": Network("vitamin_small_224", short=True),
  "volo": Network("volo_d1_224", short=True),
  "vovnet": Network("ese_vovnet19b_dw", short=True),
  "xception": Network("legacy_xception", 128, short=True),
  "xception_aligned": Network("xception41p", 128, short=True),
  "xcit": Network("xcit_nano_12_p16_224", short=True),
}  # fmt: skip
# Networks whose last layers do not read what `pre_logits` returns, and the
# layers: their inputs, joined, are the features. Of two tokens `pre_logits` has
# the mean, and it is before a BatchNorm that belongs to the classifier.
LAST_INPUT: dict[str, tuple[str, ...]] = {
  "deit_tiny_distilled_patch16_224": ("head", "head_dist"),
  "pit_ti_distilled_224": ("head", "head_dist"),
  "levit_128s": ("head.linear", "head_dist.linear"),
  "efficientvit_m0": ("head.linear",),
  "shvit_s1": ("head.l",),
  "repvit_m1": ("head.head.l", "head.head_dist.l"),
  "iformer_t": ("head.head.l",),
}


def built(network: Network) -> Any:
  """Returns a network of timm with random weights, in evaluation mode.

  Args:
    network: of the table.
  """
  import torch

  timm = timm_table.load_timm()
  torch.manual_seed(0)
  options = {"img_size": network.size} if network.resized else {}
  module = timm.create_model(network.name, pretrained=False, **options)
  if network.short:
    model_exports.shorten(module)
  module.eval()
  with torch.no_grad():
    for parameter in module.parameters():
      _randomise(parameter)
    norms = [
      m
      for m in module.modules()
      if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)
    ]
    for norm in norms:
      norm.reset_running_stats()
      norm.momentum = None  # the mean of all batches
      norm.train()
    if norms:
      for _ in range(_CALIBRATING):
        module(images(module, network, 4))
  return module.eval()


def _randomise(parameter):
  """Makes random what timm sets to a constant, or to nearly 0."""
  low, high = float(parameter.min()), float(parameter.max())
  if (
    parameter.ndim > 1
    and parameter.numel() > 1
    and ((low < high and float(parameter.std()) < 1e-3) or low == high == 0)
  ):
    parameter.normal_(std=0.02)
  elif low == high == 0 and parameter.ndim == 1:
    parameter.normal_(std=0.1)
  elif low == high:
    # Scales of norms, of layers and of branches.
    parameter.uniform_(0.3, 1)


def images(module: Any, network: Network, count: int = _IMAGES) -> Any:
  """Returns random images of a network's size.

  Args:
    module: the network.
    network: of the table.
    count: how many.
  """
  import torch

  channels, height, width = module.pretrained_cfg["input_size"]
  if network.size:
    height = width = network.size
  return torch.randn(count, channels, height, width)


def in_torch(module: Any, network: Network, batch: Any) -> list[np.ndarray]:
  """Returns PyTorch's logits, where there are any, and features.

  Args:
    module: the network.
    network: of the table.
    batch: of images.
  """
  import torch

  layers = LAST_INPUT.get(network.name, ())
  seen: list[Any] = []
  hooks = [
    module.get_submodule(layer).register_forward_pre_hook(
      lambda _, inputs: seen.append(inputs[0])
    )
    for layer in layers
  ]
  with torch.no_grad():
    output = module(batch)
    for hook in hooks:
      hook.remove()
    if not module.num_classes:
      return [_pooled(output)]
    if layers:
      features = torch.cat([x.flatten(1) for x in seen], 1)
    else:
      maps = module.forward_features(batch)
      features = module.forward_head(maps, pre_logits=True)
  return [output.numpy(), _pooled(features)]


def _pooled(features):
  """Vectors, of maps `[B, D, H, W]` or tokens `[B, N, D]`."""
  if features.ndim == 4:
    features = features.mean((2, 3))
  elif features.ndim == 3:
    features = features.mean(1)
  return features.numpy()


def compared(network: Network) -> dict[str, Any]:
  """Returns the relative errors of logits and features, and the graph's size.

  Args:
    network: of the table.
  """
  started = time.process_time()
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    module = built(network)
    batch = images(module, network)
    wanted = in_torch(module, network, batch)
    without = "" if module.num_classes else "it has none"
    made, arrays = program.from_module(
      module, (batch[:1],), name=network.name, without_probs=without
    )
  apply = jax.jit(made.apply, compiler_options=_QUICKLY)
  found = apply(arrays, batch.numpy().transpose(0, 2, 3, 1))
  errors = [
    error(np.asarray(got), want)
    for got, want in zip(
      [x for x in found if x is not None], wanted, strict=True
    )
  ]
  return {
    "logits_error": errors[0] if len(errors) > 1 else None,
    "features_error": errors[-1],
    "nodes": len(made.graph.nodes),
    "image_size": batch.shape[-1],
    "short": network.short,
    "seconds": round(time.process_time() - started, 1),
  }


def error(found: np.ndarray, wanted: np.ndarray) -> float:
  """Returns the largest difference, divided by the largest number.

  Args:
    found: by the bridge, `[B, D]`.
    wanted: the same of PyTorch.

  Raises:
    ValueError: if they have other shapes, or differ by what is not small
      beside the difference between images, which may be alike.
  """
  if found.shape != wanted.shape:
    raise ValueError(f"shape {found.shape}, but PyTorch's is {wanted.shape}")
  scale = np.abs(wanted).max()
  difference = np.abs(found - wanted).max()
  apart = np.abs(wanted - wanted.mean(0)).max()
  if not apart > 10 * difference:
    raise ValueError(
      f"they differ by {difference:.1e}, and images by {apart:.1e} alone"
    )
  return float(f"{difference / scale:.2g}")


def measured() -> list[dict[str, Any]]:
  """Returns the committed rows."""
  return results.parse_rows(ROWS.read_bytes(), name=ROWS.name)[0]


def _run() -> int:
  failed = 0
  with results.Rows(str(ROWS)) as rows:
    done = {row["name"] for row in rows.rows}
    for module, network in NETWORKS.items():
      if network.name in done:
        continue
      row = {"module": module, "name": network.name}
      try:
        row |= compared(network)
      # Whatever is raised by a library: the others are compared all the same.
      except Exception as e:
        failed += 1
        print(f"{network.name}: {type(e).__name__}: {e}"[:500], flush=True)
        continue
      rows.append(row)
      print(
        f"{network.name}: {row['logits_error']} {row['features_error']} "
        f"{row['nodes']} nodes, {row['seconds']} s",
        flush=True,
      )
  return 1 if failed else 0


if __name__ == "__main__":
  sys.exit(command.main(sys.argv, flags.FlagValues(), __doc__ or "", _run))
