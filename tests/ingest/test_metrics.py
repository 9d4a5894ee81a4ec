"""What node_exporter reads: parsed by Prometheus' own parser."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from retrieval.errors import REFUSED, UsageError
from retrieval.ingest.metrics import write_metrics
from retrieval.ingest.summary import IngestSummary
from tests.errors import raises

SUCCESS = "retrieval_ingest_last_success_timestamp_seconds"


def samples(file: Path) -> dict[str, float]:
    families = text_string_to_metric_families(file.read_text())
    return {f"{s.name}/{s.labels.get('outcome', '')}": s.value for f in families for s in f.samples}


def test_a_run_and_then_one_that_fails(tmp_path: Path) -> None:
    file = tmp_path / "retrieval.prom"
    write_metrics(file, IngestSummary("images", "images-1", found=12, encoded=10, unchanged=2, seconds=1.5), 0)
    first = samples(file)
    assert first["retrieval_ingest_images/encoded"] == 10
    assert first["retrieval_ingest_duration_seconds/"] == 1.5
    assert first["retrieval_ingest_exit_code/"] == 0
    assert first[f"{SUCCESS}/"] == first["retrieval_ingest_last_run_timestamp_seconds/"]
    write_metrics(file, IngestSummary("images", None), 1)
    second = samples(file)
    assert second["retrieval_ingest_exit_code/"] == 1
    assert second[f"{SUCCESS}/"] == first[f"{SUCCESS}/"]


def test_the_gates_rows_go_with_the_run_of_a_reindex(tmp_path: Path) -> None:
    file = tmp_path / "retrieval.prom"
    measured = {"images": 12.0, "P@5": None, "recall at 5": 0.99}
    gate: list[dict[str, object]] = [{"check": check, "value": value} for check, value in measured.items()]
    write_metrics(file, IngestSummary("images", "images-1", found=12), 5, "reindex", gate)
    families = {family.name: family for family in text_string_to_metric_families(file.read_text())}
    rows = {sample.labels["check"]: sample for sample in families["retrieval_reindex_gate"].samples}
    assert {check: sample.value for check, sample in rows.items()} == {"images": 12.0, "recall at 5": 0.99}
    for family in families.values():
        assert all(sample.labels["alias"] == "images" for sample in family.samples)
        assert family.documentation[0].isupper() or family.documentation[0].isdigit()
        assert family.documentation.endswith(".")
    assert families["retrieval_reindex_exit_code"].samples[0].value == 5


def test_the_last_success_is_the_aliass_own(tmp_path: Path) -> None:
    file = tmp_path / "retrieval.prom"
    write_metrics(file, IngestSummary("others", "others-1"), REFUSED)
    assert f"{SUCCESS}/" in samples(file), "images that were refused do not make it a failure"
    write_metrics(file, IngestSummary("images", None), 1)
    assert f"{SUCCESS}/" not in samples(file)


@pytest.mark.parametrize("content", [b"retrieval_ingest {", b"\xff\xfe", b""])
def test_a_file_that_is_none_of_ours_is_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "retrieval.prom"
    file.write_bytes(content)
    write_metrics(file, IngestSummary("images", None), 1)
    assert samples(file)["retrieval_ingest_exit_code/"] == 1
    assert f"{SUCCESS}/" not in samples(file)


def test_a_first_run_that_fails_claims_no_success(tmp_path: Path) -> None:
    write_metrics(tmp_path / "retrieval.prom", IngestSummary("images", None), 4)
    assert f"{SUCCESS}/" not in samples(tmp_path / "retrieval.prom")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "none" / "retrieval.prom"
    with raises(UsageError, file, "No such file or directory", option="metrics_file", hint=""):
        write_metrics(file, IngestSummary("images", None), 0)
