"""Where settings come from, and what is refused."""

import pickle
from pathlib import Path

import pytest

from retrieval.config import Settings, load_settings
from retrieval.errors import UsageError
from tests.errors import raises


def test_an_option_comes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "retrieval.toml").write_text('home = "a"\ndata = "b"\nqdrant_url = "c"\npublic_url = "http://d/"\n')
    monkeypatch.setenv("RETRIEVAL_HOME", "from-the-environment")
    monkeypatch.setenv("retrieval_data", "in-small-letters")
    monkeypatch.setenv("QDRANT_URL", "http://environment")
    monkeypatch.setenv("RETRIEVAL_QDRANT_API_KEY", "not its name")
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    monkeypatch.setenv("RETRIEVAL_PUBLIC_URL", "")
    settings = load_settings(qdrant_url="http://option", home=None)
    assert (settings.home, settings.data) == (Path("from-the-environment"), Path("in-small-letters"))
    assert (settings.qdrant_url, settings.public_url) == ("http://option", "http://d")
    assert settings.qdrant_api_key
    assert settings.qdrant_api_key.get_secret_value() == "secret"
    assert "secret" not in repr(settings)
    assert Settings(qdrant_url=None).qdrant_url is None
    monkeypatch.setenv("RETRIEVAL_HOME", "of-another-machine")
    assert pickle.loads(pickle.dumps(settings)) == settings  # as it is sent to other processes


def test_what_is_wrong_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RETRIEVAL_PUBLIC_URL", "ftp://host")
    with raises(UsageError, "setting public_url", "ftp://host"):
        load_settings()
    with raises(UsageError, "ftp://there", option="public_url"):
        load_settings(public_url="ftp://there")
    monkeypatch.delenv("RETRIEVAL_PUBLIC_URL")
    (tmp_path / "retrieval.toml").write_text("colour = 3")
    with raises(UsageError, "setting colour"):
        load_settings()
