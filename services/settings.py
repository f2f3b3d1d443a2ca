"""Every setting of Trainyard in one typed class: environment `TRAINYARD_…`, or a `.env` file."""

from functools import cache
from pathlib import Path
from typing import Literal, final

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


@final
class Settings(BaseSettings):
    """Twelve-factor settings; frozen once read."""

    model_config = SettingsConfigDict(env_prefix="TRAINYARD_", env_file=".env", frozen=True, extra="ignore")

    data_dir: Path = Field(Path(".trainyard"), description="Folder of database, artifacts and keys; private (0700).")
    database_url: str = Field(
        "", description="Database; empty means SQLite in the data folder. PostgreSQL: postgresql://…"
    )
    redis_url: str = Field("", description="Broker; empty means the bundled one that `serve` starts.")
    artifacts_url: str = Field("", description="Folder of artifacts; empty means `artifacts` in the data folder.")
    datasets_dir: Path = Field(
        Path("~/.cache/trainyard/datasets"),
        description="Cache of downloaded data sets; a file there with the right SHA-256 is never downloaded again.",
    )
    host: str = Field("127.0.0.1", description="Address the API listens on.")
    allowed_hosts: str = Field(
        "", description="Names, by commas, under which a proxy offers the API; loopback and `host` always are."
    )
    behind_proxy: bool = Field(
        False,
        description="A proxy with TLS stands before the API: `host` may be public, X-Forwarded-For and -Proto count.",
    )
    port: int = Field(8000, ge=0, le=65535, description="Port the API listens on; 0 picks a free one.")
    heartbeat_seconds: float = Field(5.0, gt=0, description="How often a worker says that its job lives.")
    silent_seconds: float = Field(30.0, gt=0, description="A job silent this long goes back to the queue.")
    poll_seconds: float = Field(10.0, gt=0, description="How often an idle worker looks into the queue.")
    threads: int = Field(0, ge=0, description="CPU threads per training job; 0 means all cores.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level to log.")
    log_format: Literal["auto", "text", "json"] = Field("auto", description="auto: text on a terminal, else JSON.")
    max_running_per_key: int = Field(0, ge=0, description="Most jobs one tenant runs at once; 0 means no limit.")
    max_queued_per_key: int = Field(1000, ge=0, description="Most jobs one tenant may have queued; 0 means no limit.")
    max_stored_bytes_per_key: int = Field(
        0, ge=0, description="Most bytes of uploads, models and checkpoints one tenant may have; 0 means no limit."
    )
    max_body_bytes: int = Field(1_000_000, gt=0, description="Largest request body in bytes.")
    keep_finished_days: float = Field(
        0,
        ge=0,
        description="Finished jobs older than so many days are deleted with their files; 0 keeps them for ever.",
    )
    orphan_hours: float = Field(
        24, gt=0, description="Files of artifacts that nothing refers to are deleted when they are older than this."
    )

    audit_days: int = Field(90, ge=1, description="How long an audit event is kept.")
    max_upload_bytes: int = Field(2_147_483_648, gt=0, description="Largest uploaded data set in bytes.")

    @field_validator("data_dir", "datasets_dir")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @field_validator("artifacts_url")
    @classmethod
    def _folder(cls, url: str) -> str:
        if "://" in url and not url.startswith("file://"):
            raise ValueError("only a folder can hold artifacts so far: a path or file:///path")
        return url

    @property
    def hosts(self) -> set[str]:
        """The names that a request may address."""
        return {self.host, *(name.strip() for name in self.allowed_hosts.split(",") if name.strip())}

    @property
    def database(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir / 'trainyard.db'}"

    @property
    def artifacts_dir(self) -> Path:
        """The artifact folder in force."""
        plain = self.artifacts_url.removeprefix("file://")
        return Path(plain).expanduser().absolute() if plain else self.data_dir / "artifacts"

    def prepare(self) -> "Settings":
        """Make the data folder, readable by its owner alone, and return self."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir.chmod(0o700)
        return self


@cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
