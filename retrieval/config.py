"""Settings: flags, then environment, then `retrieval.toml` in the working folder. Each has its one home here."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from retrieval.errors import UsageError
from retrieval.util.sanitize import redact

TOML = "retrieval.toml"


class Settings(BaseSettings):
    """Where things live and which engine holds the codes."""

    model_config = SettingsConfigDict(env_prefix="RETRIEVAL_", env_ignore_empty=True, extra="forbid", toml_file=TOML)

    home: Path = Field(default_factory=lambda: user_data_path("retrieval", appauthor=False))
    """Everything the program keeps: models, embedded collections, downloads, caches."""

    data: Path | None = None
    """Folder that holds named IDX data sets, one folder each; looked at before any download."""

    qdrant_url: str | None = Field(default=None, validation_alias=AliasChoices("qdrant_url"))
    """A Qdrant server, `http://host:6333`, or several nodes of one cluster with commas between, of which another is
    asked when one does not answer; without it codes live in the embedded engine under `home`."""

    qdrant_api_key: SecretStr | None = Field(default=None, validation_alias=AliasChoices("qdrant_api_key"))
    """The server's API key; never by a flag, which other users of the machine could read."""

    qdrant_from_api_key: SecretStr | None = Field(default=None, validation_alias=AliasChoices("qdrant_from_api_key"))
    """The key of `migrate --from`'s server where `--to` names another; neither server is sent the other's."""

    public_url: str | None = None
    """Where `retrieval serve` is reached by those who look at the dashboard: the start of every `image_url`."""

    api_key: SecretStr | None = None
    """What clients of `retrieval serve` must show; from the environment or the file only, as above."""

    @field_validator("public_url")
    @classmethod
    def _absolute(cls, url: str | None) -> str | None:
        """Without a slash at its end; raises ValueError for what no browser could open."""
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{redact(url)!r} is not like http://host:8000")
        if parts.username or parts.password:
            raise ValueError("it must not hold a user or a password: everybody who sees the collection can read it")
        return url.rstrip("/")

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def embedded(self) -> Path:
        return self.home / "embedded"

    @property
    def refused(self) -> Path:
        """The records of refused images."""
        return self.home / "refused"

    @property
    def jobs(self) -> Path:
        """The history of runs."""
        return self.home / "jobs"

    @property
    def downloads(self) -> Path:
        return self.home / "data"

    @property
    def checkpoints(self) -> Path:
        return self.home / "checkpoints"

    @property
    def xla_cache(self) -> Path:
        return self.home / "cache" / "xla"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(**flags: Any) -> Settings:
    """Read the settings; flags that are None were not given. Raises UsageError naming the bad setting."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except ValueError as error:  # a toml file that does not parse
        raise UsageError(f"{TOML}: {error}") from error
