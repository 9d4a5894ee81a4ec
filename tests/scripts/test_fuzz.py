"""`scripts/fuzz` for a second a target, by changing bytes at random; long runs are for people."""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[2] / "scripts" / "fuzz"


@pytest.mark.parametrize("target", ["body", "filter", "headers", "image"])
def test_hostile_bytes_are_answered(target: str, tmp_path: Path) -> None:
    command = [sys.executable, str(FUZZ), target, "--seconds", "1", "--keep", str(tmp_path / "kept")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "kept").exists()
