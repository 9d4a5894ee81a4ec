"""Planted copies are found on both engines, and nothing that is no copy."""

import contextlib
import hashlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.duplicates.candidates import CANDIDATES, CandidateTable
from retrieval.duplicates.groups import Group
from retrieval.duplicates.job import DuplicateSummary, find_duplicates
from retrieval.errors import SourceError
from retrieval.images.decode import encode_png
from retrieval.ingest.job import ingest
from retrieval.schema.records import CollectionMeta, Point, point_id
from retrieval.search import neighbours
from retrieval.search.calibration import distance_at
from retrieval.search.run import LiveCollection
from retrieval.sources import Source
from retrieval.sources.folder import Folder
from retrieval.store.base import Store
from retrieval.store.edge.engine import EdgeStore
from retrieval.util.reporting import ignore
from tests.duplicates.digits import Blocks, digits, filled, put, put_digits
from tests.errors import raises
from tests.images.samples import file_of

COUNT, MANY = 60, 40
numbers = itertools.count()


@pytest.fixture
def alias() -> str:
    return f"test-duplicates-{next(numbers)}"


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[EdgeStore]:
    with contextlib.closing(EdgeStore(tmp_path / "edge")) as store:
        yield store


def image(number: int) -> Image.Image:
    return Image.fromarray(digits(COUNT)[0][number, ..., 0])


def jpeg(number: int, quality: int) -> bytes:
    return file_of(image(number), "JPEG", quality=quality)


def plant(root: Path) -> Path:
    """Digits, and copies of some of them."""
    put_digits(root, COUNT)
    many = {f"many/{n:02d}.png": (root / "000.png").read_bytes() for n in range(MANY)}
    large = file_of(image(1).resize((84, 84), Image.Resampling.NEAREST), "PNG")
    return put(root, {**many, "large/1.png": large, "2-90.jpg": jpeg(2, 90), "2-60.jpg": jpeg(2, 60)})


def found(
    store: Store, live: LiveCollection, sources: Mapping[str, Source], max_distance: float | None = None
) -> tuple[dict[str, Group], DuplicateSummary]:
    """Groups by the name of the image to keep."""
    summary = DuplicateSummary()
    groups = list(find_duplicates(store, live.collection, sources, summary, max_distance=max_distance))
    assert (summary.groups, summary.duplicates) == (len(groups), sum(len(group.others) for group in groups))
    return {group.keep.payload["path"]: group for group in groups}, summary


def paths(group: Group) -> set[str]:
    return {str(member.payload["path"]) for member in (group.keep, *group.others)}


def folder(root: Path) -> dict[str, Source]:
    return {"pictures": Folder("pictures", root)}


def test_planted_copies_are_found_and_nothing_else(store: Store, alias: str, tmp_path: Path) -> None:
    root = plant(tmp_path / "pictures")
    live = filled(store, {"pictures": root}, tmp_path / "ledgers", alias)
    groups, summary = found(store, live, folder(root))
    assert (summary.points, summary.unread) == (COUNT + MANY + 3, 0)
    by_members = sorted(map(sorted, map(paths, groups.values())))
    exact = sorted(["000.png", *(f"many/{n:02d}.png" for n in range(MANY))])
    assert by_members == sorted([exact, ["001.png", "large/1.png"], ["002.png", "2-60.jpg", "2-90.jpg"]])

    assert groups["large/1.png"].reason == "most pixels"
    assert groups["000.png"].reason in ("oldest", "shortest path")
    assert len(groups["000.png"].others) == MANY
    assert all(member.exact and member.distance == 0 for member in groups["000.png"].others)
    (third,) = (group for group in groups.values() if len(group.others) == 2)
    assert third.reason == "most bytes"
    assert not any(member.exact for member in third.others)
    assert [member.distance for member in third.others] == sorted(member.distance for member in third.others)
    codes = {member.payload["path"]: member for member in third.others}
    for path, member in codes.items():
        point = store.retrieve(live.collection, [member.id, third.keep.id], codes=True)
        a, b = point[member.id].code, point[third.keep.id].code
        assert a is not None
        assert b is not None
        assert member.distance == pytest.approx(float(np.linalg.norm(a - b)), abs=1e-6), path


def test_crowds_of_exact_copies_do_not_hide_each_other(edge: EdgeStore, tmp_path: Path) -> None:
    """More copies of an image, and of its JPEG, than a point has candidates."""
    root = put_digits(tmp_path / "pictures", 20)
    crowd = CANDIDATES + 3
    put(root, {f"png/{n}.png": (root / "000.png").read_bytes() for n in range(crowd)})
    put(root, {f"jpg/{n}.jpg": jpeg(0, 80) for n in range(crowd)})
    live = filled(edge, {"pictures": root}, tmp_path / "ledgers")
    groups, _ = found(edge, live, folder(root))
    assert [len(group.others) for group in groups.values()] == [2 * crowd]


def test_by_distance_pixels_are_not_looked_at(edge: EdgeStore, tmp_path: Path) -> None:
    root = plant(tmp_path / "pictures")
    live = filled(edge, {"pictures": root}, tmp_path / "ledgers")
    codes = {p.id: p for page in edge.scroll(live.collection, codes=True) for p in page}
    vectors = np.array([p.code for p in codes.values()], np.float32)
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    ids = list(codes)
    limit = distance_at(live.meta, 20)
    assert limit is not None
    near = {(ids[a], ids[b]) for a, b in zip(*np.nonzero(distances <= limit), strict=True) if a < b}
    groups, summary = found(edge, live, {}, limit)  # no source in reach
    grouped = {member.id: keep for keep, group in groups.items() for member in (group.keep, *group.others)}
    assert summary.unread == 0
    assert set(grouped) == {one for pair in near for one in pair}
    assert all(grouped[a] == grouped[b] for a, b in near)
    assert len(groups) > 3


def test_at_distance_zero_only_equal_codes_count(edge: EdgeStore, tmp_path: Path) -> None:
    root = put(plant(tmp_path / "pictures"), {"3.png": file_of(image(3), "PNG", compress_level=0)})
    live = filled(edge, {"pictures": root}, tmp_path / "ledgers")
    groups, _ = found(edge, live, {}, 0.0)
    exact, same_pixels = sorted(groups.values(), key=lambda group: -len(group.others))
    assert len(paths(exact)) == MANY + 1
    assert paths(same_pixels) == {"003.png", "3.png"}
    assert [(member.exact, member.distance) for member in same_pixels.others] == [(False, 0.0)]


def test_a_source_that_has_moved_is_an_error_with_a_way_out(edge: EdgeStore, tmp_path: Path) -> None:
    root = plant(tmp_path / "pictures")
    live = filled(edge, {"pictures": root}, tmp_path / "ledgers")
    sources = folder(root)
    root.rename(tmp_path / "elsewhere")
    for known in ({}, sources):
        with raises(SourceError, COUNT + MANY + 3, live.collection, hint="distance"):
            found(edge, live, known)


def test_of_pictures_out_of_reach_only_exact_copies_are_found(edge: EdgeStore, tmp_path: Path) -> None:
    first, second = plant(tmp_path / "first"), plant(tmp_path / "second")
    for file in second.rglob("*.png"):
        file.write_bytes(file.read_bytes() + b"\0")  # other contents
    live = filled(edge, {"first": first, "second": second}, tmp_path / "ledgers")
    groups, summary = found(edge, live, {"first": Folder("first", first)})
    each = COUNT + MANY + 3
    assert (summary.points, summary.unread) == (2 * each, each)
    members = [{(m.payload["source"], m.payload["path"]) for m in (g.keep, *g.others)} for g in groups.values()]
    assert {("first", "001.png"), ("first", "large/1.png")} in members
    assert {("second", "000.png"), *(("second", f"many/{n:02d}.png") for n in range(MANY))} in members
    assert not any(("second", "001.png") in group for group in members)
    jpegs = [{("first", "2-60.jpg"), ("second", "2-60.jpg")}, {("first", "2-90.jpg"), ("second", "2-90.jpg")}]
    (third,) = (group for group in members if ("first", "002.png") in group)
    assert third >= jpegs[0] | jpegs[1]  # exact copies too, although only one of each could be a candidate


def test_a_file_that_has_become_another_is_out_of_reach(edge: EdgeStore, tmp_path: Path) -> None:
    root = put_digits(tmp_path / "pictures", 20)
    put(root, {"copy.jpg": jpeg(0, 90)})
    live = filled(edge, {"pictures": root}, tmp_path / "ledgers")
    (root / "copy.jpg").write_bytes(jpeg(5, 90))
    groups, summary = found(edge, live, folder(root))
    assert (groups, summary.unread) == ({}, 1)


def test_blank_pages_draw_nothing_to_them(edge: EdgeStore, tmp_path: Path) -> None:
    blank = {f"blank/{v}.png": encode_png(np.full((28, 28, 1), v, np.uint8)) for v in (0, 1, 254, 255)}
    root = put(put_digits(tmp_path / "pictures", COUNT), blank)
    live = filled(edge, {"pictures": root}, tmp_path / "ledgers")
    groups, _ = found(edge, live, folder(root))
    expected = [["blank/0.png", "blank/1.png"], ["blank/254.png", "blank/255.png"]]
    assert sorted(map(sorted, map(paths, groups.values()))) == expected


@pytest.mark.parametrize("max_distance", [None, 1.0])
def test_little_or_nothing_to_compare(edge: EdgeStore, tmp_path: Path, max_distance: float | None) -> None:
    root = put_digits(tmp_path / "pictures", 1)
    live = filled(edge, {"pictures": root}, tmp_path / "ledgers")
    assert found(edge, live, folder(root), max_distance) == ({}, DuplicateSummary(points=1))
    edge.delete(live.collection, [point_id("pictures", "000.png")])
    assert found(edge, live, folder(root), max_distance) == ({}, DuplicateSummary())


def test_progress_is_told_to_the_end(edge: EdgeStore, tmp_path: Path) -> None:
    root = plant(tmp_path / "pictures")
    live = filled(edge, {"pictures": root}, tmp_path / "ledgers")
    told: list[tuple[str, int, int]] = []
    list(find_duplicates(edge, live.collection, folder(root), DuplicateSummary(), step=lambda *said: told.append(said)))
    assert {what for what, _, _ in told} == {"Reading", "Searching", "Comparing"}
    for what in ("Reading", "Searching", "Comparing"):
        done, total = [said[1:] for said in told if said[0] == what][-1]
        assert done == total > 0


@pytest.mark.parametrize("exact", [True, False], ids=["by products", "by an index"])
def test_the_candidates_are_those_of_brute_force(
    store: Store, alias: str, *, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact copies, and nearest pairs of other content, among random embeddings with many copies."""
    if not exact:
        monkeypatch.setattr(neighbours, "MOST", 20)
    rng = np.random.default_rng(0)
    dim, count = 3, 150
    centres = rng.normal(size=(40, dim))
    kinds = rng.integers(0, 40, count)
    vectors = (centres[kinds] + rng.normal(size=(count, dim)) * rng.integers(0, 2, (count, 1)) / 50).astype(np.float32)
    contents = [hashlib.sha256(vector.tobytes()).hexdigest() for vector in vectors]
    meta = CollectionMeta("m", dim, (28, 28), 1, "2026-11-23T07:00:00Z")
    store.create_collection(alias, meta)
    points = [
        Point(point_id("s", str(n)), vector, {"source": "s", "path": str(n), "sha256": contents[n]})
        for n, vector in enumerate(vectors)
    ]
    store.upsert(alias, points)
    order = sorted(range(count), key=lambda n: points[n].id)
    limit, told = 1.0, list[str]()
    with contextlib.closing(CandidateTable(meta, {}, by_pixels=False)) as table:
        table.fill(store, alias, ignore)
        assert [table.id_of(row) for row in range(len(table))] == [points[n].id for n in order]
        same = table.pair_exact_copies()
        pairs, distances = table.pair_candidates(store, alias, limit, ignore, told.append)
    assert ["finds 100.0%" in text for text in told] == [True] * (not exact and store.engine == "server")
    row_of = {n: row for row, n in enumerate(order)}
    groups: dict[str, list[int]] = {}
    for n in order:
        groups.setdefault(contents[n], []).append(row_of[n])
    assert len(same) == count - len(groups)
    assert all(len({contents[order[row]] for row in pair}) == 1 for pair in same.tolist())

    codes = vectors[order].astype(float)
    far = np.linalg.norm(codes[:, None] - codes[None], axis=2)
    firsts = [rows[0] for rows in groups.values()]
    expected = set()
    for row in firsts:
        others = sorted((other for other in firsts if other != row), key=lambda other: (far[row, other], other))
        expected |= {(min(row, o), max(row, o)) for o in others[:CANDIDATES] if far[row, o] <= limit}
    assert set(map(tuple, pairs.tolist())) == expected
    assert len(pairs) == len(expected) > len(groups)
    np.testing.assert_allclose(distances, [far[a, b] for a, b in pairs.tolist()], atol=1e-4)


def test_pictures_in_colour_and_larger_than_are_compared(edge: EdgeStore, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    waves = [rng.integers(0, 256, (4, 4, 3), np.uint8).repeat(20, axis=0).repeat(20, axis=1) for _ in range(8)]
    root = put(tmp_path / "colour", {f"{n}.png": encode_png(each) for n, each in enumerate(waves)})
    put(root, {"copy.jpg": file_of(Image.fromarray(waves[3]), "JPEG", quality=70)})
    put(root, {"other.png": encode_png(np.ascontiguousarray(waves[3][..., ::-1]))})
    live = filled(edge, {"colour": root}, tmp_path / "ledgers", channels=3)
    groups, _ = found(edge, live, {"colour": Folder("colour", root)})
    assert list(map(paths, groups.values())) == [{"3.png", "copy.jpg"}]


def test_points_that_come_meanwhile_do_no_harm(edge: EdgeStore, tmp_path: Path) -> None:
    """A point that is added after the table was filled is in no group."""
    root = plant(tmp_path / "pictures")
    live = filled(edge, {"pictures": root}, tmp_path / "ledgers")
    late = put(tmp_path / "late", {"0.png": (root / "000.png").read_bytes(), "1.jpg": jpeg(1, 90)})

    def grow(what: str, done: int, total: int) -> None:
        if what == "Comparing":
            ingest(edge, Blocks(), [Folder("late", late)], "images", ledgers=tmp_path / "ledgers")

    groups = list(find_duplicates(edge, live.collection, folder(root), DuplicateSummary(), step=grow))
    assert len(groups) == 3
    assert not any(m.payload["source"] == "late" for g in groups for m in (g.keep, *g.others))


def test_a_group_that_has_fallen_apart_is_none(edge: EdgeStore, tmp_path: Path) -> None:
    root = plant(tmp_path / "pictures")
    live = filled(edge, {"pictures": root}, tmp_path / "ledgers")

    def shrink(what: str, done: int, total: int) -> None:
        if what == "Comparing":
            edge.delete(live.collection, [point_id("pictures", "001.png")])

    groups = list(find_duplicates(edge, live.collection, folder(root), DuplicateSummary(), step=shrink))
    assert len(groups) == 2
    assert not any("001.png" in paths(group) for group in groups)
