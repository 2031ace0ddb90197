"""What `experiments.benchmarks.accelerator` measures, most important first.

A case is measured in one go: its variants run in turns. All run on one device,
but for the cases of all devices.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import threadpoolctl

from experiments.benchmarks import (
  random_networks,
  subsets,
  torch_forward,
  transfer,
)
from experiments.benchmarks.accelerator_sizes import Case, Size, Variant
import leep_jax
from leep_jax import asked_scores, data, transfer as transfer_lib, validation
from leep_jax.engine import outputs as outputs_lib, programs, runners, storage
from leep_jax.sources import architectures

# What is compared with the forward pass, or with each other.
_OURS, _CALL, _JITTED = "leep_jax", "compute_outputs", "jitted apply"
_ROWS = 1024  # of outputs in a part on the device
_GROUPS = 20  # for standard errors, as the command has


def plan(size: Size, *, torch: bool) -> list[Case]:
  """Returns all cases, most important first.

  Args:
    size: of the work.
    torch: whether to compare with PyTorch.
  """
  (first, side), *others = size.networks
  usual, *batches = size.batches
  found = [_forward(size, first, side, "bfloat16", usual, torch)]
  found += [_leep(size), _subsets(size), _heads(size)]
  found += [_forward(size, first, side, "float32", usual, torch)]
  found += [_fine_tuning(size, *network) for network in size.tuned[:1]]
  found += [_scores(size, *network) for network in size.scored_networks[:1]]
  if programs.device_count() > 1:
    found += _devices(size, first, side, usual)
  for name, side in others:
    found += [_forward(size, name, side, "bfloat16", usual, torch)]
  found += [_scores(size, *network) for network in size.scored_networks[1:]]
  found += [_fine_tuning(size, *network) for network in size.tuned[1:]]
  for name, side in others:
    found += [_forward(size, name, side, "float32", usual, torch)]
  found += [
    _forward(size, name, side, dtype, batch, torch)
    for dtype in ("bfloat16", "float32")
    for batch in batches
    for name, side in size.networks
  ]
  return found


def _on(count: int, function: Callable[[], Any]) -> Callable[[], Any]:
  """Returns a function that runs on so many devices."""

  def run():
    with programs.limit(count):
      return function()

  return run


def _of_one_device(prepare: Callable[[], list[Variant]]):
  """Has the preparation of a case and its variants use one device."""

  def prepared():
    with programs.limit(1):
      variants = prepare()
    return [
      dataclasses.replace(v, run=v.run and _on(1, v.run)) for v in variants
    ]

  return prepared


def _source(name: str) -> leep_jax.Source:
  """A bundled source, or an architecture with random weights."""
  if name in architectures.ARCHITECTURES:
    return random_networks.source(name)
  return leep_jax.load_source(name)


def _labels(count: int, classes: int) -> np.ndarray:
  return np.random.default_rng(2).integers(0, classes, count)


def _dataset(images: np.ndarray, count: int, classes: int) -> data.Dataset:
  """Images that repeat: each batch is copied, as those of a data set are."""
  labels = _labels(count, classes)
  return data.Dataset(
    name="random",
    split="all",
    num_classes=classes,
    indices=np.arange(count),
    image_shape=images.shape[1:],
    fetch=lambda i: (images[np.asarray(i) % len(images)], labels[i]),
    all_labels=labels,
    in_memory=True,
  )


def _compiled_step(source, images, dtype, calls):
  """Returns a loop over the package's compiled step, of images on the host."""
  runner = runners.of(source, dtype)
  rows = len(images) // programs.device_count()

  def run():
    before = None
    for _ in range(calls):
      found = runner.run(images, rows)
      # One batch behind, as the forward pass of a data set is.
      jax.block_until_ready(before)
      before = found
    jax.block_until_ready(before)

  return run


def _jitted_apply(source, images, dtype, calls):
  """Returns a loop over what a user would jit, of images on the device."""
  state = jax.tree.map(
    lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x,
    jax.tree.map(jnp.asarray, source.state),
  )
  placed = jnp.asarray(images)

  @jax.jit
  def step(state, x):
    with jax.default_matmul_precision(programs.precision(dtype)):
      prepared = source.preprocessing(x).astype(dtype)
      logits, features = source.apply(state, prepared)
    return jax.nn.softmax(logits.astype(jnp.float32)), features

  def run():
    jax.block_until_ready([step(state, placed) for _ in range(calls)])

  return run


def _forward(size, name, side, dtype, batch, torch) -> Case:
  """The forward pass, against the bare jitted step and PyTorch."""
  calls = max(size.images // batch, 1)

  def prepare():
    source = _source(name)
    images = random_networks.images(batch, side)
    dataset = _dataset(images, calls * batch, 10)
    variant = functools.partial(Variant, amount=calls * batch, unit="images")
    peers = list(_torch(variant, size, name, images, dtype, calls, torch))
    others = (_JITTED, *(peer.name for peer in peers))
    call = functools.partial(
      leep_jax.compute_outputs, source, dataset, batch_size=batch, dtype=dtype
    )
    return [
      variant(
        _OURS, run=_compiled_step(source, images, dtype, calls), over=others
      ),
      variant(_CALL, run=call, over=(_OURS,)),
      variant(_JITTED, run=_jitted_apply(source, images, dtype, calls)),
      *peers,
    ]

  return Case(
    "forward",
    name,
    {"dtype": dtype, "batch": batch, "side": side, "images": calls * batch},
    size.repeats,
    _of_one_device(prepare),
  )


def _torch(
  variant, size, name, images, dtype, calls, asked
) -> Iterator[Variant]:
  """PyTorch's variants of a forward pass, or why there are none."""
  # The networks of the package alone have no counterpart.
  if not asked or name not in architectures.ARCHITECTURES:
    return
  for what, compiled in (("PyTorch", False), ("PyTorch, compiled", True)):
    if compiled and not size.compiles_torch:
      continue
    run, why_not = None, ""
    try:
      run = torch_forward.forward(
        name, images, dtype=dtype, calls=calls, compiled=compiled
      )
    # Another library's failure is no reason to measure nothing of the case.
    except Exception as e:
      why_not = validation.reason(e)
    yield variant(what, run=run, why_not=why_not, of_torch=True)


def _scores(size, name, side) -> Case:
  """Scores of a source, against the forward pass alone."""
  batch = min(size.batches[0], size.scored)
  classes = 20
  every = [
    n for n, row in leep_jax.SCORES.items() if "labels" in row.target_kinds
  ]
  alone = "forward pass"

  def prepare():
    source = _source(name)
    images = random_networks.images(batch, side)
    dataset = _dataset(images, size.scored, classes)

    def run(names, groups):
      # It waits for the devices: a part of each batch is checked on the host.
      outputs = leep_jax.compute_outputs(
        source, dataset, batch_size=batch, dtype="bfloat16"
      )
      if names:
        leep_jax.estimate_scores(outputs, names=names, groups=groups)

    variant = functools.partial(Variant, amount=size.scored, unit="images")
    default = list(asked_scores.CLASSIFICATION)
    most = [n for n in every if n != "n_leep"]
    return [
      variant(alone, run=functools.partial(run, [], 1)),
      *(
        variant(what, run=functools.partial(run, names, count), over=(alone,))
        for what, names, count in (
          (f"{alone} and default scores with errors", default, _GROUPS),
          (f"{alone} and all scores but n_leep", most, 1),
          (f"{alone} and all scores", every, 1),
        )
      ),
    ]

  settings = {
    "dtype": "bfloat16", "batch": batch, "side": side, "images": size.scored,
    "classes": classes,
  }  # fmt: skip
  return Case("scores", name, settings, size.repeats, _of_one_device(prepare))


def _placed(probs: np.ndarray) -> storage.DeviceArrays:
  """Probabilities on the devices, in parts, as the forward pass leaves them."""
  place = programs.parallel(lambda x: {"probs": x})
  step = _ROWS * programs.device_count()
  blocks = [probs[i : i + step] for i in range(0, len(probs), step)]
  return storage.DeviceArrays(
    [(place(programs.split(block, _ROWS)), len(block)) for block in blocks]
  )


def _leep_of(store, labels):
  # New outputs each time: they keep the sums that were computed of them.
  outputs = outputs_lib.Outputs(store, labels)
  return leep_jax.compute_scores(outputs, names=["leep"])


def _leep(size) -> Case:
  """LEEP, against reading its input twice."""
  n, width = size.leep

  def prepare():
    probs, labels = subsets.probabilities(n, width)
    store, placed = _placed(probs), jnp.asarray(probs)
    total = jax.jit(jnp.sum)
    every = np.ones((labels.max() + 1,), bool)

    def twice(array):
      jax.block_until_ready([total(array), total(array)])

    variant = functools.partial(Variant, amount=n, unit="examples")
    sums = "two sums on the device", "two sums, copied each time"
    loop = "NumPy LEEP"
    return [
      variant(
        "leep of outputs on the device",
        run=functools.partial(_leep_of, store, labels),
        over=(sums[0], loop),
      ),
      variant(
        "leep of an array on the host",
        run=functools.partial(leep_jax.leep, probs, labels),
        over=(sums[1], loop),
      ),
      variant(sums[0], run=lambda: twice(placed)),
      variant(sums[1], run=lambda: twice(jnp.array(probs))),
      variant(
        loop, run=functools.partial(subsets.plain_leep, probs, labels, every)
      ),
    ]

  return Case(
    "leep",
    "leep",
    {"n": n, "width": width, "classes": 100},
    size.repeats,
    _of_one_device(prepare),
  )


def _subsets(size) -> Case:
  """LEEP of class subsets, against loops over some of them."""
  n, width = size.leep
  count, every = size.subsets

  def prepare():
    probs, labels = subsets.probabilities(n, width)
    chosen = subsets.tasks(count)
    some = chosen[::every]
    # Loops take as long as their tasks have examples.
    share = some[:, labels].sum() / chosen[:, labels].sum()

    def loop():
      for mask in some:
        subsets.plain_leep(probs, labels, mask)

    def loop_of_one_thread():
      with threadpoolctl.threadpool_limits(1):
        loop()

    loops = "NumPy loop", "NumPy loop, one thread"
    ours = functools.partial(leep_jax.leep_of_subsets, probs, labels, chosen)
    return [
      Variant("leep_of_subsets", count, "tasks", ours, loops),
      Variant(loops[0], count * share, "tasks", loop),
      Variant(loops[1], count * share, "tasks", loop_of_one_thread),
    ]

  settings = {"n": n, "width": width, "classes": 100, "tasks": count}
  return Case(
    "subsets", "leep", settings, size.repeats, _of_one_device(prepare)
  )


def _heads(size) -> Case:
  """Heads that are trained at once, against jitted steps one by one."""
  count, every, epochs = size.heads

  def prepare():
    (train, test), tasks = transfer.heads(count)
    config = transfer_lib.Config(curve=0, epochs=epochs)
    some = tasks[::every]
    one_by_one = "jitted steps one by one"
    return [
      Variant(
        "retrain_head",
        count,
        "heads",
        functools.partial(
          transfer_lib.retrain_head, train, test, tasks=tasks, config=config
        ),
        (one_by_one,),
      ),
      Variant(
        one_by_one,
        len(some),
        "heads",
        transfer.sequential_training(train, some, config),
      ),
    ]

  settings = {"heads": count, "epochs": epochs}
  return Case("heads", "heads", settings, size.repeats, _of_one_device(prepare))


def _fine_tuning(size, name, side, dtype, batch) -> Case:
  """Steps of fine-tuning, against the bare gradient."""
  count = max(size.tuned_images, 10 * batch)
  classes = 10

  def prepare():
    bare, ours, done = transfer.tuning(
      _source(name),
      random_networks.images(count, side),
      # Of all classes, whatever the number of images.
      np.arange(count) % classes,
      batch_size=batch,
      dtype=dtype,
    )
    return [
      Variant("fine_tune", done, "images", ours, ("jitted gradient",)),
      Variant("jitted gradient", done, "images", bare),
    ]

  settings = {"dtype": dtype, "batch": batch, "side": side, "images": count}
  return Case(
    "fine_tuning", name, settings, size.repeats, _of_one_device(prepare)
  )


def _devices(size, name, side, batch) -> list[Case]:
  """The same work on one device, and on all."""
  every = programs.device_count()
  counts = (1, every)
  names = [f"{count} device{'s' * (count > 1)}" for count in counts]

  def compare(runs: Sequence[Callable[[], object]], amounts, unit):
    return [
      Variant(names[0], amounts[0], unit, _on(1, runs[0])),
      Variant(names[1], amounts[1], unit, _on(every, runs[1]), (names[0],)),
    ]

  def forward():
    source = _source(name)
    calls = max(size.images // batch, 1)
    images = [random_networks.images(batch * count, side) for count in counts]
    runs = [
      _on(
        count, functools.partial(_compiled_step, source, part, dtype, calls)
      )()
      for count, part in zip(counts, images, strict=True)
    ]
    return compare(runs, [calls * len(part) for part in images], "images")

  def leep():
    probs, labels = subsets.probabilities(*size.leep)
    runs = [
      functools.partial(
        _leep_of, _on(count, functools.partial(_placed, probs))(), labels
      )
      for count in counts
    ]
    return compare(runs, [len(probs)] * 2, "examples")

  def heads():
    (train, test), tasks = transfer.heads(size.heads[0])
    config = transfer_lib.Config(curve=0, epochs=size.heads[2])
    run = functools.partial(
      transfer_lib.retrain_head, train, test, tasks=tasks, config=config
    )
    return compare([run, run], [len(tasks)] * 2, "heads")

  dtype, (n, width) = "bfloat16", size.leep
  return [
    Case("devices", what, settings, size.repeats, prepare)
    for what, settings, prepare in (
      (f"forward {name}", {"dtype": dtype, "batch": batch, "side": side},
       forward),
      ("leep", {"n": n, "width": width, "classes": 100}, leep),
      ("heads", {"heads": size.heads[0], "epochs": size.heads[2]}, heads),
    )
  ]  # fmt: skip
