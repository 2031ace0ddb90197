"""Compares scores with accuracy after meta-transfer by CNAPs (section 5.4).

    python -m experiments.meta_transfer --data_dir=DIR --scale=cpu

Purpose: do scores predict the accuracy of a classifier that is not trained on
the task, but adapted to it by other networks? There are 200 tasks of 5 random
classes of CIFAR-100. Of the 100 test images of each class, 50 are for
adaptation and 50 for the test.

The CNAPs model is in `results/meta_transfer`. `experiments.train_cnaps`
meta-trained it on classes of tiny_imagenet32, cifar10 and fashion_mnist; the
JSON file beside it has the details. The source that is scored is its backbone,
the bundled Tiny-ImageNet ResNet-14. The paper's backbone is an ImageNet
ResNet-18.

Scales: `cpu` and `paper` are the same 200 tasks. `smoke` uses digits.

Cost: 3 minutes on two cores; 27 for the meta-training.

What came out: Table 1 of `experiments/README.md` has the r of LEEP, NCE and
H-score, published and measured. The CNAPs model is one percentage point less
accurate than the nearest class mean of the same features, probably because
1,600 tasks of meta-training are few.
"""

import sys

from experiments import section

SOURCE = "tiny_imagenet32_resnet14"
MODEL = section.RESULTS / "meta_transfer" / f"cnaps_{SOURCE}.safetensors"


def parts(scale: str, target: str) -> list[section.Part]:
  """Returns the sweep of a scale and a target."""
  tasks = "few_shot(count=200,classes=5,examples=50)"
  if scale == "smoke":
    tasks = "few_shot(count=4,classes=5,examples=10)"
  return [
    section.Part(
      f"meta_transfer/{target}",
      target,
      (SOURCE,),
      tasks,
      "cnaps",
      section.flags_of({**section.SCORES, "cnaps": str(MODEL)}),
    )
  ]


SECTION = section.Section("meta_transfer", ("cifar100",), parts)

if __name__ == "__main__":
  sys.exit(section.main(sys.argv, SECTION, __doc__ or ""))
