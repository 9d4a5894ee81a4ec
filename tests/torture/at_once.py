"""Jobs that run at once: two of a kind, searches during a re-index, one that is frozen while another takes over."""

import contextlib
import copy
import os
import signal
import time
from collections.abc import Iterator, Sequence

import httpx

from tests.cli.conftest import Done
from tests.torture import faults, model
from tests.torture.jobs import FEW, REFUSED, Jobs
from tests.torture.model import Alias, Ingest
from tests.torture.operations import MODELS, Operation
from tests.torture.run import Wrong

FOLLOWS_SECONDS = 30.0
"""Until a service answers from the new collection, at most."""


class Torture(Jobs):
    """Runs operations."""

    def do_search_during(self, job: Operation) -> None:
        """Searches while a re-index runs: each answer is of the old or the new collection, or a clear error."""
        query = self.write_query(job)
        if (expected := self.expect_reindex(job)) is None:
            return
        before, answers = self.aliases[job["alias"]], list[Done]()
        child = self.start(job, self.reindex_command(job))
        while not child.ended():
            answers.append(self.run(job, ["search", query, "--json", "--keep-copies"]))
        self.conclude_reindex(job, self.check_sane(child.wait()), *expected)
        for done in answers:
            if done.code and not done.err.startswith("error: "):
                self.fail(done, "that is no clear error")
            if not done.code:
                self.check_answer(done, job, [before, self.aliases[job["alias"]]])

    def do_serve(self, job: Operation) -> None:
        """A service beside a re-index: each answer is of the old or the new collection, in the end of the new one."""
        if (expected := self.expect_reindex(job)) is None:
            return
        before, answers = self.aliases[job["alias"]], list[Done | None]()
        self.write_query(job)
        with self.serving(job) as url:
            child = self.start(job, self.reindex_command(job))
            while not child.ended():
                answers.append(self.ask(url))
            self.conclude_reindex(job, self.check_sane(child.wait()), *expected)
            after, end = self.aliases[job["alias"]], time.monotonic() + FOLLOWS_SECONDS
            while not (last := self.ask(url)) or not self.is_right(last, job["number"], after, copies=False):
                answers.append(last)
                if time.monotonic() > end:
                    self.fail(last or child.wait(), "the service does not answer from the new collection")
        for answer in filter(None, answers):
            self.check_answer(answer, job, [before, after], copies=False)

    def check_answer(self, done: Done, job: Operation, states: Sequence[Alias], *, copies: bool = True) -> None:
        """The hits are those of one of the states, as they are known once the re-index is over."""
        if not any(self.is_right(done, job["number"], state, copies=copies) for state in states):
            self.fail(done, "that is neither of the old nor of the new collection")

    @contextlib.contextmanager
    def serving(self, job: Operation) -> Iterator[str]:
        """The address of a service, once it is ready; it must end politely."""
        service = self.start(job, ["serve", "--port", "0", "--rate", "0"])
        try:
            url, end = service.find(r"http://[0-9.:]+"), time.monotonic() + FOLLOWS_SECONDS
            if not url:
                self.fail(service.wait(), "the service must start")
            while httpx.get(f"{url}/readyz", timeout=FOLLOWS_SECONDS).status_code != 200 and time.monotonic() < end:
                time.sleep(0.02)
            yield url
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(service.pid, signal.SIGTERM)
            done = service.wait()
        self.expect(self.check_sane(done), 0)

    def ask(self, url: str) -> Done | None:
        """What the service answers; None where it says that it cannot answer now."""
        image = (self.folder / "query.png").read_bytes()
        try:
            answer = httpx.post(f"{url}/api/search", files={"image": image}, data={"k": "5"}, timeout=FOLLOWS_SECONDS)
        except httpx.HTTPError as error:
            raise Wrong(f"the service does not answer: {error}") from error
        found = Done(0, answer.text, "")
        if answer.status_code not in (200, 503):
            self.fail(found, f"the service must answer, and said {answer.status_code}")
        return found if answer.status_code == 200 else None

    def do_two_jobs(self, job: Operation) -> None:
        """Two ingests at once: both are done, or one of them finds the other at work."""
        sources = [job["source"], job["other"]]
        commands = [self.ingest_command(job, [source], Ingest()) for source in sources]
        running = [self.start(job, command) for command in commands]
        for source, child in zip(sources, running, strict=True):
            alias, done = self.aliases[job["alias"]], self.check_sane(child.wait())
            foreign = model.is_foreign(alias, self.world, source)
            if done.code == 4 or (foreign is not False and done.code == 2):
                continue
            bad = model.ingest(alias, self.world, source, Ingest())
            self.expect(done, REFUSED if bad else 0)
            alias.model = alias.model or self.default
        self.compare()

    def do_freeze(self, job: Operation) -> None:
        """A job is stopped for longer than its lease; a file changes, and another job takes over; the first goes on.

        Then it must not write what it had read.
        """
        name, source, number = job["alias"], job["source"], job["number"]
        command, alias = self.ingest_command(job, [source], Ingest()), copy.deepcopy(self.aliases[name])
        foreign = model.is_foreign(alias, self.world, source)
        lease, strike = {"TORTURE_LEASE": "1"}, {"TORTURE_FAULT": "SIGSTOP", "TORTURE_MOMENT": str(-1 - number % 10)}
        first = self.start(job, command, {**lease, **strike})
        if stopped := first.has_stopped():
            self.counts.faults += 1
            if alias.sources.get(source) in (None, model.place_of(self.world, source)):  # it may not look like another
                self.change_one(source, number)
            time.sleep(faults.LEASE_SECONDS)
        bad = model.ingest(alias, self.world, source, Ingest())
        alias.model, codes = alias.model or self.default, [2] if foreign else [REFUSED if bad else 0]
        if stopped:
            self.expect(self.run(job, command, lease), *codes)
            os.kill(first.pid, signal.SIGCONT)
        self.expect(self.check_sane(first.wait()), 4, *codes)
        if not foreign:
            self.aliases[name] = alias
        self.compare()

    def change_one(self, source: str, number: int) -> None:
        """Change one of the source's images."""
        if good := sorted(key for key, file in self.world.files[source].items() if file.number > 0):
            self.world.write(source, good[number % len(good)], number)
            self.world.pack()

    def do_two_reindexes(self, job: Operation) -> None:
        """Two re-indexes at once, to different models: one after the other, or one of them finds the other at work."""
        name = job["alias"]
        jobs = [{**job, "keep": 1, "dry": False, "model": each} for each in ("one", "two")]
        if self.expect_reindex(jobs[0]) is None:
            return
        running = [self.start(each, self.reindex_command(each)) for each in jobs]
        done = [self.check_sane(child.wait()) for child in running]
        alias, found = self.aliases[name], self.read()
        live = found["collections"][found["aliases"][name]]["model"]
        few = len({row.sha256 for row in model.reindex(alias, self.world, MODELS["one"])[0].rows.values()}) < FEW
        for one in done:
            self.expect(one, 0, REFUSED, 4, *([5] if few else []))
        swapped = [MODELS[each["model"]] for each, one in zip(jobs, done, strict=True) if one.code in (0, REFUSED)]
        for seen in sorted(swapped, key=lambda seen: self.marks[seen] == live):  # the one that is live came last
            before, (alias, _) = alias, model.reindex(alias, self.world, seen)
            self.default = seen if self.default == before.model else self.default
            self.settle(alias, found, name)
        if any(one.code == 5 for one in done):
            after, _ = model.reindex(alias, self.world, MODELS["one"])
            alias.refused, alias.unread = after.refused, after.unread
        self.aliases[name] = alias
        self.compare(found)
