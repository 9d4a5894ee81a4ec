"""Any bytes decode to pixels or raise a BadImage with one plain line; no other exception, no warning."""

import struct
import subprocess
import sys
import threading
import tracemalloc
import warnings
from pathlib import Path

import pytest
from PIL import Image

from retrieval.errors import BadImage
from retrieval.images import opening
from retrieval.images.decode import decode, probe
from retrieval.images.warnings import suppress_warnings
from retrieval.schema.image_shape import ImageShape
from tests.errors import mentions, raises
from tests.images.samples import WHOLE, file, file_of, heic, noise, photo, png_header_only

DAMAGED = "truncated or damaged"
"""What the reason says of a file of a known format, which tells it from a file of none."""


def reason(data: bytes) -> str:
    with raises(BadImage) as caught:
        decode(data, "cats/7.png", ImageShape(28, 28, 3))
    assert caught.value.where == "cats/7.png"
    assert str(caught.value) == f"cats/7.png: {caught.value.reason}"
    return caught.value.reason


def test_an_empty_file() -> None:
    assert "empty" in reason(b"")


@pytest.mark.parametrize(
    "data",
    [
        b"Dear diary, this is a text file named .png\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'><rect/></svg>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        file_of(Image.new("RGB", (32, 32)), "ICO"),
        file_of(Image.new("RGB", (8, 8)), "PCX"),
        file_of(Image.new("RGB", (8, 8)), "EPS"),
    ],
    ids=["text", "svg", "bare eps", "ico", "pcx", "eps"],
)
def test_unsupported_formats_are_refused(data: bytes) -> None:
    assert "(PNG, JPEG, WEBP, GIF, BMP, TIFF, PPM, AVIF, HEIF)" in reason(data)


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_half_a_file(kind: str, share: float) -> None:
    data = WHOLE[kind]
    assert reason(data[: int(len(data) * share)]).startswith(DAMAGED)


def test_half_a_heic() -> None:
    data = heic(noise(64, 64))
    assert decode(data, "a", ImageShape(64, 64, 3)).pixels.shape == (64, 64, 3)
    assert reason(data[: len(data) // 2]).startswith((DAMAGED, "not an image"))


def test_heic_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_register_heif", lambda: False)
    assert "pip install 'retrieval-images[heif]'" in reason(b"\0\0\0\x18ftypheic" + b"\0" * 64)


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (10_001, 10_000), (1, 200_000_000)])
def test_too_many_pixels_are_refused_before_decoding(width: int, height: int) -> None:
    data = png_header_only(width, height)
    tracemalloc.start()
    message = reason(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "100,000,000" in message
    assert peak < 2**20
    with raises(BadImage, "a", 100_000_000):
        probe(data, "a")


def test_refused_by_size_means_never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    message = reason(png_header_only(12_000, 9_000))
    assert [part for part in ("12000x9000", 100_000_000) if not mentions(message, part)] == []


def test_9000_by_9000_is_allowed() -> None:
    """81 million pixels: under the rule. Its 9 KB decode to 81 MB, and no warning of Pillow's gets out."""
    data = file_of(Image.new("1", (9_000, 9_000), 1), "PNG")
    assert probe(data, "a") == (9_000, 9_000, 1)
    assert (decode(data, "a", ImageShape(28, 28, 1)).pixels == 255).all()


def test_the_largest_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe(png_header_only(10_000, 10_000), "a") == (10_000, 10_000, 1)
    data = file(noise(11, 11))
    monkeypatch.setattr(opening, "MAX_BYTES", len(data))
    assert probe(data, "a") == (11, 11, 3)


def test_a_file_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_BYTES", 100)
    assert mentions(reason(b"x" * 101), "100 bytes")


def test_between_pillows_warning_and_our_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow warns from here to twice as many
    assert decode(file(noise(11, 11)), "a", ImageShape(11, 11, 3)).width == 11


def test_a_warning_of_ours_still_gets_out() -> None:
    with pytest.warns(UserWarning, match="ours"), suppress_warnings():
        warnings.warn("ours", stacklevel=1)


def test_pillow_is_quiet_until_the_last_block_ends() -> None:
    def warn() -> None:
        warnings.warn_explicit("odd palette", UserWarning, "Image.py", 1, module="PIL.Image")

    def fail() -> None:
        with suppress_warnings():
            warn()
            raise ZeroDivisionError

    before = list(warnings.filters)
    with suppress_warnings():
        with pytest.raises(ZeroDivisionError):
            fail()
        warn()
    assert list(warnings.filters) == before
    with pytest.raises(UserWarning, match="odd palette"):
        warn()


def test_filters_are_as_before_after_many_threads() -> None:
    before = list(warnings.filters)
    data, failures = file(photo(), "JPEG"), list[BaseException]()

    def work() -> None:
        try:
            for _ in range(50):
                decode(data, "a", ImageShape(8, 8, 3))
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert list(warnings.filters) == before


@pytest.mark.parametrize(
    "raised",
    [MemoryError(), SyntaxError("odd"), ValueError("a\nb"), OSError("x"), EOFError(), ZeroDivisionError("0")],
    ids=lambda error: type(error).__name__,
)
def test_any_exception_of_a_plugin_becomes_bad_image(raised: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise raised

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    assert reason(WHOLE["BMP"]).startswith(DAMAGED)


def test_ctrl_c_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", interrupted)
    with pytest.raises(KeyboardInterrupt):
        decode(WHOLE["BMP"], "a", ImageShape(4, 4, 3))


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    for data in WHOLE.values():
        reason(data[: len(data) // 2])
    sys.stderr.flush()
    assert capfd.readouterr() == ("", "")


def bitmap(bits: int, compression: int) -> bytes:
    """A BMP of 4×4 pixels, ten bits for each colour."""
    header = struct.pack("<IiiHHIIiiII", 56, 4, 4, 1, bits, compression, 64, 0, 0, 0, 0)
    header += struct.pack("<IIII", 0x3FF00000, 0xFFC00, 0x3FF, 0)
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + 64, 0, 0, 14 + len(header)) + header + bytes(64)


def tiff(compression: int = 1, bits: int = 8) -> bytes:
    """A TIFF of 4×4 pixels, its tags before them."""
    values = {256: 4, 257: 4, 258: bits, 259: compression, 262: 2, 273: 200, 277: 3, 278: 4, 279: 48}
    tags = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in values.items())
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(values)) + tags).ljust(200, b"\0") + bytes(48)


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (bitmap(32, 3), "Unsupported BMP bitfields layout"),
        (bitmap(13, 0), "Unsupported BMP pixel depth (13)"),
        (tiff(50001), "TIFF compression 50001"),  # WebP
        (tiff(50002), "TIFF: 50002"),  # JPEG XL
        (tiff(bits=24), "TIFF: unknown pixel mode"),
    ],
    ids=["bmp masks", "bmp depth", "webp in tiff", "jpeg xl in tiff", "tiff depth"],
)
def test_a_kind_that_is_not_supported_is_not_called_damaged(data: bytes, detail: str) -> None:
    said = reason(data)
    assert detail in said
    assert not said.startswith(DAMAGED)
    assert decode(tiff(), "a", ImageShape(4, 4, 3)).pixels.max() == 0


def test_half_an_avif() -> None:
    data = file(noise(64, 64), "AVIF")
    assert decode(data, "a", ImageShape(64, 64, 3)).pixels.shape == (64, 64, 3)
    assert reason(data[: len(data) // 2]).startswith(DAMAGED)


def test_a_damaged_tiff_writes_nothing_past_python(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(file(noise(64, 64), "TIFF", compression="tiff_adobe_deflate"))
    data[3000:3200] = bytes(200)
    assert reason(bytes(data)).startswith(DAMAGED)
    assert capfd.readouterr() == ("", "")
    (tmp_path / "a.tif").write_bytes(data)
    code = (
        "import sys; from retrieval.sources.read import *; from retrieval.sources.folder import *\n"
        "if __name__ == '__main__':\n"
        "    entries = Folder('a', Path(sys.argv[1]).parent).entries()\n"
        "    print(list(read_images(entries, ImageShape(8, 8, 3), portable=True))[0].reason, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.tif")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("", "truncated or damaged (decoder error -2)\n")
