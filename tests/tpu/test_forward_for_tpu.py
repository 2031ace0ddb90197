"""What the TPU's compiler makes of forward passes; nothing runs.

`experiments/benchmarks/tpu.py` compiles larger networks, and prints what the
compiler says of them.
"""

import for_tpu
import pytest

from experiments.benchmarks import tpu_programs

pytestmark = for_tpu.MARKS
# One of each family, of a few layers: compilation takes seconds a layer.
FORWARD = [
  ("test_resnet", "bfloat16"),
  ("test_vit", "bfloat16"),
  ("test_vit", "float32"),
  ("test_convnext", "bfloat16"),
  ("test_efficientnet", "bfloat16"),
  ("mobilenet_v1_025", "bfloat16"),
  ("resnet8", "float32"),
]


@pytest.mark.parametrize(("arch", "dtype"), FORWARD)
def test_a_forward_pass_talks_to_no_other_chip(arch, dtype):
  # Larger than the network's input, so that images are resized.
  (facts,) = for_tpu.compiled(
    lambda: tpu_programs.forward(for_tpu.source(arch), dtype, rows=8, side=192)
  )
  assert not facts.collectives
  # Resizing picks no pixels.
  assert not facts.counts.get("gather")
  assert facts.operations > 0
  assert facts.cycles > 0
