"""A filled folder of the embedded engine, and other processes that use it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def python(program: str, *arguments: Path | str) -> Iterator["subprocess.Popen[str]"]:
    """Another real process; killed at the end if it still runs."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def manifest(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "collections/a/manifest.json").read_text())
    return content
