"""Prints how many of timm's pre-trained names have a network of this package.

    python tests/count_native_names.py

Needs timm. A name is ARCH.TAG; its part before the dot decides.
"""

import collections

import publishers

from leep_jax.sources import architectures


def main():
  names = publishers.load("timm").list_pretrained()
  known = architectures.aliases()
  rows = [known.get(name.partition(".")[0].lower()) for name in names]
  counts = collections.Counter(row for row in rows if row)
  for row, count in sorted(counts.items()):
    print(f"{row}: {count}")
  print(f"{sum(counts.values())} of {len(names)} names")


if __name__ == "__main__":
  main()
