"""No input shows a traceback: damaged files, links and names of all kinds."""

import contextlib
import io
import os
import zipfile

import marks
import numpy as np
import PIL.Image
import pytest

from leep_jax import score, sweep, task_matrix
from leep_jax.transfer import __main__ as transfer

NAMES = (
  "cat", "dog", "two words", "-dash", "--split=x", "caf\xe9", "new\nline",
  "tab\there", b"\xff\xfe".decode("utf-8", "surrogateescape"), "x" * 240,
  "1.jpg", "a'b\"c", "%s{0}[1]", "~", "*", "train", "test", "\u202eabc", "...",
  "a:b", ",", "#", "CON", " ", "\x1b[31mred", "$HOME",
)  # fmt: skip


def run(command, *arguments):
  """Runs a command in this process; returns its status and what it says."""
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    status = command.main(["command", *arguments])
  return status, out.getvalue(), err.getvalue()


def check(command, *arguments):
  """Runs a command, and checks that it ends as it should."""
  status, out, err = run(command, *arguments)
  lines = err.split("\n")
  assert lines.pop() == ""
  for line in lines:
    assert line.startswith(("error: ", "note: ")), err
    assert len(line) <= 607, line
    assert line.isprintable(), line
  errors = [line for line in lines if line.startswith("error: ")]
  assert status == (2 if errors else 0), err
  assert len(errors) <= 1, err
  assert out or errors
  return status, err


def score_of(dataset, *arguments):
  return check(
    score, f"--dataset={dataset}", "--model=fashion_mnist_resnet8",
    "--scores=leep", "--groups=1", "--limit=8", *arguments,
  )  # fmt: skip


def content(rng, format=None):
  """The bytes of a small image."""
  written = io.BytesIO()
  format = format or rng.choice(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
  values = rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)
  PIL.Image.fromarray(values).save(written, format)
  return written.getvalue()


def cut(path, rng):
  data = path.read_bytes()
  path.write_bytes(data[: rng.integers(0, len(data) - 20)])


def flip(path, rng):
  data = bytearray(path.read_bytes())
  for place in rng.integers(0, len(data), 20):
    data[place] = rng.integers(0, 256)
  path.write_bytes(bytes(data))


def again(path, make):
  path.unlink()
  make(path)


DAMAGE = {
  "cut": cut,
  "flip": flip,
  "empty": lambda path, rng: path.write_bytes(b""),
  "zeros": lambda path, rng: path.write_bytes(bytes(300)),
  "noise": lambda path, rng: path.write_bytes(rng.bytes(300)),
  "html": lambda path, rng: path.write_bytes(b"<html>not found</html>"),
  "folder": lambda path, rng: again(path, os.mkdir),
  "fifo": lambda path, rng: again(path, os.mkfifo),
  "broken link": lambda path, rng: again(
    path, lambda path: path.symlink_to("/nowhere/at/all")
  ),
  "circle": lambda path, rng: again(path, lambda path: path.symlink_to(path)),
  "up": lambda path, rng: again(path, lambda path: path.symlink_to("../..")),
  "device": lambda path, rng: again(
    path, lambda path: path.symlink_to("/dev/zero")
  ),
  "no suffix": lambda path, rng: path.rename(path.with_suffix("")),
  "other suffix": lambda path, rng: path.rename(path.with_suffix(".txt")),
  "gone": lambda path, rng: path.unlink(),
}


def damaged_folder(root, rng):
  """Classes of images, or splits of them, with a few files damaged."""
  splits = [""]
  if rng.random() < 0.2:
    splits = list(rng.choice(["train", "test", "Training", "a"], 2, False))
  names = rng.choice(np.asarray(NAMES, object), rng.integers(1, 4), False)
  for split in splits:
    for name in names:
      folder = root / split / name
      folder.mkdir(parents=True)
      for i in range(3):
        (folder / f"{i}.png").write_bytes(content(rng))
  for kind in rng.choice(list(DAMAGE), rng.integers(0, 4)):
    files = [p for p in sorted(root.rglob("*.png")) if p.is_file()]
    if files and not files[0].is_symlink():
      DAMAGE[kind](files[rng.integers(len(files))], rng)
  if rng.random() < 0.3:  # a file among the folders of classes
    (root / str(rng.choice(NAMES[:8])).upper()).write_bytes(content(rng))


@pytest.mark.parametrize("seed", [*range(5), *marks.exhaustive(*range(5, 25))])
def test_folders(tmp_path, seed):
  rng = np.random.default_rng(seed)
  damaged_folder(tmp_path, rng)
  score_of(f"folder:{tmp_path}")
  status, err = score_of(f"folder:{tmp_path}", "--skip_bad_images")
  if "--split=" in err and status != 0:
    where = err.split("--split=")[1].split("; ")[0].split(". For")[0].strip()
    status, err = score_of(
      f"folder:{tmp_path}", f"--split={where}", "--skip_bad_images"
    )
    assert "--split=" not in err, err  # the advice was right


@pytest.mark.parametrize("kind", DAMAGE)
def test_each_damage_of_a_folder(tmp_path, kind):
  rng = np.random.default_rng(0)
  for name in ("a", "b"):
    (tmp_path / name).mkdir()
    for i in range(4):
      (tmp_path / name / f"{i}.png").write_bytes(content(rng, "PNG"))
  DAMAGE[kind](tmp_path / "a" / "1.png", rng)
  status, _ = score_of(f"folder:{tmp_path}")
  good = ("folder", "up", "no suffix", "other suffix", "gone")
  assert status == (0 if kind in good else 2)
  assert score_of(f"folder:{tmp_path}", "--skip_bad_images")[0] == 0


def arrays(rng):
  """Arrays of an npz file, some of them of a wrong kind."""
  n = int(rng.integers(0, 12))
  shapes = (
    (n, 8, 8, 3),
    (n, 8, 8),
    (n, 3, 8, 8),
    (n, 8, 8, 4),
    (n,),
    (),
    (n, 5),
  )
  types = (
    np.uint8,
    np.uint16,
    np.float32,
    np.float16,
    int,
    bool,
    "U3",
    "M8[s]",
  )

  def pick(choices, good):
    return choices[0 if rng.random() < good else rng.integers(len(choices))]

  def fill(shape, dtype, high):
    return rng.integers(0, high, shape).astype(dtype)

  images = fill(pick(shapes, 0.6), pick(types, 0.6), 256)
  labels = fill(
    pick(((n,), (n, 1), (n, 4), (1, n), (n + 1,), (), (n, 2, 2)), 0.6),
    pick((np.int64, np.uint8, np.float32, "U3", "S3", bool, object, "c8"), 0.6),
    pick((3, 1, 300), 0.7),
  )
  if labels.dtype.kind in "if" and rng.random() < 0.3 and labels.ndim:
    labels[labels == 1] = rng.choice([-1, -100, 255])
  names = [
    ("images", "labels"), ("x_train", "y_train"), ("image", "wrong"),
    ("test_images", "test_labels"), ("data", "target"),
  ]  # fmt: skip
  names = names[rng.integers(len(names))]
  found = dict(zip(names, (images, labels), strict=True))
  if rng.random() < 0.3:
    found["attributes"] = fill((n, 3), int, 2)
  if rng.random() < 0.2:
    found[str(rng.choice(NAMES[:8])).replace("\n", "")] = np.zeros(3)
  return found


@pytest.mark.parametrize("seed", [*range(8), *marks.exhaustive(*range(8, 40))])
def test_npz_files(tmp_path, seed):
  rng = np.random.default_rng(seed)
  path = tmp_path / "a.npz"
  np.savez(path, **arrays(rng))
  if rng.random() < 0.3:
    (cut if rng.random() < 0.5 else flip)(path, rng)
  score_of(f"npz:{path}")
  score_of(f"npz:{path}", "--ignore_label=255,-1,-100")
  check(task_matrix, f"--dataset=npz:{path}")
  check(score, f"--predictions={path}")


def test_archives_that_are_no_npz(tmp_path):
  path = tmp_path / "a.npz"
  for members in (
    {},
    {"images": b"x"},
    {"images.npy": b"x"},
    {"../images": b""},
  ):
    with zipfile.ZipFile(path, "w") as archive:
      for name, data in members.items():
        archive.writestr(name, data)
    for command in (score_of, lambda n: check(task_matrix, f"--dataset={n}")):
      assert command(f"npz:{path}")[0] == 2


@pytest.mark.parametrize("seed", [*range(8), *marks.exhaustive(*range(8, 40))])
def test_csv_files(tmp_path, seed):
  rng = np.random.default_rng(seed)
  cells = [
    "0",
    "1",
    "-1",
    "",
    "x",
    "1.0",
    '"',
    "true",
    "0,1",
    "\0",
    "\xe9",
    "NaN",
  ]
  share = np.full(len(cells), 0.01)
  share[:2] = (1 - 0.1) / 2
  width, rows = rng.integers(1, 5), rng.integers(0, 9)
  header = rng.choice(np.asarray(["a", "b", "c d", "", "a", *NAMES[:8]]), width)
  lines = [",".join(header)]
  for _ in range(rows):
    lines.append(",".join(rng.choice(cells, width, p=share / share.sum())))
  encoding = rng.choice(["utf-8", "utf-8", "latin-1", "utf-16"])
  errors = "surrogateescape" if encoding == "utf-8" else "replace"
  data = "\n".join(lines).encode(encoding, errors)
  path = tmp_path / "a.csv"
  path.write_bytes(data)
  if rng.random() < 0.2 and data:
    flip(path, rng)
  output = () if rng.random() < 0.7 else (f"--output={tmp_path}/m.csv",)
  check(task_matrix, f"--dataset=csv:{path}", *output)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["", "folder:", "npz:", "csv:"])
def test_names_of_data(tmp_path, monkeypatch, name, kind):
  monkeypatch.chdir(tmp_path)
  assert score_of(kind + name)[0] == 2
  assert check(task_matrix, f"--dataset={kind}{name}")[0] == 2
  with contextlib.suppress(OSError):
    os.makedirs(name)
  assert score_of(kind + name)[0] == 2
  assert check(task_matrix, f"--dataset={kind}{name}")[0] == 2


@pytest.mark.parametrize(
  "name",
  [
    "", ":", "x" * 5000, "a\0b", "folder:\0", "npz:\0", "../../x", "/dev/zero",
    "npz:/dev/zero", "csv:/dev/null", "folder:/dev/null", "npz:/proc/self/mem",
    "http://x.org/a.zip", "hf://a/b", "gs://b/c", "a/b", "a/b/c/d", "C:\\x",
    "huggingface:mnist", "kaggle:x/y", "mnist:9.9.9", "mnist/none", "mnist[:9]",
    "tfds:mnist", "Folder:x", "photos.zip", "x.tar.gz", "a.h5", "a.pkl",
  ],
)  # fmt: skip
def test_other_names_of_data(name):
  assert score_of(name)[0] == 2
  assert check(task_matrix, f"--dataset={name}")[0] == 2


def test_classes_with_names_of_all_kinds(tmp_path):
  rng = np.random.default_rng(0)
  for name in NAMES:
    if name != "...":  # hidden
      (tmp_path / name).mkdir()
      (tmp_path / name / "1.png").write_bytes(content(rng, "PNG"))
  status, _ = score_of(
    f"folder:{tmp_path}", f"--output={tmp_path}.csv", f"--plot={tmp_path}.png"
  )
  assert status == 0


@pytest.mark.parametrize("name", NAMES)
def test_scores_of_a_folder_of_any_name(tmp_path, name):
  rng = np.random.default_rng(0)
  for inner in ("a", "b"):
    (tmp_path / name / inner).mkdir(parents=True)
    (tmp_path / name / inner / "1.png").write_bytes(content(rng, "PNG"))
  for suffix in ("csv", "jsonl"):
    status, _ = score_of(
      f"folder:{tmp_path / name}", f"--output={tmp_path}/rows.{suffix}"
    )
    assert status == 0


@pytest.mark.parametrize("kind", ["", "empty", "broken link"])
def test_transfer_and_sweep(tmp_path, kind):
  rng = np.random.default_rng(0)
  for name in ("cat", "dog"):
    (tmp_path / "in" / name).mkdir(parents=True)
    for i in range(5):
      (tmp_path / "in" / name / f"{i}.png").write_bytes(content(rng, "PNG"))
  if kind:  # two, since one may be in the test set, which no score reads
    DAMAGE[kind](tmp_path / "in/cat/2.png", rng)
    DAMAGE[kind](tmp_path / "in/cat/3.png", rng)
  common = (f"--dataset=folder:{tmp_path}/in", "--model=fashion_mnist_resnet8")
  trained = (*common, "--method=probe", "--tasks=all")
  swept = (*common, f"--output={tmp_path}/out", "--tasks=all", "--scores=leep")
  for command, arguments in ((transfer, trained), (sweep, swept)):
    assert check(command, *arguments)[0] == (2 if kind else 0)
    assert check(command, *arguments, "--skip_bad_images")[0] == 0
