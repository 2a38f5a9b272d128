"""What every flow stands on: one run of one project, its stages, its lock and its Neo4j."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal, ParamSpec, TypeVar

import pyarrow.dataset as ds

from embed.config import EmbedConfig
from flows.code import code_of
from flows.disk import full_disk_named
from flows.project import Project, load_project
from flows.report import Report
from flows.servers import local_server, server_home
from flows.settings import Settings, load_settings
from kg.errors import ConfigError, CrossGraphError, MachineError
from kg.jars import Jars, find_jars
from kg.java import Java, find_java
from kg.landing import Landing
from kg.lock import held
from kg.project import Graph
from kg.server_home import Connection, server_status
from kg.source_config import Source
from kg.tables import Draft, Output, Workspace, fingerprint

LOG = logging.getLogger("crossgraph")
StageName = Literal[
    "tables",
    "cuts",
    "loaded",
    "graph",
    "encoded",
    "trained/user_time",
    "trained/global_time",
    "evaluation",
    "ablation",
    "embeddings",
    "published",
    "recommendations",
]
REFUSED = "refused"
"""The stage that keeps what an ingest refused that failed because it was too much."""
P = ParamSpec("P")
R = TypeVar("R")


class Run:
    """One run: a project, where its outputs lie, and what has been done so far."""

    def __init__(self, project: Project, settings: Settings, command: str, workspace: str | None = None) -> None:
        """`workspace` overrides the project file's, which overrides `runs/<project>`."""
        self.project, self.settings = project, settings
        self.location = workspace or project.workspace or settings.workspace_of(project.name)
        self.workspace = Workspace(self.location)
        self.report = Report(self.workspace, project.name, command)
        self.verified: set[str] = set()
        """Paths of outputs whose files this run has found to be as they were written."""
        self._starting: Future[Connection] | None = None

    def start_neo4j(self) -> None:
        """Start the local server, if it is to be used, while something else goes on; `connection` waits for it."""
        if self._starting is None and self.settings.neo4j.connection() is None:
            threads = ThreadPoolExecutor(1)
            self._starting = threads.submit(local_server(self.settings, self.project.name).start)
            threads.shutdown(wait=False)

    def keep_refused(self, draft: Draft) -> None:
        """Keep a failed ingest's quarantined rows and what became of its corrections, for people to look at."""
        with self.workspace.stage(REFUSED).create(fingerprint(draft.path)) as kept:
            for name in draft.tables:
                if name.startswith(("quarantine/", "corrections/")):
                    rows = ds.dataset(draft.location(name), filesystem=draft.filesystem, format="parquet").to_table()
                    kept.write(name, rows, rows.schema)

    def forget_connection(self) -> None:
        """After the local server was stopped and started: ask again how it is reached."""
        self._starting = None
        self.__dict__.pop("connection", None)

    @property
    def graph(self) -> Graph:
        """The graph's part of the project file."""
        return Graph(**{name: getattr(self.project, name) for name in Graph.model_fields})

    @cached_property
    def landing(self) -> Landing:
        """Where what sources deliver is kept."""
        return Landing.of(self.workspace)

    @property
    def delivering(self) -> dict[str, Source]:
        """The sources that are asked what they have delivered since the last run."""
        return self.graph.sources

    @property
    def existing_connection(self) -> Connection | None:
        """The Neo4j in which parts of the project exist already; None where it cannot be looked into."""
        return self.connection

    @cached_property
    def java(self) -> Java:
        """The Java for Spark and Neo4j."""
        return find_java(prefer_packaged=self.settings.packaged_java)

    @cached_property
    def jars(self) -> Jars:
        """The installed jars; `MachineError` says to run `crossgraph setup`."""
        return find_jars(self.settings.cache_folder)

    @cached_property
    def connection(self) -> Connection:
        """The user's own Neo4j, else the local one, started unless it runs."""
        if own := self.settings.neo4j.connection():
            self.report.content["neo4j"] = {"uri": own.uri, "user": own.user, "database": own.database}
            return own
        name = self.project.name
        self.start_neo4j()
        assert self._starting is not None
        with self.report.timed("neo4j"):
            found = self._starting.result()
        home = server_home(self.settings, name)
        self.report.content["neo4j"] = {
            "uri": found.uri,
            "browser": server_status(home).http,
            "user": found.user,
            "password file": str(home / "password"),
            "stop it with": f"crossgraph neo4j stop {name}",
        }
        return found

    @property
    def embed_config(self) -> EmbedConfig:
        """The project's, on the device that the settings name if they do."""
        device = self.settings.device
        return self.project.embed.model_copy(update={"device": device}) if device else self.project.embed

    @property
    def torch_device(self) -> str:
        """Where torch runs, `auto` worked out."""
        from embed.ops import resolve_device

        return str(resolve_device(self.embed_config.device))

    def output(self, name: StageName) -> Output:
        """A stage's newest output; `ConfigError` says which command makes it."""
        if output := self.workspace.stage(name).current():
            return output
        raise ConfigError(f"{self.location} holds no {name} yet: run `crossgraph run {self.project.name}` first")

    def found(self, name: StageName, inputs: Sequence[object], modules: list[str]) -> Output | None:
        """A stage's output if it was made of these inputs by this code."""
        return self.workspace.stage(name).find(wanted_fingerprint(name, inputs, modules))

    @property
    def _spared(self) -> set[str]:
        """Fingerprints of what the versions that Neo4j may hold were made of."""
        published = self.workspace.stage("published").outputs()
        return {of for output in published for of in output.manifest.meta.get("made_of", {}).values()}

    def stage(
        self,
        name: StageName,
        inputs: Sequence[object],
        modules: list[str],
        make: Callable[[Draft], None],
        *,
        valid: Callable[[Output], bool] = lambda output: True,
    ) -> Output:
        """The output of a stage, made anew unless one of these inputs and this code is there and still `valid`."""
        stage = self.workspace.stage(name)
        wanted = wanted_fingerprint(name, inputs, modules)
        if (found := stage.find(wanted)) and valid(found):
            self.report.stage(name, found, skipped=True)
            return found
        LOG.info("%s: starts", name)
        with self.report.timed(name), stage.create(wanted, self._spared) as draft:
            try:
                make(draft)
            except CrossGraphError:
                self.report.failed(name, draft.figures)
                raise
        made = stage.find(wanted)
        if made is None:
            raise MachineError(f"the output of {name} vanished from {stage.root} while it was made")
        self.report.stage(name, made, skipped=False)
        return made


def wanted_fingerprint(name: StageName, inputs: Sequence[object], modules: list[str]) -> str:
    """What decides whether a stage's output is the one to have: its inputs and its code."""
    return fingerprint(name, inputs, code_of(*modules))


@contextmanager
def opened(project: str, overrides: list[str], command: str, workspace: str | None = None) -> Iterator[Run]:
    """A run under the workspace's lock; what it raises goes to run.json too, a full disk as `MachineError`."""
    run = Run(load_project(project, overrides), load_settings(), command, workspace)
    with locked(run):
        try:
            with full_disk_named(run.location):
                yield run
        except BaseException as error:  # Ctrl-C and Prefect's signal of a cancelled run too
            _seal(run, error)
            raise
        _seal(run, None)


def _seal(run: Run, error: BaseException | None) -> None:
    try:
        run.report.finish(error)
    except OSError as problem:
        LOG.warning("run.json could not be written: %s", problem)


@contextmanager
def locked(run: Run) -> Iterator[None]:
    """One run a workspace at a time; `LockedError` names the process that holds it."""
    name = hashlib.sha256(str(run.workspace.root).encode()).hexdigest()[:16]
    path = run.settings.home / "locks" / f"{run.project.name}-{name}.lock"
    try:
        holder = path.read_text().strip()
    except FileNotFoundError:
        holder = ""
    busy = f"another run (process {holder or 'unknown'}) works on {run.location}: wait for it or stop it"
    with held(path, wait=0, busy=busy):
        path.write_text(f"{os.getpid()}\n")
        yield


def in_prefect() -> bool:
    """Whether this code runs inside a Prefect flow; Prefect is not imported to find out."""
    import sys

    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext

    return FlowRunContext.get() is not None


def step(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a stage: as a Prefect task inside a flow, else as it is. Manifests decide what is skipped, not Prefect."""
    if not in_prefect():
        return function(*args, **kwargs)
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    return task(function).with_options(cache_policy=NO_CACHE, persist_result=False)(*args, **kwargs)


def network_step(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """As `step`, tried again while Neo4j does not answer."""
    if not in_prefect():
        return function(*args, **kwargs)
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    made = task(function).with_options(
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=2,
        retry_delay_seconds=[2, 10],
        retry_condition_fn=_passes,
    )
    return made(*args, **kwargs)


def _passes(task: Any, task_run: Any, state: Any) -> bool:
    """Whether an error may go away by itself: a server that does not answer may, a wrong password will not."""
    from neo4j.exceptions import ServiceUnavailable, SessionExpired, TransientError

    error: BaseException | None = state.result(raise_on_failure=False)
    while error:
        if isinstance(error, ServiceUnavailable | SessionExpired | TransientError):
            LOG.warning("%s: Neo4j does not answer, tried again in a few seconds if it may be", task.name)
            return True
        error = error.__cause__
    return False


def artifact(key: str, markdown: str) -> None:
    """Leave the run's figures with Prefect, when it is there."""
    if in_prefect():
        from prefect.artifacts import create_markdown_artifact

        create_markdown_artifact(markdown, key=key.lower().replace("_", "-"))
