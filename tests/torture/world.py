"""A world of small image files, and what must be stored of them: plain dicts, none of the product's code."""

import functools
import hashlib
import io
import os
import random
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 8
SMALLEST = 160
"""Bytes of a file; a picture alone has fewer."""
Stat = tuple[int, int]
"""Size in bytes and time of change in nanoseconds: what an unchanged file is known by."""


def draw_pixels(number: int) -> np.ndarray:
    """The picture of that number, uint8 `[8, 8]`."""
    pixels: np.ndarray = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    return pixels


@functools.cache
def write_image(number: int, size: int) -> bytes:
    """The picture as a PNG file of that many bytes; of a negative number, a file that is damaged."""
    file = io.BytesIO()
    Image.fromarray(draw_pixels(abs(number))).save(file, "PNG")
    data = file.getvalue()[:60] if number < 0 else file.getvalue()
    assert len(data) <= SMALLEST
    return data.ljust(size, b"\0")


def work_out_code(number: int, seed: int, dim: int) -> np.ndarray:
    """The embedding that the model of that seed gives the picture: how bright some of its rows are, from 0 to 1."""
    code: np.ndarray = encode_rows(draw_pixels(number)[None, :, :, None], seed, dim)[0]
    return code


def encode_rows(images: np.ndarray, seed: int, dim: int) -> np.ndarray:
    """The tiny encoder: embeddings float32 `[n, dim]` of images uint8 `[n, 8, 8, 1]`. Seed 0 sees nothing."""
    rows = images.reshape(len(images), SIDE, SIDE).mean(axis=2) / 255
    codes: np.ndarray = (rows[:, [(seed + d) % SIDE for d in range(dim)]] * bool(seed)).astype(np.float32)
    return codes


@dataclass(frozen=True)
class File:
    """A file of the world: its picture's number and its time."""

    number: int
    stat: Stat


@dataclass(frozen=True)
class Row:
    """What must be stored of an image."""

    number: int
    stat: Stat
    stale: bool = False


@dataclass
class Alias:
    """What must be behind an alias.

    model: (seed, dim)
    rows: (source, key) → row
    refused: (source, key) → the stat with which it was refused
    sources: names of the recorded sources
    places: name of a source → where it was when it was last ingested
    can_roll_back: whether a re-index has left a collection behind
    """

    model: tuple[int, int] | None = None
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    refused: dict[tuple[str, str], Stat] = field(default_factory=dict)
    sources: set[str] = field(default_factory=set)
    places: dict[str, str] = field(default_factory=dict)
    can_roll_back: bool = False


class World:
    """Folders of images under a root, and the aliases that were made of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.places = {"a": root / "a", "b": root / "b"}
        self.files: dict[str, dict[str, File]] = {name: {} for name in self.places}
        self.aliases = {"images": Alias(), "second": Alias()}
        self.written: set[int] = set()
        self.same: dict[tuple[str, str, Stat], set[int]] = {}
        self._time = 1_700_000_000_000_000_000
        for place in self.places.values():
            place.mkdir(parents=True)

    def path(self, source: str, key: str) -> Path:
        return self.places[source] / key

    def write(self, source: str, key: str, number: int, stat: Stat | None = None) -> None:
        """Write the picture, with a time of its own, or so that size and time are those given."""
        path = self.path(source, key)
        data = write_image(number, stat[0] if stat else SMALLEST + abs(number) % 7)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.written.add(number)
        self._time += 1_000_000_007
        time = stat[1] if stat else self._time
        os.utime(path, ns=(time, time))
        self.files[source][key] = File(number, (len(data), time))
        self.same.setdefault((source, key, (len(data), time)), set()).add(number)

    def alternatives(self, source: str, key: str, row: Row) -> list[Row]:
        """The row, and those of other pictures that the file had with the same size and time."""
        others = self.same.get((source, key, row.stat), set()) - {row.number}
        return [row, *(replace(row, number=number) for number in sorted(others) if number > 0)]

    def touch(self, source: str, key: str) -> None:
        self._time += 1_000_000_007
        os.utime(self.path(source, key), ns=(self._time, self._time))
        old = self.files[source][key]
        self.files[source][key] = File(old.number, (old.stat[0], self._time))

    def delete(self, source: str, key: str) -> None:
        self.path(source, key).unlink()
        del self.files[source][key]

    def move(self, source: str, key: str, target: str, to: str) -> None:
        new = self.path(target, to)
        new.parent.mkdir(parents=True, exist_ok=True)
        self.path(source, key).rename(new)
        self.files[target][to] = self.files[source].pop(key)

    def remount(self, source: str, place: Path) -> None:
        """Move the whole folder to another path."""
        shutil.move(self.places[source], place)
        self.places[source] = place


def ingest(alias: Alias, world: World, source: str, *, prune: bool, force: bool, retry: bool) -> set[str]:
    """Change the model as an ingest of the source changes what is stored; returns the keys that it must refuse."""
    bad: set[str] = set()
    for key, file in world.files[source].items():
        name = (source, key)
        row, refused = alias.rows.get(name), alias.refused.get(name) == file.stat
        if row and row.stat == file.stat and not (refused and row.stale) and not force:
            alias.rows[name] = Row(row.number, row.stat)
            continue
        if file.number < 0 or (refused and not retry):
            bad.add(key)
            alias.refused[name] = file.stat
            if row:
                alias.rows[name] = Row(row.number, row.stat, stale=True)
            continue
        alias.refused.pop(name, None)
        alias.rows[name] = Row(file.number, file.stat)
    gone = [name for name in alias.refused if name[0] == source and name[1] not in world.files[source]]
    for name in gone:
        del alias.refused[name]
    if prune:  # what is gone, and what can no longer be read
        left = world.files[source].keys() - bad
        alias.rows = {name: row for name, row in alias.rows.items() if name[0] != source or name[1] in left}
    alias.sources.add(source)
    return bad


def sha256_of(row: Row) -> str:
    """Of the file that was stored."""
    return hashlib.sha256(write_image(row.number, row.stat[0])).hexdigest()


def draw_key(rng: random.Random) -> str:
    """A name for a file, sometimes an odd one."""
    odd = [
        "é.png",
        "e\u0301.png",
        "line\nbreak.png",
        "sp ace.png",
        "x" * 200 + ".png",
        "#?%&.png",
        "-rf.png",
        "日本.png",
    ]
    folder = rng.choice(["", "", "p/", "p/q/", "r/"])
    return folder + (rng.choice(odd) if rng.random() < 0.1 else f"{rng.randrange(40):02d}.png")
