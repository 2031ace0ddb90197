"""python -m leep_jax.sweep in many processes, and with rows in a store."""

import json
import sys
import threading
import uuid

import fsspec
import networks
import pytest
import running

from leep_jax import launching, sweep, sweep_rows, sweep_shares, validation
from leep_jax.engine import forward, programs
from leep_jax.reports import results

HERE = "test_sweep_on_many_nodes"
MODELS = f"--model={HERE}:one,{HERE}:two,{HERE}:three"
TASKS = "--tasks=subsets(count=3,classes=2..4)"
SCORES = "--scores=leep,nce"


def shifted(by):
  source = networks.make_source()
  source.state["conv"]["bias"][...] += by
  return source


def one():
  return shifted(0)


def two():
  return shifted(0.5)


def three():
  return shifted(1.0)


@pytest.fixture
def passes(monkeypatch):
  """Names of sources, one for each forward pass."""
  found = []
  compute = forward.compute_rest

  def counted(source, *arguments, **options):
    found.append(source.name)
    return compute(source, *arguments, **options)

  monkeypatch.setattr(forward, "compute_rest", counted)
  return found


def run(*arguments):
  with programs.limit(1):
    return sweep.main(["sweep", *arguments])


def keys(folder):
  return sorted(
    (row["model"], row["task"]) for row in results.read_folder(folder)
  )


def test_a_source_belongs_to_one_worker_as_a_whole():
  models = [f"m{i}" for i in range(11)]
  tasks = [f"t{i}" for i in range(40)]
  shares = [sweep_shares.Share(i, 4, models) for i in range(4)]
  for i, model in enumerate(models):
    owners = [
      [j for j, share in enumerate(shares) if share.has(model, task)]
      for task in tasks
    ]
    assert all(len(found) == 1 for found in owners)
    # Eight are shared two by two; three are divided by their tasks.
    assert len({j for (j,) in owners}) == (1 if i < 8 else 4)
    for j, share in enumerate(shares):
      assert share.may_have(model) == ([j] in owners)


def test_workers_without_a_cache_in_common_run_each_source_once(
  npz, tmp_path, passes
):
  for i in range(3):
    status = run(
      MODELS, npz, TASKS, SCORES, f"--output={tmp_path}/out",
      f"--worker={i}/3", f"--cache_dir={tmp_path}/cache{i}",
    )  # fmt: skip
    assert status == 0
  assert len(passes) == 3
  assert len(keys(f"{tmp_path}/out")) == len(set(keys(f"{tmp_path}/out"))) == 9


def test_rows_in_a_store(npz, tmp_path, capsys, monkeypatch):
  folder = f"memory://{uuid.uuid4().hex}/runs"
  monkeypatch.setenv("LEEP_JAX_CACHE", str(tmp_path))
  flags = [MODELS, npz, TASKS, SCORES, "--transfer=probe", f"--output={folder}"]
  assert run(*flags, "--worker=0/2") == 0
  assert run(*flags, "--worker=1/2") == 0
  assert len(keys(folder)) == 18
  assert (tmp_path / "sweep" / "cache").is_dir()
  assert run(*flags) == 0
  assert f"{folder}: 0 rows, 0 of them new" in capsys.readouterr().out
  assert run(f"--output={folder}", "--report") == 0
  assert f"written to {folder}/report" in capsys.readouterr().out
  files, root = fsspec.url_to_fs(folder)
  assert files.exists(f"{root}/report/correlations.csv")


def test_any_takes_what_no_other_has(npz, tmp_path, capsys):
  flags = [MODELS, npz, TASKS, SCORES, f"--output={tmp_path}", "--worker=any"]
  claims = sweep_shares.Claims(tmp_path / "claims")
  with claims.take(f"{HERE}:two") as mine:
    assert mine
    assert run(*flags) == 0
  out = capsys.readouterr().out
  assert f"{tmp_path}: 6 rows, 6 of them new" in out
  assert f"1 source with other workers: {HERE}:two" in out
  assert run(*flags) == 0
  assert f"{tmp_path}: 9 rows, 3 of them new" in capsys.readouterr().out
  assert len(set(keys(tmp_path))) == 9


def test_any_reads_what_others_have_just_written(npz, tmp_path, monkeypatch):
  """Of two workers that start together, the second finds the first's rows."""
  flags = [MODELS, npz, TASKS, SCORES, f"--output={tmp_path}", "--worker=any"]
  real, calls = sweep_rows.Sweep.run, []

  def run_after_another(self, model, source):
    calls.append(model)
    if len(calls) == 1:
      with claims_of_another(tmp_path, model):
        assert run(*flags) == 0
    real(self, model, source)

  def claims_of_another(folder, model):
    return sweep_shares.Claims(folder / "claims").take(model)

  monkeypatch.setattr(sweep_rows.Sweep, "run", run_after_another)
  assert run(*flags) == 0
  assert len(keys(tmp_path)) == len(set(keys(tmp_path))) == 9


@pytest.mark.exhaustive
def test_any_in_processes_that_are_killed(npz, tmp_path):
  flags = [MODELS, npz, TASKS, SCORES, "--transfer=probe", "--worker=any"]
  arguments = ["-m", "leep_jax.sweep", *flags, f"--output={tmp_path}"]
  first = [running.start(*arguments, XLA_FLAGS="") for _ in range(3)]
  running.wait_until(lambda: list(tmp_path.glob("rows-*")), first[0])
  for process in first[:2]:
    process.kill()
  for process in first:
    process.communicate()
  process = running.start(*arguments, XLA_FLAGS="")
  _, err = process.communicate()
  assert process.returncode == 0, err
  rows = results.read_folder(tmp_path)
  found = [(row["model"], row["task"], row["method"]) for row in rows]
  assert len(found) == len(set(found)) == 18


def test_jobs(npz, tmp_path, capsys, monkeypatch):
  monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
  monkeypatch.setenv("XLA_FLAGS", "")
  status = run(
    MODELS, npz, TASKS, SCORES, f"--output={tmp_path}", "--launch=local",
    "--workers=2", "--launch_options=timeout_min=5",
  )  # fmt: skip
  out, err = capsys.readouterr()
  assert (status, err) == (0, "")
  assert out.startswith("2 jobs on local: ")
  assert out.endswith(f"{tmp_path}: 9 rows, 9 of them new\n")
  assert len(set(keys(tmp_path))) == 9
  assert sorted(path.name for path in tmp_path.glob("rows-*")) == [
    "rows-0-of-2.jsonl", "rows-1-of-2.jsonl",
  ]  # fmt: skip


def test_jobs_that_fail(npz, tmp_path, capsys, monkeypatch):
  monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
  status = run(
    MODELS, "--dataset=npz:none.npz", SCORES, f"--output={tmp_path}",
    "--launch=local",
  )  # fmt: skip
  err = capsys.readouterr().err
  assert status == 2
  assert err.startswith("error: job ")
  assert "none.npz" in err
  assert err.count("\n") == 1


def test_a_preempted_job_starts_again():
  job = launching.Job(["-c", "import time; time.sleep(60)"])
  ended = []

  def run_it():
    try:
      job()
    except Exception as e:
      ended.append(e)

  thread = threading.Thread(target=run_it)
  thread.start()
  while not hasattr(job, "_process"):
    pass
  again = job.checkpoint()
  thread.join(10)
  assert len(ended) == 1
  assert again.function == launching.Job(job.arguments)


MISTAKES = [
  (["--worker=4/4"], "counted from 0 to 3"),
  (["--worker=all"], "must be like 0/4, or any"),
  (["--workers=4"], "--workers has no meaning without --launch"),
  (["--launch=local", "--workers=0"], "workers is 0"),
  (["--launch=slurm"], "cannot start jobs on slurm: "),
  (["--launch=local", "--launch_options=x"], "must be like timeout_min=600"),
  (["--launch=local", "--launch_options=slurm_x=1"], "Unknown argument 'x'"),
  (["--launch=local", "--launch_options=timeout_min=a"], "timeout_min"),
  (["--worker=any", "--output=memory://x"], "--worker=any needs locks"),
  (["--cache_dir=gs://x/y"], "cache_dir is gs://x/y, but must be local"),
  (["--output=gs://x/y"], "gcsfs"),
  (["--output=nowhere://x/y"], "Protocol not known: nowhere"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_one_line(npz, tmp_path, capsys, arguments, message):
  status = run(MODELS, npz, f"--output={tmp_path}", *arguments)
  out, err = capsys.readouterr()
  assert (status, out) == (2, "")
  assert err.startswith("error: ")
  assert message in err
  assert err.count("\n") == 1


def test_submitit_that_is_missing(npz, tmp_path, capsys, monkeypatch):
  monkeypatch.setitem(sys.modules, "submitit", None)
  assert run(MODELS, npz, f"--output={tmp_path}", "--launch=local") == 2
  assert "pip install 'leep_jax[slurm]'" in capsys.readouterr().err
  with pytest.raises(validation.InputError, match="submitit"):
    launching.submit([], cluster="local", folder=tmp_path, options={})


def test_rows_are_json(npz, tmp_path):
  """Files of a store, in the order of their names, are one file of rows."""
  folder = f"file://{tmp_path}/rows"
  cached = f"--cache_dir={tmp_path}/cache"
  assert run(MODELS, npz, TASKS, SCORES, f"--output={folder}", cached) == 0
  files = sorted((tmp_path / "rows").glob("*.jsonl"))
  lines = "".join(path.read_text() for path in files).splitlines()
  assert [json.loads(line) for line in lines] == results.read_folder(folder)
