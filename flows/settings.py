"""What a machine or a person sets once: the only place that reads the environment.

Variables are called ``CROSSGRAPH_<FIELD>``, with two underscores for a field inside a group:
``CROSSGRAPH_NEO4J__URI=bolt://graph.example:7687``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from kg.errors import ConfigError
from kg.jars import default_cache
from kg.server_home import Connection
from kg.source_config import Credentials

PREFIX = "CROSSGRAPH_"


class Neo4jSettings(BaseModel):
    """A Neo4j server of the user's own; without `uri` a local one is started."""

    uri: str | None = None
    """Such as `bolt://127.0.0.1:7687`; unset: the local server of the project."""
    user: str = "neo4j"
    password: SecretStr | None = None
    database: str = "neo4j"

    def connection(self) -> Connection | None:
        """How that server is reached, None without `uri`; `ConfigError` for a `uri` without a password."""
        if self.uri is None:
            return None
        if self.password is None:
            raise ConfigError(f"{PREFIX}NEO4J__URI is set: set {PREFIX}NEO4J__PASSWORD too")
        return Connection(self.uri, self.user, self.password.get_secret_value(), self.database)


class SparkSettings(BaseModel):
    """Where Spark runs and what is told to it besides."""

    master: str = "local[*]"
    conf: dict[str, str] = {}
    """Spark's own settings, as JSON: `CROSSGRAPH_SPARK__CONF='{"spark.sql.shuffle.partitions": "64"}'`."""


class SourceSettings(BaseModel):
    """What one source's database or API is opened with: `CROSSGRAPH_SOURCES__<NAME>__PASSWORD` and so on."""

    user: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None
    """Sent to an HTTP API as `Authorization: Bearer …`."""
    headers: dict[str, SecretStr] = {}
    """As JSON."""
    parameters: dict[str, SecretStr] = {}
    """Query parameters of an HTTP API, as JSON."""

    def credentials(self) -> Credentials:
        """The same with the secrets in the open, for the reader alone."""
        password, token = (secret.get_secret_value() if secret else None for secret in (self.password, self.token))
        headers, parameters = (
            {name: secret.get_secret_value() for name, secret in part.items()}
            for part in (self.headers, self.parameters)
        )
        return Credentials(self.user, password, token, headers, parameters)


@dataclass(frozen=True)
class Memory:
    """MiB for each of the three that run beside each other; Spark has stopped before training starts."""

    spark: int
    neo4j_heap: int
    neo4j_pages: int
    torch: int


class Settings(BaseSettings):
    """Everything that does not belong to one project."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="ignore")

    neo4j: Neo4jSettings = Neo4jSettings()
    home: Path = Path(".crossgraph")
    """Local servers (`neo4j/<project>`) and locks."""
    cache: Path | None = None
    """Downloaded jars; default `$XDG_CACHE_HOME/crossgraph`, else `~/.cache/crossgraph`."""
    xdg_cache_home: Path | None = Field(None, validation_alias="XDG_CACHE_HOME")
    runs: str = "runs"
    """Where workspaces lie: a folder, or a URI that pyarrow's file systems open."""
    java_options: str = ""
    """Options of the packaged Java runtime, such as a trust store; the system's Java has its own settings."""
    packaged_java: bool = False
    """Use the packaged Java even where the system has one."""
    memory: int = Field(8192, ge=3072)
    """MiB in all that one run may take."""
    spark: SparkSettings = SparkSettings()
    sources: dict[str, SourceSettings] = Field({}, repr=False)
    """Credentials by source, its name in small letters."""
    bulk: bool = True
    """Whether the first load of an empty local server may be one by Neo4j's importer, where it is large enough."""
    prefect: bool = True
    """Whether commands run as Prefect flows, with records in Prefect's database; without, they start faster."""
    device: Literal["auto", "cpu", "cuda"] | None = None
    """Where torch runs; overrides the project file's `embed.device`."""

    @property
    def cache_folder(self) -> Path:
        """The cache's place, the default worked out."""
        return self.cache or default_cache(str(self.xdg_cache_home) if self.xdg_cache_home else None)

    @property
    def credentials(self) -> dict[str, Credentials]:
        """Credentials by the source's name in small letters."""
        return {name.lower(): source.credentials() for name, source in self.sources.items()}

    @property
    def split(self) -> Memory:
        """`memory` shared out: while Spark runs nothing trains, so torch may have what Spark had.

        The quarter that is in nobody's share is for the JVMs' own needs and the Python processes.
        """
        share = self.memory // 16
        return Memory(spark=6 * share, neo4j_heap=2 * share, neo4j_pages=share, torch=9 * share)

    def workspace_of(self, project: str) -> str:
        """The default workspace of a project."""
        return f"{self.runs.rstrip('/')}/{project}"


def load_settings() -> Settings:
    """Read the environment; `ConfigError` names the variable that is wrong."""
    try:
        return Settings()
    except SettingsError as error:  # its cause holds the text, which may be a secret
        raise ConfigError(f"{PREFIX}…: {error}: expected JSON where a variable holds more than one value") from None
    except ValidationError as error:
        first = error.errors()[0]
        variable = PREFIX + "__".join(str(part).upper() for part in first["loc"])
        wanted = first["msg"].replace("Input should be", "expected", 1)
        if {"sources", "password"} & set(first["loc"]):  # neither the message nor its cause may hold a secret
            raise ConfigError(f"{variable}: {wanted}") from None
        raise ConfigError(f"{variable}: {wanted} (found {first['input']!r})") from error
