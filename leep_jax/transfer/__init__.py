"""Methods of transfer, whose performance scores are to predict."""

from leep_jax.transfer.config import Config, NetworkConfig
from leep_jax.transfer.head import retrain_head
from leep_jax.transfer.metrics import Transferred
from leep_jax.transfer.network import fine_tune, train_from_scratch
from leep_jax.transfer.probe import probe_head

__all__ = [
  "Config",
  "NetworkConfig",
  "Transferred",
  "fine_tune",
  "probe_head",
  "retrain_head",
  "train_from_scratch",
]
