"""What tests of programs for TPUs share."""

import functools

import pytest

from experiments.benchmarks import tpu_compiler, tpu_programs

_REASON = tpu_compiler.why_not()
MARKS = [
  pytest.mark.tpu_compiler,
  pytest.mark.skipif(_REASON is not None, reason=str(_REASON)),
]
# Eight chips of two hosts, and 64 of 16.
SMALL, LARGE = "v5e:2x4", "v5e:8x8"
source = functools.cache(tpu_programs.source)


def compiled(run, topology=SMALL):
  """Facts of the programs that a function calls, checked as all are."""
  found = tpu_compiler.compiled(topology, run)
  assert found
  every = [tpu_compiler.facts(program) for program in found]
  for facts in every:
    assert facts.memory < tpu_compiler.MEMORY
    assert not facts.doubles
    assert not facts.to_host
    assert not facts.counts.get("scatter")
  return every
