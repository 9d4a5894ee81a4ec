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
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


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
