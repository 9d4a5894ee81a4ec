"""Outliers: far or badly reconstructed images come first, and a blank page is no outlier."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.images.decode import encode_png
from retrieval.search.calibration import percentile
from retrieval.search.outliers import NEIGHBOURS, Outlier, find_outliers, robust_scores
from retrieval.search.run import LiveCollection
from retrieval.sources.folder import Folder
from retrieval.store.base import Store
from retrieval.store.edge.engine import EdgeStore
from tests.cli.conftest import Call, call, home, ingested, pictures, trained  # noqa: F401 - fixtures
from tests.duplicates.digits import SIDE, Blocks, filled, put, put_digits
from tests.gallery.test_gallery import Page
from tests.images.samples import noise, photo
from tests.store.conftest import open_engine, store  # noqa: F401 - fixtures

COUNT = 80
FLAT = 1e-3
"""What is added to an image's variance, pixels in [0, 1]."""
CHESS = np.indices((SIDE, SIDE)).sum(axis=0) % 2 * np.uint8(255)


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[EdgeStore]:
    with contextlib.closing(EdgeStore(tmp_path / "edge")) as opened:
        yield opened


def grey(pixels: np.ndarray) -> bytes:
    return encode_png(pixels.astype(np.uint8).reshape(SIDE, SIDE, 1))


def foreign() -> dict[str, bytes]:
    """Images that are not digits: a bright photo, noise, a page with a black corner."""
    corner = np.full((SIDE, SIDE), 255)
    corner[:9, :9] = 0
    return {
        "foreign/photo.png": grey(255 - photo(SIDE, SIDE)[..., 2] // 3),
        "foreign/noise.png": grey(noise(SIDE, SIDE, 1) // 2 + 120),
        "foreign/corner.png": grey(corner),
    }


def paths(found: list[Outlier]) -> list[str]:
    return [str(each.payload["path"]) for each in found]


def outliers(store: Store, root: Path, tmp_path: Path, limit: int = 5, alias: str = "images") -> list[Outlier]:  # noqa: F811
    live = filled(store, {"pictures": root}, tmp_path / "ledgers", alias)
    return find_outliers(store, live, {"pictures": Folder("pictures", root)}, limit)


def test_foreign_images_come_first(store: Store, tmp_path: Path) -> None:  # noqa: F811
    root = put(put_digits(tmp_path / "pictures", COUNT), foreign())
    found = outliers(store, root, tmp_path, 5, f"test-outliers-{store.engine}")
    assert set(paths(found)[:3]) == set(foreign())
    assert len(found) == 5
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[2] > 2 * scores[3]


def test_numbers_are_those_of_brute_force(edge: EdgeStore, tmp_path: Path) -> None:
    root = put(put_digits(tmp_path / "pictures", COUNT), foreign())
    put(root, {f"again/{n}.png": (root / "003.png").read_bytes() for n in range(NEIGHBOURS + 2)})
    live = filled(edge, {"pictures": root}, tmp_path / "ledgers")
    found = {
        each.payload["path"]: each for each in find_outliers(edge, live, {"pictures": Folder("pictures", root)}, 1000)
    }
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    assert sorted(found) == files
    contents = [(root / name).read_bytes() for name in files]
    pixels = np.stack([np.asarray(Image.open(root / name).convert("L"))[..., None] for name in files])
    encoder = Blocks()
    codes = encoder.encode(pixels)
    light = pixels.astype(np.float32) / 255
    missed = ((encoder.decode(codes) - light) ** 2).mean(axis=(1, 2, 3)) / (light.var(axis=(1, 2, 3)) + FLAT)
    far = np.array(
        [
            sorted(
                float(np.linalg.norm(code - other))
                for theirs, other in dict(zip(contents, codes, strict=True)).items()
                if theirs != content
            )[NEIGHBOURS - 1]
            for code, content in zip(codes, contents, strict=True)
        ]
    )
    scores = np.maximum(robust_scores(far), robust_scores(missed))
    for name, distance, error, score in zip(files, far, missed, scores, strict=True):
        each = found[name]
        assert each.distance == pytest.approx(distance, abs=1e-4), name
        assert each.error == pytest.approx(error, abs=1e-3), name
        assert each.score == pytest.approx(score, abs=0.02), name
        assert each.percentile == pytest.approx(percentile(live.meta, distance), abs=0.5), name
        assert each.name == f"pictures/{name}"


def test_a_group_of_outliers_is_found_by_reconstruction(edge: EdgeStore, tmp_path: Path) -> None:
    """Ten fine chessboards are close to each other, but this decoder reconstructs them as grey."""
    boards = {}
    for n in range(10):
        board = CHESS.copy()
        board[1 : 2 * n : 2, 0] = 0
        boards[f"board/{n}.png"] = grey(board)
    found = outliers(edge, put(put_digits(tmp_path / "pictures", COUNT), boards), tmp_path, 10)
    assert set(paths(found)) == set(boards)
    assert {each.why for each in found} == {"badly reconstructed"}
    assert all(each.error is not None and each.error > 0.9 for each in found)


def test_two_similar_outliers_do_not_hide_each_other(edge: EdgeStore, tmp_path: Path) -> None:
    twins = {"twin/a.png": grey(np.full((SIDE, SIDE), 255)), "twin/b.png": grey(np.full((SIDE, SIDE), 254))}
    copies = {f"twin/copy{n}.png": twins["twin/a.png"] for n in range(NEIGHBOURS + 3)}
    found = outliers(edge, put(put_digits(tmp_path / "pictures", COUNT), {**twins, **copies}), tmp_path, 12)
    assert set(paths(found)[: len(copies) + 2]) == {*twins, *copies}
    assert {each.why for each in found[: len(copies) + 2]} == {"far from all others"}


def test_unreadable_images_are_scored_by_distance(edge: EdgeStore, tmp_path: Path) -> None:
    root = put(put_digits(tmp_path / "pictures", COUNT), foreign())
    live = filled(edge, {"pictures": root}, tmp_path / "ledgers")
    for name in foreign():
        (root / name).unlink()
    found = find_outliers(edge, live, {"pictures": Folder("pictures", root)}, 5)
    assert set(paths(found)[:3]) == set(foreign())
    assert [each.error for each in found[:3]] == [None] * 3
    assert {each.why for each in found[:3]} == {"far from all others"}
    blind = find_outliers(edge, live, {}, 5)
    assert set(paths(blind)[:3]) == set(foreign())
    assert all(each.error is None and each.to_json()["reconstruction_error"] is None for each in blind)


def test_a_changed_file_is_not_compared_with_the_old_embedding(edge: EdgeStore, tmp_path: Path) -> None:
    root = put_digits(tmp_path / "pictures", COUNT)
    live = filled(edge, {"pictures": root}, tmp_path / "ledgers")
    (root / "004.png").write_bytes(grey(CHESS))
    found = {
        each.payload["path"]: each for each in find_outliers(edge, live, {"pictures": Folder("pictures", root)}, COUNT)
    }
    assert found["004.png"].error is None
    assert [name for name, each in found.items() if each.error is None] == ["004.png"]


def test_blank_pages_are_well_reconstructed(edge: EdgeStore, tmp_path: Path) -> None:
    """A speck of dust on a page without contrast would be all of its variance."""
    blank = {f"blank/{n}.png": grey(np.full((SIDE, SIDE), n)) for n in range(6)}
    speck = np.zeros((SIDE, SIDE))
    speck[3, 3] = 12
    found = outliers(
        edge, put(put_digits(tmp_path / "pictures", COUNT), {**blank, "speck.png": grey(speck)}), tmp_path, 99
    )
    errors = {each.payload["path"]: each.error for each in found}
    typical = float(np.median([error for error in errors.values() if error is not None]))
    for name in (*blank, "speck.png"):
        error = errors[name]
        assert error is not None
        assert error < typical


def test_identical_images(edge: EdgeStore, tmp_path: Path) -> None:
    root = put_digits(tmp_path / "pictures", 1)
    put(root, {f"{n}.png": (root / "000.png").read_bytes() for n in range(30)})
    found = outliers(edge, root, tmp_path, 40)
    assert len(found) == 31
    assert {(each.score, each.distance) for each in found} == {(0.0, 0.0)}


def test_mostly_identical_images(edge: EdgeStore, tmp_path: Path) -> None:
    """If half of the images are copies, the median absolute deviation is zero; scores must stay finite and useful."""
    root = put(put_digits(tmp_path / "pictures", 20), foreign())
    put(root, {f"copy/{n}.png": (root / "000.png").read_bytes() for n in range(60)})
    found = outliers(edge, root, tmp_path, 3)
    assert set(paths(found)) == set(foreign())
    assert all(np.isfinite(each.score) and each.score < 1000 for each in found)


def test_an_empty_collection(edge: EdgeStore, tmp_path: Path) -> None:
    root = put_digits(tmp_path / "pictures", 1)
    live = filled(edge, {"pictures": root}, tmp_path / "ledgers")
    assert [(each.distance, each.score) for each in find_outliers(edge, live, {}, 5)] == [(0.0, 0.0)]
    page = next(edge.scroll(live.collection))
    edge.delete(live.collection, [point.id for point in page])
    assert find_outliers(edge, live, {}, 5) == []


def test_progress_is_reported_to_the_end(edge: EdgeStore, tmp_path: Path) -> None:
    live: LiveCollection = filled(edge, {"pictures": put_digits(tmp_path / "pictures", 30)}, tmp_path / "ledgers")
    told: list[tuple[int, int]] = []
    find_outliers(edge, live, {}, 5, lambda *said: told.append(said))
    assert told[-1] == (30, 30)


def test_outliers_hardly_change_the_scores_of_others() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(10, 2, 2001)
    found = robust_scores(values)
    assert np.median(found) == pytest.approx(0, abs=1e-9)
    assert found.std() == pytest.approx(1, abs=0.1)
    wild = robust_scores(np.append(values, [1e5] * 100))
    np.testing.assert_allclose(wild[:2001], found, atol=0.3)
    mostly_one = robust_scores(np.array([3.0] * 50 + [3 + 1e-9, 4.0, 5.0]))
    np.testing.assert_allclose(mostly_one[[0, -2, -1]], [0, 14.1, 28.2], atol=0.1)
    with_gaps = robust_scores(np.array([1.0, np.nan, 2.0, 3.0]))
    np.testing.assert_array_equal(np.isnan(with_gaps), [False, True, False, False])
    assert np.isnan(robust_scores(np.full(3, np.nan))).all()


def test_the_command_shows_each_beside_its_reconstruction(home: Path, call: Call) -> None:  # noqa: F811
    """With a real, poorly trained model: all are read and reconstructed, highest scores first."""
    strange = put(home.parent / "strange", {"photo.png": encode_png(photo(60, 60))})
    assert call("ingest", strange).code == 0
    page = home.parent / "odd.html"
    found = call("outliers", "--limit", 4, "--json", "--html", page)
    assert found.code == 0, found.err
    scores = [each["score"] for each in found.objects]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    assert all(each["reconstruction_error"] > 0 for each in found.objects)
    assert len(Page(page).all("img")) == 8
    every = call("outliers", "--limit", 1000, "--json").objects
    assert every[:4] == found.objects
    assert {each["source"] for each in every} == {"pictures", "strange"}
