"""Nearest neighbours on eight devices are those that the cores find."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from retrieval.model import neighbours
from retrieval.model.neighbours import find_neighbours, list_devices
from retrieval.util import neighbours as on_cores

DEVICES = 8
REPOSITORY = Path(__file__).parents[2]


def compare_with_cores() -> list[object]:
    """In a process with several devices: their number, and whether all that they find is what the cores find."""
    neighbours.WORTH, neighbours.QUERIES = 0, 16
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(3001, 8)).astype(np.float32)
    codes[:100] = codes[100:200]  # pairs of equal codes
    codes[500:1000] = codes[500]  # more equal ones than there are candidates
    told: list[tuple[int, int]] = []
    same = []
    for queries in (None, rng.normal(size=(333, 8)).astype(np.float32)):
        found, expected = (
            find_neighbours(codes, 5, queries, lambda *s: told.append(s)),
            on_cores.find_neighbours(codes, 5, queries),
        )
        same.append(bool((found.rows == expected.rows).all() and (found.distances == expected.distances).all()))
    few = find_neighbours(codes[:9], 20)
    same.append(few.rows.tolist() == on_cores.find_neighbours(codes[:9], 20).rows.tolist())
    return [len(list_devices()), same, told[-1]]


def test_eight_devices_find_what_the_cores_find() -> None:
    code = "import json; from tests.model.test_neighbours import *; print(json.dumps(compare_with_cores()))"
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={DEVICES}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, timeout=200, check=True
    )
    assert json.loads(ran.stdout) == [DEVICES, [True, True, True], [333, 333]]


def test_one_cpu_is_used_without_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "WORTH", 0)
    monkeypatch.setattr(neighbours, "find_on_devices", None)
    assert find_neighbours(np.array([[0.0], [3.0], [4.0]]), 1).rows.tolist() == [[1], [2], [1]]
