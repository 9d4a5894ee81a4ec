"""Operations, drawn by a seed as plain data, so that a list of them can be written down, shortened and run again."""

import math
import random
from collections.abc import Mapping
from typing import Any

from tests.torture.world import World, draw_key

Operation = dict[str, Any]
MOMENTS = 260
"""About as many events as a command has; a fault at a later one than its last does not happen."""
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
}
CHANGES |= {"spoil": 3, "heal": 3, "copy": 2, "remount": 0.5}
JOBS: dict[str, float] = {
    "ingest": 16,
    "reindex": 4,
    "rollback": 1.5,
    "drop unused": 1,
    "forget": 0.7,
    "set url": 0.7,
    "two jobs": 1.5,
}
JOBS |= {"unmounted": 1, "empty mount": 1}


def draw(rng: random.Random, world: World, faults: float, *, server: bool) -> Operation:
    """The next operation for a world as it is.

    faults: the share of jobs that are struck
    server: whether there is a server to strike, too
    """
    if rng.random() < 0.6:
        return draw_change(rng, world)
    name = pick(rng, JOBS)
    job: Operation = {"do": name, "alias": "images" if rng.random() < 0.85 else "second"}
    source = rng.choice(sorted(world.places))
    if name in ("ingest", "unmounted", "empty mount", "forget"):
        job["source"] = source
    if name == "ingest":
        job |= {option: rng.random() < share for option, share in (("prune", 0.4), ("force", 0.1), ("retry", 0.2))}
        job["batch"] = rng.choice([0, 0, 1, 3])
    if name == "reindex":
        job |= {"model": pick(rng, {"one": 3, "two": 3, "wide": 2, "blind": 1}), "dry": rng.random() < 0.15}
        job["keep"] = rng.choice([0, 1, 2])
    if name in ("ingest", "reindex", "rollback", "forget", "set url") and rng.random() < faults:
        moment = int(math.exp(rng.uniform(0, math.log(MOMENTS))))
        job["strike"] = [moment, pick(rng, {"SIGKILL": 6, "SIGTERM": 1, "SIGINT": 1, "server": server})]
    return job


def draw_change(rng: random.Random, world: World) -> Operation:
    """A change of the files."""
    source: str = rng.choice(sorted(world.places))
    files, name = sorted(world.files[source]), pick(rng, CHANGES)
    number, key, to = rng.randrange(1, 10**6), draw_key(rng), draw_key(rng)
    if name == "remount":
        return {"do": name, "source": source, "number": number}
    if not files or name == "write":
        return {"do": "write", "source": source, "key": key, "number": number}
    old = rng.choice(files)
    bad = [each for each in files if world.files[source][each].number < 0]
    if name == "heal" and bad:
        old = rng.choice(bad)
    change: Operation = {"do": name, "source": source, "key": old, "number": number, "to": to}
    if name == "move":
        change["target"] = rng.choice(sorted(world.places))
    return change


def apply_change(world: World, change: Operation) -> bool:
    """Change the files; False for an operation that is none for the world as it is, or is not a change of files."""
    name: str = change["do"]
    if name not in CHANGES:
        return False
    source: str = change["source"]
    if name == "remount":
        world.remount(source, world.root / f"{source}-{change['number']}")
        return True
    key, number = change["key"], change["number"]
    if name == "write":
        if usable(world, source, key):
            world.write(source, key, number)
        return True
    if key not in world.files[source]:
        return True  # a shortened list
    old = world.files[source][key]
    to: str = change["to"]
    target: str = change.get("target", source)
    if name in ("change", "heal"):
        world.write(source, key, number)
    elif name == "change same stat":
        world.write(source, key, number, old.stat)
    elif name == "spoil":
        world.write(source, key, -number)
    elif name == "touch":
        world.touch(source, key)
    elif name == "delete":
        if len(world.files[source]) > 1:
            world.delete(source, key)
    elif to not in world.files[target] and usable(world, target, to):
        if name == "copy":
            world.write(target, to, old.number)
        elif len(world.files[source]) > 1:
            world.move(source, key, target, to)
    return True


def usable(world: World, source: str, key: str) -> bool:
    """Whether a file of that name can be there: its folders are none of the files."""
    path = world.path(source, key)
    return not path.is_dir() and all(not parent.is_file() for parent in path.parents)


def pick(rng: random.Random, weights: Mapping[str, float]) -> str:
    return rng.choices(sorted(weights), [weights[name] for name in sorted(weights)])[0]
