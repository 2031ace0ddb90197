"""Compares scores with accuracy on large, balanced tasks (section 5.1).

    python -m experiments.large_tasks --data_dir=DIR --weights=DIR --scale=cpu

Purpose: tests the paper's first claim, that LEEP predicts test accuracy after
transfer. The target tasks are 200 random subsets of 2 to 100 classes of
CIFAR-100, with all training images of these classes.

Scales: `paper` re-trains heads and fine-tunes for 100 epochs, from the CIFAR-10
ResNet-20 and an ImageNet ResNet-18. `cpu` re-trains heads for 20 epochs on
10,000 of the 50,000 training images, from five sources trained on CIFAR-10 and
two on ImageNet; and for one epoch on 35,000, for the first 60 tasks, from an
ImageNet ResNet-50 and MobileNet V1 1.0. It fine-tunes for the first 30 tasks:
three small ResNets for 3 epochs on 2,000 images, an EfficientNet-Lite0 of 48
pixels for 10 epochs on 1,000. `smoke` takes subsets of the ten digits.

Cost of `cpu`: about four hours on two cores, one of which is the ResNet-50's
forward pass, which the other sections use, too.

What came out: for every source, LEEP and NCE correlate with accuracy as the
paper says. The H-score does not: see "What does not, and why" in
`experiments/README.md`, and `experiments.h_score_forms`.
"""

import sys

from experiments import section


def parts(scale: str, target: str) -> list[section.Part]:
  """Returns the sweeps of a scale and a target."""
  folder = f"large_tasks/{target}"
  kinds = "classes=2..10" if scale == "smoke" else "classes=2..100"
  count = 4 if scale == "smoke" else 200
  options = {"curve": 0, "epochs": {"smoke": 2, "cpu": 20, "paper": 100}[scale]}
  if scale == "cpu":
    options["limit"] = 10000
  found = section.parts_of(
    "retrain_head",
    scale,
    folder,
    target,
    tasks=f"subsets(count={count},{kinds})",
    options=options,
    changed={**section.FEWER_IMAGES.get(target, {}), "epochs": 1},
    fewer_tasks=f"subsets(count=60,{kinds})",
  )
  if scale == "smoke":
    return found
  if scale == "cpu":
    count = 30
    options |= {"epochs": 3, "limit": 2000, "test_limit": 2000}
  return found + section.parts_of(
    "fine_tune",
    scale,
    folder,
    target,
    tasks=f"subsets(count={count},{kinds})",
    options=options,
    changed={"epochs": 10, "limit": 1000},
  )


SECTION = section.Section("large_tasks", ("cifar100",), parts)

if __name__ == "__main__":
  sys.exit(section.main(sys.argv, SECTION, __doc__ or ""))
