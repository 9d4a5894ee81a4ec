"""`search` as a user writes it: many queries, every kind of output, filters, and what makes no sense."""

import csv
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from retrieval.images.decode import encode_png
from retrieval.search.results import NOTHING_ALIKE, NOTHING_MEETS
from tests.cli.conftest import SECONDS, Call, command, copy, done_well, environment, run
from tests.errors import mentions


@pytest.fixture
def one(pictures: Path) -> Path:
    return min(pictures.glob("*/*.png"))


def test_every_output_says_the_same(home: Path, one: Path, call: Call) -> None:
    hits = call("search", one, "--json").object["hits"]
    names = [f"{hit['source']}/{hit['path']}" for hit in hits]
    assert call("search", one, "--output", "jsonl").object["hits"] == hits
    (only,) = json.loads(call("search", one, "--output", "json").out)
    assert only == {"query": str(one), "hits": hits}
    table = [line.split("\t") for line in call("search", one).out.splitlines()]
    assert [(row[0], row[1], row[4]) for row in table] == [(str(one), str(n), name) for n, name in enumerate(names, 1)]
    assert [row[3] for row in table] == [f"p{hit['percentile']:.0f}" for hit in hits]
    rows = list(csv.DictReader(io.StringIO(call("search", one, "--output", "csv").out)))
    assert [(row["id"], row["path"], row["label"]) for row in rows] == [(h["id"], h["path"], h["label"]) for h in hits]
    assert [float(row["distance"]) for row in rows] == [hit["distance"] for hit in hits]


def test_paths0_are_files_whatever_they_are_called(trained_home: Path, folder: Path, tmp_path: Path) -> None:
    odd = folder / "a\nb \x1b[31m.png"
    shutil.copy(min(folder.glob("*/*.png")), odd)
    odd.write_bytes(odd.read_bytes() + b"\0")  # content of its own
    query = shutil.copy(odd, tmp_path / "query.png")
    done_well("ingest", folder, home=trained_home)
    ran = subprocess.run(
        command("search", query, "-k", 1, "--include-self", "--output", "paths0"),
        env=environment(trained_home),
        capture_output=True,
        timeout=SECONDS,
        check=True,
    )
    assert ran.stdout == os.fsencode(odd) + b"\0"
    shown = done_well("search", query, "-k", 1, "--include-self", home=trained_home).out
    assert shown.count("\n") == 1
    assert "\x1b" not in shown


def test_many_queries_from_a_list_a_pipe_and_stored_names(home: Path, pictures: Path, tmp_path: Path) -> None:
    files = sorted(pictures.glob("*/*.png"))[:30]
    listed = tmp_path / "queries.list"
    listed.write_text("\n".join([*map(str, files), "", str(pictures / "gone.png")]) + "\n")
    by_list = run("search", "--list", listed, "--json", home=home)
    assert by_list.code == 3
    assert [found["query"] for found in by_list.objects] == [*map(str, files), str(pictures / "gone.png")]
    assert f"refused: {pictures / 'gone.png'}" in by_list.err
    assert "31 queries" in by_list.err
    by_pipe = run("search", "--list", "-", "--json", home=home, stdin=listed.read_bytes())
    assert by_pipe.out == by_list.out
    names = [f"pictures/{file.relative_to(pictures).as_posix()}" for file in files]
    stored = done_well("search", "--stored", "--list", "-", "--json", home=home, stdin="\n".join(names).encode())
    for ours, theirs in zip(stored.objects, by_list.objects, strict=False):
        assert [hit["id"] for hit in ours["hits"]] == [hit["id"] for hit in theirs["hits"]]
    one_by_id = done_well("search", "--stored", stored.objects[0]["hits"][0]["id"], "--json", home=home).object
    assert len(one_by_id["hits"]) == 5


def test_a_list_on_stdin_is_answered_while_it_comes(home: Path, pictures: Path) -> None:
    names = [f"pictures/{file.relative_to(pictures).as_posix()}\n".encode() for file in pictures.glob("*/*.png")]
    with subprocess.Popen(
        command("search", "--stored", "--list", "-", "-k", 1, "--json"),
        env=environment(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        rounds = 3 * 512 // len(names) + 1
        for _ in range(rounds):
            process.stdin.write(b"".join(names))
            process.stdin.flush()
        first = process.stdout.readline()  # the list is still open
        assert len(json.loads(first)["hits"]) == 1
        process.stdin.close()
        rest = process.stdout.read().splitlines()
        assert len(rest) + 1 == len(names) * rounds
        assert process.wait(timeout=SECONDS) == 0


def test_filters_and_their_mistakes(home: Path, one: Path, call: Call) -> None:
    sevens = call("search", one, "--where", 'label=7 and width<100 and path~"7/*"', "--json").object["hits"]
    assert {hit["label"] for hit in sevens} == {"7"}
    none = call("search", one, "--where", "label=70", "--json")
    assert (none.code, none.object["hits"]) == (0, [])
    assert none.object["note"] == NOTHING_MEETS
    call("search", one, "--where", "lable=7").error(2, "'lable'", "label", option="--where")
    call("search", one, "--where", "").error(2, "empty", option="--where")
    wrong = call("search", one, "--where", "label=7 and width>wide")
    assert wrong.code == 2
    said, *context = wrong.err.splitlines()
    assert said.startswith("error: --where: ")
    assert mentions(said, "width")
    assert context == ["  label=7 and width>wide", "                    ^"]


def test_noise_looks_like_nothing_here(learned: Path, own_home: Path, tmp_path: Path, call: Call) -> None:
    copy(learned, own_home)
    noise = tmp_path / "noise.png"
    noise.write_bytes(encode_png(np.random.default_rng(0).integers(0, 256, (28, 28, 1), np.uint8)))
    found = call("search", noise, "--json").object
    assert found["note"] == NOTHING_ALIKE
    assert found["hits"]
    nearer = found["hits"][0]["percentile"] - 1  # which it is differs a little from processor to processor
    assert nearer > 90
    cut = call("search", noise, "--json", "--max-percentile", nearer).object
    assert cut["note"].startswith(NOTHING_ALIKE)
    assert mentions(cut["note"], f"{nearer:g}")
    assert cut["hits"] == []
    assert call("search", noise).err == f"note: {noise}: {NOTHING_ALIKE}\n"


def test_more_like_and_less_like(home: Path, pictures: Path, call: Call) -> None:
    one, seven = min(pictures.glob("1/*.png")), min(pictures.glob("7/*.png"))
    stored = f"pictures/{max(pictures.glob('1/*.png')).relative_to(pictures).as_posix()}"
    found = call("search", "--like", one, "--like", stored, "--unlike", seven, "-k", 3, "--json").object
    assert found["query"] == f"{one} + {stored} − {seven}"
    assert len(found["hits"]) == 3
    assert not {one.name, Path(stored).name} & {Path(hit["path"]).name for hit in found["hits"]}
    call("search", "--like", "pictures/nothing.png").error(2, "pictures/nothing.png")


@pytest.mark.parametrize(
    ("wrong", "option", "named"),
    [
        ([], "", ["nothing"]),
        (["--unlike", "a.png"], "", ["--unlike", "--like"]),
        (["x.png", "--like", "a.png"], "", ["--like", "queries"]),
        (["--like", "a.png", "--diverse"], "", ["--like", "--diverse"]),
        (["x.png", "--json", "--output", "csv"], "", ["--json", "--output csv"]),
        (["-", "--stored"], "", ["stdin"]),
        (["-", "--list", "-"], "", ["stdin"]),
        (["x.png", "--max-distance", "-1"], "--max-distance", ["0", "-1"]),
        (["x.png", "--max-percentile", "101"], "--max-percentile", ["0", "100", "101"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_contradicts_itself(home: Path, wrong: list[str], option: str, named: list[str], call: Call) -> None:
    call("search", *wrong).error(2, *named, option=option)


def test_a_list_that_is_none(home: Path, tmp_path: Path, call: Call) -> None:
    gone = tmp_path / "gone.txt"
    call("search", "--list", gone).error(2, gone, "No such file or directory", option="--list")
    binary = tmp_path / "binary.list"
    binary.write_bytes(bytes(200_000).replace(b"\0", b"x"))
    call("search", "--list", binary).error(2, binary, option="--list")
    empty = tmp_path / "empty.list"
    empty.write_text("\n\n")
    done = call("search", "--list", empty, "--output", "json")
    assert (done.code, done.out) == (0, "[]\n")


def test_galleries_show_what_is_known_of_each_hit(home: Path, one: Path, tmp_path: Path, call: Call) -> None:
    hit = call("search", one, "--json", "-k", 1).object["hits"][0]
    page = tmp_path / "page.html"
    assert call("search", one, "-k", 1, "--html", page).code == 0
    assert f"{hit['distance']:.4f}  p{hit['percentile']:.0f}" in page.read_text("utf-8")
