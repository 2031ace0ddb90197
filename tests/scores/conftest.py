"""What the tests of scores share."""

import marks
import pytest

from leep_jax.engine import programs


@pytest.fixture(params=[*marks.exhaustive(1), 8], ids=["1 device", "8 devices"])
def device_count(request):
  """Eight simulated devices, and one where the tests are exhaustive.

  `test_devices_change_nothing_but_rounding` compares both for every score.
  """
  with programs.limit(request.param):
    yield request.param
