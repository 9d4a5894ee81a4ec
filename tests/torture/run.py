"""Runs operations, changes the model beside them, and compares the two after each job."""

import copy
import json
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from retrieval.model import saved_models
from retrieval.model.config import ModelConfig
from tests.cli.conftest import Done, environment
from tests.store import servers
from tests.torture import world as worlds
from tests.torture.child import MODELS as MODELS_FILE
from tests.torture.child import Child, dump, run
from tests.torture.operations import MODELS, Operation, apply_change
from tests.torture.world import SIDE, Alias, Row, World, sha256_of, work_out_code

STRUCK = {-signal.SIGKILL, -signal.SIGTERM, 130, 143}
Rows = dict[tuple[str, str], Row]


class Wrong(AssertionError):
    """An invariant does not hold."""


@dataclass
class Counts:
    """What was done: operations, jobs among them, and kills that came before the job was over."""

    operations: int = 0
    jobs: int = 0
    kills: int = 0

    def add(self, other: "Counts") -> None:
        self.operations += other.operations
        self.jobs += other.jobs
        self.kills += other.kills


@dataclass
class Torture:
    """A world, its home, and one of the engines.

    folder: for all of it
    server: the folder of a server that may be killed; None for the embedded engine
    """

    folder: Path
    server: Path | None = None
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self.url = servers.url(self.server) if self.server else ""
        if self.url:
            wipe(self.url)
        self.world = World(self.folder / "world")
        self.home = self.folder / "home"
        self.marks: dict[tuple[int, int], str] = {}
        self.default = MODELS["one"]
        for name, (seed, dim) in MODELS.items():
            config = ModelConfig((SIDE, SIDE), 1, dim, (8, 8), (0, 0))
            weights = {"seed": np.full(3, seed, np.float32)}
            model = saved_models.save(self.home / "models", config, weights, {}, reconstructions=b"")
            self.marks[seed, dim] = model.fingerprint
            if name == "one":
                saved_models.set_default(model)
        (self.home / MODELS_FILE).write_text(json.dumps({mark: seen for seen, mark in self.marks.items()}))
        for number, source in enumerate(sorted(self.world.places)):
            for each in range(6):
                self.world.write(source, f"{each:02d}.png", 100 * number + each + 1)

    def do(self, operation: Operation) -> None:
        """Run one operation; raises Wrong where something is not as it must be."""
        self.counts.operations += 1
        if apply_change(self.world, operation):
            return
        self.counts.jobs += 1
        getattr(self, "do_" + operation["do"].replace(" ", "_"))(operation)

    def do_ingest(self, job: Operation) -> None:
        source, flags = job["source"], {name: bool(job.get(name)) for name in ("prune", "force", "retry")}
        alias = self.world.aliases[job["alias"]]
        marked, after = copy.deepcopy(alias), copy.deepcopy(alias)
        worlds.ingest(marked, self.world, source, **{**flags, "prune": False})  # on the way to being pruned
        bad = worlds.ingest(after, self.world, source, **flags)
        after.model = after.model or self.default
        after.places[source] = str(self.world.places[source])
        arguments = ["ingest", self.world.places[source], "--name", source, "--json"]
        arguments += ["--prune", "--yes"] * flags["prune"] + ["--force"] * flags["force"]
        arguments += ["--retry-failed"] * flags["retry"] + (["--batch-size", job["batch"]] if job.get("batch") else [])
        done = self.run_struck(job, arguments, [alias, marked, after], mixed=True)
        if done.code == 2 and self.looks_foreign(alias, source):
            self.compare()
            return
        self.expect(done, 3 if bad else 0)
        said = done.object
        found = len(self.world.files[source])
        made = sum(said[name] for name in ("encoded", "copied", "unchanged", "failed"))
        if (said["found"], made, said["failed"]) != (found, found, len(bad)):
            raise Wrong(f"{found} files, {len(bad)} of them bad: {said}")
        self.world.aliases[job["alias"]] = after
        self.compare()

    def looks_foreign(self, alias: Alias, source: str) -> bool:
        """Whether the source was moved and little of it is as it is stored, so that it may be another one."""
        if alias.places.get(source) in (None, str(self.world.places[source])):
            return False
        stored = {key: row for (of, key), row in alias.rows.items() if of == source}
        files = self.world.files[source]
        same = sum(key in files and files[key].stat == row.stat for key, row in stored.items())
        return same <= len(stored) / 2

    def do_reindex(self, job: Operation) -> None:
        name, seen = job["alias"], MODELS[job["model"]]
        alias = self.world.aliases[name]
        arguments = ["reindex", "--model", self.marks[seen][:16], "--keep", job["keep"], "--json", "--min-recall", "0"]
        arguments += ["--max-delete", "100%", "--max-drop", "100%", *(["--dry-run"] if job["dry"] else [])]
        if alias.model is None:
            self.expect(self.run(job, arguments), 1)
            self.compare()
            return
        after, bad = self.reindexed(alias, seen)
        moved = any(str(self.world.places[source]) != place for source, place in alias.places.items())
        if moved:
            self.expect(self.run(job, arguments), 1)
            self.compare()
            return
        done = self.run_struck(job, arguments, [alias, after], mixed=False)
        self.expect(done, 0, 3, 5)
        if done.code == 5 or job["dry"]:
            self.compare()
            return
        if seen == MODELS["blind"] and len(after.rows) > 2:
            raise Wrong(f"the gate let a model pass that sees nothing: {done.out}")
        self.expect(done, 3 if bad else 0)
        after.can_roll_back = job["keep"] > 0
        self.default = seen if self.default == alias.model else self.default
        found = self.read()
        self.settle(after, found["collections"][found["aliases"][name]]["points"])
        self.world.aliases[name] = after
        self.compare(found)

    def settle(self, alias: Alias, points: dict[str, Any]) -> None:
        """Of pictures that a file had with the same size and time, a re-index may have read either.

        It goes on with a collection that an earlier run has begun to fill.
        """
        for (source, key), row in alias.rows.items():
            point = points.get(f"{source}/{key}")
            for other in self.world.alternatives(source, key, row):
                if point and point["payload"]["sha256"] == sha256_of(other):
                    alias.rows[source, key] = other

    def reindexed(self, alias: Alias, seen: tuple[int, int]) -> tuple[Alias, bool]:
        """The alias after a re-index with that model, and whether images are refused."""
        after, bad = copy.deepcopy(alias), False
        after.model, after.rows = seen, {}
        for source in alias.sources:
            for key, file in self.world.files[source].items():
                row, refused = alias.rows.get((source, key)), alias.refused.get((source, key)) == file.stat
                good = row is not None and row.stat == file.stat and not (refused and row.stale)
                if good and row and seen == alias.model:
                    after.rows[source, key] = Row(row.number, row.stat)
                elif file.number < 0 or refused:
                    bad = True
                    after.refused[source, key] = file.stat
                else:
                    after.rows[source, key] = Row(file.number, file.stat)
            for name in [n for n in after.refused if n[0] == source and n[1] not in self.world.files[source]]:
                del after.refused[name]
        return after, bad

    def do_rollback(self, job: Operation) -> None:
        before = self.read()
        done = self.run(job, ["rollback", "--json"], strike=True)
        self.expect(done, 0, 1, *STRUCK)
        self.counts.kills += done.code == -signal.SIGKILL
        found = self.read()
        alias = self.world.aliases[job["alias"]]
        if found["aliases"] == before["aliases"]:
            if done.code == 0:
                self.fail(done, "it said that it went back")
            self.compare(found)
            return
        if not alias.can_roll_back:
            self.fail(done, "there was nothing to go back to")
        self.adopt(job["alias"], found)
        self.compare(found)

    def do_drop_unused(self, job: Operation) -> None:
        self.expect(self.run(job, ["collections", "--prune", "--json"], alias=False), 0)
        for alias in self.world.aliases.values():
            alias.can_roll_back = False
        found = self.read()
        if {*found["collections"]} != {*found["aliases"].values()}:
            raise Wrong(f"left over: {sorted(found['collections'])}, in use are {found['aliases']}")
        self.compare(found)

    def do_forget(self, job: Operation) -> None:
        name, source = job["alias"], job["source"]
        alias = self.world.aliases[name]
        after = copy.deepcopy(alias)
        after.sources.discard(source)
        after.places.pop(source, None)
        after.rows = {row: each for row, each in alias.rows.items() if row[0] != source}
        after.refused = {row: each for row, each in alias.refused.items() if row[0] != source}
        done = self.run_struck(job, ["forget", source, "--yes", "--json"], [alias, after], mixed=True)
        self.expect(done, 0, 1, 2)
        if source in alias.sources and done.code != 0 and "strike" not in job:
            self.fail(done, "it is a source of this collection")
        if source in alias.sources:
            self.world.aliases[name] = after
        self.compare()

    def do_set_url(self, job: Operation) -> None:
        alias = self.world.aliases[job["alias"]]
        arguments = ["set-public-url", "http://127.0.0.1:8000", "--json"]
        done = self.run_struck(job, arguments, [alias, alias], mixed=True)
        self.expect(done, 1 if alias.model is None else 0)
        self.compare()

    def do_two_jobs(self, job: Operation) -> None:
        name = job["alias"]
        arguments = [["ingest", place, "--name", source, "--json"] for source, place in self.world.places.items()]
        running = [self.start(job, each) for each in arguments]
        for source, each in zip(self.world.places, [child.wait() for child in running], strict=True):
            alias = self.world.aliases[name]
            if each.code == 4 or (each.code == 2 and self.looks_foreign(alias, source)):
                continue
            bad = worlds.ingest(alias, self.world, source, prune=False, force=False, retry=False)
            self.expect(each, 3 if bad else 0)
            alias.model = alias.model or self.default
            alias.places[source] = str(self.world.places[source])
        self.compare()

    def do_unmounted(self, job: Operation) -> None:
        place = self.world.places[job["source"]]
        away = place.with_name("away")
        place.rename(away)
        if job["do"] == "empty mount":
            place.mkdir()
        try:
            done = self.run(job, ["ingest", place, "--name", job["source"], "--prune", "--yes", "--json"])
        finally:
            if job["do"] == "empty mount":
                place.rmdir()
            away.rename(place)
        self.expect(done, 1, 2)
        self.compare()

    do_empty_mount = do_unmounted

    def run_struck(self, job: Operation, arguments: Sequence[object], states: Sequence[Alias], *, mixed: bool) -> Done:
        """Run a job that may be struck; if it was, what is stored is of one of the states, and it is run again.

        mixed: each row may be of either state
        """
        if self.server and job.get("strike", ["", ""])[1] == "server":
            done = self.run_while_server_dies(job, arguments)
            struck = done.code == 1
            self.counts.kills += 1
        else:
            done = self.run(job, arguments, strike=True)
            struck = "strike" in job and done.code in STRUCK
            self.counts.kills += done.code == -signal.SIGKILL
        if struck:
            found = self.read()
            self.compare(found, but=job["alias"])
            troubles = [self.find_difference(job["alias"], state, found) for state in states]
            if mixed:
                self.check_mixed(job["alias"], states, found)
            elif all(troubles):
                raise Wrong(f"neither as before nor as afterwards: {troubles}")
            done = self.run(job, arguments)
            if done.code in STRUCK:
                self.fail(done, "nobody struck it")
        return done

    def run_while_server_dies(self, job: Operation, arguments: Sequence[object]) -> Done:
        """Kill the server so many milliseconds after the job began, and start it again."""
        assert self.server
        child = self.start(job, arguments)
        time.sleep(job["strike"][0] / 1000)
        port = self.url.rsplit(":", 1)[1]
        servers.kill(self.server)
        again = servers.qdrant("start", "--dir", str(self.server), "--http-port", port)
        if again.returncode:
            raise Wrong(f"the server does not start again: {again.stderr}")
        return child.wait()

    def check_mixed(self, name: str, states: Sequence[Alias], found: dict[str, Any]) -> None:
        """Each stored row is as in one of the states."""
        live = found["aliases"].get(name)
        points = found["collections"][live]["points"] if live else {}
        for state_rows in [{f"{s}/{k}": row for (s, k), row in state.rows.items()} for state in states]:
            for image in [image for image, row in state_rows.items() if image not in points]:
                if all(f"{s}/{k}" != image for state in states[:1] for s, k in state.rows):
                    continue  # not stored yet
                if all(any(f"{s}/{k}" == image for s, k in state.rows) for state in states):
                    raise Wrong(f"{image} is lost")
        model = states[-1].model or self.default
        for image, point in points.items():
            rows = [row for state in states for (s, k), row in state.rows.items() if f"{s}/{k}" == image]
            if not any(describe_difference(image, point, row, model) is None for row in rows):
                raise Wrong(f"{image} is stored as {point}, and should be one of {rows}")

    def run(self, job: Operation, arguments: Sequence[object], *, strike: bool = False, alias: bool = True) -> Done:
        done = self.start(job, arguments, strike=strike, alias=alias).wait()
        if "Traceback" in done.err or "(a bug;" in done.err:
            self.fail(done, "that is a defect")
        return done

    def start(self, job: Operation, arguments: Sequence[object], *, strike: bool = False, alias: bool = True) -> Child:
        more = {}
        if strike and "strike" in job and job["strike"][1] != "server":
            more = {"TORTURE_MOMENT": str(job["strike"][0]), "TORTURE_SIGNAL": job["strike"][1]}
        if self.url:
            more["QDRANT_URL"] = self.url
        where = ["--alias", job["alias"]] if alias else []
        return Child(run, [*arguments, *where], environment(self.home, **more))

    def read(self) -> dict[str, Any]:
        """What is stored, as the engine tells."""
        done = Child(dump, [self.url], environment(self.home)).wait()
        if done.code:
            self.fail(done, "what is stored cannot be read")
        found = done.object
        if found["wrong"]:
            raise Wrong("; ".join(found["wrong"]))
        return found

    def compare(self, found: dict[str, Any] | None = None, but: str = "") -> None:
        """Every alias is as the model says."""
        found = found or self.read()
        for name, alias in self.world.aliases.items():
            if name != but and (trouble := self.find_difference(name, alias, found)):
                raise Wrong(f"{name}: {trouble}")

    def find_difference(self, name: str, alias: Alias, found: dict[str, Any]) -> str | None:
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

    def adopt(self, name: str, found: dict[str, Any]) -> None:
        """Take what is behind the alias as the model, if each row is one that was or is a file's."""
        alias = self.world.aliases[name]
        collection = found["collections"][found["aliases"][name]]
        known = {row.number for row in alias.rows.values()} | self.numbers
        by_sha = {
            sha256_of(Row(n, (size, 0))): n for n in known for size in range(worlds.SMALLEST, worlds.SMALLEST + 7)
        }
        old = alias.model
        alias.model = next(seen for seen, mark in self.marks.items() if mark == collection["model"])
        alias.rows, alias.can_roll_back = {}, True
        self.default = alias.model if self.default == old else self.default
        for image, point in collection["points"].items():
            payload = point["payload"]
            if payload["sha256"] not in by_sha:
                raise Wrong(f"{image}: nobody wrote {payload['sha256']}")
            stat = (payload["bytes"], payload["mtime_ns"])
            row = Row(by_sha[payload["sha256"]], stat, bool(payload.get("stale")))
            alias.rows[payload["source"], payload["path"]] = row

    @property
    def numbers(self) -> set[int]:
        """Of all pictures that were ever written."""
        return self.world.written

    def expect(self, done: Done, *codes: int) -> None:
        if done.code not in codes:
            self.fail(done, f"not {' or '.join(map(str, codes))}")

    def fail(self, done: Done, why: str) -> None:
        raise Wrong(f"exit code {done.code}, {why}: {done.out[-1500:]} {done.err[-3000:]}")


def wipe(url: str) -> None:
    """Drop every collection of a server, also the one with the locks."""
    for each in httpx.get(f"{url}/collections", timeout=30).json()["result"]["collections"]:
        httpx.delete(f"{url}/collections/{each['name']}", timeout=30).raise_for_status()


def describe_difference(image: str, point: dict[str, Any], row: Row, model: tuple[int, int]) -> str | None:
    """How a stored point differs from what it must be; None if it does not."""
    payload = point["payload"]
    found = (payload["sha256"], payload["bytes"], payload["mtime_ns"], bool(payload.get("stale")))
    expected = (sha256_of(row), *row.stat, row.stale)
    if found != expected:
        return f"{image}: stored {found}, must be {expected}"
    code = work_out_code(row.number, *model)
    if not np.allclose(point["code"], code, atol=1e-5):
        return f"{image}: embedding {point['code']}, must be {code.tolist()}"
    return None
