"""Compares scores with F1 on small, imbalanced tasks (section 5.3).

    python -m experiments.imbalanced_tasks --data_dir=DIR --weights=DIR \
      --scale=cpu

Purpose: do scores predict F1 if one class has few examples? A task has two
random classes, the smaller with 30 to 60 training images, the other with five
times as many. Models are trained for 20 epochs. The experiment compares scores
with the F1 of the smaller class on all test images of both.

Scales: `paper` is 200 tasks of CIFAR-100 and of Fashion-MNIST, heads and
fine-tuning, from the CIFAR-10 ResNet-20 and an ImageNet ResNet-18. `cpu` trains
the same heads from five sources trained on CIFAR-10 and four on ImageNet; for
an ImageNet ResNet-50 and MobileNet V1 1.0, tasks are drawn from fewer images.
It fine-tunes for the first 30 tasks: three small ResNets for 20 epochs on
CIFAR-100 and 10 on Fashion-MNIST, an ImageNet EfficientNet-Lite0 of 48 pixels
for 10 and 3. `smoke` uses digits.

Cost of `cpu`: five hours on two cores, after the forward passes of
`small_tasks`, all but five minutes of it for fine-tuning.

What came out: the same as in `small_tasks`. Table 1 of `experiments/README.md`
has all r, published and measured, and another table there those with accuracy
and with macro F1.
"""

import sys

from experiments import section


def parts(scale: str, target: str) -> list[section.Part]:
  """Returns the sweeps of a scale and a target."""
  folder = f"imbalanced_tasks/{target}"
  smoke = scale == "smoke"
  sizes = f"minority={'10..20' if smoke else '30..60'},ratio=5"
  fewer = section.FEWER_IMAGES.get(target, {})
  options = {**section.SCORES, "epochs": 2 if smoke else 20, "curve": 0}
  heads, tuned = {"smoke": (4, 4), "cpu": (200, 30), "paper": (200, 200)}[scale]
  found = section.parts_of(
    "retrain_head",
    scale,
    folder,
    target,
    tasks=f"imbalanced(count={heads},{sizes})",
    options=options,
    changed=fewer,
  )
  changed = {**fewer, "epochs": 10}
  if scale == "cpu" and target == "fashion_mnist":
    options |= {"epochs": 10, "test_limit": 2000}
    changed["epochs"] = 3
  return found + section.parts_of(
    "fine_tune",
    scale,
    folder,
    target,
    tasks=f"imbalanced(count={tuned},{sizes})",
    options=options,
    changed=changed,
  )


SECTION = section.Section(
  "imbalanced_tasks", ("cifar100", "fashion_mnist"), parts
)

if __name__ == "__main__":
  sys.exit(section.main(sys.argv, SECTION, __doc__ or ""))
