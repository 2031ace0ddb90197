"""Names of sources from flags and from a file."""

from absl import flags
import pytest

from leep_jax import score, source_flags, sweep, validation
from leep_jax.sources import catalog, known
from leep_jax.transfer import __main__ as transfer

TEXT = """# the bundled ones
cifar10_resnet14

  fashion_mnist_resnet8   # small
cifar10_resnet14
\t
"""


def sources(*arguments):
  defined = flags.FlagValues()
  found = source_flags.SourceFlags(defined)
  defined(["program", *arguments])
  return found


@pytest.fixture
def file(tmp_path):
  path = tmp_path / "models.txt"

  def write(content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path

  return write


def test_a_file_of_names(file):
  found = sources(f"--models={file(TEXT)}").names()
  assert found == ["cifar10_resnet14", "fashion_mnist_resnet8"]


def test_both_flags_add_up(file):
  path = file(TEXT)
  names = "--model=fashion_mnist_resnet8,cifar100_resnet14"
  for arguments in ([names, f"--models={path}"], [f"--models={path}", names]):
    assert sources(*arguments).names() == [
      "fashion_mnist_resnet8", "cifar100_resnet14", "cifar10_resnet14",
    ]  # fmt: skip


def test_without_flags_all_bundled_ones():
  assert sources().names() == list(catalog.names())


@pytest.mark.parametrize("newline", ["\r\n", "\r", "\n"])
def test_files_of_other_systems(file, newline):
  content = "\ufeff" + TEXT.replace("\n", newline)
  assert len(sources(f"--models={file(content)}").names()) == 2


def test_names_with_a_hash_inside(file, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  found = known.in_file(str(file("resnet8@a#1.safetensors #x\n")))
  assert list(found) == ["resnet8@a#1.safetensors"]


def test_mistakes_name_the_file_and_the_line(file):
  path = file("cifar10_resnet14\n\ncifar10_resnet15 # no\n")
  with pytest.raises(validation.InputError) as error:
    sources(f"--models={path}").names()
  text = str(error.value)
  assert text.startswith(f"{path}, line 3: unknown model 'cifar10_resnet15'")
  assert "did you mean cifar10_resnet14" in text
  # A name that --model has is not the file's mistake.
  with pytest.raises(validation.InputError, match="^unknown model"):
    sources("--model=cifar10_resnet15", f"--models={path}").names()


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("", "names no source"),
    ("# nothing\n\n", "names no source"),
    (b"\xff\xfe\x00", "is no text"),
  ],
)
def test_files_without_names(file, content, message):
  with pytest.raises(validation.InputError, match=message):
    sources(f"--models={file(content)}").names()


def test_files_that_cannot_be_read(tmp_path):
  with pytest.raises(validation.InputError, match="no file at"):
    sources(f"--models={tmp_path / 'none.txt'}").names()
  with pytest.raises(validation.InputError, match="is a folder"):
    sources(f"--models={tmp_path}").names()


@pytest.mark.parametrize("command", [score, sweep, transfer])
def test_commands_take_it(command, file, tmp_path, capsys):
  path = file("no_such_source\n")
  arguments = ["command", f"--models={path}"]
  if command is sweep:
    arguments += [f"--output={tmp_path}", "--tasks=small(count=1)"]
  assert command.main(arguments) == 2
  assert f"{path}, line 1: unknown model" in capsys.readouterr().err
