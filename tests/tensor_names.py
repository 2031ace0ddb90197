"""Names that other publishers have for the tensors of an architecture."""

import numpy as np


def torchvision_convnext(name):
  """The name that torchvision has for timm's."""
  parts = name.split(".")
  if parts[0] == "stem":
    return f"features.0.{'.'.join(parts[1:])}"
  if parts[0] == "head":
    number = {"norm": "0", "fc": "2"}[parts[1]]
    return f"classifier.{number}.{parts[2]}"
  stage = int(parts[1])
  if parts[2] == "downsample":
    return f"features.{2 * stage}.{'.'.join(parts[3:])}"
  block = f"features.{2 * stage + 1}.{parts[3]}"
  layer = ".".join(parts[4:-1])
  numbers = {"conv_dw": 0, "norm": 2, "mlp.fc1": 3, "mlp.fc2": 5}
  if not layer:
    return f"{block}.layer_scale"
  return f"{block}.block.{numbers[layer]}.{parts[-1]}"


def transformers_convnext(name):
  parts = name.split(".")
  last = parts[-1]
  if parts[0] == "stem":
    layer = ("patch_embeddings", "layernorm")[int(parts[1])]
    return f"convnext.embeddings.{layer}.{last}"
  if parts[0] == "head":
    return (
      f"convnext.layernorm.{last}"
      if parts[1] == "norm"
      else (f"classifier.{last}")
    )
  stage = f"convnext.encoder.stages.{parts[1]}"
  if parts[2] == "downsample":
    return f"{stage}.downsampling_layer.{parts[3]}.{last}"
  layer = {
    "conv_dw": "dwconv.", "norm": "layernorm.", "mlp.fc1": "pwconv1.",
    "mlp.fc2": "pwconv2.", "": "",
  }[".".join(parts[4:-1])]  # fmt: skip
  last = "layer_scale_parameter" if last == "gamma" else last
  return f"{stage}.layers.{parts[3]}.{layer}{last}"


def torchvision_vit(name):
  parts = name.split(".")
  last = parts[-1]
  outside = {
    "cls_token": "class_token",
    "pos_embed": "encoder.pos_embedding",
    "patch_embed": f"conv_proj.{last}",
    "norm": f"encoder.ln.{last}",
    "head": f"heads.head.{last}",
  }
  if parts[0] in outside:
    return outside[parts[0]]
  layer = {
    "norm1": f"ln_1.{last}",
    "norm2": f"ln_2.{last}",
    "attn.qkv": f"self_attention.in_proj_{last}",
    "attn.proj": f"self_attention.out_proj.{last}",
    "mlp.fc1": f"mlp.0.{last}",
    "mlp.fc2": f"mlp.3.{last}",
  }[".".join(parts[2:-1])]
  return f"encoder.layers.encoder_layer_{parts[1]}.{layer}"


def transformers_vit(name):
  parts = name.split(".")
  last = parts[-1]
  outside = {
    "cls_token": "vit.embeddings.cls_token",
    "pos_embed": "vit.embeddings.position_embeddings",
    "patch_embed": f"vit.embeddings.patch_embeddings.projection.{last}",
    "norm": f"vit.layernorm.{last}",
    "head": f"classifier.{last}",
  }
  if parts[0] in outside:
    return outside[parts[0]]
  layer = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.qkv": "attention.attention.QKV",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
  }[".".join(parts[2:-1])]
  return f"vit.encoder.layer.{parts[1]}.{layer}.{last}"


def new_transformers_vit(name):
  return (
    transformers_vit(name)
    .replace("encoder.layer.", "layers.")
    .replace("attention.attention.QKV", "attention.QKV")
    .replace("attention.output.dense", "attention.o_proj")
    .replace("intermediate.dense", "mlp.fc1")
    .replace("output.dense", "mlp.fc2")
  )


def torchvision_efficientnet(name):
  parts = name.split(".")
  last = parts[-1]
  outside = {
    "conv_stem": "features.0.0", "bn1": "features.0.1",
    "conv_head": "features.8.0", "bn2": "features.8.1",
    "classifier": "classifier.1",
  }  # fmt: skip
  if parts[0] in outside:
    return f"{outside[parts[0]]}.{last}"
  stage = int(parts[1])
  block = f"features.{stage + 1}.{parts[2]}.block"
  layers_of = ["conv_pw", "bn1", "conv_dw", "bn2", "se", "conv_pwl", "bn3"]
  if not stage:
    layers_of = ["conv_dw", "bn1", "se", "conv_pw", "bn2"]
  if parts[3] == "se":
    number = layers_of.index("se") // 2
    fc = {"conv_reduce": "fc1", "conv_expand": "fc2"}[parts[4]]
    return f"{block}.{number}.{fc}.{last}"
  flat = [layer for layer in layers_of if layer != "se"]
  place = flat.index(parts[3])
  number = place // 2 + (layers_of.index("se") // 2 <= place // 2)
  return f"{block}.{number}.{place % 2}.{last}"


def torchvision_mobilenet(name):
  parts = name.split(".")
  last = parts[-1]
  outside = {
    "conv_stem": "features.0.0", "bn1": "features.0.1",
    "conv_head": "features.18.0", "bn2": "features.18.1",
    "classifier": "classifier.1",
  }  # fmt: skip
  if parts[0] in outside:
    return f"{outside[parts[0]]}.{last}"
  number = (1, 2, 4, 7, 11, 14, 17)[int(parts[1])] + int(parts[2])
  layers_of = ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
  if number == 1:
    layers_of = ["conv_dw", "bn1", "conv_pw", "bn2"]
  place = layers_of.index(parts[3])
  # The projection and its norm are in no sequence of their own.
  projection = len(layers_of) - 2
  layer = f"{place // 2}.{place % 2}"
  if place >= projection:
    layer = f"{projection // 2 + place - projection}"
  return f"features.{number}.conv.{layer}.{last}"


def transformers_mobilenet(name):
  parts = name.split(".")
  last = parts[-1]
  outside = {
    "conv_stem": "mobilenet_v1.conv_stem.convolution",
    "bn1": "mobilenet_v1.conv_stem.normalization",
    "classifier": "classifier",
  }
  if parts[0] in outside:
    return f"{outside[parts[0]]}.{last}"
  before = (0, 1, 3, 5, 11)[int(parts[1])]
  layer, kind = {
    "conv_dw": (0, "convolution"), "bn1": (0, "normalization"),
    "conv_pw": (1, "convolution"), "bn2": (1, "normalization"),
  }[parts[3]]  # fmt: skip
  number = 2 * (before + int(parts[2])) + layer
  return f"mobilenet_v1.layer.{number}.{kind}.{last}"


PARTS = {
  transformers_vit: ("query", "key", "value"),
  new_transformers_vit: ("q_proj", "k_proj", "v_proj"),
}


def spoken(tensors, name_of):
  """The tensors as another publisher names and cuts them."""
  other = {}
  for name, value in tensors.items():
    theirs = name_of(name)
    if theirs.endswith("layer_scale"):  # of torchvision, [C, 1, 1]
      value = value[:, None, None]
    if ".QKV." in theirs:
      for part, third in zip(PARTS[name_of], np.split(value, 3), strict=True):
        other[theirs.replace("QKV", part)] = third
    else:
      other[theirs] = value
  return other
