"""Files replaced whole: nobody ever reads half of one, and after a crash it is the old one or the new one."""

import json
import os
import secrets
from pathlib import Path
from typing import Any


def replace_file(path: Path, data: bytes) -> None:
    """Write beside it, then rename; when this returns, it survives a power cut. Raises OSError; the old one stays."""
    draft = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}")
    try:
        write_synced(draft, data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file; when this returns, its content survives a power cut. Raises OSError."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, content: Any) -> None:
    """As `replace_file`."""
    replace_file(path, json.dumps(content, indent=1).encode())


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder durable, where the system can."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
