"""Checks of this machine: settings, home, model, and how the last jobs ended."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from retrieval.model import saved_models
from retrieval.ops.doctor.checks import Check, Machine, Row
from retrieval.ops.job_history import RUNNING, history, in_words

TIGHT_BYTES, ENOUGH_BYTES = 256 * 2**20, 2**30
"""Free on the disk. Below the first the embedded engine refuses to write; below the second somebody should look."""
ROOM = "make room: retrieval collections --prune drops old collections, and the way back to them"
OUTSIDE = {"qdrant_url", "qdrant_api_key", "qdrant_from_api_key"}
"""Settings whose names do not begin with RETRIEVAL_."""
MENDS = {
    "refused": "see 'When the gate says no' in docs/operations.md; retrieval jobs --json has the numbers",
    "killed": "it may have run out of memory; run it again: it goes on where it was",
    "interrupted": "run it again: it goes on where it was",
    "terminated": "run it again: it goes on where it was",
}
"""By outcome of a job."""


def set_up(case: Machine) -> Iterator[Row]:
    """Which settings are given; never what a key or an address is."""
    given = sorted(case.settings.model_fields_set)
    names = [name.upper() if name in OUTSIDE else f"RETRIEVAL_{name.upper()}" for name in given]
    yield Row("settings", "ok", f"{', '.join(names) or 'none'} set")
    if (data := case.settings.data) and not data.is_dir():
        yield Row("settings", "warning", f"RETRIEVAL_DATA is {data}, which is no folder", "mount it, or unset it")


def home(case: Machine) -> Iterator[Row]:
    """A file can be written there, and how much more could be."""
    folder = existing(case.settings.home)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        mend = "make it writable for this user, or set RETRIEVAL_HOME to another folder"
        yield Row("home", "error", f"{case.settings.home} cannot be written to: {error.strerror}", mend)
        return
    free = shutil.disk_usage(folder).free
    found = f"{case.settings.home}, {free / 2**30:,.1f} GiB free"
    state = "error" if free < TIGHT_BYTES else "warning" if free < ENOUGH_BYTES else "ok"
    yield Row("home", state, found, None if state == "ok" else ROOM)  # type: ignore[arg-type]


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def model(case: Machine) -> Iterator[Row]:
    """The default one is whole: its weights are those that its fingerprint was made of."""
    models = case.settings.models
    path = saved_models.default(models)
    if path is None:
        others = len(list(models.glob("[0-9a-f]*/config.json")))
        found = f"no default in {models}" + (f", {others} that can be named" if others else "")
        mend = "retrieval train SOURCE" + (", or name one with --model" if others else "")
        yield Row("model", "warning" if others else "error", found, mend)
        return
    saved = saved_models.load(path)
    height, width = saved.config.image_size
    shape = f"{height}×{width}×{saved.config.channels} to {saved.config.dim} numbers"
    yield Row("model", "ok", f"{saved.fingerprint[:8]}, {shape}, as its fingerprint says")


def jobs(case: Machine) -> Iterator[Row]:
    """How the last run of each job ended, of those from this home; one that another kept out does not count."""
    seen = set()
    for record in history(case.settings.jobs):
        job, outcome = record.get("job", ""), record["outcome"]
        if record.get("alias") != case.alias or outcome in (RUNNING, "locked") or job in seen:
            continue
        seen.add(job)
        when = f"{job} of {record['started'][:16].replace('T', ' ')}"
        if outcome == "done":
            yield Row("jobs", "ok", f"{when}: done")
        else:
            words = ": ".join(filter(None, (when, outcome, in_words(record))))
            yield Row("jobs", "warning", words, MENDS.get(outcome, f"fix that and run it again: retrieval {job}"))
    if not seen:
        yield Row("jobs", "ok", "none has run from this home")


CHECKS: tuple[Check[Machine], ...] = (
    Check("settings", set_up, "set it right, or unset it"),
    Check("home", home, "set RETRIEVAL_HOME to a folder of yours"),
    Check("model", model, "train again: retrieval train SOURCE; or restore its folder"),
    Check("jobs", jobs, "remove the file that cannot be read"),
)
