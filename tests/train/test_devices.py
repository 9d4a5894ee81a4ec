"""Training on several devices gives the same losses as on one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.train.samples import losses

DEVICES = 8
REPOSITORY = Path(__file__).parents[2]


EVEN, UNEVEN = 32, 28
"""Batches that eight devices can split evenly, and cannot."""


@pytest.mark.long
def test_eight_devices_give_the_losses_of_one() -> None:
    code = (
        "import json, jax; from tests.train.samples import losses;"
        f"print(json.dumps([jax.device_count(), losses({EVEN}), losses({UNEVEN})]))"
    )
    environment = {
        **os.environ,
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={DEVICES}",
    }
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, timeout=200, check=True
    )
    count, even, uneven = json.loads(ran.stdout)
    assert count == DEVICES
    assert even == pytest.approx(losses(EVEN), rel=1e-4)
    assert uneven == pytest.approx(losses(UNEVEN), rel=1e-4)
