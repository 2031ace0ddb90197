"""Compares scores with accuracy on small, balanced tasks (section 5.2).

    python -m experiments.small_tasks --data_dir=DIR --weights=DIR --scale=cpu

Purpose: do scores predict accuracy if there are few training examples? Tasks
have 5 random classes of CIFAR-100 with 50 random training images each, or 4
classes of Fashion-MNIST with 30; they are tested on all test images of these
classes. Training is the paper's SGD: learning rate 0.01, batches of 10, 100
epochs (50 for heads on Fashion-MNIST).

Scales: `paper` is 200 tasks of each target, heads and fine-tuning, from the
CIFAR-10 ResNet-20 and an ImageNet ResNet-18. `cpu` trains the same heads from
five sources trained on CIFAR-10 and four on ImageNet; for an ImageNet ResNet-50
and MobileNet V1 1.0, tasks are drawn from fewer images. It fine-tunes for the
first 30 tasks: three small ResNets for 30 epochs on CIFAR-100 and 40 on
Fashion-MNIST, an ImageNet EfficientNet-Lite0 of 48 pixels for 15 and 6.
Fine-tuned networks are tested on 2,000 of the 10,000 images of Fashion-MNIST.
`smoke` uses digits.

Cost of `cpu`: about five hours on two cores, with the forward passes.

What came out: LEEP and NCE correlate with accuracy. H-score correlates more
strongly if there are more examples than features. Regularised H-score
correlates most strongly with the accuracy of heads. Table 1 of
`experiments/README.md` has all r, published and measured;
`experiments.factors` says what they depend on.
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


def fine_tuning(scale: str, target: str) -> list[section.Part]:
  """Returns the sweeps that fine-tune; section 5.5 uses their curves."""
  # Section 5.5 needs accuracies after epochs, but none of the second group.
  options = {**section.SCORES, "epochs": 2 if scale == "smoke" else 100}
  changed = {**section.FEWER_IMAGES.get(target, {}), "curve": 0, "epochs": 15}
  if scale == "cpu":
    options |= {"curve": 2, "epochs": 30}
    if target == "fashion_mnist":
      options |= {"curve": 4, "epochs": 40, "test_limit": 2000}
      changed["epochs"] = 6
  return section.parts_of(
    "fine_tune",
    scale,
    f"small_tasks/{target}",
    target,
    tasks=tasks(target, _COUNT[scale]),
    options=options,
    changed=changed,
  )


def parts(scale: str, target: str) -> list[section.Part]:
  """Returns the sweeps of a scale and a target."""
  epochs = 50 if target == "fashion_mnist" else 100
  smoke = scale == "smoke"
  heads = section.parts_of(
    "retrain_head",
    scale,
    f"small_tasks/{target}",
    target,
    tasks=tasks(target, _COUNT["smoke"] if smoke else 200),
    options={**section.SCORES, "epochs": 2 if smoke else epochs, "curve": 0},
    changed=section.FEWER_IMAGES.get(target, {}),
  )
  return heads + fine_tuning(scale, target)


SECTION = section.Section("small_tasks", ("cifar100", "fashion_mnist"), parts)

if __name__ == "__main__":
  sys.exit(section.main(sys.argv, SECTION, __doc__ or ""))
