"""Source models: by name, and from models of other libraries.

`catalog.py` loads sources by name. The functions here make sources of a user's
own models; none of the libraries is imported before its function is called.
"""

from leep_jax.sources.bridged import from_torch
from leep_jax.sources.functions import from_function
from leep_jax.sources.jax_libraries import (
  from_equinox,
  from_haiku,
  from_linen,
)
from leep_jax.sources.keras_models import from_keras
from leep_jax.sources.network import from_nnx

__all__ = [
  "from_equinox",
  "from_function",
  "from_haiku",
  "from_keras",
  "from_linen",
  "from_nnx",
  "from_torch",
]
