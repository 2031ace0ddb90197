"""What the TPU's compiler makes of sums and training; nothing runs.

Scores read sums; heads, class subsets and fine-tuning have programs of their
own.
"""

from flax import nnx
import for_tpu
import pytest

from experiments.benchmarks import tpu_compiler, tpu_programs
from leep_jax.engine import programs, statistics
from leep_jax.sources import architectures

pytestmark = for_tpu.MARKS


@pytest.mark.parametrize("groups", [1, 20])
@pytest.mark.parametrize("topology", [for_tpu.SMALL, for_tpu.LARGE])
@pytest.mark.parametrize("functions", ["FIRST", "SECOND"])
def test_a_pass_has_one_collective(functions, topology, groups):
  add, finish = for_tpu.compiled(
    lambda: tpu_programs.pass_over_outputs(
      getattr(tpu_programs, functions),
      classes=100,
      features=512,
      groups=groups,
    ),
    topology,
  )
  assert not add.collectives
  assert not add.counts.get("gather")
  assert [kind for kind, _ in finish.collectives] == ["all-reduce"]


def test_running_sums_take_the_memory_of_those_before():
  add, _ = tpu_compiler.compiled(
    for_tpu.SMALL,
    lambda: tpu_programs.pass_over_outputs(
      (statistics.moments,), classes=10, features=256
    ),
  )
  assert add.memory_analysis().alias_size_in_bytes >= 2 * 4 * 256 * 256


@pytest.mark.parametrize("topology", [for_tpu.SMALL, for_tpu.LARGE])
def test_heads_train_without_a_collective(topology):
  (train,) = for_tpu.compiled(
    lambda: tpu_programs.heads(
      128, examples=256, features=64, classes=10, batch_size=32
    ),
    topology,
  )
  assert not train.collectives


@pytest.mark.parametrize("topology", [for_tpu.SMALL, for_tpu.LARGE])
def test_a_step_of_fine_tuning_adds_gradients_once(topology):
  arch = "resnet8"
  model = architectures.shapes(arch, 10)
  norms = sum(
    isinstance(module, nnx.BatchNorm) for _, module in nnx.iter_modules(model)
  )
  step, *_ = for_tpu.compiled(
    lambda: tpu_programs.fine_tuning(
      for_tpu.source(arch), "bfloat16", rows=4, side=32, classes=10
    ),
    topology,
  )
  # BatchNorm needs the statistics of all images before the next layer can
  # begin, and their gradients on the way back.
  assert len(step.collectives) == 1 + 2 * norms
  assert {kind for kind, _ in step.collectives} == {"all-reduce"}


@pytest.mark.parametrize("topology", [for_tpu.SMALL, for_tpu.LARGE])
def test_class_subsets_need_no_collective(topology):
  every = for_tpu.compiled(
    lambda: tpu_programs.subsets(20, examples=2000, classes=10), topology
  )
  assert not any(facts.collectives for facts in every)


def test_what_depends_on_the_platform_is_the_tpus():
  with programs.compile_for(tpu_compiler.devices(for_tpu.LARGE)):
    assert programs.platform() == "tpu"
    assert programs.device_count() == 64
    assert programs.precision("float32") == "highest"
  assert programs.platform() == "cpu"
