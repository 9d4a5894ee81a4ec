"""Memory for decoding: little besides the decoded image, and for all readers together within the budget."""

import json
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from retrieval.errors import BadImage
from retrieval.images import decode as decoding
from retrieval.images import memory
from retrieval.images.decode import decode, thumbnail
from retrieval.images.memory import MemoryBudget
from retrieval.schema.image_shape import ImageShape
from retrieval.sources.read import start_pool
from tests.images.samples import file_of, noise

MB = 10**6
CHILD = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from retrieval.images import memory
from retrieval.images.decode import decode
from retrieval.schema.image_shape import ImageShape
def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
files, room, side, channels = json.loads(sys.argv[1])
memory.set_budget(memory.MemoryBudget(room))
data, before = [Path(file).read_bytes() for file in files], peak()
with ThreadPoolExecutor(len(files)) as threads:
    decoded = list(threads.map(lambda each: decode(each, "a", ImageShape(side, side, channels)), data))
print(json.dumps([peak() - before, [int(each.pixels.mean()) for each in decoded]]))
"""


def png(path: Path, width: int, height: int, pixel: bytes, kind: int) -> Path:
    """A PNG of one colour, made a row at a time. kind: its colour type, 6 for red, green, blue and opacity."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    packer = zlib.compressobj(1)
    rows = [packer.compress(b"\0" + pixel * width) for _ in range(height)] + [packer.flush()]
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"".join(rows)) + chunk(b"IEND", b"")
    )
    return path


def taken(files: list[Path], room: int, side: int = 64, channels: int = 3) -> tuple[int, list[int]]:
    """Bytes of memory that a process took, at its peak, to decode the files at the same time; what they look like."""
    given = json.dumps([list(map(str, files)), room, side, channels])
    done = subprocess.run([sys.executable, "-c", CHILD, given], capture_output=True, text=True, timeout=120, check=True)
    peak, means = json.loads(done.stdout)
    return peak, means


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="NOT TESTED: memory is read from /proc")


@needs_proc
@pytest.mark.parametrize("channels", [1, 3])
def test_a_hundred_megapixels_take_little_more_than_their_pixels(tmp_path: Path, channels: int) -> None:
    file = png(tmp_path / "a.png", 10_000, 10_000, bytes((255, 255, 255, 127)), 6)
    assert file.stat().st_size < 2 * MB
    peak, means = taken([file], memory.MAX_DECODED, channels=channels)
    assert peak < 550 * MB  # four bytes a pixel are Pillow's, one is a channel's
    assert means == [255]


@needs_proc
def test_decoding_several_images_keeps_to_the_budget(tmp_path: Path) -> None:
    files = [png(tmp_path / f"{n}.png", 5_000, 5_000, bytes((n, n, n)), 2) for n in range(4)]
    peak, means = taken(files, 150 * MB)
    assert peak < 200 * MB  # each takes 100
    assert means == [0, 1, 2, 3]


def test_an_image_that_takes_too_much_by_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = file_of(Image.new("RGB", (1_000, 500)), "WEBP")
    assert decode(data, "a", ImageShape(8, 8, 3)).width == 1_000
    monkeypatch.setattr(memory, "_room", MemoryBudget(7 * MB))
    with pytest.raises(BadImage) as caught:
        decode(data, "a", ImageShape(8, 8, 3))
    assert caught.value.reason == (
        "1000x500 pixels of WEBP take 8 MB to decode, more than 7 MB; scale it down, or save it as PNG or JPEG"
    )


def test_processes_share_a_budget() -> None:
    import multiprocessing

    room = MemoryBudget(100, multiprocessing.get_context("spawn"))
    room.take(60)
    with ThreadPoolExecutor(1) as thread:
        process = multiprocessing.get_context("spawn").Process(target=room.take, args=(60,))
        process.start()
        ended = thread.submit(process.join)
        process.join(1)
        assert process.is_alive(), "there is no room for it yet"
        room.give(60)
        ended.result(60)
    assert process.exitcode == 0
    freed = threading.Thread(target=room.take, args=(40,))
    freed.start()
    freed.join(60)
    assert not freed.is_alive()


def test_reader_processes_get_the_budget_of_their_pool() -> None:
    with start_pool(1) as pool:
        assert pool.submit(is_shared).result() is True


def is_shared() -> bool:
    """Whether the memory for decoding in this process is counted in memory that others see."""
    return type(memory._room._taken).__module__ != "builtins"


def images() -> dict[str, Image.Image]:
    """One of each mode that is flattened in a way of its own."""
    colour = Image.fromarray(noise(37, 23))
    wide = Image.fromarray(noise(37, 23, 4), "RGBA")
    deep = Image.fromarray(noise(37, 23, 1)[..., 0].astype(np.uint16) * 257)
    return {
        **{mode: colour.convert(mode) for mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr")},
        **{mode: wide.convert(mode) for mode in ("LA", "RGBA")},
        "I;16": deep,
    }


@pytest.mark.parametrize("mode", images())
@pytest.mark.parametrize("turned", range(1, 9))
def test_strips_give_the_same_pixels(mode: str, turned: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image, exif = images()[mode], Image.Exif()
    exif[ExifTags.Base.Orientation] = turned
    kind = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    data = file_of(image, kind, exif=exif)

    def both(channels: int) -> list[bytes]:
        sizes = ((8, 8), (5, 40), (60, 4), (37, 23), (23, 37))
        made = [decode(data, "a", ImageShape(*size, channels)).pixels for size in sizes]
        return [each.tobytes() for each in (*made, thumbnail(data, "a", 9))]

    whole = both(1), both(3)
    monkeypatch.setattr(decoding, "_LARGE", 100)
    monkeypatch.setattr(decoding, "_STRIP", 50)
    assert (both(1), both(3)) == whole
