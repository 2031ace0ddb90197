r"""Training a network, body and head: fine-tuning, and from scratch.

A run is one task with one seed: the network up to its features, a new head
`W [Y, D]` and `b [Y]`, and SGD on the mean cross entropy of batches in an order
drawn anew for each epoch. BatchNorm is in training mode. Where there are as
many runs as devices, each device trains its own runs; where there are fewer,
runs are data-parallel: all devices train one, each on its part of every batch,
with synchronised BatchNorm. Both are the same up to rounding.

The last batch of an epoch may be smaller. It is filled up with the examples
that the epoch began with, which have no part in the loss.
"""

from leep_jax.transfer.network.training import fine_tune, train_from_scratch

__all__ = ["fine_tune", "train_from_scratch"]
