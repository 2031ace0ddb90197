"""Compares scores with F1 on small, imbalanced tasks (section 5.3).

    python -m experiments.imbalanced_tasks --data_dir=DIR --weights=DIR \
      --scale=cpu

Purpose: do scores predict F1 if one class has few examples? A task has two
random classes, the smaller with 30 to 60 training images, the other with five
times as many. Models are trained for 20 epochs. The experiment compares scores
with the F1 of the smaller class on all test images of both.

Scales: `paper` is 200 tasks of CIFAR-100 and of Fashion-MNIST, heads and
fine-tuning, from the CIFAR-10 ResNet-20 and an ImageNet ResNet-18. `cpu` trains
the same heads, with an ImageNet MobileNet V1 0.25 instead of the ResNet-18, and
fine-tunes the ResNet-20 on the first 30 tasks of CIFAR-100. `smoke` uses
digits.

Cost of `cpu`: 5 minutes for heads and 10 minutes for fine-tuning, on two cores
with two workers.

What came out: the same as in `small_tasks`. Table 1 of `experiments/README.md`
has all r, published and measured.
"""

import sys

from experiments import section


def parts(scale: str, target: str) -> list[section.Part]:
  """Returns the sweeps of a scale and a target."""
  folder, models = f"imbalanced_tasks/{target}", section.sources(scale)
  smoke = scale == "smoke"

  def tasks(count):
    return (
      f"imbalanced(count={count},minority={'10..20' if smoke else '30..60'},"
      "ratio=5)"
    )

  epochs = 2 if smoke else 20
  flags = section.SCORES, f"--epochs={epochs}", "--curve=0"
  heads, tuned = {"smoke": (4, 4), "cpu": (200, 30), "paper": (200, 200)}[scale]
  found = [
    section.Part(folder, target, models, tasks(heads), "retrain_head", flags)
  ]
  if scale == "cpu":
    models = (section.CIFAR10,)
    if target != "cifar100":
      return found
  found.append(
    section.Part(folder, target, models, tasks(tuned), "fine_tune", flags)
  )
  return found


SECTION = section.Section(
  "imbalanced_tasks", ("cifar100", "fashion_mnist"), parts
)

if __name__ == "__main__":
  sys.exit(section.main(sys.argv, SECTION, __doc__ or ""))
