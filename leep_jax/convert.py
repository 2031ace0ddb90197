"""Writes a PyTorch model as files that need no PyTorch.

    python -m leep_jax.convert NAME --output=DIR
    python -m leep_jax.convert FILE OUT.safetensors [--key=NAME]

PyTorch must be installed. The first form takes a model of timm or transformers,
by a name that --model takes, or a folder of theirs. It writes a folder that
--model=DIR runs where there is no PyTorch, and that other tools can run too:
program.json (the network, its preprocessing), model.safetensors (its weights)
and program.stablehlo (the function of weights and images, by jax.export).

The second form writes the tensors of a pickled checkpoint as safetensors. No
code of the file runs: what is not a tensor or a plain value is left out. The
tensors are looked for under "state_dict", "model" and the like, or under --key;
states of optimizers are left out. Names stay as they are.
"""

import pathlib
import sys

from absl import flags

from leep_jax import command, progress, validation
from leep_jax.reports import tables
from leep_jax.sources import (
  catalog,
  conversion,
  converted,
  overrides,
  pickles,
)

FLAGS = flags.FlagValues()
_KEY = flags.DEFINE_string(
  "key",
  None,
  'Where in the file the tensors are, such as "state_dict_ema".',
  flag_values=FLAGS,
)
_OUTPUT = flags.DEFINE_string(
  "output",
  None,
  "Folder to write, for a model of timm or transformers.",
  flag_values=FLAGS,
)
_IMAGE_SIZE = flags.DEFINE_integer(
  "image_size",
  None,
  "Side of the images in pixels, instead of what the model's configuration "
  "says.",
  flag_values=FLAGS,
)
_FEATURES = flags.DEFINE_string(
  "features",
  None,
  "Name of the value in the network's graph that is used as features, instead "
  "of the input of its last linear layer.",
  flag_values=FLAGS,
)
_POOLING = flags.DEFINE_enum(
  "pooling",
  None,
  list(overrides.POOLINGS),
  "Of an encoder of texts or sounds: features are the hidden states of the "
  "first token, or the mean of all.",
  flag_values=FLAGS,
)
_STABLEHLO = flags.DEFINE_boolean(
  "stablehlo",
  True,
  "Whether to write program.stablehlo, for a network of images; it takes most "
  "of the time.",
  flag_values=FLAGS,
)


def _pickle(path: str, out: str) -> int:
  """Writes the tensors of a pickle."""
  count, where = pickles.to_safetensors(path, out, key=_KEY.value)
  of = f" of {where!r}" if where else ""
  print(f"{out}: {count} tensors{of}")
  return 0


def _model(name: str, output: str) -> int:
  """Writes a model as a folder."""
  path = catalog.fetch(name)
  out = pathlib.Path(output).expanduser()
  taken = out.exists() and not (out.is_dir() and not any(out.iterdir()))
  if taken and not converted.is_converted(out):
    raise validation.InputError(
      f"{out} exists and is no converted model: name another folder"
    )
  with progress.step(f"{tables.short(name, 30)}: exporting with PyTorch"):
    model = conversion.convert(
      name,
      path,
      image_size=_IMAGE_SIZE.value,
      features=_FEATURES.value,
      pooling=_POOLING.value,
    )
  with progress.step(f"{tables.short(name, 30)}: writing"):
    # Of texts and sounds, the length is free, too.
    images = model.program.inputs == "image"
    converted.write(out, model, stablehlo=images and _STABLEHLO.value)
  weights = sum(x.size for x in model.arrays["weights"].values())
  what = model.program.head.without_probs or "with its classifier"
  print(
    f"{out}: {weights / 1e6:.2f} M parameters, a graph of "
    f"{len(model.program.graph.nodes)} operations, {what}"
  )
  return 0


def main(argv: list[str]) -> int:
  """Runs the command; returns its exit status.

  Args:
    argv: the program's name, what to read, the file to write, and flags.

  Example:
    >>> from leep_jax import convert
    >>> convert.main(["convert", "model.pth"])  # one file; the error is printed
    2
  """
  paths = [text for text in argv[1:] if not text.startswith("-")]
  options = [text for text in argv[1:] if text.startswith("-")]

  def run():
    if _OUTPUT.value is not None and len(paths) == 1:
      return _model(paths[0], _OUTPUT.value)
    if _OUTPUT.value is None and len(paths) == 2:
      return _pickle(*paths)
    raise validation.InputError(
      f"{len(paths)} names are given: write python -m leep_jax.convert NAME "
      "--output=DIR for a model, or python -m leep_jax.convert FILE "
      "OUT.safetensors [--key=NAME] for a pickled file"
    )

  return command.main([*argv[:1], *options], FLAGS, __doc__ or "", run)


script = command.script(main)  # `leep-convert`

if __name__ == "__main__":
  sys.exit(script())
