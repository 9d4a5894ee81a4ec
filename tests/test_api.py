"""The program for programs: any kind of image can be a query, and a notebook shows the hits."""

import base64
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval import Index, Stored
from retrieval.config import Settings
from retrieval.errors import BadImage, ModelError, NoCollection, StoreError, UsageError
from retrieval.gallery.hits import as_query
from retrieval.images.decode import decode, encode_png
from retrieval.images.in_memory import as_bytes
from retrieval.reindex.job import reindex
from retrieval.reindex.options import ReindexOptions
from retrieval.schema.image_shape import ImageShape
from retrieval.schema.records import point_id
from retrieval.search.options import SearchOptions
from retrieval.search.run import encode_all
from retrieval.store import open_store
from tests.cli.conftest import (  # noqa: F401 - fixtures
    Trained,
    home,
    ingested,
    pictures,
    trained,
)
from tests.duplicates.digits import SIDE, Blocks, digits, filled, put, put_digits
from tests.errors import raises
from tests.images.samples import file_of, noise, photo
from tests.store.conftest import ENGINES, clean

COUNT = 40


class Flipped(Blocks):
    """Another model: the codes of the same pictures upside down."""

    def __init__(self) -> None:
        super().__init__()
        self.fingerprint = "f" * 64

    def encode(self, images: Any) -> Any:
        return super().encode(images[:, ::-1])


ENCODERS = {encoder.fingerprint: encoder for encoder in (Blocks(), Blocks(3), Flipped())}


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Fakes in the place of models on disk, but where the real thing is asked for."""
    if "home" not in request.fixturenames:
        monkeypatch.setattr(Index, "_load", lambda self, fingerprint: ENCODERS[fingerprint])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return put_digits(tmp_path / "pictures", COUNT)


@pytest.fixture
def settings(own_home: Path) -> Settings:
    return Settings(home=own_home)


@pytest.fixture
def index(root: Path, settings: Settings, tmp_path: Path) -> Iterator[Index]:
    with open_store(settings) as store:
        filled(store, {"pictures": root}, tmp_path / "ledgers")
    with Index.open(settings=settings) as opened:
        yield opened


def nearest(number: int, k: int) -> list[tuple[str, float]]:
    """What brute force finds for a digit: paths and distances, itself left out."""
    codes = Blocks().encode(digits(COUNT)[0])
    distances = np.linalg.norm(codes - codes[number], axis=1)
    return [(f"{n:03d}.png", float(distances[n])) for n in np.argsort(distances) if n != number][:k]


def test_a_picture_is_asked_for_in_any_way(index: Index, root: Path) -> None:
    pixels = digits(COUNT)[0][7]
    file = root / "007.png"
    image = Image.open(file)
    ways: dict[str, Any] = {
        "path": file,
        "text": str(file),
        "stored": Stored("pictures/007.png"),
        "id": Stored(point_id("pictures", "007.png")),
        "bytes": file.read_bytes(),
        "memory": memoryview(file.read_bytes()),
        "image": image,
        "array": pixels,
        "flat array": pixels[..., 0],
        "array in colour": pixels.repeat(3, axis=2),
        "a view": pixels[::-1][::-1],
        "by columns": np.asfortranarray(pixels[..., 0]),
    }
    expected = nearest(7, 4)
    for name, picture in ways.items():
        found = index.search(picture, k=5)
        hits = [hit for hit in found if hit.path != "007.png"][:4]
        assert [hit.path for hit in hits] == [path for path, _ in expected], name
        np.testing.assert_allclose([hit.distance for hit in hits], [d for _, d in expected], atol=1e-5, err_msg=name)


def test_its_own_file_is_left_out_and_a_picture_in_memory_is_another_file(index: Index, root: Path) -> None:
    file = root / "007.png"
    assert "007.png" not in [hit.path for hit in index.search(file)]
    assert index.search(file, include_self=True)[0].path == "007.png"
    assert index.search(Image.open(file).resize((56, 56), Image.Resampling.NEAREST))[0].path == "007.png"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"])
def test_every_mode_of_pillow_is_the_same_picture(mode: str) -> None:
    bright = np.where(digits(1)[0][0, ..., 0] > 127, np.uint8(255), np.uint8(0))
    image = Image.fromarray(bright)
    for step in {"La": ["LA"], "RGBa": ["RGBA"], "PA": ["LA"], "RGBX": ["RGB"]}.get(mode, []):
        image = image.convert(step)
    seen = decode(as_bytes(image.convert(mode)), "x", ImageShape(SIDE, SIDE, 1)).pixels
    np.testing.assert_allclose(seen[..., 0].astype(int), bright, atol=2)


@pytest.mark.parametrize("mode", ["HSV", "LAB"])
def test_colours_survive(mode: str) -> None:
    from PIL import ImageCms

    image = Image.fromarray(photo(SIDE, SIDE))
    if mode == "LAB":
        profile, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.applyTransform(image, ImageCms.buildTransform(profile, lab, "RGB", "LAB"))  # type: ignore[assignment]
    else:
        image = image.convert(mode)
    seen = decode(as_bytes(image), "x", ImageShape(SIDE, SIDE, 3)).pixels
    assert np.abs(seen.astype(int) - photo(SIDE, SIDE)).mean() < 6


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I"])
def test_16_bits_are_not_clipped(mode: str) -> None:
    values = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 80
    if mode == "I":
        image = Image.fromarray(values.astype(np.int32))
    else:
        image = Image.frombytes(mode, (SIDE, SIDE), values.astype(">u2" if mode == "I;16B" else "<u2").tobytes())
    assert image.mode == mode
    seen = decode(as_bytes(image), "x", ImageShape(SIDE, SIDE, 1)).pixels[..., 0]
    np.testing.assert_array_equal(seen, values >> 8)


KINDS = [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("TIFF", "RGB"), ("TIFF", "CMYK")]


@pytest.mark.parametrize(("kind", "mode"), KINDS)
@pytest.mark.parametrize("turned", range(1, 9))
def test_an_image_of_pillow_is_turned_as_its_file_is(kind: str, mode: str, turned: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turned
    data = file_of(Image.fromarray(photo(20, 40)).convert(mode), kind, exif=exif)
    by_file = decode(data, "file", ImageShape(20, 20, 3))
    by_image = decode(as_bytes(Image.open(io.BytesIO(data))), "image", ImageShape(20, 20, 3))
    assert (by_image.width, by_image.height) == (by_file.width, by_file.height)
    assert np.abs(by_image.pixels.astype(int) - by_file.pixels).mean() < 4


BAD = {
    "floats": np.zeros((28, 28)),
    "numbers": [[1, 2], [3, 4]],
    "uneven": [[1, 2], [3]],
    "none": None,
    "nothing": np.zeros((0, 28), np.uint8),
    "four channels": np.zeros((28, 28, 4), np.uint8),
    "channels first": np.zeros((3, 28, 28), np.uint8),
    "one row": np.zeros(28, np.uint8),
    "a stack": np.zeros((2, 28, 28, 1), np.uint8),
    "a word": b"no picture",
    "empty": b"",
    "missing": "nowhere/7.png",
    "a folder": ".",
    "NUL": "a\0b.png",
    "floating image": Image.new("F", (28, 28)),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_picture_is_refused(name: str, index: Index) -> None:
    with raises(BadImage) as refused:
        index.search(BAD[name])
    assert refused.value.reason


def test_arrays_of_another_shape_are_told_what_is_taken() -> None:
    with raises(BadImage, "float64[28, 28, 1]", "uint8[h, w]"):
        as_bytes(np.zeros((28, 28)))


def test_a_missing_file_is_named(index: Index) -> None:
    with raises(BadImage, "nowhere/7.png", "No such file or directory"):
        index.search("nowhere/7.png")


def test_one_bad_picture_does_not_stop_the_others(index: Index, root: Path) -> None:
    asked = [root / "000.png", *BAD.values(), digits(COUNT)[0][1]]
    found = list(index.search_many(asked, k=3, include_self=True))
    assert len(found) == len(asked)
    assert [len(each) for each in found] == [3, *[0] * len(BAD), 3]
    assert (found[0][0].path, found[-1][0].path) == ("000.png", "001.png")
    for each in found[1:-1]:
        assert each.note == each.result.refused
        assert repr(each).endswith(f"0 hits\n{each.note}")
    assert "No such file or directory" in repr(found[1 + list(BAD).index("missing")])


def test_many_are_answered_as_one_is(index: Index) -> None:
    pixels = digits(COUNT)[0]
    many = [[hit.to_json() for hit in found] for found in index.search_many(pixels, k=2)]
    assert many == [[hit.to_json() for hit in index.search(each, k=2)] for each in pixels]


def test_a_filter_is_text_or_a_filter(index: Index) -> None:
    path = nearest(7, 1)[0][0]
    found = index.search(digits(COUNT)[0][7], where=f"path={path}")
    assert [hit.path for hit in found] == [path]
    assert index.search(digits(COUNT)[0][7], where=index.filter(f"path={path}"))[0] == found[0]
    with raises(UsageError, "'paht'", option="where", hint="path"):
        index.search(digits(COUNT)[0][7], where="paht=1")


def test_options_that_make_no_sense(index: Index) -> None:
    for option, value in (("k", 0), ("max_distance", -1), ("max_percentile", 101)):
        with raises(UsageError, value, option=option):
            index.search(digits(COUNT)[0][0], **{option: value})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="max_distanse"):
        index.search(digits(COUNT)[0][0], max_distanse=1)


def test_more_like_some_and_less_like_others(index: Index, root: Path) -> None:
    found = index.like([root / "000.png", Stored("pictures/001.png")], [digits(COUNT)[0][2]], k=4)
    assert len(found) == 4
    codes = Blocks().encode(digits(COUNT)[0])
    for hit in found:
        number = int(hit.path[:3])
        assert number not in (0, 1)
        expected = np.linalg.norm(codes[:2] - codes[number], axis=1).min()
        assert hit.distance == pytest.approx(expected, abs=1e-5)
    with raises(UsageError, "nowhere.png", "No such file or directory"):
        index.like(["nowhere.png"])
    with raises(UsageError, option="like", hint=""):
        index.like([])


def test_a_block_lets_the_engine_go(index: Index, settings: Settings, root: Path) -> None:
    index.close()
    index.close()
    with Index.open(settings=settings) as again:
        assert len(again.search(root / "000.png")) == 5
    with Index.open(home=settings.home) as again:
        assert again.alias == "images"


def test_an_alias_that_names_nothing(index: Index, settings: Settings) -> None:
    index.close()
    with raises(NoCollection, "'cats'", hint="retrieval ingest SOURCE --alias cats"):
        Index.open("cats", settings=settings)
    with pytest.raises(ModelError):
        Index.open(settings=settings, model="nosuchmodel")
    Index.open(settings=settings).close()  # neither of them kept the engine


def test_a_swap_is_seen(index: Index, settings: Settings, root: Path) -> None:
    query = digits(COUNT)[0][7]
    before, old = index.search(query, include_self=True), index.live().meta.model
    reindex(index.store, index.alias, lambda sources: Flipped(), settings)
    after = index.search(query, include_self=True)
    assert (old, index.live().meta.model) == (Blocks().fingerprint, Flipped().fingerprint)
    assert [hit.path for hit in after] == [hit.path for hit in before]
    assert after[0].distance == pytest.approx(0, abs=1e-4)  # by the old model's code it would be far away
    stored = index.explain(query, Stored("pictures/007.png"))
    assert stored.distance == pytest.approx(0, abs=1e-4)


def test_a_query_prepared_before_a_swap_is_prepared_again(index: Index, settings: Settings) -> None:
    query = as_query(digits(COUNT)[0][7])
    ready = encode_all([index.prepare(query), index.prepare(Stored("pictures/007.png"))])
    options = SearchOptions(k=1, include_self=True)
    before = [result.hits for _, result in index.search_prepared(ready, options)]
    reindex(index.store, index.alias, lambda sources: Flipped(), settings, ReindexOptions(keep=0))
    assert ready[0].live.collection not in index.store.collections()
    for (again, result), hits in zip(index.search_prepared(ready, options), before, strict=True):
        assert again.live.meta.model == Flipped().fingerprint
        assert [hit.path for hit in result.hits] == [hit.path for hit in hits] == ["007.png"]
        assert result.hits[0].distance == pytest.approx(0, abs=1e-4)


def test_hits_bring_their_pictures(index: Index, root: Path) -> None:
    hit = index.search(root / "000.png")[0]
    assert index.image(hit) == (root / hit.path).read_bytes()
    assert index.picture(hit) == index.image(hit), "the old name"
    (root / hit.path).unlink()
    with pytest.raises(BadImage):
        index.image(hit)


def test_the_decoder_is_asked_by_id(index: Index) -> None:
    one, none = point_id("pictures", "003.png"), point_id("pictures", "nosuch.png")
    seen = index.reconstruct([one, none])
    assert list(seen) == [one]
    expected = Blocks().decode(Blocks().encode(digits(COUNT)[0][3:4]))[0]
    np.testing.assert_allclose(seen[one] / 255, expected, atol=1 / 255)
    assert index.reconstruct([none]) == {}


def test_a_result_is_a_list_of_hits(index: Index, root: Path) -> None:
    found = index.search(root / "000.png", k=3)
    assert [hit.path for hit in found[:2]] == [found[0].path, found[1].path]
    first, *rest = repr(found).splitlines()
    assert first == f"{root / '000.png'}: 3 hits"
    assert rest == [f"{hit.distance:.4f}  pictures/{hit.path}" for hit in found]


def images_in(html: str) -> list[np.ndarray]:
    sources = re.findall(r'<img [^>]*src="([^"]*)"', html)
    assert all(source.startswith("data:image/") for source in sources)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(s.partition(",")[2]))).convert("L")) for s in sources]


def test_a_notebook_shows_the_pictures(index: Index, root: Path) -> None:
    found = index.search(root / "000.png", k=3)
    shown = images_in(found._repr_html_())
    numbers = [0, *(int(hit.path[:3]) for hit in found)]
    assert len(shown) == 4
    for number, picture in zip(numbers, shown, strict=True):
        np.testing.assert_array_equal(picture[::6, ::6], digits(COUNT)[0][number, ..., 0])
    asked = [digits(COUNT)[0][0], Stored("pictures/000.png"), (root / "000.png").read_bytes()]
    for picture in asked:
        assert len(images_in(index.search(picture, k=3, include_self=True)._repr_html_())) == 4


def test_a_notebook_shows_what_is_missing_in_words(index: Index, root: Path) -> None:
    found = index.search(digits(COUNT)[0][0], k=2)
    (root / found[0].path).unlink()
    html = found._repr_html_()
    assert len(images_in(html)) == 2
    assert "no image" in html
    (bad,) = index.search_many([None])
    assert "is not an image; use uint8[h, w]" in bad._repr_html_()


def test_a_notebook_shows_names_as_text(settings: Settings, tmp_path: Path) -> None:
    evil = "<script>alert(1)<:script>\"'&.png"
    pixels = digits(3)[0]
    root = put(tmp_path / "pictures", {evil: encode_png(pixels[0]), "b.png": encode_png(pixels[1])})
    with open_store(settings) as store:
        filled(store, {"pictures": root}, tmp_path / "ledgers")
    with Index.open(settings=settings) as index:
        html = index.search(root / evil, k=2, include_self=True)._repr_html_()
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;:script&gt;&quot;&#x27;&amp;.png") >= 4
    assert len(images_in(html)) == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_a_result_outlives_its_block(engine: str, root: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("qdrant_url") if engine == "server" else None
    settings, alias = Settings(home=tmp_path / "home", qdrant_url=url), "test-outlives"
    with open_store(settings) as store:
        filled(store, {"pictures": root}, tmp_path / "ledgers", alias)
    with Index.open(alias, settings=settings) as index:
        found = index.search(root / "000.png", k=3)
        stored = index.search(Stored("pictures/000.png"), k=3)
    if url:
        clean(url)
    for each in (found, stored):
        assert len(repr(each).splitlines()) == 4
        assert [hit.path for hit in each] == [path for path, _ in nearest(0, 3)]
        assert len(images_in(each._repr_html_())) >= 3


def test_pictures_in_colour(settings: Settings, tmp_path: Path) -> None:
    pixels = [noise(SIDE, SIDE, 3, seed) for seed in range(6)]
    root = put(tmp_path / "colour", {f"{n}.png": encode_png(each) for n, each in enumerate(pixels)})
    with open_store(settings) as store:
        filled(store, {"colour": root}, tmp_path / "ledgers", channels=3)
    with Index.open(settings=settings) as index:
        for number, each in enumerate(pixels):
            assert index.search(each, k=1, include_self=True)[0].path == f"{number}.png"
            assert index.search(each[..., ::-1], k=1, include_self=True)[0].distance > 0.1


def test_as_query_takes_a_query_as_it_is() -> None:
    stored = Stored("pictures/1.png")
    assert as_query(stored) is stored
    query = as_query(b"")
    assert as_query(query) is query


LIGHT = """
import json, sys
import retrieval
before = sorted(set(sys.modules) & {"jax", "numpy", "PIL", "qdrant_client", "qdrant_edge"})
from retrieval import AsyncIndex, Index, Stored
print(json.dumps([before, AsyncIndex.__module__, Index.__module__, Stored.__module__, retrieval.__all__]))
"""


def test_importing_the_package_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, timeout=120, check=True)
    names = ["AsyncIndex", "Index", "Stored"]
    assert json.loads(done.stdout) == [[], "retrieval.async_api", "retrieval.api", "retrieval.search.query", names]


def test_a_name_that_the_package_does_not_have() -> None:
    import retrieval

    with pytest.raises(AttributeError, match="no attribute 'Indx'"):
        _ = retrieval.Indx


def test_the_real_model(home: Path, pictures: Path, trained: Trained) -> None:  # noqa: F811
    file = next(pictures.rglob("*.png"))
    with Index.open(home=home, model=trained.said["fingerprint"][:8]) as index:
        by_file, by_image = index.search(file, include_self=True), index.search(Image.open(file), include_self=True)
        assert by_file[0].name == f"pictures/{file.relative_to(pictures)}"
        assert by_file[0].distance == pytest.approx(0, abs=1e-3)
        assert [(hit.path, hit.distance) for hit in by_image] == [(hit.path, hit.distance) for hit in by_file]
        assert len(images_in(by_file._repr_html_())) == 6
        (seen,) = index.reconstruct([by_file[0].id]).values()
        assert seen.shape == (28, 28, 1)
    with pytest.raises(StoreError):
        index.search(file)
