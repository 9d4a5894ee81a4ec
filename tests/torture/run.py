"""Runs jobs, struck or not, and compares what is stored with the model."""

import json
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.model import saved_models
from tests.cli.conftest import Done, environment
from tests.torture import faults, stand_ins
from tests.torture.child import Child, dump, run, run_real
from tests.torture.engines import Embedded, Engine
from tests.torture.model import Alias, Fields, Name, Row
from tests.torture.network import config_of, weights_of
from tests.torture.operations import MODELS, Operation
from tests.torture.world import SIDE, SOURCES, World, work_out_code

STRUCK = {-signal.SIGKILL, -signal.SIGTERM, 130, 143}
DIED = {-signal.SIGKILL, -signal.SIGBUS}
MEASURED = ("image_url", "source", "path", "sha256", "bytes", "mtime_ns", "width", "height", "ingested_at", "stale")
QUERIES = {"search", "export", "duplicates"}
"""Commands that change nothing."""
Found = dict[str, Any]
"""What is stored, as `dump` prints it."""


class Wrong(AssertionError):
    """An invariant does not hold."""


@dataclass
class Counts:
    """What was done: operations, jobs among them, and faults that ended a job or a server."""

    operations: int = 0
    jobs: int = 0
    kills: int = 0
    faults: int = 0

    def add(self, other: "Counts") -> None:
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass
class Runner:
    """A world, its home, and an engine.

    folder: for all of it
    disk: a disk of our own in memory that holds the folder and can be made full; None if there is none
    real: whether jobs are the program as it is, with its own processes, and nothing stands in for its network
    """

    folder: Path
    engine: Engine = field(default_factory=Embedded)
    disk: Path | None = None
    real: bool = False
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self.engine.wipe()
        self.dumped: Path | None = None
        self.world = World(self.folder / "world")
        self.home = self.folder / "home"
        self.aliases = {"images": Alias(), "second": Alias()}
        self.marks: dict[tuple[int, int], str] = {}
        self.replaced: dict[str, Alias] = {}
        self.default = MODELS["one"]
        for name, (seed, dim) in MODELS.items():
            config, weights = config_of(dim), weights_of(seed, dim)
            model = saved_models.save(self.home / "models", config, weights, {}, reconstructions=b"")
            self.marks[seed, dim] = model.fingerprint
            if name == "one":
                saved_models.set_default(model)
        (self.home / stand_ins.MODELS).write_text(json.dumps({mark: seen for seen, mark in self.marks.items()}))
        for number, source in enumerate(SOURCES):
            for each in range(4):
                self.world.write(source, f"{each:02d}.png", 100 * number + each + 1)

    def start(
        self, job: Operation, arguments: Sequence[object], given: Mapping[str, str] | None = None, *, alias: bool = True
    ) -> Child:
        """Start a command.

        given: what its process is told, by names that begin with TORTURE
        alias: whether the command takes an alias
        """
        self.dumped = None
        url = {"QDRANT_URL": self.engine.url} if self.engine.url else {}
        clock = {"TORTURE_CLOCK": str(job["clock"])} if job.get("clock") else {}
        where = ["--alias", job["alias"]] if alias else []
        told = environment(self.home, **url, **clock, **(given or {}))
        return Child(run_real if self.real else run, [*arguments, *where], told)

    def run(
        self, job: Operation, arguments: Sequence[object], given: Mapping[str, str] | None = None, *, alias: bool = True
    ) -> Done:
        """As `start`, and wait until it is done; the same process then reads what is stored, if this changed it."""
        file = self.folder / "dump.json"
        file.unlink(missing_ok=True)
        reads = {} if arguments[0] in QUERIES else {"TORTURE_DUMP": str(file)}
        done = self.check_sane(self.start(job, arguments, {**reads, **(given or {})}, alias=alias).wait())
        self.dumped = file if reads else None
        return done

    def check_sane(self, done: Done) -> Done:
        """Raise Wrong for a defect that a command itself reports."""
        if "Traceback" in done.err or "(a bug;" in done.err or done.code in (-signal.SIGSEGV, 70):
            self.fail(done, "that is a defect")
        return done

    def run_struck(
        self, job: Operation, arguments: Sequence[object], states: Sequence[Alias], *, mixed: bool
    ) -> tuple[Done, bool]:
        """Run a job that may be struck; if it was, what is stored is of one of the states, and it is run again.

        mixed: each row may be of either state

        Returns what the last run said, and whether an earlier one was struck.
        """
        if "strike" not in job:
            return self.run(job, arguments), False
        done, struck = self.strike(job, arguments)
        if not struck:
            return done, False
        self.counts.faults += 1
        found = self.read()
        self.compare(found, but=job["alias"])
        if mixed:
            self.check_mixed(job["alias"], states, found)
        elif job["do"] == "reindex":
            self.settle(states[-1], found, job["alias"])
        if not mixed and all(troubles := [self.find_difference(job["alias"], state, found) for state in states]):
            raise Wrong(f"neither as before nor as afterwards: {troubles}")
        done = self.run(job, arguments)
        if done.code in STRUCK:
            self.fail(done, "nobody struck it")
        return done, True

    def strike(self, job: Operation, arguments: Sequence[object]) -> tuple[Done, bool]:
        """Run a job and strike it; returns whether that ended it."""
        moment, fault = job["strike"]
        if fault in self.engine.faults:
            child = self.start(job, arguments)
            seconds = moment / 1000 if moment > 0 else -moment / 30
            time.sleep(seconds)
            self.engine.hurt(fault, seconds)
            done = self.check_sane(child.wait())
            self.engine.heal()
            self.counts.kills += fault.endswith("killed")
            return done, done.code in (1, 4)
        place = self.world.places[job.get("source", "a")]
        told = {"TORTURE_FAULT": fault, "TORTURE_MOMENT": str(moment), "TORTURE_DISK": str(self.disk)}
        done = self.start(job, arguments, {**told, "TORTURE_PLACE": str(place)}).wait()
        if self.disk:
            faults.resize_disk(self.disk, full=False)
            self.engine.heal()
        if (away := place.with_name(faults.AWAY)).exists():
            away.rename(place)
            return self.check_sane(done), True
        self.counts.kills += done.code in DIED
        if fault == "disk" and done.code in (1, -signal.SIGBUS, -signal.SIGABRT):
            return done, True
        self.check_sane(done)
        return done, done.code in STRUCK or (fault in ("disk", "network", "outage", "process") and done.code in (1, 4))

    def read(self, url: str | None = None) -> Found:
        """What is stored, as the engine tells; url: of another engine, empty for the embedded one."""
        file, self.dumped = self.dumped, None
        if url is None and file and file.exists():
            found: Found = json.loads(file.read_text())
        else:
            done = Child(dump, [self.engine.url if url is None else url], environment(self.home)).wait()
            if done.code:
                self.fail(done, "what is stored cannot be read")
            found = done.object
        if found["wrong"]:
            raise Wrong("; ".join(found["wrong"]))
        return found

    def compare(self, found: Found | None = None, but: str = "") -> None:
        """Every alias, and the ledger of refused images, is as the model says."""
        found = found or self.read()
        for name, alias in self.aliases.items():
            if name != but:
                if trouble := self.find_difference(name, alias, found):
                    raise Wrong(f"{name}: {trouble}")
                self.compare_record(name, alias, found)
                alias.left, alias.live = find_left(found, name), found["aliases"].get(name)

    def compare_record(self, name: str, alias: Alias, found: Found) -> None:
        """The collection's record of its sources, and the ledger, are as the model says."""
        if alias.model is not None:
            said = found["collections"][found["aliases"][name]]
            recorded, expected = said["sources"], {source: path for source, (path, _) in alias.sources.items()}
            if (recorded, said["url"]) != (expected, alias.url):
                raise Wrong(f"{name}: recorded are {recorded}, {said['url']}, and not {expected}, {alias.url}")
        rows = [
            json.loads(line)
            for file in (self.home / "refused").glob(f"{name}-*.jsonl")
            for line in file.read_text("utf-8").splitlines()
        ]
        if (refused := {(row["source"], row["path"]) for row in rows}) != alias.ledger:
            raise Wrong(f"{name}: the ledger names {sorted(refused)}, refused are {sorted(alias.ledger)}")

    def find_difference(self, name: str, alias: Alias, found: Found) -> str | None:
        """How what is behind the alias differs from the model; None if it does not."""
        live = found["aliases"].get(name)
        if alias.model is None or live is None:
            return None if (alias.model is None) == (live is None) else f"behind the alias is {live}"
        collection = found["collections"][live]
        if collection["model"] != self.marks[alias.model]:
            return f"{live} is of model {collection['model'][:8]}, not {self.marks[alias.model][:8]}"
        expected = {f"{source}/{key}": row for (source, key), row in alias.rows.items()}
        points = collection["points"]
        if expected.keys() != points.keys():
            lost, foreign = sorted(expected.keys() - points.keys()), sorted(points.keys() - expected.keys())
            return f"missing: {lost}, unexpected: {foreign}"
        for image, row in expected.items():
            if trouble := describe_difference(image, points[image], row, alias.model):
                return trouble
        return None

    def check_mixed(self, name: str, states: Sequence[Alias], found: Found) -> None:
        """Each stored row is as in one of the states, and none is missing that all of them have."""
        live = found["aliases"].get(name)
        points = found["collections"][live]["points"] if live else {}
        rows = [{f"{s}/{k}": row for (s, k), row in state.rows.items()} for state in states]
        if lost := {image for image in rows[0] if all(image in state for state in rows)} - points.keys():
            raise Wrong(f"{name}: lost {sorted(lost)}")
        model = states[-1].model or self.default
        for image, point in points.items():
            possible = [state[image] for state in rows if image in state]
            if not any(describe_difference(image, point, row, model) is None for row in possible):
                raise Wrong(f"{image} is stored as {point}, and should be one of {possible}")

    def row_of(self, payload: Mapping[str, Any]) -> Row:
        """The row that a payload is of; raises Wrong for content that nobody wrote."""
        if payload["sha256"] not in self.world.written:
            raise Wrong(f"{payload}: nobody wrote that content")
        fields, stat = fields_of(payload), (payload["bytes"], payload["mtime_ns"])
        number, size = self.world.written[payload["sha256"]]
        return Row(number, size, stat, bool(payload.get("stale")), fields, payload.get("image_url") and url_of(payload))

    def settle(self, alias: Alias, found: Found, name: str) -> None:
        """Take over what a re-index may have in either way, since it goes on with what a killed one began to fill.

        Of contents that a file had with the same size and time, it may have read either. An image that cannot be read
        by now is there if it was stored then.
        """
        live = found["aliases"][name]
        points = found["collections"][live]["points"]
        for source, key in alias.unread if live != alias.live else ():
            if point := points.get(f"{source}/{key}"):
                alias.rows[source, key] = self.row_of(point["payload"])
        for (source, key), row in alias.rows.items():
            point = points.get(f"{source}/{key}")
            for number, size in sorted(self.world.same.get((source, key, row.stat), ())):
                other = replace(row, number=number, size=size)
                if point and point["payload"]["sha256"] == other.sha256:
                    alias.rows[source, key] = other

    def expect(self, done: Done, *codes: int) -> None:
        if done.code not in codes:
            self.fail(done, f"not {' or '.join(map(str, codes))}")

    def fail(self, done: Done, why: str) -> None:
        raise Wrong(f"exit code {done.code}, {why}: {done.out[-1500:]} {done.err[-3000:]}")


def describe_difference(image: str, point: Mapping[str, Any], row: Row, model: tuple[int, int]) -> str | None:
    """How a stored point differs from what it must be; None if it does not."""
    source, _, key = image.partition("/")
    payload = {name: value for name, value in point["payload"].items() if name != "ingested_at"}
    url = {"image_url": f"{row.url}/images/"} if row.url else {}
    if url and "image_url" in payload:
        payload["image_url"] = payload["image_url"].rpartition("/")[0] + "/"
    of_file = {"source": source, "path": key, "sha256": row.sha256, "bytes": row.stat[0], "mtime_ns": row.stat[1]}
    stale = {"stale": True} if row.stale else {}
    expected = {**of_file, "width": SIDE, "height": SIDE, **row.fields, **url, **stale}
    if payload != expected:
        return f"{image}: stored {payload}, must be {expected}"
    code = work_out_code(row.number, *model)
    if not np.allclose(point["code"], code, atol=1e-5):
        return f"{image}: embedding {point['code']}, must be {code.tolist()}"
    return None


def fields_of(payload: Mapping[str, Any]) -> dict[str, str]:
    """The user's fields of a payload."""
    return {name: value for name, value in payload.items() if name not in MEASURED}


def url_of(payload: Mapping[str, Any]) -> str:
    """The public URL in a payload."""
    return str(payload["image_url"]).removesuffix(f"/images/{str(payload['image_url']).rpartition('/')[2]}")


def find_left(found: Found, name: str) -> dict[Name, Fields]:
    """The user's fields of images in collections that a rollback of the alias has left, and that are still there."""
    fields: dict[Name, Fields] = {}
    live = found["aliases"].get(name)
    for left in found["collections"][live]["left"] if live else ():
        for point in found["collections"].get(left, {"points": {}})["points"].values():
            payload = point["payload"]
            fields.setdefault((payload["source"], payload["path"]), fields_of(payload))
    return fields
