"""A digest of the code behind a stage, so that changed code reruns it: read, not imported."""

import ast
import sys
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from kg.tables import fingerprint

OURS = ("kg", "embed", "recommend", "flows")


def code_of(*modules: str) -> str:
    """A digest of these modules' source and of all of ours that they import, near or far.

    Nothing is imported: a run that skips everything never loads torch or pyspark.
    """
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            path = _file(name)
            if path is None:
                raise ValueError(f"no module {name}")
            found[name] = path.read_text("utf-8")
            waiting += _imports(name)
    return fingerprint(sorted(found.items()))


@cache
def _file(name: str) -> Path | None:
    package = name.rpartition(".")[0]
    above = _file(package) if package else None
    spec = PathFinder.find_spec(name, [str(above.parent)] if above else _roots())
    return Path(spec.origin) if spec and spec.origin else None


def _roots() -> list[str]:
    here = str(Path(__file__).parent.parent)
    return [here, *sys.path]


@cache
def _imports(name: str) -> frozenset[str]:
    path = _file(name)
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8") if path else "")):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(n for n in names if n.split(".")[0] in OURS and _file(n))
