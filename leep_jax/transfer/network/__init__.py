r"""Training of networks, body and head: fine-tuning, and from scratch.

A run trains for one task with one seed: the network up to its features, and a
new head `W [Y, D]` and `b [Y]`. SGD minimises the mean cross entropy of
batches, in an order that is drawn anew for each epoch. BatchNorm is in training
mode.

If there are at least as many runs as devices, each device trains runs of its
own. If there are fewer, runs are data-parallel: all devices train one run, each
on its part of every batch, with synchronised BatchNorm. The results of both are
equal up to rounding.

The last batch of an epoch may be smaller. It is filled up with the first
examples of the epoch, which have weight 0 in the loss: BatchNorm's statistics
are of full batches.
"""

from leep_jax.transfer.network.training import fine_tune, train_from_scratch

__all__ = ["fine_tune", "train_from_scratch"]
