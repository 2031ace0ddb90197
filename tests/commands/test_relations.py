"""`leep_jax.relations`: what it prints, its files, and mistakes."""

import csv
import json

import numpy as np
import pytest
import running

from leep_jax.relations import __main__ as command, p2l

PROBE = "--model=fashion_mnist_resnet8"


@pytest.fixture
def sets(tmp_path, rng):
  """Names of two npz files of images."""
  names = []
  for name in ("one", "two"):
    images = rng.integers(0, 256, (24, 8, 8, 1)).astype(np.uint8)
    np.savez(tmp_path / f"{name}.npz", images=images, labels=np.arange(24) % 3)
    names.append(f"npz:{tmp_path / name}.npz")
  return ",".join(names)


def read(path):
  with open(path, newline="") as file:
    return list(csv.reader(file))


def test_distances_of_data_sets(sets, tmp_path, capsys):
  matrix, plot = tmp_path / "m.csv", tmp_path / "m.svg"
  status, out, err = running.run(
    capsys, command, PROBE, f"--dataset={sets}", "--fisher=monte_carlo",
    f"--matrix={matrix}", f"--plot={plot}",
  )  # fmt: skip
  assert (status, err) == (0, "")
  assert "Task2Vec, fashion_mnist_resnet8, monte_carlo." in out
  assert max(map(len, out.splitlines())) <= 80
  (head, first, second) = read(matrix)
  assert head[0] == "source (row) to target (column)"
  assert head[1:] == [first[0], second[0]]
  values = np.array([first[1:], second[1:]], float)
  assert (np.diagonal(values) == 0).all()
  assert values[0, 1] == values[1, 0] > 0
  assert f"{values[0, 1]:.3f}" in out
  assert plot.exists()


def test_distances_of_tasks_are_lower_for_complex_sources(tmp_path, capsys):
  arguments = [PROBE, "--limit=200", "--fisher=monte_carlo",
               "--tasks=small(count=2,classes=2,examples=9)"]  # fmt: skip
  found = []
  for alpha in (0, 0.15):
    matrix = tmp_path / f"{alpha}.jsonl"
    status, out, _ = running.run(
      capsys, command, *arguments, f"--alpha={alpha}", f"--matrix={matrix}"
    )
    assert status == 0
    rows = [json.loads(line) for line in matrix.read_text().splitlines()]
    found.append([list(row.values())[1:] for row in rows])
  said = " ".join(out.split())
  assert "0.15 times a source's complexity is subtracted" in said
  assert rows[0]["source (row) to target (column)"].startswith("digits small(")
  difference = np.array(found[0]) - np.array(found[1])
  assert (difference > 0).all()
  np.testing.assert_allclose(difference[:, 0], difference[:, 1])


def test_p2l_of_data_sets(sets, tmp_path, capsys):
  matrix = tmp_path / "m.csv"
  arguments = [PROBE, "--kind=p2l", f"--dataset={sets}", f"--matrix={matrix}"]
  assert running.main(command, *arguments) == 0
  plain = np.array([row[1:] for row in read(matrix)[1:]], float)
  np.testing.assert_allclose(np.diagonal(plain), np.log(24))
  sized = [*arguments, "--limit=20", "--sizes=1000,50", "--alpha=0"]
  assert running.main(command, *sized) == 0
  found = np.array([row[1:] for row in read(matrix)[1:]], float)
  np.testing.assert_allclose(found, np.log([[1000] * 2, [50] * 2]))
  assert "higher transfers better" in " ".join(capsys.readouterr().out.split())


def test_infinite_divergence_is_an_empty_cell(
  sets, tmp_path, monkeypatch, capsys
):
  means = iter([np.array([1.0, 0.0]), np.array([1.0, 1.0])])
  monkeypatch.setattr(p2l, "mean_features", lambda outputs: next(means))
  matrix, plot = tmp_path / "m.csv", tmp_path / "m.svg"
  status, out, _ = running.run(
    capsys, command, PROBE, "--kind=p2l", f"--dataset={sets}",
    f"--matrix={matrix}", f"--plot={plot}",
  )  # fmt: skip
  assert status == 0
  assert "-inf" in out
  assert read(matrix)[1][2] == ""


def rows_of(path, sources):
  lines = [
    json.dumps({
      "model": model, "dataset": dataset, "task": "all", "seed": seed,
      "method": "probe", "accuracy": (seed + 1) * (i + 1) / 20,
    })
    for dataset, models in sources.items()
    for i, model in enumerate(models)
    for seed in range(3)
  ]  # fmt: skip
  path.write_text("\n".join(lines) + "\n")


def test_affinity_from_a_file_and_a_folder(tmp_path, capsys):
  rows = tmp_path / "rows-a.jsonl"
  rows_of(rows, {"d": ["x", "y"], "e": ["y", "z"]})
  matrix, plot = tmp_path / "m.csv", tmp_path / "m.png"
  printed = []
  for where in (rows, tmp_path):
    status, out, err = running.run(
      capsys, command, "--kind=affinity", f"--results={where}",
      f"--matrix={matrix}", f"--plot={plot}",
    )  # fmt: skip
    assert (status, err) == (0, "")
    printed.append(out)
  assert printed[0] == printed[1]
  assert "affinity by accuracy, 3 trials of each source" in printed[0]
  assert [row[0] for row in read(matrix)[1:]] == ["x", "y", "z"]
  assert read(matrix)[0][1:] == ["d", "e"]
  assert float(read(matrix)[2][1]) == pytest.approx(0.999)
  assert read(matrix)[1][2] == read(matrix)[3][1] == ""


@pytest.mark.parametrize(
  ("arguments", "text"),
  [
    ([], "needs one network that all data sets share"),
    (["--kind=p2l"], "needs one network that all data sets share"),
    (["--model=cifar10_resnet14,cifar100_resnet14"], "takes one source, not 2"),
    (["--kind=affinity"], "needs --results"),
    (["--kind=affinity", "--results=no.jsonl"], "cannot read no.jsonl"),
    (["--kind=affinity", PROBE], "--model is of --kind=task2vec or p2l"),
    (["--kind=affinity", "--results=a", "--limit=5"], "--limit has no meaning"),
    ([PROBE, "--limit=20"], "digits alone has no relation"),
    ([PROBE, "--results=a"], "--results is of --kind=affinity, not task2vec"),
    ([PROBE, "--matrix=a.txt"], "matrix a.txt must end in .csv or .jsonl"),
    ([PROBE, "--plot=a.jpg"], "must end in"),
    ([PROBE, "--tasks=tiny"], "unknown sampler 'tiny'"),
    ([PROBE, "--kind=p2l", "--limit=9"], "with --limit, p2l needs"),
    ([PROBE, "--kind=p2l", "--sizes=1,2"], "--sizes has 2 numbers for 1 data"),
    ([PROBE, "--kind=p2l", "--sizes=x"], "--sizes=x must be integers"),
    (
      [PROBE, "--kind=p2l", "--sizes=0"],
      "size is 0, but must be an integer from 1",
    ),
  ],
)
def test_mistakes_are_one_line(arguments, text, capsys):
  status, out, err = running.run(capsys, command, *arguments)
  assert (status, out) == (2, "")
  assert err.startswith("error: ")
  assert err.count("\n") == 1
  assert text in err
