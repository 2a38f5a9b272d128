"""`crossgraph forget`: a node out of graph, workspace and caches, for good, and the proof that it is gone."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from flows.export_to import exports
from flows.servers import graph_store
from flows.tasks import Run, locked
from kg.errors import ConfigError, UnknownIdError
from kg.forget import Holding, holdings, keys_of, leftovers
from kg.forget_files import file_holdings, own_contents
from kg.forget_graph import graph_holdings, left_alone
from kg.forgotten import Forgotten
from kg.id_columns import Ids, Names, Person
from kg.naming import sources_of
from kg.proof import left_in_graph, left_in_workspace


@dataclass
class Outcome:
    """What was, or would be, removed where, what is left all the same, and what lies outside."""

    keys: tuple[str, ...]
    """The key, and the aliases that were merged into the same node."""
    removed: list[Holding] = field(default_factory=list)
    done: bool = False
    """False for a dry run, and where the user said no."""
    left: list[str] = field(default_factory=list)
    reminders: list[str] = field(default_factory=list)


def forget(run: Run, label: str, key: str, *, confirm: Callable[[Outcome], bool]) -> Outcome:
    """Remove a node everywhere and keep it out, once `confirm` has seen what would go.

    Its digests are written before anything is removed: killed in between, the same call completes it, and no run brings
    it back. `UnknownIdError` for a key that is nowhere and was never forgotten; nothing is changed then.
    """
    with locked(run), ExitStack() as stack:
        work = _Work(run, stack)
        if label not in work.names(Forgotten()).labels:
            raise ConfigError(f"unknown label {label!r}, expected one of {work.names(Forgotten()).labels}")
        person = Person(label, keys_of(run.workspace, label, key))
        before = Forgotten.read(run.workspace)
        outcome = Outcome(person.keys, work.find(person, [label]))
        if not outcome.removed and not before.holds(label, key):
            raise UnknownIdError(label, "a key that the graph or the workspace holds", f"found no {key!r}")
        if not confirm(outcome):
            return outcome
        outcome.reminders = work.reminders(person)
        contents = own_contents(run.workspace, work.names(person))
        forgotten = before.including(label, person.keys)
        forgotten.write(run.workspace)
        for holding in [*leftovers(run.workspace), *work.find(forgotten, [label])]:
            holding.remove()
        outcome.left = work.left(person, contents)
        outcome.done = True
        return outcome


def reapply(run: Run) -> list[Holding]:
    """Remove whatever `forgotten.json` names from the graph and the workspace; needs the workspace's lock."""
    with ExitStack() as stack:
        work, forgotten = _Work(run, stack), Forgotten.read(run.workspace)
        found = work.find(forgotten, work.names(forgotten).labels) if forgotten else []
        for holding in found:
            holding.remove()
        return found


class _Work:
    """One call: the database and, once a key expression needs it, Spark."""

    def __init__(self, run: Run, stack: ExitStack) -> None:
        self.run, self._stack = run, stack
        self.store = stack.enter_context(graph_store(run.settings, run.project.name))

    def names(self, ids: Ids) -> Names:
        return Names(self.run.graph, ids, self._evaluate)

    def find(self, ids: Ids, labels: Sequence[str]) -> list[Holding]:
        """Cached vectors are found by the tables' texts, and are removed before those are."""
        names, workspace = self.names(ids), self.run.workspace
        found = file_holdings(workspace, names)
        if self.store:
            found += graph_holdings(self.store, names, labels, self.run.project.name)
        return found + holdings(workspace, names)

    def left(self, person: Person, contents: set[str]) -> list[str]:
        names = self.names(person)
        found = [holding.place for holding in self.find(person, [person.label])]
        found += left_in_graph(self.store, person) if self.store else []
        return list(dict.fromkeys([*found, *left_in_workspace(self.run.workspace, names, person, contents)]))

    def reminders(self, person: Person) -> list[str]:
        """What lies outside, and what the node leaves alone."""
        sources = self.run.graph.sources
        named = [name for name in sources_of(self.run.graph, person.label) if sources[name].format != "neo4j"]
        delivered = [f"{name} ({sources[name].path})" for name in named]
        found = [f"it is still in: source {name}, if that delivered it" for name in delivered]
        found += [
            f"it may still be in: {folder}, until you export there again" for folder in exports(self.run.workspace)
        ]
        found.append("it is still in: backups made earlier (restoring one forgets it again), logs and copies of others")
        if self.store is None:
            return found
        found.append("it is still in: Neo4j's transaction logs, until they rotate")
        alone = left_alone(self.store, person.label, person.keys)
        return found + [
            f"related to nothing else, and kept: {n} {of}; forget them too if they tell of it"
            for of, n in alone.items()
        ]

    def _evaluate(self, expression: str, records: Sequence[dict[str, Any]]) -> list[list[str]]:
        from kg.evaluate import evaluate

        return evaluate(self._spark, expression, records) if records else []

    @cached_property
    def _spark(self) -> Any:
        from kg.spark import session

        settings = self.run.settings
        started = session(
            self.run.java,
            self.run.jars.spark,
            memory=f"{settings.split.spark}m",
            java_options=settings.java_options,
        )
        return self._stack.enter_context(started)
