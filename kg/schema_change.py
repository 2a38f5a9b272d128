"""Changes of the project file that would empty a label and fill another: refused, unless they are accepted."""

from collections.abc import Mapping
from typing import Any

from kg.errors import ContractError

WAY_OUT = (
    "run again with --accept-schema to delete the old nodes and load the new ones, or put the old name or key back"
)


def replaced(before: Mapping[str, Any], after: Mapping[str, Any], held: Mapping[str, int]) -> dict[str, str]:
    """What the new schema would replace: each label that holds nodes and cannot go on, and why, in one line.

    `before` and `after` are `schema_record`s, `held` the nodes in the graph by label. A label whose key expression is
    another one keeps none of its nodes; a label that vanished while a new one has its sources and key was renamed.
    """
    old, new = before.get("labels", {}), after["labels"]
    found = {}
    for label, of in old.items():
        if not held.get(label) or of["key"] is None:
            continue
        if label in new:
            if new[label]["key"] is not None and new[label]["key"] != of["key"]:
                found[label] = f"the key of {label} was {of['key']!r} and is now {new[label]['key']!r}"
        elif heirs := [name for name in new if name not in old and _same(new[name], of)]:
            found[label] = f"{label} seems to be called {heirs[0]} now"
    return found


def check_schema(changes: Mapping[str, str], held: Mapping[str, int], *, accept: bool) -> None:
    """Raise `ContractError` with the way out unless there are no changes or they are accepted."""
    if changes and not accept:
        label, why = next(iter(changes.items()))
        raise ContractError(f"nodes.{label}", f"{why}, and the graph holds {held[label]} such nodes: {WAY_OUT}")


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one["key"] == other["key"] and sorted(one["sources"] or []) == sorted(other["sources"] or []))
