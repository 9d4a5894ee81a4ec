"""All settings: from options, then the environment, then `retrieval.toml` in the working folder."""

import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from retrieval.errors import UsageError
from retrieval.util.sanitize import redact

TOML = "retrieval.toml"


class Settings(BaseModel):
    """Where files are, and which engine holds the embeddings."""

    model_config = ConfigDict(extra="forbid")

    home: Path = Field(default_factory=lambda: user_data_path("retrieval", appauthor=False))
    """Folder for everything the program stores: models, embedded collections, downloads, caches."""

    data: Path | None = None
    """Folder with named IDX data sets, one subfolder each; used before anything is downloaded."""

    qdrant_url: str | None = None
    """URL of a Qdrant server, `http://host:6333`, or of several nodes of a cluster, separated by commas: if one does
    not answer, another is tried. Without it, the embedded engine under `home` is used."""

    qdrant_api_key: SecretStr | None = None
    """The server's API key. There is no option for it, because other users of the machine could read that."""

    qdrant_from_api_key: SecretStr | None = None
    """API key of the server of `migrate --from`, if `--to` names another; neither server gets the other key."""

    public_url: str | None = None
    """URL at which users of the dashboard reach `retrieval serve`: the start of every `image_url`."""

    api_key: SecretStr | None = None
    """The API key that clients of `retrieval serve` must send; only from the environment or the file, as above."""

    dashboard_url: str | None = None
    """URL at which users open the Qdrant dashboard, whose pages may show images of `retrieval serve`; several are
    separated by commas (default: `qdrant_url`)."""

    trusted_proxies: str | None = None
    """Addresses or networks of proxies in front of `retrieval serve`, separated by commas, whose `X-Forwarded-For` and
    `X-Forwarded-Proto` are believed (default: this machine)."""

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, proxies: str | None) -> str | None:
        """Raises ValueError for what is neither an address nor a network."""
        for each in (proxies or "").split(","):
            try:
                _ = each.strip() and ipaddress.ip_network(each.strip())
            except ValueError as error:
                raise ValueError(f"{each.strip()!r} is not an address or a network like 172.18.0.0/16") from error
        return proxies

    @property
    def dashboards(self) -> list[str]:
        """The URLs of `dashboard_url`, or of `qdrant_url`."""
        return [url.strip() for url in (self.dashboard_url or self.qdrant_url or "").split(",") if url.strip()]

    def __init__(self, /, **given: Any) -> None:
        """What is not given comes from the environment, then from the file. Raises ValidationError, TOMLDecodeError."""
        super().__init__(**{**read_toml(Path(TOML)), **read_environment(), **given})

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, url: str | None) -> str | None:
        """Remove a slash at the end. Raises ValueError for a URL that no browser could open."""
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{redact(url)!r} is not a public URL like http://host:8000")
        if parts.username or parts.password:
            raise ValueError(
                "a public URL must not contain a user or a password: everyone who can see the collection can read it"
            )
        return url.rstrip("/")

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def embedded(self) -> Path:
        return self.home / "embedded"

    @property
    def refused(self) -> Path:
        """Folder for the ledgers of refused images."""
        return self.home / "refused"

    @property
    def jobs(self) -> Path:
        """Folder for the history of jobs."""
        return self.home / "jobs"

    @property
    def reviews(self) -> Path:
        """The last lists of duplicates and outliers, which the page shows."""
        return self.home / "reviews"

    @property
    def maps(self) -> Path:
        """The maps of collections that the service has drawn."""
        return self.home / "cache" / "maps"

    @property
    def downloads(self) -> Path:
        return self.home / "data"

    @property
    def checkpoints(self) -> Path:
        return self.home / "checkpoints"

    @property
    def renditions(self) -> Path:
        """Folder for the images that the service has drawn."""
        return self.home / "cache" / "renditions"

    @property
    def xla_cache(self) -> Path:
        return self.home / "cache" / "xla"


def read_environment() -> dict[str, str]:
    """The settings in the environment that are not empty: `QDRANT_…` by their names, others as `RETRIEVAL_…`."""
    values = {name.lower(): value for name, value in os.environ.items() if value}
    variables = {name: name if name.startswith("qdrant_") else f"retrieval_{name}" for name in Settings.model_fields}
    return {name: values[variable] for name, variable in variables.items() if variable in values}


def read_toml(file: Path) -> dict[str, Any]:
    """The settings in a file, if it exists."""
    return tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}


def load_settings(**flags: Any) -> Settings:
    """Read the settings; options that are None were not given. Raises UsageError that names the wrong one."""
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name, what = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
        if flags.get(name) is not None:
            raise UsageError(what, option=name) from error
        raise UsageError(f"setting {name}: {what}") from error
    except ValueError as error:  # a TOML file that cannot be parsed
        raise UsageError(f"{TOML}: {error}") from error
