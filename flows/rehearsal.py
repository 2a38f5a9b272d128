"""A run that only says what it would do: stages are looked up and not made, and nothing is written for good."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from pyarrow import fs

from flows.project import Project
from flows.servers import server_home
from flows.settings import Settings
from flows.tasks import Run, StageName, wanted_fingerprint
from kg.landing import Landing
from kg.project import Graph
from kg.server import answers
from kg.server_home import Connection, saved_connection, server_status
from kg.source_config import Source
from kg.tables import Draft, Manifest, Output, Workspace


class Rehearsal(Run):
    """A run over a project's real outputs whose only stage that is made, the tables, goes into a scratch folder.

    A stage that would be made is an empty output with the fingerprint that it would have, so that the stages after it
    find out by themselves that they would be made too.
    """

    def __init__(self, project: Project, settings: Settings, workspace: str | None, scratch: Path) -> None:
        """The caller removes `scratch`."""
        super().__init__(project, settings, "plan", workspace)
        self.scratch = Workspace(scratch)
        self.unchanged: dict[str, bool] = {}
        """Whether a stage's output is there already, in the order in which they were asked for."""

    @cached_property
    def landing(self) -> Landing:
        """A copy of what has landed, without pictures, for what is new to land in."""
        copy = Landing.of(self.scratch)
        for name, source in self.project.sources.items():
            landed, here = Landing.of(self.workspace).source(name), copy.source(name)
            if source.lands and landed.filesystem.get_file_info(landed.path).type == fs.FileType.Directory:
                here.filesystem.create_dir(here.path, recursive=True)
                fs.copy_files(landed.path, here.path, landed.filesystem, here.filesystem)
        return copy

    @property
    def delivering(self) -> dict[str, Source]:
        """All but HTTP APIs: a rehearsal makes no requests whose answers the run would have to ask for again."""
        return {name: source for name, source in super().delivering.items() if source.format != "http"}

    @cached_property
    def existing_connection(self) -> Connection | None:
        """Neo4j where it runs: a rehearsal starts none."""
        found = self.running
        return found if found and answers(found) else None

    @property
    def graph(self) -> Graph:
        """Without the APIs, and without what exists in a Neo4j that does not run, of which nothing has landed yet."""
        graph = super().graph
        unseen = {"http"} if self.existing_connection else {"http", "neo4j"}
        sources = [name for name, source in graph.sources.items() if source.format in unseen]
        new = [name for name in sources if self.landing.source(name).state() is None]
        left = {name: graph.sources[name].model_copy(update={"url": None}) for name in new}
        return graph.model_copy(update={"sources": {**graph.sources, **left}})

    def start_neo4j(self) -> None:
        """A rehearsal starts nothing."""

    def keep_refused(self, draft: Draft) -> None:
        """A rehearsal keeps nothing."""

    @cached_property
    def connection(self) -> Connection:
        """A rehearsal has no Neo4j to rely on: `running` is one to look at where there is one."""
        raise RuntimeError("a rehearsal must not need Neo4j")

    @property
    def running(self) -> Connection | None:
        """The user's own Neo4j, or the local one if it runs."""
        if own := self.settings.neo4j.connection():
            return own
        home = server_home(self.settings, self.project.name)
        return saved_connection(home) if server_status(home).running else None

    @property
    def has_database(self) -> bool:
        """Whether there is a Neo4j to load into, or one was started before and holds what it was left with."""
        home = server_home(self.settings, self.project.name)
        return self.settings.neo4j.connection() is not None or (home / "password").exists()

    def stage(
        self,
        name: StageName,
        inputs: Sequence[object],
        modules: list[str],
        make: Callable[[Draft], None],
        *,
        valid: Callable[[Output], bool] = lambda output: True,
    ) -> Output:
        """The stage's output if it is there, else what stands for the one that would be made."""
        found = self.found(name, inputs, modules)
        self.unchanged[name] = found is not None
        if found:
            return found
        wanted = wanted_fingerprint(name, inputs, modules)
        if name != "tables":
            return Output(self.workspace.filesystem, "", Manifest(name, wanted, ""))
        stage = self.scratch.stage(name)
        with stage.create(wanted) as draft:
            make(draft)
        made = stage.find(wanted)
        assert made is not None
        return made
