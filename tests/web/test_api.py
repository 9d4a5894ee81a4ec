"""What the service answers, beside what the command line says of the same collection."""

import base64
import dataclasses
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from retrieval.api import Index
from retrieval.images.decode import encode_png
from retrieval.schema.records import point_id
from retrieval.schema.verdict import Verdict
from tests.cli.conftest import PICTURES, Ingested, copy, done_well
from tests.images.samples import noise
from tests.web.serving import Served, serving, settings_of


def search(served: Served, image: bytes | None = None, **fields: object) -> dict[str, object]:
    files = {"image": ("my picture.png", image)} if image else None
    answer = served.client.post("/api/search", files=files, data=fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def refused(served: Served, status: int, **request: object) -> str:
    answer = served.client.post("/api/search", **request)  # type: ignore[arg-type]
    assert answer.status_code == status, answer.text
    assert next(iter(answer.json())) == "error"
    return str(answer.json()["error"])


def expected(served: Served, image: object, **options: object) -> dict[str, object]:
    return served.index.search(image, **options).result.to_json()  # type: ignore[arg-type]


def test_an_upload_finds_what_the_library_finds(served: Served, digit: bytes) -> None:
    found = search(served, digit, k=7)
    assert found["query"] == "my picture.png"
    assert found["hits"] == expected(served, digit, k=7)["hits"]
    assert len(found["hits"]) == 7  # type: ignore[arg-type]


def test_the_very_image_is_named_whatever_the_filter(served: Served, digit: bytes) -> None:
    own = served.index.search(digit, include_self=True)[0]
    for query in ({"image": digit}, {"id": own.id}, {"image": digit, "filter": f"label != {own.label}"}):
        found = search(served, **query, k=3, same=True)
        assert [(each["id"], each["path"]) for each in found["same"]] == [(own.id, own.path)]  # type: ignore[attr-defined]
        assert own.id not in [hit["id"] for hit in found["hits"]]  # type: ignore[attr-defined]
    strange = search(served, encode_png(noise(28, 28, 1)), same=True)
    assert strange["same"] == []


@pytest.mark.usefixtures("xla_cache")
def test_a_weak_collection_says_so(ingested: Ingested, digit: bytes, tmp_path: Path) -> None:
    home = settings_of(copy(ingested.home, tmp_path / "home"))
    with serving(home) as service:
        assert "weak" not in search(service, digit)
    with Index.open(settings=home) as index:
        live = index.live()
        verdict = Verdict("P@5", 0.2, "2026-11-29T00:00:00+00:00", 200, "PCA", 0.1, helped=True)
        index.store.set_metadata(live.collection, dataclasses.replace(live.meta, verdict=verdict))
    with serving(home) as service:
        assert search(service, digit)["weak"] == verdict.weakness
        status = service.client.get("/api/status").json()
        assert (status["verdict"], status["weak"]) == (str(verdict), verdict.weakness)
        quality = "20% of the 5 nearest images have the query's label; 10% by PCA, the best baseline"
        assert (status["quality"], status["measured"]) == (quality, verdict.measured)


def test_a_stored_picture_by_its_id_in_json_or_a_form(served: Served, pictures: Path, digit: bytes) -> None:
    hit = served.index.search(digit, include_self=True)[0]
    by_form = search(served, id=hit.id)
    by_json = served.client.post("/api/search", json={"id": hit.id}).json()
    assert by_form == by_json
    assert [h["id"] for h in by_form["hits"]] == [h.id for h in served.index.search(digit)]  # type: ignore[attr-defined]


def test_filters_diversity_likes(served: Served, digit: bytes) -> None:
    assert {hit["label"] for hit in search(served, digit, filter="label in (3, 7)")["hits"]} <= {"3", "7"}  # type: ignore[attr-defined]
    assert search(served, digit, diverse=True) == expected(served, digit, diverse=True) | {"query": "my picture.png"}
    first, second, *_ = served.index.search(digit)
    found = search(served, like=[first.id], unlike=[second.id], k=3)
    ids = [hit["id"] for hit in found["hits"]]  # type: ignore[attr-defined]
    assert len(ids) == 3
    assert not {first.id, second.id} & set(ids)


def test_an_upload_beside_examples(served: Served, digit: bytes) -> None:
    first, second, *_ = served.index.search(digit)
    stored = [served.index.points([each.id])[each.id] for each in (first, second)]
    images = [served.index.image(each) for each in stored]
    for fields, like, unlike in (
        ({"like": [first.id], "unlike": [second.id]}, [digit, images[0]], [images[1]]),
        ({"unlike": [first.id]}, [digit], [images[0]]),
    ):
        found = search(served, digit, **fields, k=9)
        expected_hits = served.index.like(like, unlike, 9).result.to_json()["hits"]
        assert [hit["id"] for hit in found["hits"]] == [hit["id"] for hit in expected_hits]  # type: ignore[attr-defined]
        np.testing.assert_allclose(
            [hit["distance"] for hit in found["hits"]],  # type: ignore[attr-defined]
            [hit["distance"] for hit in expected_hits],
            atol=1e-4,
        )


def test_the_reconstruction_is_the_models(served: Served, digit: bytes) -> None:
    shown = str(search(served, digit, reconstruct=True)["reconstruction"])
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.partition(",")[2]))))
    hit = served.index.search(digit, include_self=True)[0]
    np.testing.assert_array_equal(pixels, served.index.reconstruct([hit.id])[hit.id][..., 0])


@pytest.mark.parametrize(
    ("request_", "status", "says"),
    [
        ({"data": {"k": "0", "id": point_id("a", "b")}}, 400, "k: "),
        ({"data": {"k": "5"}}, 400, "search with one of: image, id, like"),
        ({"json": {"unlike": [point_id("a", "b")]}}, 400, "unlike without like"),
        ({"json": {"id": point_id("a", "b"), "colour": 1}}, 400, "colour"),
        ({"json": {"id": "../../etc/passwd"}}, 400, "id: "),
        ({"json": {"id": point_id("a", "b"), "filter": "label="}}, 400, "ends too soon"),
        ({"json": {"id": point_id("a", "b"), "filter": "lable=7"}}, 400, "did you mean label?"),
        ({"json": {"id": point_id("a", "b")}}, 404, "no such image"),
        ({"json": {"like": [point_id("a", "b")]}}, 404, "no such image"),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "send multipart/form-data"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "Invalid JSON"),
        ({"files": {"image": ("a.png", b"no picture at all")}}, 422, "not an image"),
        ({"files": {"image": ("a.png", b"")}}, 422, ""),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    served: Served, request_: dict[str, object], status: int, says: str
) -> None:
    assert says in refused(served, status, **request_)


def test_noise_is_told_to_be_like_nothing(served: Served) -> None:
    noted = served.index.search(encode_png(noise(28, 28, 1))).note
    assert search(served, encode_png(noise(28, 28, 1))).get("note") == noted


def test_points_samples_facets_and_status(served: Served) -> None:
    status = served.client.get("/api/status").json()
    assert (status["state"], status["points"], status["sources"]) == ("ready", PICTURES, ["pictures"])
    assert (status["image_size"], status["channels"], status["engine"]) == ([28, 28], 1, "embedded")
    facets = served.client.get("/api/facets").json()
    assert sum(row["count"] for row in facets["label"]) == PICTURES
    assert facets["source"] == [{"value": "pictures", "count": PICTURES}]
    some = served.client.get("/api/facets", params={"contains": "ICT"}).json()
    assert some == {"label": [], "source": facets["source"]}
    assert served.client.get("/api/facets", params={"contains": 201 * "x"}).status_code == 400
    points = served.client.get("/api/sample", params={"n": 5}).json()["points"]
    assert len({point["id"] for point in points}) == 5
    assert served.client.get(f"/api/points/{points[0]['id']}").json() == points[0]
    assert served.client.get(f"/api/points/{point_id('a', 'b')}").status_code == 404
    assert served.client.get("/api/sample", params={"n": 10_000}).status_code == 400


def test_a_thumbnail_and_the_original(served: Served, pictures: Path) -> None:
    point = served.client.get("/api/sample", params={"n": 1}).json()["points"][0]
    small = served.client.get(f"/images/{point['id']}.jpg")
    assert small.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(small.content)).size == (252, 252)
    whole = served.client.get(f"/images/{point['id']}.png")
    assert whole.headers["content-type"] == "image/png"
    file = pictures.parent / "pictures" / point["path"]
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(whole.content)).convert("L")), np.asarray(Image.open(file))
    )
    again = served.client.get(f"/images/{point['id']}.jpg", headers={"If-None-Match": small.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    large = served.client.get(f"/images/{point['id']}.jpg", params={"size": "large"})
    assert Image.open(io.BytesIO(large.content)).size == (28, 28), "not enlarged"
    assert served.client.get(f"/images/{point['id']}.jpg", params={"size": "huge"}).status_code == 400
    assert served.client.get(f"/images/{point['id']}.jpg").content == small.content, "now from the cache"
    for version, kept in ((point["sha256"][:16], True), ("0" * 16, False), ("", False)):
        lasting = served.client.get(f"/images/{point['id']}.jpg", params={"v": version}).headers["cache-control"]
        assert ("immutable" in lasting) == kept


@pytest.mark.usefixtures("xla_cache")
def test_the_file_itself_unless_it_has_changed(ingested: Ingested, digit: bytes, tmp_path: Path) -> None:
    folder, home = tmp_path / "mine", copy(ingested.home, tmp_path / "home")
    folder.mkdir()
    (folder / "füßé 1.png").write_bytes(digit)
    done_well("ingest", folder, "--alias", "mine", home=home)
    url = f"/images/{point_id('mine', 'füßé 1.png')}/file"
    with serving(settings_of(home), alias="mine") as service:
        answer = service.client.get(url)
        assert answer.content == digit
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''{quote('füßé 1.png')}"
        assert service.client.get(url, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        (folder / "füßé 1.png").write_bytes(encode_png(noise(28, 28, 1)))
        assert "changed" in service.client.get(url).json()["error"]
        (folder / "füßé 1.png").unlink()
        for gone in (url, f"/images/{point_id('no', 'thing')}/file", "/images/nothing/file"):
            assert service.client.get(gone).status_code == 404


def test_a_stored_picture_as_the_model_sees_it(served: Served, digit: bytes) -> None:
    hit = served.index.search(digit, include_self=True)[0]
    shown = served.client.get(f"/images/{hit.id}/reconstruction.png")
    pixels = np.asarray(Image.open(io.BytesIO(shown.content)))
    np.testing.assert_array_equal(pixels, served.index.reconstruct([hit.id])[hit.id][..., 0])
    assert served.client.get(f"/images/{point_id('no', 'thing')}/reconstruction.png").status_code == 404


def test_a_placeholder_where_there_is_no_picture(served: Served) -> None:
    for kind, name in (("jpg", "JPEG"), ("png", "PNG")):
        answer = served.client.get(f"/images/{point_id('no', 'thing')}.{kind}")
        assert answer.status_code == 200
        assert Image.open(io.BytesIO(answer.content)).format == name


def test_health_metrics_and_the_description(served: Served, digit: bytes) -> None:
    search(served, digit)
    assert served.client.get("/healthz").json() == {"status": "ok"}
    text = served.client.get("/metrics").text
    for line in (
        'retrieval_http_requests_total{method="POST",route="/api/search",status="200"}',
        'retrieval_search_stage_seconds_count{stage="encode"}',
        "retrieval_encode_batch_size_count",
        "retrieval_engine_up 1.0",
        f'retrieval_collection_points{{alias="images"}} {PICTURES}.0',
        'retrieval_reindex_age_seconds{alias="images"}',
        "process_resident_memory_bytes",
    ):
        assert line in text
    paths = served.client.get("/openapi.json").json()["paths"]
    assert {"/api/search", "/api/status", "/healthz", "/images/{id}.{kind}"} <= set(paths)


def test_the_page_and_its_files_carry_the_policy(served: Served) -> None:
    for path in ("/", "/docs", "/static/app.js", "/api/status", "/nothing"):
        answer = served.client.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert served.client.get("/").headers["content-type"].startswith("text/html")


def test_many_at_once_get_the_answers_they_would_get_alone(served: Served, pictures: Path) -> None:
    files = [file.read_bytes() for file in sorted(pictures.rglob("*.png"))[:60]]
    alone = [[hit.id for hit in found] for found in served.index.search_many(files, 4)]
    with ThreadPoolExecutor(20) as clients:
        together = list(clients.map(lambda data: search(served, data, k=4)["hits"], files))
    assert [[hit["id"] for hit in hits] for hits in together] == alone  # type: ignore[attr-defined]
