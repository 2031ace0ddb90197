"""Architectures in Flax NNX, one file a family, and how images are prepared.

architecture.py    the row that describes an architecture
layers.py          layers that several families share
preprocessing.py   size, crop and normalisation; resize.py, Pillow's resizing

`sources/architectures.py` has the table of all of them.
"""
