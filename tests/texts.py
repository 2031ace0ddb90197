"""Texts with labels, and a source of texts small enough to follow by hand."""

import pathlib

import jax.numpy as jnp
import numpy as np

import leep_jax
from leep_jax.models.text_preprocessing import TextPreprocessing

REVIEWS = pathlib.Path(__file__).with_name("reviews.csv")


def letters(texts, most):
  """A tokenizer whose tokens are the letters a to z, numbered from 1."""
  tokens = [
    [ord(c) - 96 for c in text.lower() if "a" <= c <= "z"][:most]
    for text in texts
  ]
  return tokens, [[0] * len(each) for each in tokens]


def bag(state, tokens):
  """The mean of the embeddings of a text's tokens, and classes of it."""
  embedded = state["embedding"][tokens[..., 0]]
  mask = tokens[..., 1, None].astype(embedded.dtype)
  features = (embedded * mask).sum(axis=1) / mask.sum(axis=1)
  return features @ state["head"], features


def make_source(*, seed=0, width=8, **options):
  """A source of texts: a bag of embeddings."""
  rng = np.random.default_rng(seed)
  state = {
    "embedding": jnp.asarray(rng.normal(size=(27, width)), jnp.float32),
    "head": jnp.asarray(rng.normal(size=(width, 3)), jnp.float32),
  }
  preprocessing = TextPreprocessing(letters, version="letters", **options)
  return leep_jax.Source("bag", bag, state, preprocessing)
