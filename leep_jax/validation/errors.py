"""Errors and notes for users: one line with the value, the bound and the cause.

The commands print an `InputError` as their last line, and an `InputNote` as a
line that begins with "note:".
"""

from collections.abc import Iterable
import difflib
import warnings

# The most characters of an error or a note: about eight lines of a terminal.
LONGEST = 600


def one_line(text: str) -> str:
  r"""Returns text as one printable line of at most `LONGEST` characters.

  File names may contain line ends, and bytes that are no text: both are
  escaped. A long text is cut in the middle.

  Example:
    >>> from leep_jax import validation
    >>> validation.one_line("no file at a\nb")
    'no file at a\\nb'
  """
  # Names of files may have line breaks and codes that move the cursor.
  text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
  if len(text) <= LONGEST:
    return text
  # The start says what is wrong, the end what to do. 5 less, for the dots.
  return f"{text[: LONGEST // 2]} ... {text[5 - LONGEST // 2 :]}"


class InputError(ValueError):
  """Input that cannot be used.

  Example:
    >>> import leep_jax
    >>> try:
    ...   leep_jax.load_dataset("digits", limit=0)
    ... except leep_jax.InputError as error:
    ...   print(error)
    limit is 0, but must be at least 1
  """

  def __init__(self, text: str = "") -> None:
    """Makes one line of the text, see `one_line`."""
    super().__init__(one_line(text))


class DataError(InputError):
  """A data set that cannot be used with any source model.

  A command with several sources stops at it, instead of trying the next one.

  Example:
    >>> from leep_jax import validation
    >>> try:
    ...   validation.class_labels([0, 1, -1])
    ... except validation.DataError as error:
    ...   print(error)
    labels contain -1, but classes are counted from 0: does it mark ...
  """


class UndefinedScore(InputError):
  """Input for which a score has no finite value; other scores may have one.

  Example:
    >>> import leep_jax
    >>> from leep_jax import validation
    >>> try:
    ...   leep_jax.parc([[1.0], [1.0]], [0, 1])  # equal features
    ... except validation.UndefinedScore as error:
    ...   print(type(error).__name__)
    UndefinedScore
  """


class InputNote(UserWarning):
  """Something that a user should know about input that is used anyway.

  Example:
    >>> import warnings
    >>> from leep_jax import validation
    >>> with warnings.catch_warnings():
    ...   warnings.simplefilter("ignore", validation.InputNote)
    ...   validation.note("2 of 10 images were left out")
  """


def note(text: str) -> None:
  """Warns the user about their input, without refusing it.

  In Python this is a warning of the category `InputNote`; the commands print it
  on standard error, each text once, as a line that begins with "note:".

  Args:
    text: one line: what was found, how often, and what was done.

  Example:
    >>> import warnings
    >>> from leep_jax import validation
    >>> with warnings.catch_warnings(record=True) as caught:
    ...   warnings.simplefilter("always")
    ...   validation.note("2 of 10 images were left out")
    >>> print(caught[0].message)
    2 of 10 images were left out
  """
  warnings.warn(one_line(text), InputNote, stacklevel=2)


def some(names: Iterable[object], *, most: int = 3, count: bool = True) -> str:
  """Returns the first few names, and the number of the others.

  Args:
    names: of any type, in the order in which they are shown.
    most: how many are shown; one more if it is the last.
    count: whether the number of the others is given, instead of dots.

  Example:
    >>> from leep_jax import validation
    >>> validation.some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
  """
  shown = [f"{name}" for name in names]
  if len(shown) <= most + 1:
    return ", ".join(shown)
  first = ", ".join(shown[:most])
  return f"{first} and {len(shown) - most:,} more" if count else f"{first}, ..."


def unknown(
  kind: str, name: str, known: Iterable[str], *, cutoff: float | None = None
) -> InputError:
  """Returns an error for an unknown `name`, with the nearest known names.

  Args:
    kind: what the name is one of, such as "score".
    name: the unknown name.
    known: all names that are known.
    cutoff: smallest similarity of a name that is shown, as `difflib` measures
      it, 0 to 1; by default, the rule of `nearest`.

  Example:
    >>> from leep_jax import validation
    >>> print(validation.unknown("score", "leap", ["leep", "nce"]))
    unknown score 'leap'; did you mean leep?
  """
  known = sorted(known)
  if cutoff is None:
    near = nearest(name, known)
  else:
    near = difflib.get_close_matches(name, known, n=3, cutoff=cutoff)
  if near:
    hint = f"did you mean {', '.join(near)}?"
  elif len(known) <= 20:
    hint = f"known: {', '.join(known)}"
  else:
    hint = f"{len(known)} names are known, none of them close"
  return InputError(f"unknown {kind} {name[:200]!r}; {hint}")


def nearest(name: str, known: Iterable[str]) -> list[str]:
  """Returns known names, at most three, of which `name` may be a misspelling.

  They begin with it, or differ from it in a letter or two. Names that merely
  share some letters with it mean something else, and would mislead.

  Args:
    name: the unknown name.
    known: all names that are known.

  Example:
    >>> from leep_jax import validation
    >>> validation.nearest("logm", ["logme", "leep", "nce"])
    ['logme']
  """
  wanted = name.lower()
  # `difflib` rates a short name with one wrong letter lower than a long one:
  # leap is 0.75 like leep, convnext_tini is 0.92 like convnext_tiny.
  cutoff = 0.8 if len(wanted) > 5 else 0.75
  likeness = {
    other: difflib.SequenceMatcher(None, wanted, other.lower()).ratio()
    for other in known
  }
  near = [
    other
    for other, ratio in likeness.items()
    if ratio >= cutoff
    or (len(wanted) >= 3 and other.lower().startswith(wanted))
  ]
  return sorted(near, key=lambda other: -likeness[other])[:3]


def reason(error: BaseException) -> str:
  """Returns the first line of an exception's text, or its type if it has none.

  Example:
    >>> from leep_jax import validation
    >>> validation.reason(OSError("disk full\\nsecond line"))
    'disk full'
    >>> validation.reason(KeyError())
    'KeyError'
  """
  lines = str(error).strip().splitlines()
  return lines[0] if lines else type(error).__name__
