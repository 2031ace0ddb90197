"""The TPU compiler without a TPU: topologies, and what it says of a program.

libtpu compiles on any Linux machine for a TPU that is described by its name,
such as `v5e:2x4` for eight chips: `pip install 'leep_jax[tpu-compile]'`.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import importlib.util
import math
import os
import re
from typing import Any

from leep_jax.engine import programs, uncomputed

# Of a TPU v5e chip, as Google Cloud's page on it states (docs.cloud.google.com,
# "TPU v5e"): operations a second in bfloat16, bytes a second and bytes of its
# memory, and bits a second between chips.
PEAK_OPERATIONS, MEMORY_SPEED = 197e12, 819e9
MEMORY, LINK_BITS = 16e9, 1_600e9
# Four matrix units of 128 x 128 do that many operations in this clock.
CLOCK = PEAK_OPERATIONS / (4 * 128 * 128 * 2)
_SETTINGS = {
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_ACCELERATOR_TYPE": "v5litepod-8",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no chip is locked
}
_COLLECTIVES = (
  "all-reduce", "all-gather", "reduce-scatter", "all-to-all",
  "collective-permute", "collective-broadcast",
)  # fmt: skip
_HOST = ("infeed", "outfeed", "send", "recv")
_OPERATION = re.compile(
  r"^\s+(?:ROOT )?%(?P<name>\S+) = (?P<type>.*?) (?P<kind>[a-z][a-z0-9-]*)\("
)
_BYTES = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "s8": 1, "u8": 1}


def why_not() -> str | None:
  """Returns why programs cannot be compiled for TPUs here; None if they can."""
  if importlib.util.find_spec("libtpu") is None:
    return "libtpu is not installed: pip install 'leep_jax[tpu-compile]'"
  return None


def devices(topology: str) -> list[Any]:
  """Returns the devices of a topology, such as `v5e:2x4`."""
  from jax.experimental import topologies

  for name, value in _SETTINGS.items():
    os.environ.setdefault(name, value)
  found = topologies.get_topology_desc(topology, platform="tpu")
  return list(found.devices)


@dataclasses.dataclass(frozen=True)
class Facts:
  """What the compiler says of a program, for one chip.

  Attributes:
    memory: bytes of arguments, results, temporary arrays and code.
    operations: additions and multiplications, those in a loop once.
    traffic: bytes read and written, also of what stays in fast memory, and
      those in a loop once.
    optimal: `optimal_seconds` of its cost analysis, which may be negative, and
      then means nothing.
    cycles: that it scheduled, loops included.
    unpriced: operations without such a number, among them gathers and scatters.
    collectives: kind and bytes of each.
    counts: how often each kind of operation occurs.
    doubles: whether there is float64.
    to_host: names of operations that exchange data with the host.
  """

  memory: float
  operations: float
  traffic: float
  optimal: float
  cycles: int
  unpriced: int
  collectives: tuple[tuple[str, int], ...]
  counts: dict[str, int]
  doubles: bool
  to_host: tuple[str, ...]

  @property
  def loops(self) -> bool:
    """Whether there are loops, whose operations are counted once."""
    return "while" in self.counts

  @property
  def seconds(self) -> float:
    """The scheduled cycles as time."""
    return self.cycles / CLOCK

  @property
  def peak_share(self) -> float:
    """Share of the chip's bfloat16 peak at that speed."""
    return self.operations / self.seconds / PEAK_OPERATIONS


def compiled(topology: str, run: Callable[[], Any]) -> list[Any]:
  """Compiles all programs that a function calls before it reads a result."""
  with (
    programs.compile_for(devices(topology)) as found,
    contextlib.suppress(uncomputed.NotComputed),
  ):
    run()
  return found


def facts(program: Any) -> Facts:
  """Reads what the compiler says of a program."""
  costs, memory = program.cost_analysis(), program.memory_analysis()
  text = program.as_text()
  counts: dict[str, int] = {}
  collectives, to_host = [], []
  for line in text.splitlines():
    found = _OPERATION.match(line)
    if found is None:
      continue
    kind = found["kind"].removesuffix("-start")
    counts[kind] = counts.get(kind, 0) + 1
    if kind in _COLLECTIVES:
      collectives.append((kind, _bytes(found["type"])))
    target = re.search(r'custom_call_target="([^"]*)"', line)
    named = target is not None and re.search("callback|[Hh]ost", target[1])
    # Layouts with S(5) are in the host's memory.
    if kind in _HOST or named or "S(5)" in found["type"]:
      to_host.append(found["name"])
  cycles, unpriced = _Schedule(text).cost()
  return Facts(
    memory=(
      memory.argument_size_in_bytes
      + memory.output_size_in_bytes
      + memory.temp_size_in_bytes
      + memory.generated_code_size_in_bytes
      - memory.alias_size_in_bytes
    ),
    operations=costs.get("flops", 0.0),
    traffic=costs.get("bytes accessed", 0.0),
    optimal=costs.get("optimal_seconds", math.nan),
    cycles=cycles,
    unpriced=unpriced,
    collectives=tuple(collectives),
    counts=counts,
    doubles="f64[" in text,
    to_host=tuple(to_host),
  )


def _bytes(kind):
  """The bytes of a type such as `(f32[2,3]{1,0}, bf16[8])`."""
  return sum(
    _BYTES.get(name, 0) * math.prod(int(n) for n in sizes.split(",") if n)
    for name, sizes in re.findall(r"([a-z]+\d+)\[([\d,]*)\]", kind)
  )


class _Schedule:
  """The estimates of cycles in a compiled program's text."""

  def __init__(self, text: str):
    self._bodies: dict[str, list[str]] = {}
    self._entry = name = ""
    for line in text.splitlines():
      start = re.match(r"(ENTRY )?%(\S+) .*\{$", line)
      if start:
        name = start[2]
        self._bodies[name] = []
        self._entry = name if start[1] else self._entry
      elif name:
        self._bodies[name].append(line)

  def cost(self, name: str = "") -> tuple[int, int]:
    """Cycles of a computation, and how many operations state none."""
    cycles = unpriced = 0
    for line in self._bodies[name or self._entry]:
      found = _OPERATION.match(line)
      if found is None:
        continue
      stated = re.search(r'"estimated_cycles":"(\d+)"', line)
      inner = []
      times = 1
      if found["kind"] == "while":
        inner = re.findall(r"body=%([^,\s]+)", line)
        count = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
        times = int(count[1]) if count else 1
      elif found["kind"] == "conditional":
        inner = re.findall(r"(?:true|false)_computation=%([^,\s]+)", line)
        several = re.search(r"branch_computations=\{([^}]*)\}", line)
        inner += re.findall(r"%([^,\s]+)", several[1]) if several else []
      elif found["kind"] == "call":
        inner = re.findall(r"to_apply=%([^,\s]+)", line)
      if inner:
        # Of a conditional, the branch that takes longest.
        most, unknown = max(self.cost(body) for body in inner)
        cycles, unpriced = cycles + times * most, unpriced + unknown
      elif stated:
        cycles += int(stated[1])
      elif found["kind"] in ("fusion", "scatter", "gather", "sort"):
        unpriced += 1
    return cycles, unpriced
