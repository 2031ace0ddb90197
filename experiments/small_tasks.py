"""Compares scores with accuracy on small, balanced tasks (section 5.2).

    python -m experiments.small_tasks --data_dir=DIR --weights=DIR --scale=cpu

Purpose: do scores predict accuracy if there are few training examples? Tasks
have 5 random classes of CIFAR-100 with 50 random training images each, or 4
classes of Fashion-MNIST with 30; they are tested on all test images of these
classes. Training is the paper's SGD: learning rate 0.01, batches of 10, 100
epochs (50 for heads on Fashion-MNIST).

Scales: `paper` is 200 tasks of each target, heads and fine-tuning, from the
CIFAR-10 ResNet-20 and an ImageNet ResNet-18. `cpu` trains the same heads, with
an ImageNet MobileNet V1 0.25 instead of the ResNet-18, and fine-tunes the
ResNet-20 on the first 30 tasks: 30 epochs on CIFAR-100, and 40 on
Fashion-MNIST, tested on 2,000 of its 10,000 images. `smoke` uses digits.

Cost of `cpu`: 10 minutes for heads, and 10 minutes a target for fine-tuning, on
two cores with two workers (`--worker=0/2` and `--worker=1/2`).

What came out: LEEP and NCE correlate with accuracy. H-score correlates more
strongly if there are more examples than features. Regularised H-score
correlates most strongly with the accuracy of heads. Table 1 of
`experiments/README.md` has all r, published and measured.
"""

import sys

from experiments import section

# Numbers of classes and of examples per class, by target.
_SHAPES = {"fashion_mnist": (4, 30), section.TINY: (3, 20)}
# Number of tasks for fine-tuning, by scale.
_COUNT = {"smoke": 4, "cpu": 30, "paper": 200}


def tasks(target: str, count: int) -> str:
  """Returns the value of `--tasks` of `leep_jax.sweep` for a target."""
  classes, examples = _SHAPES.get(target, (5, 50))
  return f"small(count={count},classes={classes},examples={examples})"


def fine_tuning(scale: str, target: str) -> section.Part:
  """Returns the sweep that fine-tunes, with curves for section 5.5."""
  models = section.sources(scale)
  epochs = 2 if scale == "smoke" else 100
  flags = [section.SCORES]
  if scale == "cpu":
    models, epochs = (section.CIFAR10,), 30
    flags += ["--curve=2"]
    if target == "fashion_mnist":
      epochs = 40
      flags = [section.SCORES, "--curve=4", "--test_limit=2000"]
  return section.Part(
    f"small_tasks/{target}",
    target,
    models,
    tasks(target, _COUNT[scale]),
    "fine_tune",
    (*flags, f"--epochs={epochs}"),
  )


def parts(scale: str, target: str) -> list[section.Part]:
  """Returns the sweeps of a scale and a target."""
  epochs = 50 if target == "fashion_mnist" else 100
  smoke = scale == "smoke"
  head = section.Part(
    f"small_tasks/{target}",
    target,
    section.sources(scale),
    tasks(target, _COUNT["smoke"] if smoke else 200),
    "retrain_head",
    (section.SCORES, f"--epochs={2 if smoke else epochs}", "--curve=0"),
  )
  return [head, fine_tuning(scale, target)]


SECTION = section.Section("small_tasks", ("cifar100", "fashion_mnist"), parts)

if __name__ == "__main__":
  sys.exit(section.main(sys.argv, SECTION, __doc__ or ""))
