"""Writes the outputs of commands into README.md and the guide.

    python -m experiments.readme

Purpose: the blocks between `<!-- name -->` and `<!-- /name -->` in Markdown
files are outputs of programs. `experiments.blocks` writes the blocks that are
computed from committed rows; this script writes the others. It runs the
commands that need no data beyond the package (digits, the attribute tasks) and
reads the cards of bundled sources. With `--data_dir` and `--weights`, it also
scores real checkpoints for the blocks cifar100 and fashion_mnist.

Cost: half a minute; three minutes with real checkpoints.

What came out: the blocks `digits`, `bundled`, `tasks`, `trained`, `cifar100`
and `fashion_mnist`. Some contain durations, so each run changes them.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

from absl import flags

from experiments.blocks import GUIDE, README, ROOT, fill
from leep_jax import command
from leep_jax.sources import catalog

FLAGS = flags.FlagValues()
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "Folder of TFDS data sets.", flag_values=FLAGS
)
_WEIGHTS = flags.DEFINE_string(
  "weights", None, "Folder of checkpoints.", flag_values=FLAGS
)


SCORES, MODELS, COMMANDS = (
  GUIDE / f"{name}.md" for name in ("scores", "models", "commands")
)


def run(*arguments: str, cwd: pathlib.Path = ROOT) -> str:
  """Runs Python with these arguments; returns its output as a code block."""
  done = subprocess.run(
    [sys.executable, *arguments], cwd=cwd, check=True, capture_output=True,
    text=True,
  )  # fmt: skip
  lines = done.stdout.rstrip().splitlines()
  return "\n".join(f"    {line}".rstrip() for line in lines)


def bundled() -> str:
  """Returns the table of the bundled sources, read from their cards."""
  rows = [
    "| source | input | trained on | recipe | test accuracy | licence |",
    "|---|---|---|---|---|---|",
  ]
  for name, path in catalog.bundled().items():
    card = json.loads(path.with_suffix(".json").read_text())
    rows.append(
      f"| `{name}` | {card['image_size']} px | {card['data']} | "
      f"{card['recipe']} | {card['test_accuracy']:.4f} of "
      f"{card['test_examples']:,} | {card['licence']} |"
    )
  return "\n".join(rows)


def tasks() -> str:
  """Returns the output of `task_matrix` for the attributes of the guide.

  It runs the code of the guide, so that the code and the table agree.
  """
  code = re.search(
    r"```python\n(import numpy as np\nfrom sklearn.*?)```",
    COMMANDS.read_text(),
    re.DOTALL,
  )
  assert code
  with tempfile.TemporaryDirectory() as folder:
    run("-c", code[1], cwd=pathlib.Path(folder))
    return run(
      "-m", "leep_jax.task_matrix", "--dataset=csv:tasks.csv",
      cwd=pathlib.Path(folder),
    )  # fmt: skip


def _run() -> int:
  fill("bundled", bundled(), MODELS)
  fill("digits", run("-m", "leep_jax.score"), README)
  fill("tasks", tasks(), COMMANDS)
  trained = run(
    "-m", "leep_jax.transfer", "--curve=0", "--method=retrain_head,probe"
  )
  fill("trained", trained, COMMANDS)
  if _DATA_DIR.value and _WEIGHTS.value:
    models = ",".join(
      f"resnet{depth}@{_WEIGHTS.value}/resnet{depth}_cifar10.safetensors"
      for depth in (20, 32, 44, 56)
    )
    for dataset in ("cifar100", "fashion_mnist"):
      printed = run(
        "-m", "leep_jax.score", f"--dataset={dataset}", "--split=test",
        f"--data_dir={_DATA_DIR.value}", f"--model={models}",
      )  # fmt: skip
      fill(dataset, printed, SCORES)
  return 0


if __name__ == "__main__":
  sys.exit(command.main(sys.argv, FLAGS, __doc__ or "", _run))
