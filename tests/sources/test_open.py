"""Which kind of source a path, URL or name opens, and the errors for those that open none."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import SourceError, UsageError
from retrieval.sources.base import check_source_name, default_name
from tests.errors import raises
from tests.sources.conftest import Open, listed, put


@pytest.mark.parametrize(
    ("spec", "near"),
    [
        ("mnist-smaple", "mnist-sample"),
        ("fashionmnist:test", "fashion-mnist:test"),
        ("MNIST", "mnist"),
        ("pisc", "pics"),
        ("train.parqet", "train.parquet"),
    ],
)
def test_near_misses(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, spec: str, near: str) -> None:
    put(tmp_path / "pics", "1.png")
    put(tmp_path, "train.parquet")
    monkeypatch.chdir(tmp_path)
    with raises(SourceError, spec, hint=near):
        opened(spec)


@pytest.mark.parametrize(
    "spec", ["no/such/thing", "", "a\0b", "notes.md", "pipe.png", "memory://x/notes.txt", "http://[::1/x", "x" * 5000]
)
def test_what_is_not_understood(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    put(tmp_path, "notes.md")
    os.mkfifo(tmp_path / "pipe.png")
    monkeypatch.chdir(tmp_path)
    with raises(SourceError, repr(spec)[1:-1]):
        listed(opened(spec))


def test_unknown_protocol(opened: Open) -> None:
    with raises(SourceError, "gopher://host/x.zip", "Protocol not known: gopher"):
        opened("gopher://host/x.zip")


def test_a_spec_opens_the_same_from_anywhere(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    root = put(tmp_path / "my pics", "1.png")
    monkeypatch.chdir(root)
    sources = [opened("."), opened("../my pics/"), opened(root.as_uri()), opened(f"local://{root}")]
    monkeypatch.chdir("/")
    for source in sources:
        assert source.name == "my-pics"
        assert source.spec == str(root)
        assert listed(opened(source.spec)) == ["1.png"]


def test_names(tmp_path: Path, opened: Open) -> None:
    root = put(tmp_path / "pics", "1.png")
    assert opened(root, name="Wörld:2.a_b-c").name == "Wörld:2.a_b-c"
    assert opened("mnist-sample:test", name="digits").name == "digits"
    for bad in ("", "a b", "a/b", "a\nb", "x" * 65, "😺"):
        with raises(UsageError, repr(bad), option="name", hint="64"):
            opened(root, name=bad)


@given(st.text())
def test_default_names_are_names(text: str) -> None:
    assert check_source_name(default_name(text)) == default_name(text)


def test_a_data_set_comes_before_a_folder_of_that_name(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "mnist-sample", "1.png")
    monkeypatch.chdir(tmp_path)
    assert len(listed(opened("mnist-sample"))) == 5000
    assert listed(opened("./mnist-sample")) == ["1.png"]
