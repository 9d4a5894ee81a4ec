"""Train, ingest, search and status as a user runs them, and the JSON that they promise."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from retrieval.images.decode import decode
from retrieval.model import saved_models
from retrieval.model.encoder import Encoder
from retrieval.schema.image_shape import ImageShape
from tests.cli.conftest import PICTURES, Call, Ingested, Trained, copy, done_well, run

INGEST_KEYS = ["found", "encoded", "unchanged", "copied", "deleted", "failed", "collection", "alias", "seconds"]


def test_train_says_what_it_made(trained: Trained) -> None:
    said = trained.said
    assert {"model", "fingerprint", "dim", "epochs", "seconds", "loss", "images"} <= said.keys()
    assert (said["dim"], said["epochs"], said["images"]) == (64, 1, 4000)
    saved = saved_models.load(Path(said["model"]))
    assert saved.fingerprint == said["fingerprint"]
    assert saved.path == saved_models.default(trained.home / "models")


def test_ingest_says_what_it_did(ingested: Ingested, trained: Trained) -> None:
    said = ingested.said
    assert list(said)[: len(INGEST_KEYS)] == INGEST_KEYS
    assert (said["found"], said["encoded"], said["unchanged"], said["failed"]) == (PICTURES, PICTURES, 0, 0)
    assert said["alias"] == "images"
    assert said["collection"].startswith("images-")
    assert said["collection"].endswith(trained.said["fingerprint"][:8])
    assert ingested.err == ""


def test_search_finds_what_brute_force_finds(home: Path, pictures: Path, trained: Trained) -> None:
    files = sorted(pictures.rglob("*.png"))
    query = files[7]
    encoder = Encoder(saved_models.load(Path(trained.said["model"])))
    pixels = np.stack([decode(file.read_bytes(), file.name, ImageShape(28, 28, 1)).pixels for file in files])
    codes = encoder.encode(pixels)
    distances = np.linalg.norm(codes - codes[7], axis=1)
    expected = [n for n in np.argsort(distances) if n != 7][:5]

    found = done_well("search", query, "--json", home=home)
    assert list(found.object)[:2] == ["query", "hits"]
    assert found.object["query"] == str(query)
    hits = found.object["hits"]
    assert [hit["path"] for hit in hits] == [files[n].relative_to(pictures).as_posix() for n in expected]
    np.testing.assert_allclose([hit["distance"] for hit in hits], distances[expected], atol=1e-4)
    for hit in hits:
        assert list(hit)[:2] == ["id", "distance"]
        assert hit["source"] == "pictures"
        assert hit["label"] == Path(hit["path"]).parent.name
        assert {"sha256", "bytes", "mtime_ns", "width", "height", "ingested_at"} < hit.keys()


def test_search_takes_folders_data_sets_and_stdin(home: Path, pictures: Path) -> None:
    inside = pictures / "3"
    queries = done_well("search", inside, "mnist-sample:test", "--limit", 30, "--json", home=home).objects
    own = sorted(file.name for file in inside.iterdir())
    assert len(own) < 30
    assert [item["query"] for item in queries[: len(own)]] == [f"{inside}/{name}" for name in own]
    assert queries[len(own)]["query"] == "mnist-sample:test/00000"
    assert len(queries) == 30

    one = inside / own[0]
    by_stdin = done_well("search", "-", "--json", home=home, stdin=one.read_bytes()).object
    assert by_stdin["query"] == "-"
    same_hits([{**by_stdin, "query": queries[0]["query"]}], queries[:1])


def test_the_query_itself_is_left_out_unless_it_is_asked_for(home: Path, pictures: Path, call: Call) -> None:
    query = next(pictures.glob("*/*.png"))
    key = query.relative_to(pictures).as_posix()
    without = call("search", query, "--json").object["hits"]
    assert key not in [hit["path"] for hit in without]
    with_self = call("search", query, "--json", "--include-self").object["hits"]
    assert with_self[0]["path"] == key
    assert with_self[0]["distance"] < 1e-4
    assert with_self[1:] == without[:4]


def test_k_larger_than_the_collection_gives_all_of_it(home: Path, pictures: Path, call: Call) -> None:
    query = next(pictures.glob("*/*.png"))
    done = call("search", query, "-k", 5000, "--json", "--include-self")
    assert done.code == 0
    distances = [hit["distance"] for hit in done.object["hits"]]
    assert len(distances) == PICTURES
    assert distances == sorted(distances)


def test_galleries_are_written(home: Path, pictures: Path, tmp_path: Path) -> None:
    page, picture = tmp_path / "page.html", tmp_path / "picture.png"
    done_well("search", next(pictures.glob("*/*.png")), "--html", page, "--png", picture, home=home)
    assert page.read_text("utf-8").lstrip().lower().startswith("<!doctype html")
    pixels = decode(picture.read_bytes(), "picture.png", ImageShape(64, 64, 3)).pixels
    assert pixels.min() < 100 < pixels.max()


def test_status_says_what_is_there(ingested: Ingested, trained: Trained, home: Path, call: Call) -> None:
    facts = call("status", "--json").object
    mark = trained.said["fingerprint"]
    assert (facts["engine"], facts["points"], facts["model"], facts["default_model"]) == (
        *("embedded", PICTURES),
        *(mark, mark),
    )
    assert facts["aliases"] == {"images": ingested.said["collection"]}
    assert list(facts["sources"]) == ["pictures"]
    shown = call("status").out
    assert len(shown.splitlines()) <= 12, "one screen, also of a small terminal"
    for part in (
        f"{PICTURES}, ",
        mark[:8],
        ingested.said["collection"],
        "pictures → ",
        "folder names as labels",
        "B in ",
    ):
        assert part in shown
    assert mark not in shown
    assert str(facts["neighbours"][50]) not in shown


def test_status_of_nothing(call: Call) -> None:
    facts = call("status", "--json").object
    assert (facts["collection"], facts["points"], facts["default_model"]) == (None, 0, None)
    shown = call("status", "--alias", "trip").out
    assert "trip has no collection yet; make it with: retrieval ingest SOURCE --alias trip" in shown
    assert "train one with: retrieval train SOURCE" in shown


def test_data_sets_bring_their_own_labels(trained_home: Path, call: Call) -> None:
    said = call("ingest", "mnist-sample:test", "--alias", "digits", "--json").object
    assert (said["alias"], said["encoded"] + said["copied"]) == ("digits", 1000)
    (first, *_) = call("search", "mnist-sample:test", "--limit", 1, "--alias", "digits", "--json").object["hits"]
    assert first["source"] == "mnist-sample:test"
    assert first["label"].isdigit()


def test_both_engines_give_the_same_hits(
    home: Path, pictures: Path, trained: Trained, tmp_path: Path, qdrant_url: str
) -> None:
    other, url = copy(trained.home, tmp_path / "other"), qdrant_url
    asked = ("search", "mnist-sample:test", "--limit", 50, "--json")
    embedded = done_well(*asked, home=home).objects
    try:
        done_well(
            "ingest", pictures, "--labels", "folder", "--alias", "cli-engines", home=other, env={"QDRANT_URL": url}
        )
        server = done_well(*asked, "--alias", "cli-engines", "--qdrant-url", url, home=other).objects
    finally:
        drop(url, "cli-engines")
    assert not (other / "embedded").exists()
    same_hits(embedded, server)


def same_hits(some: list[dict[str, object]], others: list[dict[str, object]]) -> None:
    """The same queries, and for each the same ids in the same order at the same distances."""
    assert [q["query"] for q in some] == [q["query"] for q in others]
    for one, other in zip(some, others, strict=True):
        mine, theirs = json.loads(json.dumps(one["hits"])), json.loads(json.dumps(other["hits"]))
        assert [hit["id"] for hit in mine] == [hit["id"] for hit in theirs], one["query"]
        np.testing.assert_allclose([h["distance"] for h in mine], [h["distance"] for h in theirs], atol=1e-4)


@pytest.mark.long
def test_all_of_mnist_on_both_engines(trained_home: Path, qdrant_url: str, mnist_dir: Path) -> None:
    home = trained_home
    data = {"RETRIEVAL_DATA": str(mnist_dir.parent)}
    server = {"QDRANT_URL": qdrant_url}
    asked = ("search", "mnist:test", "--limit", 20, "--json")
    try:
        for url in (dict[str, str](), server):
            said = done_well(
                "ingest", "mnist:train", "--alias", "cli-mnist", "--json", home=home, env=data | url
            ).object
            assert said["found"] == said["encoded"] + said["copied"] == 60_000
        embedded = done_well(*asked, "--alias", "cli-mnist", home=home, env=data).objects
        by_server = done_well(*asked, "--alias", "cli-mnist", home=home, env=data | server).objects
    finally:
        drop(qdrant_url, "cli-mnist")
    assert len(embedded) == 20
    same_hits(embedded, by_server)
    assert all(len(item["hits"]) == 5 for item in embedded)


def drop(url: str, alias: str) -> None:
    """Remove what a test put on the shared server."""
    from qdrant_client import QdrantClient

    client = QdrantClient(url=url, check_compatibility=False)
    for found in client.get_aliases().aliases:
        if found.alias_name == alias:
            client.delete_collection(found.collection_name)
    client.close()


def test_data_only_on_stdout(home: Path, pictures: Path) -> None:
    done = run("search", pictures / "3", "-k", 2, home=home)
    *notes, pace = done.err.splitlines()
    assert all(note.startswith("note: ") for note in notes)
    assert " queries in " in pace
    for line in done.out.splitlines():
        query, rank, distance, percentile, path, label = line.split("\t")
        assert query.startswith(str(pictures))
        assert rank in ("1", "2")
        assert float(distance) > 0
        assert re.fullmatch(r"p\d{1,3}", percentile)
        assert path.startswith(f"pictures/{label}/")
    assert "\x1b" not in done.out
