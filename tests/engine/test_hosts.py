"""Several processes, one job: the same numbers as one, and nobody hangs.

Two processes on this machine, with four simulated devices each.
"""

import contextlib
import json
import pathlib
import socket
import time

import numpy as np
import pytest
import running

from leep_jax import data, score, scores, validation
from leep_jax.engine import forward, hosts, programs, sharing, statistics
from leep_jax.sources import catalog

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = "fashion_mnist_resnet8"
LIMIT = 301  # which two hosts do not share evenly
DEFAULT = ("leep", "nce", "eep_accuracy", "h_score")
# Others that are sums, and two that bring the features of all together.
OTHERS = ("gbc", "parc", "trans_rate")
PROBES = (
  "probe_accuracy", "probe_log_loss", "probe_balanced_accuracy",
  "knn_accuracy", "class_mean_accuracy",
)  # fmt: skip
ENVIRONMENT = {
  "JAX_PLATFORMS": "cpu",
  "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
}
START = """
import sys
from leep_jax.engine import hosts, programs
hosts.start(coordinator=sys.argv[1], processes=2, process=int(sys.argv[2]))
"""


@contextlib.contextmanager
def pair(*commands):
  """Starts a Python process for each list of arguments; none outlives this."""
  processes = []
  try:
    for command in commands:
      processes.append(running.start(*command, **ENVIRONMENT))
    yield processes
  finally:
    for process in processes:
      process.kill()
      process.communicate()


def run_pair(*commands):
  """Runs them to the end: status, output and errors of each."""
  with pair(*commands) as processes:
    texts = [process.communicate() for process in processes]
    return [(p.returncode, *t) for p, t in zip(processes, texts, strict=True)]


def free_port():
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    return s.getsockname()[1]


def main(*flags):
  return running.main(score, *flags)


def job(code):
  """Two processes that join and run some code, with arguments after that."""
  where = f"127.0.0.1:{free_port()}"
  return [["-c", START + code, where, str(i)] for i in range(2)]


def command(*flags):
  """`python -m leep_jax.score` as two processes."""
  port = free_port()
  return [
    [
      "-m", "leep_jax.score", f"--coordinator=127.0.0.1:{port}",
      "--processes=2", f"--process={i}", *flags,
    ]
    for i in range(2)
  ]  # fmt: skip


WORKER = """
import json
import numpy as np
from leep_jax import data, scores, validation
from leep_jax.engine import forward, outputs as lib, statistics
from leep_jax.sources import catalog

source, limit, names, probes, folder = json.loads(sys.argv[3])
messages = {}

def refused(key, work):
  try:
    work()
  except validation.InputError as e:
    messages[key] = str(e)

assert (hosts.count(), programs.all_device_count()) == (2, 8)
me = hosts.index()
parts = hosts.gather(np.full((3 * me, 2), me + 0.5))
assert [p.tolist() for p in parts] == [[], [[1.5, 1.5]] * 3]

outputs = forward.compute_outputs(
  catalog.load_source(source),
  data.load_dataset("digits", limit=limit),
  over_hosts=True,
)
grouped = outputs.grouped(7)
(own,) = {len(outputs.store.array(key)) for key in outputs.store.keys()}
assert own == outputs.share.stop - outputs.share.start
estimates = scores.estimate_scores(outputs, names=names, groups=7)
probes = scores.estimate_scores(outputs, names=probes, groups=7)
np.savez(
  f"{folder}/{me}.npz",
  own=own,
  labels=outputs.labels,
  probs=outputs.probs,
  joint=outputs.sum(statistics.joint),
  joints=grouped.group_sums(statistics.joint),
  values=[e.value for e in estimates.values()],
  deleted=[e.deleted for e in estimates.values()],
  probes=[[e.value, e.standard_error] for e in probes.values()],
)

hosts._ROWS_BYTES = 1000
outputs._memo.clear()  # what is known would not be asked for again
why = {}
scores.estimate_scores(
  outputs, names=names, groups=7, on_undefined=why.__setitem__
)
messages.update(why)
refused("select", lambda: outputs.select([0]))
refused("save", lambda: outputs.save(folder + "/outputs"))
refused("groups", lambda: outputs.grouped(200))
for key, limit in (("few", 1), ("differ", 5 + me)):
  some = data.load_dataset("digits", limit=limit)
  refused(key, lambda: forward.compute_outputs(
    catalog.load_source(source), some, over_hosts=True))
refused("loader", lambda: forward.compute_outputs(
  catalog.load_source(source), [], over_hosts=True))

def fail():
  if me == 1:
    raise OSError("disk on fire")

refused("agree", lambda: hosts.agree(fail))
refused("first", lambda: hosts.on_first_host(lambda: [][0]))
with open(f"{folder}/{me}.json", "w") as file:
  json.dump(messages, file)
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
  """What each of two processes of a job found: arrays, and messages."""
  folder = tmp_path_factory.mktemp("two")
  options = json.dumps(
    [SOURCE, LIMIT, [*DEFAULT, *OTHERS], PROBES, str(folder)]
  )
  for status, _, errors in run_pair(*([*c, options] for c in job(WORKER))):
    assert status == 0, errors
  return [
    (
      np.load(folder / f"{i}.npz"),
      json.loads((folder / f"{i}.json").read_text()),
    )
    for i in range(2)
  ]


@pytest.fixture(scope="module")
def one():
  """The same outputs in this process alone."""
  return forward.compute_outputs(
    catalog.load_source(SOURCE), data.load_dataset("digits", limit=LIMIT)
  )


def test_each_host_has_a_share_and_knows_all_labels(one, two):
  assert [int(arrays["own"]) for arrays, _ in two] == [150, 151]
  for arrays, _ in two:
    np.testing.assert_array_equal(arrays["labels"], one.labels)
    np.testing.assert_allclose(arrays["probs"], one.probs, atol=1e-6)


def test_joints_are_those_of_one_process(one, two):
  joints = one.grouped(7).group_sums(statistics.joint)
  for arrays, _ in two:
    np.testing.assert_allclose(
      arrays["joint"] / LIMIT, joints.sum(axis=0) / LIMIT, atol=1e-6
    )
    np.testing.assert_allclose(
      arrays["joints"] / LIMIT, joints / LIMIT, atol=1e-6
    )


def test_scores_without_each_group_are_those_of_one_process(one, two):
  estimates = scores.estimate_scores(one, names=DEFAULT + OTHERS, groups=7)
  for arrays, _ in two:
    for i, (name, estimate) in enumerate(estimates.items()):
      value, deleted = arrays["values"][i], arrays["deleted"][i]
      assert value == pytest.approx(estimate.value, rel=1e-6), name
      np.testing.assert_allclose(deleted, estimate.deleted, rtol=1e-6)


def test_probes_are_those_of_one_process(one, two):
  estimates = scores.estimate_scores(one, names=PROBES)
  expected = [[e.value, e.standard_error] for e in estimates.values()]
  for arrays, _ in two:
    np.testing.assert_allclose(arrays["probes"], expected, rtol=1e-5)


def test_hosts_agree_to_the_last_bit(two):
  first, second = (arrays for arrays, _ in two)
  for key in ("joint", "joints", "values", "deleted", "probes"):
    np.testing.assert_array_equal(first[key], second[key])


@pytest.mark.parametrize(
  ("key", "message"),
  [
    ("parc", "it needs the features of all examples in one place"),
    ("trans_rate", "they are on several hosts: score it on one host"),
    ("select", "cannot be selected from where hosts keep parts of it"),
    ("save", "cannot be saved where hosts keep parts of it: run on one host"),
    ("groups", "301 examples are too few for 200 groups on each of 2 hosts"),
    ("few", "1 examples are too few for 2 hosts"),
    ("differ", "hosts see from 5 to 6 examples of digits"),
    ("loader", "hosts can share a Dataset"),
    ("agree", "host 1: OSError: disk on fire"),
    ("first", "host 0: IndexError: list index out of range"),
  ],
)
def test_what_hosts_refuse_they_refuse_together(two, key, message):
  for _, messages in two:
    assert message in messages[key]
  # Other scores are none the worse for it.
  assert not {"leep", "nce", "eep_accuracy", "h_score", "gbc"} & set(messages)


@pytest.mark.exhaustive
def test_command_prints_and_writes_once(one, tmp_path):
  flags = (f"--model={SOURCE}", f"--limit={LIMIT}")
  commands = [
    [*c, f"--output={tmp_path}/{i}.jsonl"]
    for i, c in enumerate(command(*flags))
  ]
  first, second = run_pair(*commands)
  assert (first[0], second[0]) == (0, 0), first[2] + second[2]
  assert "Best first by probe_accuracy" in first[1]
  assert "8 cpu devices of 2 processes" in first[1]
  assert SOURCE not in second[1]
  assert {p.name for p in tmp_path.iterdir()} == {"0.jsonl"}
  (row,) = map(json.loads, (tmp_path / "0.jsonl").read_text().splitlines())
  assert (row["num_examples"], row["devices"]) == (LIMIT, 8)
  names = ("probe_accuracy", "leep", "nce", "regularized_h_score")
  estimates = scores.estimate_scores(one, names=names)
  for name, estimate in estimates.items():
    assert row[name] == pytest.approx(estimate.value, rel=1e-6)
    error = estimate.standard_error
    assert row[f"{name}_se"] == pytest.approx(error, rel=1e-5)


def test_a_mistake_on_one_host_ends_all_with_one_line(tmp_path):
  first, second = command()
  second.append(f"--dataset=npz:{tmp_path}/none.npz")
  for status, output, errors in run_pair(first, second):
    assert status == 2, errors
    assert f"error: host 1: no file at {tmp_path}/none.npz" in errors
    assert "Traceback" not in errors
    assert "Best first" not in output


def test_a_host_that_dies_stops_the_others_within_a_minute(tmp_path):
  # In one job the first host is killed, in the other the second, while the
  # survivor runs the command. Here they are patient for 10 s instead of 30; how
  # long it takes depends on the machine, so that only the patience is checked.
  assert hosts._SILENCE <= 30
  wait = "print('joined', flush=True)\nimport time\ntime.sleep(600)"
  start = START.replace("hosts.start", "hosts._SILENCE = 10\nhosts.start")
  run = f"{start.rpartition('hosts.start')[0]}from leep_jax import score\n"
  run += "sys.exit(score.main(sys.argv))"
  commands = []
  for victim in range(2):
    survivor = command(f"--output={tmp_path}/rows.jsonl")[1 - victim]
    address = survivor[2].removeprefix("--coordinator=")
    commands += [
      ["-c", start + wait, address, str(victim)],
      ["-c", run, *survivor[2:]],
    ]
  with pair(*commands) as processes:
    for victim in processes[::2]:
      assert victim.stdout.readline() == "joined\n"
    time.sleep(3)  # the survivors wait for the dead, or soon will
    for victim in processes[::2]:
      victim.kill()
    for survivor in processes[1::2]:
      survivor.communicate()
      assert survivor.returncode != 0
  assert not list(tmp_path.iterdir())


def test_a_host_is_lost_after_the_same_silence_on_all(monkeypatch):
  stated = {}
  monkeypatch.setattr(
    "jax.distributed.initialize", lambda *_, **options: stated.update(options)
  )
  monkeypatch.setattr("jax.config.update", lambda *_: None)
  hosts.start(coordinator="a:1", processes=2, process=0)
  assert stated == {
    "heartbeat_timeout_seconds": hosts._SILENCE,
    "shutdown_timeout_seconds": hosts._SILENCE,
  }


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"coordinator": "a:1"}, "needs all of coordinator, processes and process"),
    ({"processes": 2, "process": 0}, "needs all of coordinator"),
    ({"coordinator": "a:1", "processes": 0, "process": 0}, "processes is 0"),
    ({"coordinator": "a:1", "processes": 2, "process": 2}, "from 0 to 1"),
    ({"coordinator": "a", "processes": 2, "process": 0}, "HOST:PORT"),
    ({}, "found no job of several processes"),
  ],
)
def test_start_refuses(arguments, message, monkeypatch):
  def found_nothing(*_, **__):
    raise ValueError("coordinator_address should be defined.")

  monkeypatch.setattr("jax.distributed.initialize", found_nothing)
  with pytest.raises(validation.InputError, match=message):
    hosts.start(**arguments)


def test_alone_nothing_changes(one):
  hosts.start(coordinator="localhost:1", processes=1, process=0)
  assert (hosts.count(), hosts.index()) == (1, 0)
  assert hosts.share(7) == slice(0, 7)
  assert sharing.join(one) is one
  assert programs.all_device_count() == programs.device_count()
  with pytest.raises(OSError, match="disk on fire"):
    hosts.on_first_host(_fail)
  outputs = forward.compute_outputs(
    catalog.load_source(SOURCE),
    data.load_dataset("digits", limit=20),
    over_hosts=True,
  )
  assert not outputs.over_hosts


def _fail():
  raise OSError("disk on fire")


@pytest.fixture
def three(monkeypatch):
  """As if there were three hosts, all of which hold the same."""
  monkeypatch.setattr(hosts, "count", lambda: 3)
  monkeypatch.setattr(
    "jax.experimental.multihost_utils.process_allgather",
    lambda x: np.stack([x] * 3),
  )


@pytest.mark.parametrize("size", [24, 240, 1 << 20])  # bytes in one collective
def test_much_is_exchanged_in_pieces(size, three, monkeypatch, rng):
  monkeypatch.setattr(hosts, "_GATHERED_BYTES", size)
  sums = {
    "a": rng.normal(size=(5, 3)),
    "b": (rng.normal(size=()), rng.random(7)),
  }
  added = hosts.add(sums)
  np.testing.assert_allclose(added["a"], 3 * sums["a"], rtol=1e-15)
  np.testing.assert_allclose(added["b"][0], 3 * sums["b"][0], rtol=1e-15)
  np.testing.assert_allclose(added["b"][1], 3 * sums["b"][1], rtol=1e-15)
  labels = np.arange(11, dtype=np.int32)
  for part in hosts.gather(labels):
    np.testing.assert_array_equal(part, labels)


def test_what_all_hosts_fail_in_names_none_of_them(three):
  with pytest.raises(validation.InputError, match="^OSError: disk on fire$"):
    hosts.agree(_fail)


def test_a_collective_that_fails_is_a_lost_host(three, monkeypatch):
  def reset(_):
    raise RuntimeError("connection reset by peer")

  monkeypatch.setattr(
    "jax.experimental.multihost_utils.process_allgather", reset
  )
  with pytest.raises(hosts.LostHost, match=r"3 hosts .*reset by peer"):
    hosts.agree(lambda: 1)


@pytest.mark.parametrize("lost", [True, False])
def test_rows_before_a_lost_host_are_written(
  lost, one, tmp_path, capsys, monkeypatch
):
  def compute(source, *_, **__):
    if source.name != SOURCE:
      monkeypatch.setattr(hosts, "count", lambda: 2)
      raise hosts.LostHost("gone") if lost else MemoryError("too much")
    return one

  monkeypatch.setattr(forward, "compute_outputs", compute)
  status = main(
    f"--model={SOURCE},cifar10_resnet14",
    "--scores=nce",
    f"--output={tmp_path}/rows.jsonl",
  )
  assert status == 1
  (row,) = map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())
  assert row["model"] == SOURCE
  message = "gone" if lost else "cifar10_resnet14 failed: MemoryError: too much"
  assert capsys.readouterr().err == f"error: {message}\n"


def test_predictions_are_no_work_for_several(capsys):
  assert main("--distributed", "--predictions=a.npz") == 2
  message = "--distributed has no meaning with --predictions"
  assert message in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["coordinator=a:1", "processes=2"])
def test_flags_go_together(flag, capsys):
  assert main(f"--{flag}") == 2
  assert "--coordinator, --processes and --process" in capsys.readouterr().err
