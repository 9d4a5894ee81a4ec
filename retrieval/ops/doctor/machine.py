"""Checks of this machine: settings, home, model, and how the last jobs ended."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from retrieval.model import saved_models
from retrieval.ops.doctor.checks import Check, Finding, MachineContext, State
from retrieval.ops.job_history import RUNNING, read_history, summarize

TIGHT_BYTES, ENOUGH_BYTES = 256 * 2**20, 2**30
"""Free bytes on the disk: below the first the embedded engine refuses to write, below the second `doctor` warns."""
MAKE_ROOM = "make room: retrieval collections --prune drops old collections; a rollback is then not possible"
OUTSIDE = {"qdrant_url", "qdrant_api_key", "qdrant_from_api_key"}
"""Settings whose environment variables do not begin with RETRIEVAL_."""
FIXES = {
    "refused": "see 'When the gate says no' in docs/operations.md; retrieval jobs --json has the numbers",
    "killed": "it may have run out of memory; run it again: it resumes where it stopped",
    "interrupted": "run it again: it resumes where it stopped",
    "terminated": "run it again: it resumes where it stopped",
}
"""By the outcome of a job."""


def inspect_settings(context: MachineContext) -> Iterator[Finding]:
    """The names of the settings that are set, never their values, since some are keys."""
    given = sorted(context.settings.model_fields_set)
    names = [name.upper() if name in OUTSIDE else f"RETRIEVAL_{name.upper()}" for name in given]
    yield Finding("settings", "ok", f"{', '.join(names) or 'none'} set")
    if (data := context.settings.data) and not data.is_dir():
        yield Finding(
            "settings", "warning", f"RETRIEVAL_DATA is {data}, which is not a folder", "mount it, or unset it"
        )


def inspect_home(context: MachineContext) -> Iterator[Finding]:
    """Whether a file can be written to the home, and how much space is free there."""
    folder = find_existing(context.settings.home)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        fix = "make it writable for this user, or set RETRIEVAL_HOME to another folder"
        yield Finding("home", "error", f"{context.settings.home} cannot be written to: {error.strerror}", fix)
        return
    free = shutil.disk_usage(folder).free
    found = f"{context.settings.home}, {free / 2**30:,.1f} GiB free"
    state: State = "error" if free < TIGHT_BYTES else "warning" if free < ENOUGH_BYTES else "ok"
    yield Finding("home", state, found, None if state == "ok" else MAKE_ROOM)


def find_existing(folder: Path) -> Path:
    """The folder, or the nearest folder above it that exists."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def inspect_default_model(context: MachineContext) -> Iterator[Finding]:
    """Whether there is a default model, whose weights match its fingerprint."""
    models = context.settings.models
    path = saved_models.default(models)
    if path is None:
        others = len(list(models.glob("[0-9a-f]*/config.json")))
        found = f"no default in {models}" + (f", {others} that can be chosen by name" if others else "")
        fix = "retrieval train SOURCE" + (", or choose one with --model" if others else "")
        yield Finding("model", "warning" if others else "error", found, fix)
        return
    saved = saved_models.load(path)
    height, width = saved.config.image_size
    shape = f"{height}×{width}×{saved.config.channels} to {saved.config.dim} numbers"
    yield Finding("model", "ok", f"{saved.fingerprint[:8]}, {shape}, its weights match its fingerprint")


def inspect_jobs(context: MachineContext) -> Iterator[Finding]:
    """How the last run of each job from this home ended; a run that found the alias locked does not count."""
    seen = set()
    for record in read_history(context.settings.jobs):
        job, outcome = record.get("job", ""), record["outcome"]
        if record.get("alias") != context.alias or outcome in (RUNNING, "locked") or job in seen:
            continue
        seen.add(job)
        when = f"{job} of {record['started'][:16].replace('T', ' ')}"
        if outcome == "done":
            yield Finding("jobs", "ok", f"{when}: done")
        else:
            found = ": ".join(filter(None, (when, outcome, summarize(record))))
            yield Finding("jobs", "warning", found, FIXES.get(outcome, f"fix this and rerun: retrieval {job}"))
    if not seen:
        yield Finding("jobs", "ok", "no job has run from this home")


CHECKS: tuple[Check[MachineContext], ...] = (
    Check("settings", inspect_settings, "set it right, or unset it"),
    Check("home", inspect_home, "set RETRIEVAL_HOME to a folder of yours"),
    Check("model", inspect_default_model, "train again: retrieval train SOURCE; or restore its folder"),
    Check("jobs", inspect_jobs, "remove the file that cannot be read"),
)
