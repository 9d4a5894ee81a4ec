"""A world of small images in folders, archives, a list and a Parquet file: what is there, none of it by the product."""

import datetime as dt
import functools
import hashlib
import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 8
SMALLEST = 160
"""Bytes of a file; a picture alone has fewer."""
Stat = tuple[int, int]
"""Size in bytes and time of change in nanoseconds: what an unchanged file is known by. An unknown one is 0."""
NOTHING: Stat = (0, 0)
SOURCES = {"a": "a", "b": "b", "l": "l.txt", "p": "p.parquet", "t": "t.tar.gz", "z": "z.zip"}
"""Name of a source → name of its folder or file, from which the program makes the same name."""
FOLDERS = ("a", "b")
ODD = {"caf\\xe9.png": b"caf\xe9.png", "back\\x5cxff.png": b"back\\xff.png"}
"""Last part of a key → the name of the file, which is not UTF-8, or looks like a key that is not."""
TICK = 2_000_000_000
"""Nanoseconds between two changes; a zip knows times by two seconds."""


def draw_pixels(number: int) -> np.ndarray:
    """The picture of that number, uint8 `[8, 8]`."""
    pixels: np.ndarray = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    return pixels


@functools.lru_cache(100_000)
def write_image(number: int, size: int) -> bytes:
    """The picture as a PNG file of that many bytes; of a negative number, a file that is damaged."""
    file = io.BytesIO()
    Image.fromarray(draw_pixels(abs(number))).save(file, "PNG")
    data = file.getvalue()[:60] if number < 0 else file.getvalue()
    assert len(data) <= SMALLEST
    return data.ljust(size, b"\0")


@functools.lru_cache(100_000)
def sha256_of(number: int, size: int) -> str:
    """Of the file with that picture and size."""
    return hashlib.sha256(write_image(number, size)).hexdigest()


def work_out_code(number: int, seed: int, dim: int) -> np.ndarray:
    """The embedding that the model of that seed gives the picture: how bright some of its rows are; its length is 1."""
    code: np.ndarray = encode_rows(draw_pixels(number)[None, :, :, None], seed, dim)[0]
    return code


def encode_rows(images: np.ndarray, seed: int, dim: int) -> np.ndarray:
    """The tiny encoder: embeddings float32 `[n, dim]` of images uint8 `[n, 8, 8, 1]`. Seed 0 sees nothing."""
    rows = images.reshape(len(images), SIDE, SIDE).mean(axis=2)[:, rows_seen(seed, dim)] * bool(seed)
    codes: np.ndarray = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)
    return codes


def rows_seen(seed: int, dim: int) -> list[int]:
    """The row of the picture that each dimension of the embedding tells of."""
    return [(seed + d) % SIDE for d in range(dim)]


@dataclass(frozen=True)
class File:
    """An image of a source: its picture's number, its size, and what a listing tells of it.

    number: negative for a damaged file, 0 for one that the list names and that is not there
    """

    number: int
    size: int
    stat: Stat

    @property
    def sha256(self) -> str | None:
        return sha256_of(self.number, self.size) if self.number else None


class World:
    """The sources under a root.

    places: name of a source → the path by which it is ingested
    files: name of a source → key → image
    moves: name of a source → how often its folder was replaced by a copy at the same path
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.places = {name: root / name / file for name, file in SOURCES.items()}
        self.files: dict[str, dict[str, File]] = {name: {} for name in SOURCES}
        self.moves = dict.fromkeys(SOURCES, 0)
        self.written: dict[str, tuple[int, int]] = {}
        """SHA-256 → number and size of every file that was ever written."""
        self.same: dict[tuple[str, str, Stat], set[tuple[int, int]]] = {}
        """Source, key and stat → numbers and sizes of all files that looked like that to a listing."""
        self._time = 1_700_000_000 * 10**9
        self._unpacked: set[str] = set()
        for name, place in self.places.items():
            (place if name in FOLDERS else place.parent).mkdir(parents=True)

    def path(self, source: str, key: str) -> Path:
        """Where the image of a folder or of the list is."""
        place = self.places[source] if source in FOLDERS else self.places[source].parent
        *folders, name = key.split("/")
        return Path(os.fsdecode(os.fsencode(place.joinpath(*folders)) + b"/" + ODD.get(name, name.encode())))

    def can_hold(self, source: str, key: str) -> bool:
        """Whether the source can have an image of that name: folders are no images, and archives know few odd names."""
        parts = key.split("/")
        if any("/".join(parts[:end]) in self.files[source] for end in range(1, len(parts))):
            return False
        if any(each.startswith(f"{key}/") for each in self.files[source]):
            return False
        if source in FOLDERS:
            return True
        return parts[-1] not in ODD and not ("\n" in key and source == "l")

    def write(self, source: str, key: str, number: int, like: File | None = None) -> None:
        """Write the picture, with a time of its own, or so that size and time are those of `like`."""
        self._time += TICK
        size, time = (like.size, like.stat[1]) if like else (SMALLEST + abs(number) % 7, self._time)
        data = write_image(number, size)
        if source in FOLDERS or source == "l":
            path = self.path(source, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            os.utime(path, ns=(time, time))
        self._unpacked.add(source)
        self.files[source][key] = File(number, size, (size, time))
        self.written[sha256_of(number, size)] = (number, size)
        self._note(source, key)

    def touch(self, source: str, key: str) -> None:
        old = self.files[source][key]
        self._time += TICK
        self.write(source, key, old.number, File(old.number, old.size, (old.size, self._time)))

    def delete(self, source: str, key: str) -> None:
        self._remove_file(source, key)
        del self.files[source][key]
        self._unpacked.add(source)

    def lose(self, key: str) -> None:
        """Remove the file, and leave its name in the list."""
        self._remove_file("l", key)
        self.files["l"][key] = File(0, 0, NOTHING)

    def _remove_file(self, source: str, key: str) -> None:
        if source in FOLDERS or source == "l":
            self.path(source, key).unlink(missing_ok=True)

    def move(self, source: str, key: str, target: str, to: str) -> None:
        """Move an image; its time stays, as that of a file does."""
        old = self.files[source][key]
        self.write(target, to, old.number, old)
        self.delete(source, key)

    def remount(self, source: str, number: int) -> None:
        """Move the whole source to another path."""
        old = self.places[source].parent
        new = self.root / f"{source}-{number}"
        if not new.exists():
            old.rename(new)
            self.places[source] = new / SOURCES[source]

    def restore(self, source: str) -> None:
        """Replace the folder by a copy of it, as from a backup."""
        place = self.places[source]
        aside = place.with_name("aside")
        place.rename(aside)
        shutil.copytree(aside, place)
        shutil.rmtree(aside)
        self.moves[source] += 1

    def pack(self) -> None:
        """Write the archives, the Parquet file and the list, where something in them has changed."""
        for source in sorted(self._unpacked - set(FOLDERS)):
            draft = self.places[source].with_name("draft")
            {"l": self._write_list, "p": self._write_parquet, "t": self._write_tar, "z": self._write_zip}[source](draft)
            draft.rename(self.places[source])
        self._unpacked.clear()

    def _contents(self, source: str) -> Mapping[str, bytes]:
        return {key: write_image(file.number, file.size) for key, file in self.files[source].items()}

    def _write_list(self, draft: Path) -> None:
        draft.write_bytes(b"# images\n\n" + b"".join(f"./{key}\n".encode() for key in self.files["l"]))

    def _write_zip(self, draft: Path) -> None:
        with zipfile.ZipFile(draft, "w") as archive:
            for key, data in self._contents("z").items():
                when = dt.datetime.fromtimestamp(self.files["z"][key].stat[1] // 10**9, dt.UTC)
                archive.writestr(zipfile.ZipInfo(key, when.timetuple()[:6]), data)

    def _write_tar(self, draft: Path) -> None:
        with tarfile.open(draft, "w:gz", compresslevel=1) as archive:
            for key, data in self._contents("t").items():
                info = tarfile.TarInfo(key)
                info.size, info.mtime = len(data), self.files["t"][key].stat[1] // 10**9
                archive.addfile(info, io.BytesIO(data))

    def _write_parquet(self, draft: Path) -> None:
        """Its rows have no size or time of their own: all change when the file is written."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [{"path": key, "bytes": data} for key, data in self._contents("p").items()]
        kind = pa.struct([("path", pa.string()), ("bytes", pa.binary())])
        pq.write_table(pa.table({"image": pa.array(rows, kind)}), draft, row_group_size=5)
        self._time += TICK
        os.utime(draft, ns=(self._time, self._time))
        for key, file in self.files["p"].items():
            self.files["p"][key] = File(file.number, file.size, (0, self._time))
            self._note("p", key)

    def _note(self, source: str, key: str) -> None:
        file = self.files[source][key]
        if file.number > 0:
            self.same.setdefault((source, key, file.stat), set()).add((file.number, file.size))
