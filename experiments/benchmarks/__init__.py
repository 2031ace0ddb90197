"""Scripts that measure speed and memory, as ratios within one run."""
