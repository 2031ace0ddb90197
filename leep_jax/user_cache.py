"""The folder in which the package keeps what it would have to make again."""

import os
import pathlib


def folder() -> pathlib.Path | None:
  """Returns the user's cache folder of this package; None if it is turned off.

  It is that of the environment variable LEEP_JAX_CACHE (`off` for none), by
  default one in the user's cache folder. It need not exist yet.

  Example:
    >>> import os
    >>> from leep_jax import user_cache
    >>> before = os.environ.get("LEEP_JAX_CACHE")
    >>> os.environ["LEEP_JAX_CACHE"] = "off"
    >>> user_cache.folder() is None
    True
    >>> if before is None:
    ...   del os.environ["LEEP_JAX_CACHE"]
    ... else:
    ...   os.environ["LEEP_JAX_CACHE"] = before
  """
  stated = os.environ.get("LEEP_JAX_CACHE")
  if stated == "off":
    return None
  if stated:
    return pathlib.Path(stated).expanduser()
  caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  return pathlib.Path(caches).expanduser() / "leep_jax"
