"""Files are moved, never lost: wherever the program is killed, the undo file restores every byte."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.duplicates.groups import Group, GroupMember
from retrieval.duplicates.job import DuplicateSummary, find_duplicates
from retrieval.duplicates.quarantine import UNDO, Moved, set_aside, undo_moves
from retrieval.errors import RetrievalError, UsageError
from retrieval.search.run import LiveCollection
from retrieval.sources import Source
from retrieval.sources.folder import File, Folder
from retrieval.store.edge.engine import EdgeStore
from tests.duplicates.digits import digits, filled, put
from tests.errors import mentions, raises
from tests.images.samples import file

ROOT = Path(__file__).parents[2]
KEEP, COPIES, OTHERS = "keep.png", ("sub/copy 1.png", "sub/copy\n2.png", "c3.png"), ("other 1.png", "other 2.png")


def data(number: int) -> bytes:
    return file(digits(5)[0][number, ..., 0])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image and its three copies, and two others."""
    root = put(tmp_path / "pictures", {KEEP: data(0), **dict.fromkeys(COPIES, data(0))})
    os.utime(root / KEEP, (1, 1))
    return put(root, {name: data(number) for number, name in enumerate(OTHERS, start=1)})


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[EdgeStore]:
    with contextlib.closing(EdgeStore(tmp_path / "edge")) as store:
        yield store


@pytest.fixture
def live(edge: EdgeStore, root: Path, tmp_path: Path) -> LiveCollection:
    return filled(edge, {"pictures": root}, tmp_path / "ledgers")


@pytest.fixture
def groups(edge: EdgeStore, live: LiveCollection, root: Path) -> list[Group]:
    return list(find_duplicates(edge, live.collection, sources(root), DuplicateSummary()))


def sources(root: Path) -> dict[str, Source]:
    return {"pictures": Folder("pictures", root)}


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def problems(moved: list[Moved]) -> dict[str, str]:
    return {moved.origin.name: moved.problem for moved in moved if moved.problem}


def test_all_but_the_kept_are_moved_and_come_back(groups: list[Group], root: Path, tmp_path: Path) -> None:
    before, folder = tree(root), tmp_path / "quarantine"
    assert [group.keep.payload["path"] for group in groups] == [KEEP]
    moved = list(set_aside(groups, sources(root), folder))
    assert problems(moved) == {}
    assert set(tree(root)) == {KEEP, *OTHERS}
    assert tree(folder / "pictures") == {name: before[name] for name in COPIES}
    assert {(m.origin, m.target) for m in moved} == {(root / n, folder / "pictures" / n) for n in COPIES}

    back = list(undo_moves(folder / UNDO))
    assert problems(back) == {}
    assert [m.origin for m in back] == [m.target for m in reversed(moved)]
    assert tree(root) == before
    assert tree(folder) == {UNDO: (folder / UNDO).read_bytes()}
    assert list(undo_moves(folder / UNDO)) == []  # the second time there is nothing to move
    assert tree(root) == before


def test_a_moved_file_keeps_its_date(groups: list[Group], root: Path, tmp_path: Path) -> None:
    os.utime(root / "c3.png", (5, 5))
    list(set_aside(groups, sources(root), tmp_path / "quarantine"))
    assert (tmp_path / "quarantine" / "pictures" / "c3.png").stat().st_mtime == 5
    list(undo_moves(tmp_path / "quarantine" / UNDO))
    assert (root / "c3.png").stat().st_mtime == 5


def test_again_into_the_same_folder(groups: list[Group], root: Path, tmp_path: Path) -> None:
    before, folder = tree(root), tmp_path / "quarantine"
    for _ in range(2):
        assert len(list(set_aside(groups, sources(root), folder))) == 3
        assert len(list(undo_moves(folder / UNDO))) == 3
    assert tree(root) == before
    assert len(list(set_aside(groups, sources(root), folder))) == 3
    again = list(set_aside(groups, sources(root), folder))  # they are gone from the source
    assert set(problems(again)) == {Path(name).name for name in COPIES}
    list(undo_moves(folder / UNDO))
    assert tree(root) == before


CHILD = """
import contextlib, os, shutil, signal, sys
from pathlib import Path
from retrieval.duplicates import quarantine
from retrieval.duplicates.job import DuplicateSummary, find_duplicates
from retrieval.sources.folder import Folder
from retrieval.store.base import resolve
from retrieval.store.edge.engine import EdgeStore
edge, root, folder, when, moves = sys.argv[1:]
move, left = shutil.move, int(moves)

def killing(origin, target):
    global left
    left -= 1
    if left < 0 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    if left < 0 and when == "amid":  # as from one disk to another
        Path(target).write_bytes(Path(origin).read_bytes()[:50])
        os.kill(os.getpid(), signal.SIGKILL)
    move(origin, target)
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

shutil.move = killing
with contextlib.closing(EdgeStore(Path(edge))) as store:
    name, sources = resolve(store, "images"), {"pictures": Folder("pictures", Path(root))}
    groups = list(find_duplicates(store, name, sources, DuplicateSummary()))
list(quarantine.set_aside(groups, sources, Path(folder)))
"""


@pytest.mark.parametrize("moves", [0, 1, 2])
@pytest.mark.parametrize("when", ["before", "amid", "after"])
def test_killed_between_two_moves(
    edge: EdgeStore, live: LiveCollection, root: Path, tmp_path: Path, when: str, moves: int
) -> None:
    before, folder = tree(root), tmp_path / "quarantine"
    edge.close()
    arguments = [str(tmp_path / "edge"), str(root), str(folder), when, str(moves)]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == -9, done.stderr
    assert len(before) - len(tree(root)) == moves + (when == "after")
    left = list(undo_moves(folder / UNDO))
    assert tree(root) == before
    assert list(problems(left).values()) == ["a file exists there already"] * (when == "amid")


def test_a_line_cut_short_does_not_keep_the_others(groups: list[Group], root: Path, tmp_path: Path) -> None:
    before, folder = tree(root), tmp_path / "quarantine"
    list(set_aside(groups, sources(root), folder))
    whole = (folder / UNDO).read_bytes()
    (folder / UNDO).write_bytes(whole + whole[:40])
    list(undo_moves(folder / UNDO))
    assert tree(root) == before
    list(set_aside(groups, sources(root), folder))  # appends after the cut line
    list(undo_moves(folder / UNDO))
    assert tree(root) == before


def test_the_undo_file_is_on_disk_before_the_move(
    groups: list[Group], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(root)

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        moved = list(set_aside(groups, sources(root), tmp_path / "quarantine"))
    assert {mentions(problem, "No space left on device") for problem in problems(moved).values()} == {True}
    assert tree(root) == before


def test_a_file_that_has_changed_is_left_and_named(groups: list[Group], root: Path, tmp_path: Path) -> None:
    (root / "c3.png").write_bytes(data(4))
    moved = list(set_aside(groups, sources(root), tmp_path / "quarantine"))
    assert problems(moved) == {"c3.png": "has changed since it was ingested"}
    assert (root / "c3.png").read_bytes() == data(4)
    assert len(tree(tmp_path / "quarantine" / "pictures")) == 2


@pytest.mark.parametrize("gone", [False, True])
def test_nothing_of_a_group_goes_whose_kept_picture_is_not_there(
    groups: list[Group], root: Path, tmp_path: Path, *, gone: bool
) -> None:
    (root / KEEP).unlink() if gone else (root / KEEP).write_bytes(data(4))
    before = tree(root)
    (only,) = set_aside(groups, sources(root), tmp_path / "quarantine")
    assert only.problem is not None
    assert only.problem.startswith("its group is left alone: the one to keep ")
    assert tree(root) == before


def test_a_place_that_is_taken(groups: list[Group], root: Path, tmp_path: Path) -> None:
    taken = put(tmp_path / "quarantine" / "pictures", {"c3.png": b"somebody's"}) / "c3.png"
    moved = list(set_aside(groups, sources(root), tmp_path / "quarantine"))
    assert problems(moved) == {"c3.png": "a file exists there already"}
    assert taken.read_bytes() == b"somebody's"
    (root / "sub" / "copy 1.png").write_bytes(b"another's")
    back = list(undo_moves(tmp_path / "quarantine" / UNDO))
    assert problems(back) == {"copy 1.png": "a file exists there already"}
    assert (root / "sub" / "copy 1.png").read_bytes() == b"another's"
    assert taken.read_bytes() == b"somebody's"
    assert (tmp_path / "quarantine" / "pictures" / "sub" / "copy 1.png").read_bytes() == data(0)


@pytest.mark.parametrize("where", [".", "sub", "new/folder", "../pictures/sub", "../link"])
def test_a_folder_inside_the_source_is_refused(groups: list[Group], root: Path, where: str) -> None:
    before = tree(root)
    (root.parent / "link").symlink_to(root / "sub")
    with raises(UsageError, root / where, root, option="apply", hint=""):
        list(set_aside(groups, sources(root), root / where))
    assert tree(root) == before


def test_a_folder_that_cannot_be_made(groups: list[Group], root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with raises(RetrievalError, tmp_path / "file" / UNDO, hint=""):
        list(set_aside(groups, sources(root), tmp_path / "file"))


def member(source: str, path: str) -> GroupMember:
    payload = {"source": source, "path": path, "sha256": sha(data(0)), "width": 28, "height": 28}
    return GroupMember("id", payload, 0.0, exact=True)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "path",
    [
        "../outside.png",
        "sub/../../outside.png",
        "/outside.png",
        "link.png",
        "way/outside.png",
        ".hidden.png",
        "a\0.png",
    ],
)
def test_a_path_that_leads_out_is_never_moved(root: Path, tmp_path: Path, path: str) -> None:
    put(tmp_path, {"outside.png": data(0), "way-out/outside.png": data(0)})
    put(root, {".hidden.png": data(0)})
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    (root / "way").symlink_to(tmp_path / "way-out")
    evil = path if path != "/outside.png" else str(tmp_path / "outside.png")
    before = tree(tmp_path)
    group = Group(member("pictures", KEEP), "oldest", (member("pictures", evil),))
    (only,) = set_aside([group], sources(root), tmp_path / "quarantine")
    assert only.problem
    assert tree(tmp_path) == {**before, f"quarantine/{UNDO}": b""}


def test_a_sources_name_that_leads_out(root: Path, tmp_path: Path) -> None:
    """A source may be named `..`."""
    known: dict[str, Source] = {"..": Folder("..", root), "pictures": Folder("pictures", root)}
    before = tree(root)
    group = Group(member("pictures", KEEP), "oldest", (member("..", "c3.png"),))
    (only,) = set_aside([group], known, tmp_path / "quarantine")
    assert only.problem == "would be moved outside the folder"
    assert tree(root) == before


def test_a_quarantine_that_is_a_way_out(groups: list[Group], root: Path, tmp_path: Path) -> None:
    (tmp_path / "quarantine").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "quarantine" / "pictures").symlink_to(tmp_path / "elsewhere")
    moved = list(set_aside(groups, sources(root), tmp_path / "quarantine"))
    assert set(problems(moved).values()) == {"would be moved outside the folder"}
    assert tree(tmp_path / "elsewhere") == {}


def test_only_files_of_folders_on_this_machine(root: Path, tmp_path: Path) -> None:
    before = tree(root)
    known: dict[str, Source] = {**sources(root), "one": File("one", root / "c3.png")}
    group = Group(member("pictures", KEEP), "oldest", (member("one", "c3.png"), member("gone", "c3.png")))
    moved = list(set_aside([group], known, tmp_path / "quarantine"))
    assert [each.problem for each in moved] == ["is not a file of a folder on this machine"] * 2
    assert tree(root) == before


def test_a_file_that_two_sources_list_is_no_copy_of_itself(edge: EdgeStore, root: Path, tmp_path: Path) -> None:
    """One folder is inside the other: a file is two points, and moving one would remove the other."""
    for name in COPIES[1:]:
        (root / name).unlink()
    live = filled(edge, {"pictures": root, "sub": root / "sub"}, tmp_path / "ledgers")
    known: dict[str, Source] = {**sources(root), "sub": Folder("sub", root / "sub")}
    (group,) = find_duplicates(edge, live.collection, known, DuplicateSummary())
    assert len(group.others) == 2
    members = (group.keep, *group.others)
    for one in members:
        each = Group(one, "oldest", tuple(other for other in members if other is not one))
        list(set_aside([each], known, tmp_path / "quarantine"))
        source = known[str(each.keep.payload["source"])]
        assert source.read(str(each.keep.payload["path"])) == data(0)
        list(undo_moves(tmp_path / "quarantine" / UNDO))


@pytest.mark.parametrize("keep_the_link", [False, True])
def test_a_link_and_its_file_are_one(root: Path, tmp_path: Path, *, keep_the_link: bool) -> None:
    (root / "link.png").symlink_to("c3.png")
    pair = member("pictures", "c3.png"), member("pictures", "link.png")
    keep, other = reversed(pair) if keep_the_link else pair
    (only,) = set_aside([Group(keep, "oldest", (other,))], sources(root), tmp_path / "quarantine")
    assert only.problem == "is the same file as the one to keep, by another path"
    assert (root / "link.png").read_bytes() == data(0)


def test_what_is_no_undo_file(tmp_path: Path) -> None:
    for content in ("no moves\n", '{"from": "a"}\n', "[1, 2]\n", '{"from": 1, "to": 2}\n'):
        (tmp_path / "x").write_text(content)
        with raises(UsageError, tmp_path / "x", option="undo", hint="undo.jsonl"):
            list(undo_moves(tmp_path / "x"))
    with raises(UsageError, tmp_path / "nosuch", "No such file", option="undo", hint="undo.jsonl"):
        list(undo_moves(tmp_path / "nosuch"))
    (tmp_path / "x").write_text("")
    assert list(undo_moves(tmp_path / "x")) == []


def test_the_undo_file_is_one_object_a_line(groups: list[Group], root: Path, tmp_path: Path) -> None:
    moved = list(set_aside(groups, sources(root), tmp_path / "quarantine"))
    lines = [json.loads(line) for line in (tmp_path / "quarantine" / UNDO).read_text().splitlines() if line]
    assert lines == [{"from": str(m.origin), "to": str(m.target)} for m in moved]
