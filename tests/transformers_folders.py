"""Small networks of transformers with random weights, in folders as on the hub.

Each has a tokenizer of the words of `reviews.csv`, or a feature extractor.
"""

import csv
import json
import re

import numpy as np
import publishers
import pytest
from texts import REVIEWS

_SMALL = {
  "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2,
  "intermediate_size": 32, "max_position_embeddings": 66,
}  # fmt: skip
# Arguments of the configuration of each network of texts.
TEXTS = {
  "DistilBert": {
    "dim": 16, "n_heads": 2, "n_layers": 2, "hidden_dim": 32,
    "max_position_embeddings": 64,
  },
  "Bert": _SMALL,
  "Roberta": {**_SMALL, "pad_token_id": 0},
  "DebertaV2": {
    **_SMALL, "relative_attention": True, "position_buckets": 8,
    "norm_rel_ebd": "layer_norm", "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0,
    "pooler_hidden_size": 16,
  },
  "Electra": {**_SMALL, "embedding_size": 8},
  "MPNet": {**_SMALL, "pad_token_id": 0},
  "GPT2": {
    "n_embd": 16, "n_head": 2, "n_layer": 2, "n_positions": 64,
    "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
  },
  "T5": {
    "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2,
    "pad_token_id": 0, "decoder_start_token_id": 0,
  },
}  # fmt: skip


def reviews():
  """The texts of `reviews.csv`."""
  with open(REVIEWS, newline="", encoding="utf-8") as file:
    return [row["review"] for row in csv.DictReader(file)]


def save_tokenizer(folder, **options):
  """Writes a tokenizer of whole words, made without any download."""
  tokenizers = pytest.importorskip("tokenizers")
  transformers = publishers.load("transformers")
  words = sorted(set(re.findall(r"\w+|[^\w\s]", " ".join(reviews()).lower())))
  # Every fourth word is left out, so that there are unknown ones.
  words = [word for i, word in enumerate(words) if i % 4]
  vocab = {
    w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])
  }
  made = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(vocab, unk_token="[UNK]")
  )
  made.normalizer = tokenizers.normalizers.Lowercase()
  made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  made.post_processor = tokenizers.processors.TemplateProcessing(
    single="[CLS] $A [SEP]",
    special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
  )
  wrapped = transformers.PreTrainedTokenizerFast(
    tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]",
    cls_token="[CLS]", sep_token="[SEP]", model_max_length=64, **options,
  )  # fmt: skip
  wrapped.save_pretrained(folder)
  return wrapped, len(vocab)


def save_text_model(folder, kind, head="ForSequenceClassification", **changes):
  """Writes a network of texts; returns its tokenizer and the network."""
  transformers = publishers.load("transformers")
  torch = pytest.importorskip("torch")
  tokenizer, size = save_tokenizer(folder)
  config = getattr(transformers, f"{kind}Config")(
    **{"vocab_size": size, "num_labels": 3, **TEXTS[kind], **changes}
  )
  torch.manual_seed(0)
  model = getattr(transformers, f"{kind}{head}")(config)
  # Weights of 0.02 would hide differences between texts.
  with torch.no_grad():
    for parameter in model.parameters():
      if parameter.ndim > 1:
        parameter.mul_(8)
  model.eval().save_pretrained(folder)
  return tokenizer, model


def save_sound_model(folder, kind, head, *, masked=False, **options):
  """Writes a network of sounds; returns its feature extractor and itself."""
  transformers = publishers.load("transformers")
  torch = pytest.importorskip("torch")
  torch.manual_seed(0)
  if kind == "AST":
    extractor = transformers.ASTFeatureExtractor(
      num_mel_bins=32, max_length=64, mean=-4.0, std=4.5
    )
    config = transformers.ASTConfig(
      hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
      intermediate_size=32, num_mel_bins=32, max_length=64, num_labels=3,
      **options,
    )  # fmt: skip
  else:
    extractor = transformers.Wav2Vec2FeatureExtractor(
      return_attention_mask=masked
    )
    config = getattr(transformers, f"{kind}Config")(
      vocab_size=12, hidden_size=16, num_hidden_layers=2,
      num_attention_heads=2, intermediate_size=32, conv_dim=(8, 8),
      conv_stride=(10, 8), conv_kernel=(10, 8), num_feat_extract_layers=2,
      num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
      classifier_proj_size=8, num_labels=3, **options,
    )  # fmt: skip
  model = getattr(transformers, f"{kind}{head}")(config).eval()
  extractor.save_pretrained(folder)
  model.save_pretrained(folder)
  return extractor, model


def change_json(path, **changes):
  """Changes keys of a JSON file; None takes one away."""
  content = {**json.loads(path.read_text()), **changes}
  content = {key: value for key, value in content.items() if value is not None}
  path.write_text(json.dumps(content))


def as_numpy(tensor):
  return np.asarray(tensor.detach())
