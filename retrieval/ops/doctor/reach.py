"""Whether a source can be listed, found out in bounded time: a share that hangs holds up nothing but its own thread."""

import threading

from retrieval.config import Settings
from retrieval.errors import RetrievalError
from retrieval.ops.doctor.checks import in_one_line
from retrieval.sources import open_source

SECONDS = 10.0
"""How long a source may take to name its first image."""


def reached(name: str, spec: str, settings: Settings) -> str | None:
    """What keeps it from being read, in words; None when it names an image. A data set must be here already."""
    said = [f"{name} → {spec} does not answer within {SECONDS:.0f} s"]

    def look() -> None:
        try:
            next(open_source(spec, settings, name=name).entries())
            said.clear()
        except (RetrievalError, OSError) as error:
            said[:] = [f"{name}: {in_one_line(error)}"]

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return said[0] if said else None
