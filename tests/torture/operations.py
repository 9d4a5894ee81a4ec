"""Operations, drawn by a seed as plain data, so that a list of them can be written down, shortened and run again."""

import math
import random
from collections.abc import Mapping
from typing import Any

from tests.torture.world import FOLDERS, ODD, SOURCES, World

Operation = dict[str, Any]
MOMENTS, WRITES = 400, 16
"""About as many events as a command has, and those around writes among them; a later fault does not happen."""
MODELS = {"one": (1, 4), "two": (3, 4), "wide": (2, 6), "blind": (0, 4)}
"""Models by name: seed and dimension. The gate must refuse the one that sees nothing."""
CHANGES: dict[str, float] = {
    "write": 10,
    "change": 6,
    "change same stat": 1,
    "touch": 2,
    "delete": 4,
    "rename": 3,
    "move": 2,
    "copy": 2,
    "spoil": 3,
    "heal": 3,
    "lose": 0.7,
    "remount": 0.6,
    "restore": 0.3,
}
JOBS: dict[str, float] = {
    "ingest": 16,
    "ingest two": 2,
    "reindex": 4,
    "rollback": 1.5,
    "drop unused": 0.7,
    "forget": 0.7,
    "set url": 0.7,
    "two jobs": 1,
    "two reindexes": 0.5,
    "unmounted": 1,
    "empty mount": 0.5,
    "search": 2,
    "export": 1,
    "duplicates": 0.7,
    "search during": 0.7,
    "serve": 0.15,
}
SERVER_JOBS = {"migrate": 0.7, "freeze": 0.4, "tune": 0.1}
"""Those that need a server."""
STRUCK = ("ingest", "ingest two", "reindex", "rollback", "forget", "set url", "migrate")
"""Jobs that a fault may strike."""
NAMES = [
    *("é.png", "e\u0301.png", "line\nbreak.png", "sp ace.png", "#?%&.png", "-rf.png", "日本.png", "UPPER.PNG"),
    *("x" * 200 + ".png", "y" * 200 + "/" + "x" * 200 + "/" + "z" * 200 + ".png", *ODD),
]


def draw(
    rng: random.Random, world: World, faults: float, kinds: Mapping[str, float], *, server: bool, real: bool = False
) -> Operation:
    """The next operation for a world as it is.

    faults: the share of jobs that are struck
    kinds: the kinds of faults → weights
    server: whether the engine is a server
    real: whether nothing stands in for the network, so that Ray's processes can take part
    """
    if rng.random() < 0.62:
        return draw_change(rng, world)
    name = pick(rng, {**JOBS, **(SERVER_JOBS if server else {})})
    job: Operation = {"do": name, "alias": "images" if rng.random() < 0.85 else "second"}
    source, other = rng.sample(sorted(SOURCES), 2)
    number = rng.randrange(1, 10**6)
    if name in ("ingest", "ingest two", "unmounted", "empty mount", "forget", "freeze"):
        job["source"] = rng.choice(FOLDERS) if name == "empty mount" else source
    if name in ("ingest two", "two jobs"):
        job |= {"source": source, "other": other}
    if name in ("ingest", "ingest two"):
        shares = {"prune": 0.4, "force": 0.1, "retry": 0.2, "labels": 0.3, "named": 0.5}
        job |= {option: rng.random() < share for option, share in shares.items()}
        job["metadata"] = number if rng.random() < 0.25 else 0
        job["url"] = rng.choice([8000, 8001]) if rng.random() < 0.1 else 0
        job["batch"] = rng.choice([0, 0, 1, 3])
    if real and server and name in ("ingest", "ingest two", "reindex"):
        job["ray"] = rng.random() < 0.15
    if name == "rollback":
        job["as it was"] = rng.random() < 0.3
    if name in ("reindex", "search during", "serve"):
        job |= {"model": pick(rng, {"one": 3, "two": 3, "wide": 2, "blind": 1}), "dry": rng.random() < 0.15}
        job["keep"] = rng.choice([0, 1, 2])
    if name == "set url":
        job["url"] = rng.choice([8000, 8001])
    if name in ("search", "search during", "serve", "freeze"):
        job["number"] = number
    if rng.random() < 0.05:
        job["clock"] = rng.choice([-3600, 3600])
    if name in STRUCK and rng.random() < faults:
        fault = pick(rng, {kind: weight for kind, weight in kinds.items() if kind != "unmount" or "prune" in job})
        if fault == "unmount":
            job |= {"prune": True, "source": rng.choice([each for each in FOLDERS if each != job.get("other")])}
        of_writes = rng.random() < (0.6 if fault != "unmount" else 0)
        most = WRITES if of_writes or fault == "unmount" else MOMENTS
        moment = int(math.exp(rng.uniform(0, math.log(most))))
        job["strike"] = [-moment if of_writes else moment, fault]
    return job


def draw_change(rng: random.Random, world: World) -> Operation:
    """A change of the files."""
    source: str = rng.choice(sorted(SOURCES))
    name = pick(rng, CHANGES)
    number, key, to = rng.randrange(1, 10**6), draw_key(rng), draw_key(rng)
    if name == "remount":
        return {"do": name, "source": source, "number": number}
    if name == "restore":
        return {"do": name, "source": rng.choice(FOLDERS)}
    source = "l" if name == "lose" else source
    files = sorted(world.files[source])
    if not files or name == "write":
        return {"do": "write", "source": source, "key": key, "number": number}
    old = rng.choice(files)
    bad = [each for each in files if world.files[source][each].number <= 0]
    if name == "heal" and bad:
        old = rng.choice(bad)
    change: Operation = {"do": name, "source": source, "key": old, "number": number}
    if name in ("rename", "move", "copy"):
        change["to"] = to
    if name in ("move", "copy"):
        change["target"] = rng.choice(sorted(SOURCES))
    return change


def apply_change(world: World, change: Operation) -> bool:
    """Change the files; False for an operation that is not a change of files."""
    name: str = change["do"]
    if name not in CHANGES:
        return False
    source: str = change["source"]
    if name == "remount":
        world.remount(source, change["number"])
        return True
    if name == "restore":
        world.restore(source)
        return True
    key, files = change["key"], world.files[source]
    if name == "write":
        if world.can_hold(source, key):
            world.write(source, key, change["number"])
        return True
    if key not in files:
        return True  # a shortened list
    old, number = files[key], change["number"]
    last = sum(file.number != 0 for file in files.values()) == 1 and old.number != 0
    if name in ("change", "heal") or (name == "change same stat" and not old.number):
        world.write(source, key, number)
    elif name == "change same stat":
        world.write(source, key, number, old)
    elif name == "spoil":
        world.write(source, key, -number)
    elif name == "touch" and old.number:
        world.touch(source, key)
    elif name == "lose" and not last:
        world.lose(key)
    elif name == "delete" and not last:
        world.delete(source, key)
    elif name in ("copy", "move", "rename") and old.number:
        to, target = change["to"], change.get("target", source)
        if to in world.files[target] or not world.can_hold(target, to):
            return True
        if name == "copy":
            world.write(target, to, old.number)
        elif not last:
            world.move(source, key, target, to)
    return True


def draw_key(rng: random.Random) -> str:
    """A name for an image, sometimes an odd one."""
    folder = rng.choice(["", "", "p/", "p/q/", "r/"])
    return folder + (rng.choice(NAMES) if rng.random() < 0.1 else f"{rng.randrange(25):02d}.png")


def pick(rng: random.Random, weights: Mapping[str, float]) -> str:
    return rng.choices(sorted(weights), [weights[name] for name in sorted(weights)])[0]
