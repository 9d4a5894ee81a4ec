"""Each job: how it is run, what it must say, and what must be stored afterwards."""

import copy
import csv
import random
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.cli.conftest import Done
from tests.torture import model
from tests.torture.model import Alias, Fields, Ingest, Name, Row
from tests.torture.operations import MODELS, Operation, apply_change
from tests.torture.run import Found, Runner, Wrong, fields_of
from tests.torture.world import sha256_of, work_out_code, write_image

FEW = 8
"""With fewer contents, the gate may say no to a good model."""
NEAR = 1e-4
REFUSED = 3


class Jobs(Runner):
    """Runs operations; `Torture` adds jobs that run at once."""

    def do(self, operation: Operation) -> None:
        """Run one operation; raises Wrong where something is not as it must be."""
        self.counts.operations += 1
        if apply_change(self.world, operation):
            return
        self.counts.jobs += 1
        self.world.pack()
        getattr(self, "do_" + operation["do"].replace(" ", "_"))(operation)

    def do_ingest(self, job: Operation) -> None:
        name, sources = job["alias"], [job["source"], *([job["other"]] if "other" in job else [])]
        alias, options = self.aliases[name], self.options_of(job, sources)
        marked, after = copy.deepcopy(alias), copy.deepcopy(alias)
        for source in sources:
            model.ingest(marked, self.world, source, replace(options, prune=False))  # on the way to being pruned
        bad = set().union(*(model.ingest(after, self.world, source, options) for source in sources))
        after.model = after.model or self.default
        foreign = [model.is_foreign(alias, self.world, source) for source in sources]
        done, _ = self.run_struck(job, self.ingest_command(job, sources, options), [alias, marked, after], mixed=True)
        if True in foreign or (None in foreign and done.code == 2):
            self.expect(done, 2)
            self.compare()
            return
        self.expect(done, REFUSED if bad else 0)
        self.check_report(done, sources, bad)
        self.aliases[name] = after
        self.compare()

    do_ingest_two = do_ingest

    def options_of(self, job: Operation, sources: list[str]) -> Ingest:
        """What the job's options are to the model; writes the file of metadata."""
        number = job.get("metadata", 0)
        rng, metadata = random.Random(number), dict[Name, Fields]()
        for name in ((source, key) for source in sources for key in sorted(self.world.files[source])):
            if number and rng.random() < 0.5:
                metadata[name] = {"note": f"n{number}", **({"label": f"L{number % 3}"} if number % 2 else {})}
        flags = {flag: bool(job.get(flag)) for flag in ("prune", "force", "retry", "labels")}
        return Ingest(**flags, url=f"http://127.0.0.1:{job['url']}" if job.get("url") else None, metadata=metadata)

    def ingest_command(self, job: Operation, sources: list[str], options: Ingest) -> list[object]:
        arguments: list[object] = ["ingest", *(self.world.places[source] for source in sources), "--json"]
        arguments += ["--name", sources[0]] * bool(job.get("named") and len(sources) == 1)
        arguments += ["--prune", "--yes"] * options.prune + ["--force"] * options.force
        arguments += ["--retry-failed"] * options.retry + ["--labels", "folder"] * options.labels
        arguments += ["--public-url", options.url] if options.url else []
        arguments += ["--batch-size", job["batch"]] if job.get("batch") else []
        arguments += ["--runner", "ray"] if job.get("ray") else []
        if options.metadata:
            file = self.folder / "metadata.csv"
            with file.open("w", encoding="utf-8", newline="") as text:
                rows = csv.DictWriter(text, ["path", "source", "note", "label"])
                rows.writeheader()
                rows.writerows({"path": key, "source": s, **row} for (s, key), row in options.metadata.items())
            arguments += ["--metadata", file]
        return arguments

    def check_report(self, done: Done, sources: list[str], bad: set[Name]) -> None:
        """A report that adds up."""
        said, found = done.object, sum(len(self.world.files[source]) for source in sources)
        made = sum(said[name] for name in ("encoded", "copied", "unchanged", "failed"))
        refused = {(row["source"], row["path"]) for row in said["refused"]}
        if (said["found"], made, refused) != (found, found, bad):
            raise Wrong(f"{found} files, of them bad {sorted(bad)}: {said}")

    def do_reindex(self, job: Operation) -> None:
        if (expected := self.expect_reindex(job)) is None:
            return
        after, bad = expected
        before = self.aliases[job["alias"]]
        done, _ = self.run_struck(job, self.reindex_command(job), [before, after], mixed=False)
        self.conclude_reindex(job, done, after, bad)

    def reindex_command(self, job: Operation) -> list[object]:
        mark = self.marks[MODELS[job["model"]]][:16]
        arguments: list[object] = ["reindex", "--model", mark, "--keep", job["keep"], "--json", "--min-recall", "0"]
        arguments += ["--runner", "ray"] if job.get("ray") else []
        return [*arguments, "--max-delete", "100%", "--max-drop", "100%", *(["--dry-run"] if job["dry"] else [])]

    def expect_reindex(self, job: Operation) -> tuple[Alias, set[Name]] | None:
        """The alias as a re-index must leave it; None if it must refuse to start, which is then checked."""
        alias = self.aliases[job["alias"]]
        moved = any(str(self.world.places[source]) != place for source, (place, _) in alias.sources.items())
        foreign = [model.is_foreign(alias, self.world, source) for source in alias.sources]
        if not alias.sources or moved or True in foreign:
            self.expect(self.run(job, self.reindex_command(job)), 1, 2)
            self.compare()
            return None
        return model.reindex(alias, self.world, MODELS[job["model"]])

    def conclude_reindex(self, job: Operation, done: Done, after: Alias, bad: set[Name]) -> None:
        """Check what a re-index said and left."""
        before, name = self.aliases[job["alias"]], job["alias"]
        contents = {row.sha256 for row in after.rows.values()}
        blind = after.model == MODELS["blind"]
        if done.code == 5 and (blind or len(contents) < FEW or job["do"] == "tune"):  # which has limits of its own
            before.refused, before.unread = after.refused, after.unread
            self.compare()
            return
        if blind and len(contents) > 2:
            self.fail(done, "the gate must refuse a model that sees nothing")
        self.expect(done, REFUSED if bad else 0)
        if job["dry"]:
            before.refused, before.unread = after.refused, after.unread
            self.compare()
            return
        self.default = after.model if self.default == before.model and after.model else self.default
        found = self.read()
        if before.live:
            self.replaced[before.live] = before
        self.settle(after, found, name)
        self.aliases[name] = after
        self.compare(found)

    def do_tune(self, job: Operation) -> None:
        alias = self.aliases[job["alias"]]
        job = {
            **job,
            "model": next((name for name, seen in MODELS.items() if seen == alias.model), "one"),
            "dry": False,
        }
        if alias.rows and (expected := self.expect_reindex({**job, "keep": 1})):
            arguments = ["tune", "--apply", "--json", "--min-recall", "0", "--max-p95", "100000"]
            self.conclude_reindex(job, self.run(job, arguments, {"TORTURE_TUNE": "1"}), *expected)

    def do_rollback(self, job: Operation) -> None:
        name, found = job["alias"], self.read()
        live = found["aliases"].get(name)
        earlier = [
            each
            for each, said in sorted(found["collections"].items())
            if each.startswith(f"{name}-") and live and each < live and said["state"] == "ready" and said["points"]
        ]
        known = self.replaced.get(earlier[-1]) if earlier and job.get("as it was") else None
        done = self.run_rollback(job, found, ["rollback", "--json", *(["--as-it-was"] if known else [])])
        if not earlier or not live:
            self.expect(done, 1)
            self.compare()
            return
        self.expect(done, 0)
        before, after = self.aliases[name], copy.deepcopy(self.aliases[name])
        left, back = found["collections"][live], found["collections"][earlier[-1]]
        after.model = next(seen for seen, mark in self.marks.items() if mark == back["model"])
        after.rows = self.carry_over({**left, "points": {}} if known else left, back, before)
        if known:
            after.sources, after.labelled, after.url = {**known.sources}, {*known.labelled}, known.url
        self.default = after.model if self.default == before.model else self.default
        self.aliases[name] = after
        found = self.read()
        if found["aliases"][name] != earlier[-1]:
            raise Wrong(f"back to {found['aliases'][name]}, and not to {earlier[-1]}")
        self.compare(found)

    def run_rollback(self, job: Operation, before: Found, command: list[object]) -> Done:
        """Run a rollback; if it was struck before it was complete, run it again."""
        if "strike" not in job:
            return self.run(job, command)
        done, struck = self.strike(job, command)
        if not struck:
            return done
        self.counts.faults += 1
        found, live = self.read(), before["aliases"].get(job["alias"])
        self.compare(found, but=job["alias"])
        if live and found["collections"][live]["state"] == "rolled-back":
            return Done(0, "", "")
        return self.run(job, command)

    def carry_over(self, left: Mapping[str, Any], back: Mapping[str, Any], before: Alias) -> dict[Name, Row]:
        """The rows after a rollback: what was written since is carried over as far as the earlier model allows."""
        payloads = {image: dict(point["payload"]) for image, point in back["points"].items()}
        for image, point in left["points"].items():
            newer, known = point["payload"], payloads.get(image)
            url = {"image_url": f"{before.url}/images/x.jpg"} if before.url else {}
            if left["model"] == back["model"] and (known is None or known["sha256"] != newer["sha256"]):
                payloads[image] = {**fields_of(known or {}), **newer, **url}
            elif known is not None:
                payloads[image] = {**known, **fields_of(newer), **url}
        return {(payload["source"], payload["path"]): self.row_of(payload) for payload in payloads.values()}

    def do_drop_unused(self, job: Operation) -> None:
        self.expect(self.run(job, ["collections", "--prune", "--json"], alias=False), 0)
        found = self.read()
        if {*found["collections"]} != {*found["aliases"].values()}:
            raise Wrong(f"left over: {sorted(found['collections'])}, in use are {found['aliases']}")
        self.compare(found)

    def do_forget(self, job: Operation) -> None:
        name, source = job["alias"], job["source"]
        alias, after = self.aliases[name], copy.deepcopy(self.aliases[name])
        model.forget(after, source)
        done, struck = self.run_struck(job, ["forget", source, "--yes", "--json"], [alias, after], mixed=True)
        known = source in alias.sources
        self.expect(done, *([0, 2] if struck and known else [0] if known else [1, 2]))
        self.aliases[name] = after
        self.compare()

    def do_set_url(self, job: Operation) -> None:
        alias, after = self.aliases[job["alias"]], copy.deepcopy(self.aliases[job["alias"]])
        after.url = f"http://127.0.0.1:{job['url']}"
        after.rows = {name: replace(row, url=after.url) for name, row in alias.rows.items()}
        done, _ = self.run_struck(job, ["set-public-url", after.url, "--json"], [alias, after], mixed=True)
        self.expect(done, 1 if alias.model is None else 0)
        if alias.model is not None:
            self.aliases[job["alias"]] = after
        self.compare()

    def do_unmounted(self, job: Operation) -> None:
        """A source that is away, or a folder that is empty: an error, and nothing is removed."""
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

    def do_search(self, job: Operation) -> None:
        alias, query = self.aliases[job["alias"]], self.write_query(job)
        done = self.run(job, ["search", query, "--json", "--keep-copies"])
        self.expect(done, 1 if alias.model is None else 0)
        if alias.model and not self.is_right(done, job["number"], alias):
            self.fail(done, "not the five nearest")

    def write_query(self, job: Operation) -> Path:
        """An image that is stored nowhere."""
        file = self.folder / "query.png"
        file.write_bytes(write_image(job["number"], 200))
        return file

    def is_right(self, done: Done, number: int, alias: Alias, *, copies: bool = True) -> bool:
        """Whether the hits are the five nearest of the alias's rows, by brute force.

        copies: whether each image of a content may be a hit
        """
        assert alias.model
        asked = work_out_code(number, *alias.model)
        sha256 = sha256_of(number, 200)
        near = {
            name: float(np.linalg.norm(work_out_code(row.number, *alias.model) - asked))
            for name, row in alias.rows.items()
            if row.sha256 != sha256
        }
        hits = [((hit["source"], hit["path"]), hit["distance"]) for hit in done.object["hits"]]
        contents = {alias.rows[name].sha256: distance for name, distance in near.items()}
        true = sorted((near if copies else contents).values())[:5]
        return (
            len(hits) == len(true)
            and np.allclose([distance for _, distance in hits], true, atol=NEAR)
            and all(name in near and abs(near[name] - distance) < NEAR for name, distance in hits)
        )

    def do_export(self, job: Operation) -> None:
        alias, file = self.aliases[job["alias"]], self.folder / "export.npz"
        done = self.run(job, ["export", file, "--json"])
        self.expect(done, 1 if alias.model is None else 0)
        if not alias.model:
            return
        with np.load(file, allow_pickle=False) as found:
            rows = zip(found["id"].tolist(), found["code"].tolist(), found["sha256"].tolist(), strict=True)
            exported = {id_: (code, sha256) for id_, code, sha256 in rows}
        if done.object["points"] != len(alias.rows) or len(exported) != len(alias.rows):
            raise Wrong(f"{len(alias.rows)} rows, {len(exported)} exported: {done.object}")
        for (source, key), row in alias.rows.items():
            code, sha256 = exported[str(uuid.uuid5(uuid.NAMESPACE_URL, f"{source}/{key}"))]
            if sha256 != row.sha256 or not np.allclose(code, work_out_code(row.number, *alias.model), atol=1e-5):
                raise Wrong(f"{source}/{key}: exported {code}, {sha256}; must be {row}")

    def do_duplicates(self, job: Operation) -> None:
        """Exact copies are in one group, and no group holds two pictures."""
        alias = self.aliases[job["alias"]]
        done = self.run(job, ["duplicates", "--json"])
        current = {(source, key): file for source in alias.sources for key, file in self.world.files[source].items()}
        if alias.model is None or (
            done.code == 1
            and not any(name in current and current[name].sha256 == row.sha256 for name, row in alias.rows.items())
        ):
            self.expect(done, 1)
            return
        if done.code == 1 and any(str(self.world.places[s]) != place for s, (place, _) in alias.sources.items()):
            return  # what could be read is at another path
        self.expect(done, 0)
        group: dict[Name, int] = {}
        for number, found in enumerate(done.objects):
            members = [(each["source"], each["path"]) for each in (found["keep"], *found["others"])]
            group |= dict.fromkeys(members, number)
            if len({alias.rows[member].number for member in members}) > 1:
                raise Wrong(f"one group of several pictures: {members}")
        of_content: dict[str, set[int | None]] = {}
        for name, row in alias.rows.items():
            of_content.setdefault(row.sha256, set()).add(group.get(name))
        copies = [row.sha256 for row in alias.rows.values()]
        for sha256, groups in of_content.items():
            if copies.count(sha256) > 1 and (len(groups) > 1 or None in groups):
                raise Wrong(f"copies of {sha256} are in groups {groups}")

    def do_migrate(self, job: Operation) -> None:
        """To the embedded engine and back: the same there, and nothing to copy back."""
        name, alias = job["alias"], self.aliases[job["alias"]]
        there = ["migrate", "--from", self.engine.url, "--yes", "--json"]
        done, _ = self.run_struck(job, there, [alias], mixed=False)
        self.expect(done, 1 if alias.model is None else 0)
        if alias.model is not None:
            if trouble := self.find_difference(name, alias, self.read(url="")):
                raise Wrong(f"{name}, migrated: {trouble}")
            done = self.run(job, ["migrate", "--to", self.engine.url, "--json"])
            self.expect(done, 0)
            if done.object["copied"] or done.object["points"] != len(alias.rows):
                raise Wrong(f"there was nothing to copy back: {done.object}")
        self.compare()
        shutil.rmtree(self.home / "embedded", ignore_errors=True)
