"""The job on real digits, against slow twins: every score is recomputed by loops and scikit-learn."""

import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from retrieval.config import Settings
from retrieval.errors import BadImage, NoCollection, SourceError, UsageError
from retrieval.evaluate import data
from retrieval.evaluate.baselines import frozen_trunk, trunk_config, untrained_encoder
from retrieval.evaluate.job import evaluate
from retrieval.evaluate.report import Report
from retrieval.evaluate.scoring import score
from retrieval.images.decode import decode, encode_png
from retrieval.model.config import TRUNK, ModelConfig
from retrieval.model.encoder import Encoder
from retrieval.schema.image_shape import ImageShape
from retrieval.schema.records import Root
from retrieval.sources import Entry, open_source
from retrieval.train.augment import distorted_copies
from tests.errors import raises

pytestmark = pytest.mark.usefixtures("xla_cache")

K = 3
Item = tuple[bytes, str | None]


class ListSource:
    """A source of (encoded image, label) in memory; None in place of an image cannot be read."""

    whole = True
    labels = False
    portable = False

    def __init__(self, items: Sequence[tuple[bytes | None, str | None]], name: str = "some") -> None:
        self.name = self.spec = name
        self._items = items

    def entries(self) -> Iterator[Entry]:
        for number, (content, label) in enumerate(self._items):
            key = f"{number}.png"
            yield Entry(self.name, key, len(content or b""), 0, label, functools.partial(self.read, key))

    def read(self, key: str) -> bytes:
        data = self._items[int(key.partition(".")[0])][0]
        if data is None:
            raise BadImage(key, "it has vanished")
        return data

    def identify(self) -> Root:
        return Root(self.spec)

    def check_unchanged(self) -> None:
        """It is."""

    def has(self, key: str) -> bool:
        return any(entry.key == key for entry in self.entries())


@functools.cache
def digits(count: int, skip: int = 0) -> list[Item]:
    entries = list(open_source("mnist-sample:test", Settings(home=Path("unused"))).entries())[skip : skip + count]
    return [
        (encode_png(decode(entry.read(), entry.key, ImageShape(28, 28, 1)).pixels), entry.label) for entry in entries
    ]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """A model of four dimensions with random weights: bad, so that the scores differ from 1."""
    return untrained_encoder(ModelConfig((28, 28), 1, 4, (4, 4), (0, 0)), seed=7)


@pytest.fixture
def settings(own_home: Path) -> Settings:
    return Settings(home=own_home)


def run(
    settings: Settings, encoder: Encoder, items: Sequence[tuple[bytes | None, str | None]], **options: object
) -> Report:
    return evaluate(settings, encoder, [ListSource(items)], **{"k": K, **options})  # type: ignore[arg-type]


def slow_twin(codes: np.ndarray, asking: range, searched: range, items: Sequence[Item]) -> dict[str, float]:
    """All four metrics by loops; an image of the query's own content is no hit."""
    found: dict[str, list[float]] = {"p_at_k": [], "recall_at_k": [], "map": [], "r_precision": []}
    for query in asking:
        others = [row for row in searched if items[row][0] != items[query][0]]
        distances = {row: round(math.dist(codes[row], codes[query]), 9) for row in others}
        others.sort(key=lambda row: distances[row])
        right = [items[row][1] == items[query][1] for row in others]
        found["p_at_k"].append(sum(right[:K]) / K)
        if total := sum(right):
            found["recall_at_k"].append(any(right[:K]))
            found["map"].append(average_precision_score(right, [-distances[row] for row in others]))
            last = [sum(other <= distances[row] for other in distances.values()) for row in others]  # of a tie
            found["r_precision"].append(
                sum(is_right and rank <= total for is_right, rank in zip(right, last, strict=True)) / total
            )
    return {name: float(np.mean(values)) for name, values in found.items()}


def codes_of(encoder: Encoder, items: Sequence[Item]) -> np.ndarray:
    return encoder.encode(np.stack([decode(data, "", ImageShape(28, 28, 1)).pixels for data, _ in items])).astype(float)


def test_images_query_each_other(settings: Settings, encoder: Encoder) -> None:
    items = [*digits(150), *digits(10), (digits(1, 200)[0][0], "alone")]  # with copies, and a label of its own
    report = run(settings, encoder, items)
    expected = slow_twin(codes_of(encoder, items), range(161), range(161), items)
    said = report.to_json()
    assert {name: said["scores"][0][name] for name in expected} == pytest.approx(expected, abs=1e-4)
    assert (said["indexed"], said["queries"], said["labelled"], said["alone"], said["k"]) == (161, 161, 161, 1, K)
    names = ["raw pixels", "PCA", "perceptual hash", "frozen trunk", "untrained"]
    assert [scores["codes"] for scores in said["scores"][1:]] == names
    assert [scores["dim"] for scores in said["scores"]] == [4, 784, 4, 64, 1280, 4]


def test_raw_pixels_are_what_brute_force_on_pixels_finds(settings: Settings, encoder: Encoder) -> None:
    items = digits(120)
    pixels = np.stack([decode(data, "", ImageShape(28, 28, 1)).pixels.ravel() for data, _ in items]).astype(float)
    expected = slow_twin(pixels, range(120), range(120), items)
    said = run(settings, encoder, items).to_json()["scores"][1]
    assert {name: said[name] for name in expected} == pytest.approx(expected, abs=1e-4)


def test_the_frozen_trunk_reads_the_images_in_its_own_size(settings: Settings, encoder: Encoder) -> None:
    items = digits(70)
    report = run(settings, encoder, items)
    (scores,) = [scores for scores in report.scores if scores.name == "frozen trunk"]
    shape = trunk_config().shape
    pixels = np.stack([decode(data, "", shape).pixels for data, _ in items])
    codes = frozen_trunk(trunk_config(), 0).encode(pixels).astype(float)
    expected = slow_twin(codes, range(70), range(70), items)
    said = {name: value for name, value in scores.to_json().items() if name in expected}
    assert said == pytest.approx(expected, abs=1e-3)
    copied = frozen_trunk(trunk_config(), 0).encode(distorted_copies(pixels, data.SEED, report.data.distortion))
    distances = np.linalg.norm(copied[:, None] - codes[None], axis=2)
    expected_ranks = (distances <= np.diag(distances)[:, None]).sum(axis=1)
    assert (scores.copy_ranks == expected_ranks).mean() > 0.95  # rounding


def test_a_model_on_the_trunk_reads_its_images_in_blocks_and_pixels_are_compared_at_the_size_that_it_draws(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ModelConfig((32, 32), 3, 4, (), (), TRUNK, "crop")
    model, items = untrained_encoder(config, seed=7), digits(40)
    monkeypatch.setattr(data, "PIXEL_BUDGET", 8 * 8 * 3 * 40)
    said = run(settings, model, items).to_json()
    assert said["indexed"] == 40, "only the small images are held in memory"
    codes = model.encode(np.stack([decode(data, "", config.shape).pixels for data, _ in items])).astype(float)
    expected = slow_twin(codes, range(40), range(40), items)
    assert {name: said["scores"][0][name] for name in expected} == pytest.approx(expected, abs=1e-4)
    assert [(scores["codes"], scores["dim"]) for scores in said["scores"][1:]] == [
        *(("raw pixels", 8 * 8 * 3), ("PCA", 4), ("perceptual hash", 64), ("frozen trunk", 1280))
    ]


def test_blocks_that_are_read_again_follow_the_rows(
    settings: Settings, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = run(settings, encoder, digits(20)).data
    monkeypatch.setattr(data, "BLOCK", 8)
    shape, told = ImageShape(28, 28, 1), list[tuple[int, int]]()
    blocks = list(data.read_again(known.entries, shape, lambda done, total: told.append((done, total))))
    assert [(start, len(block)) for start, block in blocks] == [(0, 8), (8, 8), (16, 4)]
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), known.images)
    assert told == [(8, 20), (16, 20), (20, 20)]


def test_a_separate_query_set(settings: Settings, encoder: Encoder) -> None:
    searched, asking = digits(100), [*digits(30, 300), *digits(5)]
    report = evaluate(settings, encoder, [ListSource(searched)], [ListSource(asking, "more")], k=K)
    items = [*searched, *asking]
    expected = slow_twin(codes_of(encoder, items), range(100, 135), range(100), items)
    said = report.to_json()
    assert {name: said["scores"][0][name] for name in expected} == pytest.approx(expected, abs=1e-4)
    assert (said["indexed"], said["queries"], said["sources"], said["queries_from"]) == (100, 35, ["some"], ["more"])
    assert {case["source"] for case in said["worst"]} == {"more"}


def test_the_classes_add_up_and_the_worst_come_first(settings: Settings, encoder: Encoder) -> None:
    said = run(settings, encoder, digits(150)).to_json()
    classes = said["classes"]
    assert sum(row["queries"] for row in classes) == 150
    mean = sum(row["queries"] * row["p_at_k"] for row in classes) / 150
    assert mean == pytest.approx(said["scores"][0]["p_at_k"], abs=1e-3)
    assert [row["p_at_k"] for row in classes] == sorted(row["p_at_k"] for row in classes)
    precisions = [case["average_precision"] for case in said["worst"]]
    assert len(precisions) == 50
    assert precisions == sorted(precisions)


def test_copies_are_ranked_as_by_a_loop(settings: Settings, encoder: Encoder) -> None:
    report = run(settings, encoder, digits(60))
    images = np.stack([decode(data, "", ImageShape(28, 28, 1)).pixels for data, _ in digits(60)])
    copied, codes = encoder.encode(distorted_copies(images, data.SEED)), encoder.encode(images)
    expected = []
    for row, code in enumerate(copied.astype(float)):
        distances = [math.dist(code, other) for other in codes]
        expected.append(sum(distance <= distances[row] for distance in distances))
    assert report.model.copy_ranks.tolist() == expected
    said = report.to_json()["scores"][0]
    assert said["copy_median_rank"] == np.median(expected)
    assert said["copy_recall_at_1"] == pytest.approx(np.mean(np.array(expected) == 1), abs=1e-4)


def test_without_labels_copies_are_scored(settings: Settings, encoder: Encoder) -> None:
    report = run(settings, encoder, [(data, None) for data, _ in digits(60)])
    said = report.to_json()
    assert "p_at_k" not in said["scores"][0]
    assert (said["labelled"], said["classes"]) == (0, [])
    assert any("no labels" in note for note in said["notes"])
    assert "copies that find their original" in said["verdict"]
    ranks = [case["copy_rank"] for case in said["worst"]]
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[0] == report.model.copy_ranks.max()


@pytest.mark.parametrize("labels", [["x"] * 60, [None] * 59 + ["x"]], ids=["all the same", "only one"])
def test_labels_that_are_all_the_same_or_unique_are_not_scored(
    labels: list[str | None], settings: Settings, encoder: Encoder
) -> None:
    items = [(data, label) for (data, _), label in zip(digits(60), labels, strict=True)]
    said = run(settings, encoder, items).to_json()
    assert said["labelled"] == 0
    assert any("all the same" in note for note in said["notes"])


def test_unlabelled_images_are_no_queries_but_count_as_wrong_hits(settings: Settings, encoder: Encoder) -> None:
    items = [(data, None if n % 3 == 0 else label) for n, (data, label) in enumerate(digits(60))]
    said = run(settings, encoder, items).to_json()
    assert said["labelled"] == 40
    assert any("20 queries without a label" in note for note in said["notes"])
    right = slow_twin(codes_of(encoder, digits(60)), range(60), range(60), digits(60))["p_at_k"]
    assert said["scores"][0]["p_at_k"] < right


def test_all_labels_different(settings: Settings, encoder: Encoder) -> None:
    items = [(data, str(n)) for n, (data, _) in enumerate(digits(40))]
    said = run(settings, encoder, items).to_json()
    assert said["labelled"] == 0
    assert any("all different" in note for note in said["notes"])


def test_a_limit_takes_the_same_queries_each_time(settings: Settings, encoder: Encoder) -> None:
    first, second = (run(settings, encoder, digits(100), limit=20) for _ in range(2))
    assert len(first.data.queries) == 20
    np.testing.assert_array_equal(first.data.queries, second.data.queries)
    assert first.to_json()["scores"] == second.to_json()["scores"]
    asked = evaluate(settings, encoder, [ListSource(digits(50))], [ListSource(digits(100, 100), "more")], k=K, limit=20)
    assert len(asked.data.queries) == 20


def test_images_beyond_the_pixel_budget_are_left_out_at_random(
    settings: Settings, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "PIXEL_BUDGET", 28 * 28 * 30)
    report = run(settings, encoder, digits(100))
    assert report.data.indexed == 30
    assert any(note.endswith("70 images, chosen at random") for note in report.notes)


def test_identical_embeddings_find_no_copy(settings: Settings, encoder: Encoder) -> None:
    known = run(settings, encoder, digits(60)).data
    collapsed = score("dead", np.ones((60, 4), np.float32), np.ones((60, 4), np.float32), known, K, lambda n: None)
    assert (collapsed.copy_ranks == 60).all()
    assert collapsed.effective_rank == pytest.approx(1)


def test_an_image_that_cannot_be_read_is_refused_and_the_others_counted(settings: Settings, encoder: Encoder) -> None:
    report = run(settings, encoder, [*digits(60), (None, "7"), (b"not an image", "1")])
    assert report.data.indexed == 60
    assert [(item.entry.key, item.reason[:15]) for item in report.refused] == [
        ("60.png", "it has vanished"),
        ("61.png", "not an image in"),
    ]


@pytest.mark.parametrize(
    ("items", "asking", "named"),
    [
        (1, None, [1, 2]),
        (0, None, [0, 2, "some/0.png"]),
        (9, 0, [9, 0, 2, 1]),
    ],
    ids=["one", "none", "none to ask"],
)
def test_too_few_images(
    items: int, asking: int | None, named: list[object], settings: Settings, encoder: Encoder
) -> None:
    bad: list[tuple[bytes | None, str | None]] = [(None, None)]
    others = None if asking is None else [ListSource(bad)]
    with raises(SourceError, *named):
        evaluate(settings, encoder, [ListSource([*digits(items), *bad] if items != 1 else digits(1))], others, k=1)


def test_k_out_of_range(settings: Settings, encoder: Encoder) -> None:
    for k, most in ((0, 10_000), (10, 9)):
        with raises(UsageError, 1, most, k, option="k"):
            run(settings, encoder, digits(10), k=k)
    assert run(settings, encoder, digits(10), k=9).k == 9


def test_identical_images(settings: Settings, encoder: Encoder) -> None:
    (data, _), *_ = digits(1)
    said = run(settings, encoder, [(data, str(n % 2)) for n in range(10)]).to_json()
    assert said["labelled"] == 0  # each is left out of the others' hits
    assert said["scores"][0]["copy_recall_at_1"] == 1


def test_without_a_collection_the_engine_is_left_out_or_missed(settings: Settings, encoder: Encoder) -> None:
    report = run(settings, encoder, digits(20))
    assert report.engine is None
    assert any("no collection 'images'" in note for note in report.notes)
    with raises(NoCollection, "'others'", hint="retrieval ingest SOURCE --alias others"):
        run(settings, encoder, digits(20), alias="others", must_compare=True)


def test_progress_is_reported(settings: Settings, encoder: Encoder) -> None:
    told: dict[str, tuple[int, int]] = {}
    run(settings, encoder, digits(50), step=lambda what, done, total: told.update({what: (done, total)}))
    for name in (f"model {encoder.fingerprint[:8]}", "raw pixels", "PCA", "untrained"):
        assert told[f"Searching by {name}"] == (100, 100)
    assert told["Reading"] == (50, 50)
