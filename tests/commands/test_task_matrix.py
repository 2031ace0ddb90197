"""Transfer between attributes: the matrix, the data, and the command."""

import csv
import io
import json
import os
import pathlib
import re
import sys

import numpy as np
import pytest
import running
import tensorflow_datasets as tfds

import leep_jax
from leep_jax import data, task_matrix, validation

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOG2 = np.log(2)


def test_golden():
  # a: 0 0 1 1;  b: 0 1 1 1;  c: 1 1 1 1
  attributes = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1], [1, 1, 1]])
  # a to b: of the two with a = 0, one has b: 2 log 1/2; with a = 1, both.
  a_to_b = 2 * np.log(1 / 2) / 4
  # b to a: the one with b = 0 has a = 0; of three with b = 1, two have a = 1.
  b_to_a = (np.log(1 / 3) + 2 * np.log(2 / 3)) / 4
  hard_b = -(np.log(1 / 4) + 3 * np.log(3 / 4)) / 4
  expected = [
    [0, a_to_b, 0],
    [b_to_a, 0, 0],
    [-LOG2, -hard_b, 0],  # c tells nothing, and there is nothing to tell of c
  ]
  matrix = task_matrix.nce_matrix(attributes)
  np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-15)
  np.testing.assert_allclose(
    task_matrix.hardness(attributes), [LOG2, hard_b, 0], rtol=0, atol=1e-15
  )


@pytest.fixture
def table(rng):
  """Attributes from rare to frequent, some dependent, two constant."""
  table = (rng.random((257, 9)) < np.linspace(0, 1, 9)).astype(np.uint8)
  table[:, 3] = table[:, 4] ^ (rng.random(257) < 0.1)
  return table


def test_equals_nce_of_every_pair(table):
  matrix = task_matrix.nce_matrix(table)
  width = table.shape[1]
  expected = [
    [leep_jax.nce(table[:, a], table[:, b]) for b in range(width)]
    for a in range(width)
  ]
  assert matrix.dtype == np.float64
  np.testing.assert_allclose(matrix, expected, rtol=0, atol=1e-12)
  hard = [leep_jax.task_hardness(table[:, b]) for b in range(width)]
  np.testing.assert_allclose(
    task_matrix.hardness(table), hard, rtol=0, atol=1e-12
  )
  # The first attribute is constant: the trivial source task.
  np.testing.assert_allclose(
    task_matrix.hardness(table), -matrix[0], rtol=0, atol=1e-12
  )


def test_zeros_are_exact_and_have_no_sign(table):
  matrix = task_matrix.nce_matrix(table)
  hard = task_matrix.hardness(table)
  assert (np.diagonal(matrix) == 0).all()
  assert (matrix[:, [0, 8]] == 0).all()  # constant targets
  assert (matrix <= 0).all()
  assert not np.signbit(matrix[matrix == 0]).any()
  assert (hard[[0, 8]] == 0).all()
  assert not np.signbit(hard).any()


def test_order_copies_and_blocks_change_nothing(table, rng, monkeypatch):
  matrix, hard = task_matrix.nce_matrix(table), task_matrix.hardness(table)
  shuffled = rng.permutation(table)
  np.testing.assert_array_equal(task_matrix.nce_matrix(shuffled), matrix)
  np.testing.assert_array_equal(task_matrix.hardness(shuffled), hard)
  twice = np.concatenate([table, table])
  np.testing.assert_array_equal(task_matrix.nce_matrix(twice), matrix)
  np.testing.assert_array_equal(task_matrix.hardness(twice), hard)
  monkeypatch.setattr(task_matrix, "_BLOCK", 100)  # 11 examples at a time
  np.testing.assert_array_equal(task_matrix.nce_matrix(table), matrix)


def test_swapped_names_of_classes_change_nothing(table):
  np.testing.assert_allclose(
    task_matrix.nce_matrix(1 - table),
    task_matrix.nce_matrix(table),
    rtol=0,
    atol=1e-15,
  )


def test_counts_are_exact_beyond_float32():
  many = (1 << 24) + 3  # no float32
  both = task_matrix._co_occurrences(np.ones((many, 1), np.uint8))
  assert both.tolist() == [[many]]


@pytest.mark.parametrize(
  "kind", [bool, np.int8, np.float64, np.ndarray.tolist], ids=str
)
def test_kinds_of_arrays(table, kind):
  values = kind(table) if kind is np.ndarray.tolist else table.astype(kind)
  np.testing.assert_array_equal(
    task_matrix.nce_matrix(values), task_matrix.nce_matrix(table)
  )


@pytest.mark.parametrize(
  ("values", "message"),
  [
    (
      [[0, 1], [1, 2]],
      "attribute 1 of example 1 is 2, not 0 or 1: .*more than",
    ),
    ([[0, 1], [-1, 1]], "attribute 0 of example 1 is -1, .*attributes > 0"),
    ([[0.5]], "attribute 0 of example 0 is 0.5, not 0 or 1"),
    ([[1.0, np.nan]], "is nan, not 0 or 1: is it missing"),
    ([0, 1], r"have shape \(2,\), not \[n, A\]"),
    (np.zeros((0, 3)), "there are no examples"),
    (np.zeros((3, 0)), "there are no attributes"),
    ([["yes"]], "attributes are <U3, not 0 and 1"),
    ([[0], [0, 1]], "attributes cannot be made an array"),
  ],
)
def test_values_that_are_no_attributes(values, message):
  for function in (task_matrix.nce_matrix, task_matrix.hardness):
    with pytest.raises(leep_jax.InputError, match=message):
      function(values)


# Where attributes come from.


def load_csv(folder, text, **options):
  path = folder / "a.csv"
  path.write_bytes(text.encode())
  return data.load_attributes(f"csv:{path}", **options)


def test_csv(tmp_path):
  with pytest.warns(validation.InputNote, match="^2 columns .*: 'file', 'x'$"):
    values, names = load_csv(
      tmp_path, "file,smiling,x, male\n1.jpg,0,7,1\n2.jpg,1,0,1\n\n"
    )
  assert names == ("smiling", "male")
  assert values.dtype == np.uint8
  assert values.tolist() == [[0, 1], [1, 1]]
  values, names = load_csv(
    tmp_path, "a,b\r\n0,1\r\n1,1\r\n", attributes=["b", "a", "b"]
  )
  assert names == ("b", "a")
  assert values.tolist() == [[1, 0], [1, 1]]


def test_csv_spellings_of_yes_and_no(tmp_path):
  text = (
    "\N{ZERO WIDTH NO-BREAK SPACE},celeba,numbers,words,quoted\n"
    "0,-1,0.0,False,'0'\n1,1,1.0,TRUE, 1 \n0,1,1,true,0\n"
  ).replace("'", '"')
  values, names = load_csv(tmp_path, text)
  # The first column, as pandas writes an index, has no name.
  assert names == ("celeba", "numbers", "words", "quoted")
  assert values.tolist() == [[0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]]


@pytest.mark.parametrize(
  ("text", "chosen", "message"),
  [
    ("a,b\n0,1\n1\n", None, "line 3 of .* has 1 values, but there are 2 names"),
    ("a,b\n0,1\n\n0,1,1\n", None, "line 4 of .* has 3 values"),
    ("a,b\n", None, "no examples: no rows below line 1"),
    ("", None, "no examples"),
    (
      "a b\n0 1\n1 0\n",
      None,
      "no column of 0 and 1, .* of a b: are values written otherwise",
    ),
    ("a,b\n0,x.jpg\n", ["b"], "b in line 2 of .* is 'x.jpg', not 0 or 1"),
    ("a,b\n0,1\n0,\n", ["b"], "b in line 3 of .* is '', .*: is it missing"),
    ("a,b\n0,1\n0,2\n", ["b"], "is '2', not 0 or 1: has it more than two val"),
    ("a,b\n0,1\n0,0\n0,-1\n", ["b"], "b of .* is both 0 and -1"),
    (
      "smile,b\n0,1\n",
      ["smiles"],
      "unknown attribute 'smiles'; did you .*smil",
    ),
    ("a,b\n0,1\n", [], "attributes is empty"),
    ("0,1,0\n0,1,1\n", None, "two attributes '0': is the row of names missing"),
    ('a,b\n"0,1\n', None, "line 2 of .* has 1 values"),
  ],
)
def test_csv_mistakes(tmp_path, text, chosen, message):
  with pytest.raises(leep_jax.InputError, match=message):
    load_csv(tmp_path, text, attributes=chosen)


def test_files_that_are_not_csv(tmp_path):
  (tmp_path / "a.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
  with pytest.raises(leep_jax.InputError, match="cannot read .* as CSV"):
    data.load_attributes(f"csv:{tmp_path / 'a.csv'}")
  for name in ("csv", "npz"):
    with pytest.raises(leep_jax.InputError, match="no file at .*none"):
      data.load_attributes(f"{name}:{tmp_path / 'none'}")
  with pytest.raises(leep_jax.InputError, match="is a folder, not a file"):
    data.load_attributes(f"csv:{tmp_path}")


def load_npz(folder, arrays, **options):
  np.savez(folder / "a.npz", **arrays)
  return data.load_attributes(f"npz:{folder / 'a.npz'}", **options)


def test_npz(tmp_path):
  table = np.array([[0, 1, 1], [1, 1, 0]])
  values, names = load_npz(tmp_path, {"attributes": table})
  assert names == ("attribute_0", "attribute_1", "attribute_2")
  assert values.tolist() == table.tolist()
  arrays = {"attributes": table > 0, "attribute_names": ["x", "y", "z"]}
  values, names = load_npz(tmp_path, arrays, attributes=["z", "x"])
  assert names == ("z", "x")
  assert values.tolist() == [[1, 0], [0, 1]]
  # What is not asked for may be anything.
  arrays["attributes"] = np.array([[0, 5, 1], [1, 6, 0]])
  values, names = load_npz(tmp_path, arrays, attributes=["z", "x"])
  assert values.tolist() == [[1, 0], [0, 1]]


TABLE = np.array([[0, 1], [1, 1]])


@pytest.mark.parametrize(
  ("arrays", "options", "message"),
  [
    ({"x": TABLE}, {}, "no array 'attributes'; it has x"),
    ({"attributes": TABLE + 1}, {}, "attribute_1 of example 0 is 2, not 0"),
    ({"attributes": 2 * TABLE - 1}, {}, "attribute_0 of example 0 is -1"),
    ({"attributes": TABLE[0]}, {}, "not .n, A."),
    ({"attributes": TABLE[:0]}, {}, "there are no examples"),
    ({"attributes": TABLE[:, :0]}, {}, "there are no attributes"),
    (
      {"attributes": TABLE, "attribute_names": ["a"]}, {},
      "2 attributes, but 1 attribute_names",
    ),
    (
      {"attributes": TABLE, "attribute_names": ["a", "a"]}, {},
      "two attributes 'a'",
    ),
    (
      {"attributes": TABLE}, {"attributes": ["attribute_3"]},
      "unknown attribute 'attribute_3'; did you mean attribute_",
    ),
    ({"attributes": TABLE}, {"split": "test"}, "has no splits"),
    ({"attributes": TABLE}, {"data_dir": "."}, "data_dir is for TFDS"),
  ],
)  # fmt: skip
def test_npz_mistakes(tmp_path, arrays, options, message):
  with pytest.raises(leep_jax.InputError, match=message):
    load_npz(tmp_path, arrays, **options)


class Faces(tfds.core.GeneratorBasedBuilder):
  """Nested attributes, as CelebA has them, beside images that do not decode."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    image = tfds.features.Image(shape=(4, 4, 3))
    features = {
      "image": image,
      "views": tfds.features.Sequence({"image": image, "front": np.bool_}),
      "attributes": {"Male": np.bool_, "Smiling": np.bool_},
      "glasses": tfds.features.ClassLabel(names=["no", "yes"]),
      "mood": tfds.features.ClassLabel(num_classes=3),
      "old": np.int64,
      "age": np.int64,
      "height": np.float32,
    }
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict(features)
    )

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples(12)}

  def _generate_examples(self, count):
    for i in range(count):
      yield (
        i,
        {
          "image": io.BytesIO(b"no image"),
          "views": {"image": [io.BytesIO(b"none")], "front": [True]},
          "attributes": {"Male": i % 2 == 1, "Smiling": i % 3 == 0},
          "glasses": i // 6,
          "mood": i % 3,
          "old": i // 4 % 2,
          "age": i,
          "height": 1.0,
        },
      )


class Plain(tfds.core.GeneratorBasedBuilder):
  """No attributes."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    features = tfds.features.FeaturesDict({"age": np.int64})
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, dl_manager):
    return {"train": iter([(0, {"age": 3})])}

  def _generate_examples(self):
    raise NotImplementedError


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tfds")
  config = tfds.download.DownloadConfig(try_download_gcs=False)
  for builder in (Faces, Plain):
    builder(data_dir=folder, file_format="array_record").download_and_prepare(
      download_config=config
    )
  return str(folder)


def by_example(i):
  """What is stored of example i, whose age is i."""
  return [i % 2, int(i % 3 == 0), i // 6, i // 4 % 2]


def test_tfds(tfds_dir):
  values, names = data.load_attributes("faces", data_dir=tfds_dir)
  assert names == ("attributes/Male", "attributes/Smiling", "glasses")
  expected = sorted(by_example(i)[:3] for i in range(12))  # stored shuffled
  assert sorted(values.tolist()) == expected
  assert "tensorflow" not in sys.modules


def test_tfds_attributes_and_splits(tfds_dir):
  chosen = ["old", "attributes/Smiling"]
  values, names = data.load_attributes(
    "faces", attributes=chosen, data_dir=tfds_dir
  )
  assert names == tuple(chosen)
  expected = sorted([by_example(i)[3], by_example(i)[1]] for i in range(12))
  assert sorted(values.tolist()) == expected
  part, _ = data.load_attributes(
    "faces", attributes=chosen, data_dir=tfds_dir, split="train[3:8]"
  )
  assert part.tolist() == values[3:8].tolist()


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("plain", {}, "no boolean or two-class features; it has age"),
    ("faces", {"attributes": ["age"]}, "age of example . is .*, not 0 or 1"),
    ("faces", {"attributes": ["mood"]}, "mood of example . is 2, not 0 or 1"),
    ("faces", {"attributes": ["image"]}, r"image .* is Image\(.*, not one"),
    ("faces", {"attributes": ["height"]}, "height .* not one boolean"),
    ("faces", {"attributes": ["views"]}, "views .* is Sequence.*, not one"),
    ("faces", {"attributes": ["views/front"]}, "unknown attribute 'views/fron"),
    (
      "faces", {"attributes": ["Male"]},
      "unknown attribute 'Male'; .* attributes/Male$",
    ),
    ("faces", {"attributes": ["attributes"]}, "unknown attribute 'attributes'"),
    ("faces", {"split": "test"}, "cannot take split 'test' of faces"),
    ("facess", {}, "unknown data set 'facess'; did you mean .*faces"),
    ("digits", {}, "digits has one label an example, no attributes"),
    ("folder:x", {}, "folder:x has one label an example, no attributes"),
  ],
)  # fmt: skip
def test_tfds_mistakes(tfds_dir, name, options, message):
  with pytest.raises(leep_jax.InputError, match=message) as caught:
    data.load_attributes(name, data_dir=tfds_dir, **options)
  assert "\n" not in str(caught.value)


# The command.


LEFT_OUT = (
  "note: 1 column was left out of faces.csv, not of 0 and 1, or -1 and 1, in "
  "all rows: 'file'\n"
)


def run(capsys, *args):
  return running.run(capsys, task_matrix, *args)


@pytest.fixture
def faces(tmp_path, monkeypatch):
  """A file of attributes: b follows from a, c is constant."""
  monkeypatch.chdir(tmp_path)
  pathlib.Path("faces.csv").write_text(
    "file,a,b,c\n1,-1,-1,1\n2,-1,1,1\n3,1,1,1\n4,1,1,1\n"
  )
  return tmp_path


def test_table(capsys, faces):
  status, out, err = run(capsys, "--dataset=csv:faces.csv")
  assert (status, err) == (0, LEFT_OUT)
  # As in test_golden: -0.3466 of 0.5623, and -0.4774 of 0.6931.
  assert out.splitlines()[:6] == [
    "csv:faces.csv: 4 examples, 3 attributes. Hardest first.",
    "",
    "attribute  frequency  hardness  best source      nce  left",
    "a             0.5000    0.6931  b            -0.4774   69%",
    "b             0.7500    0.5623  a            -0.3466   62%",
    "c             1.0000    0.0000  -                  -     -",
  ]
  assert "0.6931 is the hardest there is" in out


def test_one_attribute_has_no_source(capsys, faces):
  status, out, _ = run(capsys, "--dataset=csv:faces.csv", "--attributes=b")
  assert status == 0
  assert "4 examples, 1 attribute. Hardest first." in out
  assert "b             0.7500    0.5623  -              -     -" in out


def test_output_is_the_matrix_with_the_hardness(capsys, faces):
  status, _, err = run(
    capsys, "--dataset=csv:faces.csv", "--output=m.csv", "--plot=m.png"
  )
  assert (status, err) == (0, LEFT_OUT)
  assert {p.name for p in faces.iterdir()} == {"faces.csv", "m.csv", "m.png"}
  with open("m.csv", newline="") as file:
    header, *rows = csv.reader(file)
  assert header == [
    "source (row) to target (column)",
    "a",
    "b",
    "c",
    "hardness",
  ]
  assert [row[0] for row in rows] == ["a", "b", "c"]
  values, _ = data.load_attributes("csv:faces.csv", attributes="abc")
  expected = np.column_stack(
    [task_matrix.nce_matrix(values), task_matrix.hardness(values)]
  )
  # Every digit is kept; rows are sources.
  np.testing.assert_array_equal(
    np.array([row[1:] for row in rows], float), expected
  )
  assert pathlib.Path("m.png").read_bytes().startswith(b"\x89PNG")


def test_output_as_json_lines(capsys, faces):
  status, _, _ = run(
    capsys, "--dataset=csv:faces.csv", "--output=m.jsonl", "--attributes= b, a"
  )
  assert status == 0
  lines = pathlib.Path("m.jsonl").read_text().splitlines()
  first, second = map(json.loads, lines)
  assert list(first)[1:] == ["b", "a", "hardness"]
  assert first["b"] == second["a"] == 0
  assert first["a"] == pytest.approx(-0.4774, abs=1e-4)


def test_tables_have_80_columns(rng):
  names = [f"attribute/{'x' * 40}{i}{'y' * 40}" for i in range(30)]
  values = rng.integers(0, 2, (50, 30), dtype=np.uint8)
  matrix = task_matrix.nce_matrix(values)
  lines = task_matrix.format_table(values, names, matrix).splitlines()
  assert len(lines) == 31
  assert max(map(len, lines)) == 80
  hard = [float(line.split()[2]) for line in lines[1:]]
  assert hard == sorted(hard, reverse=True)


def test_tfds_names_are_shown_without_their_folder(capsys, tfds_dir):
  status, out, err = run(
    capsys,
    "--dataset=faces",
    f"--data_dir={tfds_dir}",
    "--split=train[:6]",
    "--attributes=attributes/Male,attributes/Smiling",
  )
  assert (status, err) == (0, "")
  assert "faces train[:6]: 6 examples, 2 attributes." in out
  assert re.search(r"^Smiling .* Male ", out, re.MULTILINE)


@pytest.mark.parametrize(
  ("args", "message"),
  [
    ([], "--dataset is missing: csv:FILE, npz:FILE or a TFDS name"),
    (["--dataset="], "--dataset is missing"),
    (["--dataset=csv:none.csv"], "no file at none.csv"),
    (["--dataset=digits"], "digits has one label an example"),
    (["--dataset=digitz"], "unknown data set 'digitz'"),
    (["--attributes=x"], "unknown attribute 'x'; known: a, b, c, file"),
    (["--attributes=file"], "file in line 3 of faces.csv is '2', not 0 or 1"),
    (["--attributes=a,,b"], "--attributes has an empty name"),
    (["--attributes="], "--attributes has an empty name"),
    (["--split=test"], "has no splits, but split is 'test'"),
    (["--data_dir=."], "data_dir is for TFDS"),
    (["--output=m.xls"], "must end in .jsonl or .csv"),
    (["--output=none/m.csv"], "cannot write output none/m.csv"),
    (["--plot=m.gif"], "must end in .png, .pdf or .svg"),
    (["--plot=none/m.png"], "cannot write plot none/m.png"),
    (["--datasett=x"], "Unknown command line flag 'datasett'"),
    (["faces.csv"], "unexpected argument 'faces.csv'"),
    (
      ["--dataset=csv:hard.csv", "--output=m.csv"],
      "an attribute is called hardness",
    ),
  ],
)
def test_mistakes_are_one_line_and_status_2(capsys, faces, args, message):
  pathlib.Path("hard.csv").write_text("hardness,a\n0,1\n1,1\n")
  if args and not args[0].startswith("--dataset="):
    args = ["--dataset=csv:faces.csv", *args]
  status, out, err = run(capsys, *args)
  assert (status, out) == (2, "")
  assert message in err
  assert err.startswith("error: ")
  assert len(err.splitlines()) == 1
  assert {p.name for p in faces.iterdir()} == {"faces.csv", "hard.csv"}


def test_paths_are_checked_before_the_data(capsys, monkeypatch):
  monkeypatch.setattr(data, "load_attributes", None)
  for flag in ("--output=none/m.csv", "--plot=none/m.png"):
    status, _, err = run(capsys, "--dataset=x", flag)
    assert status == 2
    assert "cannot write" in err


def test_interrupted(capsys, monkeypatch):
  def load(*args, **options):
    raise KeyboardInterrupt

  monkeypatch.setattr(data, "load_attributes", load)
  assert run(capsys, "--dataset=x") == (130, "", "\ninterrupted\n")


def test_a_reader_that_leaves_early_loses_no_matrix(faces):
  with running.start(
    "-m", "leep_jax.task_matrix", "--dataset=csv:faces.csv", "--output=m.csv",
    cwd=os.getcwd(),
  ) as process:  # fmt: skip
    process.stdout.close()
    assert process.wait() == 0
    assert process.stderr.read() == LEFT_OUT
  assert len(pathlib.Path("m.csv").read_text().splitlines()) == 4


def test_a_missing_row_of_names_is_refused(tmp_path):
  (tmp_path / "a.csv").write_text("0,1\n1,0\n1,1\n0,0\n")
  with pytest.raises(leep_jax.InputError, match="row of names missing"):
    data.load_attributes(f"csv:{tmp_path / 'a.csv'}")
