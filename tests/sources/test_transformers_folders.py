"""Networks of texts and sounds of transformers, compared with their code."""

import json

import numpy as np
import pytest
from texts import REVIEWS
import transformers_folders as folders

import leep_jax
from leep_jax.data import audio
from leep_jax.engine import cache
from leep_jax.sources import catalog, converted

TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
  # Conversions of one test must not be found by another.
  monkeypatch.setenv("LEEP_JAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def reviews():
  return leep_jax.load_dataset(f"csv:{REVIEWS}")


def run(source, dataset, **options):
  return leep_jax.compute_outputs(source, dataset, batch_size=16, **options)


def own_outputs(tokenizer, model, strings, layer=None):
  """Logits of each text alone, and the input of a layer; no padding."""
  import torch

  seen = []
  if layer is not None:
    model.get_submodule(layer).register_forward_pre_hook(
      lambda _, args: seen.append(folders.as_numpy(args[0]))
    )
  found = []
  with torch.no_grad():
    for text in strings:
      given = tokenizer(text, return_tensors="pt", truncation=True)
      given = {key: given[key] for key in ("input_ids", "attention_mask")}
      found.append(model(**given))
  return found, seen


@pytest.mark.parametrize(
  ("kind", "layer"),
  [
    ("DistilBert", "classifier"),
    pytest.param("Bert", "classifier", marks=pytest.mark.exhaustive),
    ("Roberta", "classifier.out_proj"),
    pytest.param("DebertaV2", "classifier", marks=pytest.mark.exhaustive),
    pytest.param(
      "Electra", "classifier.out_proj", marks=pytest.mark.exhaustive
    ),
    pytest.param("MPNet", "classifier.out_proj", marks=pytest.mark.exhaustive),
    ("GPT2", None),
  ],
)
def test_classifiers_of_texts(tmp_path, reviews, kind, layer):
  tokenizer, model = folders.save_text_model(tmp_path, kind)
  source = leep_jax.load_source(str(tmp_path))
  # Of the tokenizer, or of the network if that is less.
  assert source.preprocessing.max_length in (63, 64)
  outputs = run(source, reviews)
  strings = reviews.load()[0].tolist()
  found, seen = own_outputs(tokenizer, model, strings, layer)
  logits = np.concatenate([folders.as_numpy(x.logits) for x in found])
  expected = np.exp(logits - logits.max(axis=1, keepdims=True))
  expected /= expected.sum(axis=1, keepdims=True)
  assert np.ptp(expected, axis=0).min() > 100 * TOLERANCE
  np.testing.assert_allclose(outputs.probs, expected, atol=TOLERANCE)
  if layer is not None:
    features = np.concatenate(seen)
    np.testing.assert_allclose(outputs.features, features, atol=TOLERANCE)
  else:  # the last layer is applied to the last token
    weight = folders.as_numpy(model.score.weight)
    again = np.asarray(outputs.features) @ weight.T
    np.testing.assert_allclose(again, logits, atol=TOLERANCE)


@pytest.mark.parametrize(
  ("kind", "pooling"),
  [("Bert", None), ("Bert", "mean"), ("T5", None), ("Roberta", "sentences")],
)
def test_encoders_of_texts(tmp_path, reviews, kind, pooling):
  tokenizer, model = folders.save_text_model(tmp_path, kind, "Model")
  options = {}
  if pooling == "sentences":  # as sentence-transformers states it
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(
      '{"pooling_mode_mean_tokens": true}'
    )
  elif pooling:
    options["overrides"] = catalog.Overrides(pooling=pooling)
  source = leep_jax.load_source(str(tmp_path), **options)
  assert source.without_probs == "its checkpoint has no classifier"
  outputs = run(source, reviews)
  if kind == "T5":
    model = model.get_encoder()
  found, _ = own_outputs(tokenizer, model, reviews.load()[0].tolist())
  hidden = [folders.as_numpy(x.last_hidden_state)[0] for x in found]
  mean = pooling is not None or kind == "T5"
  expected = np.stack([h.mean(axis=0) if mean else h[0] for h in hidden])
  scale = np.abs(expected).max()
  np.testing.assert_allclose(
    outputs.features, expected, atol=TOLERANCE * max(scale, 1)
  )


def test_a_checkpoint_of_another_task_is_an_encoder(tmp_path, reviews):
  # It has no pooler, whose weights would be random.
  folders.save_text_model(tmp_path, "Bert", "ForMaskedLM")
  source = leep_jax.load_source(str(tmp_path))
  assert source.without_probs
  assert run(source, reviews).features.shape == (48, 16)


def test_conversions_are_kept_and_read_without_pytorch(
  tmp_path, reviews, monkeypatch
):
  model = tmp_path / "model"
  folders.save_text_model(model, "DistilBert")
  first = run(leep_jax.load_source(str(model)), reviews)

  def no_conversion(*_, **__):
    raise AssertionError("it was converted again")

  monkeypatch.setattr("leep_jax.sources.conversion.convert", no_conversion)
  again = leep_jax.load_source(str(model))
  np.testing.assert_array_equal(run(again, reviews).features, first.features)
  (kept,) = (tmp_path / "cache" / "converted").iterdir()
  alone = leep_jax.load_source(str(kept))
  np.testing.assert_array_equal(run(alone, reviews).features, first.features)
  assert cache.source_digest(alone) == cache.source_digest(again)
  # Other words are another source.
  tokenizer = kept / "tokenizer.json"
  tokenizer.write_text(tokenizer.read_text().replace("Lowercase", "NFC"))
  other = leep_jax.load_source(str(kept))
  assert cache.source_digest(other) != cache.source_digest(alone)
  assert converted.is_converted(kept)


def test_a_tokenizer_of_an_older_form(tmp_path, reviews):
  model = tmp_path / "model"
  folders.save_text_model(model, "Bert")
  new = leep_jax.load_source(str(model)).preprocessing
  vocab = json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]
  words = sorted(vocab, key=vocab.get)
  (model / "vocab.txt").write_text("\n".join(words) + "\n")
  (model / "tokenizer.json").unlink()
  folders.change_json(
    model / "tokenizer_config.json", tokenizer_class="BertTokenizer"
  )
  for _ in range(2):  # converted, and read from the cache
    old = leep_jax.load_source(str(model)).preprocessing
    assert old.version != new.version
    strings = reviews.load()[0].tolist()
    np.testing.assert_array_equal(old.prepare(strings), new.prepare(strings))


def test_bfloat16(tmp_path, reviews):
  folders.save_text_model(tmp_path, "DistilBert")
  source = leep_jax.load_source(str(tmp_path))
  exact, rough = run(source, reviews), run(source, reviews, dtype="bfloat16")
  difference = np.abs(exact.features - rough.features).max()
  assert 1e-4 < difference < 0.1 * np.abs(exact.features).max()


def test_texts_are_cut_at_max_tokens(tmp_path):
  folders.save_text_model(tmp_path, "DistilBert")
  source = leep_jax.load_source(
    str(tmp_path), overrides=catalog.Overrides(max_tokens=6)
  )
  prepared = source.preprocessing.prepare(["we loved every minute of it", "we"])
  assert prepared.shape == (2, 6, 2)
  assert prepared[0, -1].tolist() == [3, 1]  # [SEP] stays
  with pytest.raises(leep_jax.InputError, match="65 tokens, .* at most 64"):
    leep_jax.load_source(
      str(tmp_path), overrides=catalog.Overrides(max_tokens=65)
    )


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ("tokenizer", "has no tokenizer: neither tokenizer.json nor vocab.txt"),
    ("damaged", "cannot read .*tokenizer.json"),
    ("weights", "lacks 2 tensors of a DistilBert.*classifier.bias"),
    ("class", "is a BertForNothingForSequenceClassification, which transf"),
    ("pooling", "has a classifier with its own features: pooling is for"),
    ("crop", "crop is for images, but .* takes texts"),
    ("native", "is a distilbert, which has no native network"),
  ],
)
def test_mistakes(tmp_path, change, message):
  from safetensors import numpy as safetensors

  folders.save_text_model(tmp_path, "DistilBert")
  overrides = catalog.Overrides()
  if change == "tokenizer":
    (tmp_path / "tokenizer.json").unlink()
  elif change == "damaged":
    (tmp_path / "tokenizer.json").write_text("{}")
  elif change == "weights":
    tensors = safetensors.load_file(tmp_path / "model.safetensors")
    tensors = {k: v for k, v in tensors.items() if k[:10] != "classifier"}
    safetensors.save_file(
      tensors, tmp_path / "model.safetensors", {"format": "pt"}
    )
  elif change == "class":
    name = "BertForNothingForSequenceClassification"
    folders.change_json(tmp_path / "config.json", architectures=[name])
  elif change == "pooling":
    overrides = catalog.Overrides(pooling="mean")
  elif change == "crop":
    overrides = catalog.Overrides(crop=0.5)
  else:
    overrides = catalog.Overrides(backend="native")
  with pytest.raises(leep_jax.InputError, match=message):
    leep_jax.load_source(str(tmp_path), overrides=overrides)


def tones(count, rate=16000):
  """Sounds of several lengths, at the rate of the networks."""
  rng = np.random.default_rng(0)
  found = []
  for i in range(count):
    times = np.arange(rng.integers(rate // 4, rate // 2)) / rate
    wave = np.sin(2 * np.pi * (100 + 400 * (i % 2)) * times)
    wave += 0.1 * rng.normal(size=len(times))
    found.append(audio.Sound(wave.astype(np.float32), rate))
  labels = np.arange(count) % 2
  return found, leep_jax.data.Dataset(
    name="tones", split="all", num_classes=2, indices=np.arange(count),
    image_shape=None, fetch=lambda i: ([found[j] for j in i], labels[i]),
    all_labels=labels, inputs="audio", version="1",
    seconds=max(sound.seconds for sound in found),
  )  # fmt: skip


@pytest.mark.parametrize(
  ("kind", "head"),
  [
    ("Wav2Vec2", "ForSequenceClassification"),
    pytest.param(
      "Hubert", "ForSequenceClassification", marks=pytest.mark.exhaustive
    ),
    ("Wav2Vec2", "Model"),
    ("AST", "ForAudioClassification"),
  ],
)
def test_networks_of_sounds(tmp_path, kind, head):
  import torch

  extractor, model = folders.save_sound_model(tmp_path, kind, head)
  source = leep_jax.load_source(str(tmp_path))
  sounds, dataset = tones(20)
  outputs = leep_jax.compute_outputs(source, dataset, batch_size=8)
  alone = [
    extractor(sound.samples, sampling_rate=16000)["input_values"][0]
    for sound in sounds
  ]
  # Zeros come after each sound is normalised, up to the length of the longest.
  longest = max(map(len, alone))
  padded = [
    np.pad(x, [(0, longest - len(x)), *[(0, 0)] * (np.ndim(x) - 1)])
    for x in alone
  ]
  given = torch.tensor(np.stack(padded).astype(np.float32))
  seen = []
  if head != "Model":
    last = "classifier.dense" if kind == "AST" else "classifier"
    model.get_submodule(last).register_forward_pre_hook(
      lambda _, args: seen.append(folders.as_numpy(args[0]))
    )
  with torch.no_grad():
    found = model(given)
  if head == "Model":
    assert source.without_probs == "its checkpoint has no classifier"
    expected = folders.as_numpy(found.last_hidden_state).mean(axis=1)
    np.testing.assert_allclose(outputs.features, expected, atol=TOLERANCE)
    return
  np.testing.assert_allclose(outputs.features, seen[0], atol=TOLERANCE)
  expected = folders.as_numpy(torch.softmax(found.logits, -1))
  np.testing.assert_allclose(outputs.probs, expected, atol=TOLERANCE)


@pytest.mark.parametrize("backend", ["bridge", "torch"])
@pytest.mark.parametrize("head", ["ForSequenceClassification", "Model"])
def test_padding_is_masked_where_the_checkpoint_says_so(
  tmp_path, head, backend
):
  import torch

  extractor, model = folders.save_sound_model(
    tmp_path, "Wav2Vec2", head, masked=True, feat_extract_norm="layer",
    do_stable_layer_norm=True,
  )  # fmt: skip
  stated = catalog.Overrides(backend=backend)
  source = leep_jax.load_source(str(tmp_path), overrides=stated)
  sounds, dataset = tones(20)
  outputs = leep_jax.compute_outputs(source, dataset, batch_size=8)
  for sound, features in zip(sounds, outputs.features, strict=True):
    # What it computes of the sound alone, without padding.
    alone = extractor(sound.samples, sampling_rate=16000)["input_values"]
    given = torch.tensor(np.asarray(alone), dtype=torch.float32)
    with torch.no_grad():
      body = model if head == "Model" else model.wav2vec2
      hidden = body(given).last_hidden_state
      if head != "Model":
        hidden = model.projector(hidden)
    expected = folders.as_numpy(hidden).mean(axis=1)[0]
    np.testing.assert_allclose(features, expected, atol=TOLERANCE)
