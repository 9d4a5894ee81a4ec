"""scripts/interop: other tools read what we write, and write what we read. It needs an environment of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".venv-interop" / "bin" / "python"


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not TOOLS.is_file(), reason="NOT TESTED, for want of the other tools: scripts/setup interop")
def test_every_tool_reads_and_writes() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "interop"], capture_output=True, text=True, timeout=1700, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line.partition(":")[0].partition(" ")[0] for line in done.stdout.splitlines()]
    assert said == [
        *("shard.tar", "saved", "splits", "datasets", "faiss-cpu", "fiftyone", "fiftyone"),
        *("label-studio", "label-studio"),
    ]
