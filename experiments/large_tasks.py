"""Compares scores with accuracy on large, balanced tasks (section 5.1).

    python -m experiments.large_tasks --data_dir=DIR --weights=DIR --scale=cpu

Purpose: tests the paper's first claim, that LEEP predicts test accuracy after
transfer. The target tasks are 200 random subsets of 2 to 100 classes of
CIFAR-100, with all training images of these classes.

Scales: `paper` re-trains heads and fine-tunes for 100 epochs, from the CIFAR-10
ResNet-20 and an ImageNet ResNet-18. `cpu` re-trains heads for 20 epochs on
10,000 of the 50,000 training images, from four CIFAR-10 ResNets and an
ImageNet MobileNet V1 0.25. `smoke` takes subsets of the ten digits.

Cost of `cpu`: half an hour on two cores.

What came out: for every source, LEEP and NCE correlate with accuracy as the
paper says. The H-score does not: see "Where this contradicts the paper" in
`experiments/README.md`.
"""

import sys

from experiments import section


def parts(scale: str, target: str) -> list[section.Part]:
  """Returns the sweeps of a scale and a target."""
  folder = f"large_tasks/{target}"
  tasks = "subsets(count=200,classes=2..100)"
  models, methods = section.sources(scale), ["retrain_head"]
  flags = ["--curve=0"]
  if scale == "smoke":
    tasks = "subsets(count=4,classes=2..10)"
    flags += ["--epochs=2"]
  if scale == "cpu":
    models = (
      section.CIFAR10,
      *(f"resnet{n}@resnet{n}_cifar10.safetensors" for n in (32, 44, 56)),
      section.MOBILENET,
    )
    flags += ["--epochs=20", "--limit=10000"]
  if scale == "paper":
    methods.append("fine_tune")
    flags += ["--epochs=100"]
  return [
    section.Part(folder, target, models, tasks, method, tuple(flags))
    for method in methods
  ]


SECTION = section.Section("large_tasks", ("cifar100",), parts)

if __name__ == "__main__":
  sys.exit(section.main(sys.argv, SECTION, __doc__ or ""))
