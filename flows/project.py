"""The project file: every package's section composed into one, read from YAML with errors that say where."""

import difflib
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from embed.config import EmbedConfig
from flows.document import Document, Place, dotted, parse_value, read_document
from kg.errors import ConfigError
from kg.project import Graph
from kg.section import Name
from kg.selection import Selection
from kg.selection_check import selection_problems
from kg.source_config import Source
from recommend.config import RecommendConfig

SHIPPED = Path(__file__).parent / "projects"
_VARIABLE = re.compile(r"\$\{(\w+)\}")
Scalar = str | int | float | bool | None


class Project(Graph):
    """One file: how sources become a graph, what is learned from it, and how it recommends."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    """Names the workspace, the local Neo4j and the graph's marker."""
    vars: dict[Name, Scalar] = Field(default_factory=dict)
    """Values to use as `${name}` anywhere below; `--set name=value` overrides one."""
    workspace: str | None = None
    """A folder or URI for the outputs; default `runs/<name>`."""
    export: Selection = Field(default_factory=Selection)
    """The part of the graph that is learned from."""
    embed: EmbedConfig = Field(default_factory=EmbedConfig)
    """Views, network, fusion and training."""
    recommend: RecommendConfig = Field(default_factory=RecommendConfig)
    """Candidates, ranker, evaluation and export."""

    def problems(self) -> Iterator[tuple[Place, str]]:
        """As `Graph.problems`, and what `export` names that the file has not."""
        yield from super().problems()
        yield from selection_problems(self.export, self, ("export",))


def project_path(name_or_path: str) -> Path:
    """The file itself, or the shipped one of that name; `ConfigError` with the nearest names."""
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        return path
    shipped = {file.stem: file for file in SHIPPED.glob("*.yaml")}
    if name_or_path in shipped:
        return shipped[name_or_path]
    raise ConfigError(
        f"{name_or_path}: expected the path of a project file or one of {sorted(shipped)}"
        + _nearest(name_or_path, list(shipped))
    )


def load_project(name_or_path: str, overrides: list[str] | None = None) -> Project:
    """Read, override, substitute and validate; all that is wrong comes as one `ConfigError`, a line each."""
    path = project_path(name_or_path)
    document = read_document(path)
    for override in overrides or []:
        _override(document, override)
    _substitute(document)
    try:
        project = Project.model_validate(document.values)
    except ValidationError as error:
        raise explained(document, error, Project) from error
    if lines := [str(document.problem(place, what)) for place, what in project.problems()]:
        raise ConfigError("\n".join(lines))
    base = Path.cwd() if path.resolve().parent == SHIPPED.resolve() else path.resolve().parent
    sources = {name: _anchored(source, base) for name, source in project.sources.items()}
    return project.model_copy(update={"sources": sources, "export": project.export.anchored(base)})


def _anchored(source: Source, base: Path) -> Source:
    if source.path is None or "://" in source.path:
        return source
    return source.model_copy(update={"path": str(base / source.path)})


# --set a.b=c -----------------------------------------------------------------------------------------------


def _override(document: Document, text: str) -> None:
    name, found, written = text.partition("=")
    option = f"--set {text}"
    if not found:
        raise ConfigError(f"{option}: expected `--set name=value`")
    place: Place = tuple(int(part) if part.isdigit() else part for part in name.strip().split("."))
    value = parse_value(written)
    if len(place) == 1 and place[0] in document.values.get("vars", {}):
        place, value = ("vars", place[0]), _from_here(value)
    _check_place(document, place, option)
    around: Any = document.values
    for part in place[:-1]:
        if isinstance(around, dict) and around.get(str(part)) is None:
            around[str(part)] = {}
        around = around[part]
    around[place[-1]] = value
    document.given[place] = option


def _from_here(value: Any) -> Any:
    """A variable's value from the command line that names a file or folder counts from the current folder."""
    if isinstance(value, str) and "://" not in value and ("/" in value or Path(value).exists()):
        return str(Path(value).absolute())
    return value


def _check_place(document: Document, place: Place, option: str) -> None:
    """`ConfigError` unless the file has this place or its models have a field for it."""
    model: Any = Project
    around: Any = document.values
    for number, part in enumerate(place):
        names = _fields(model)
        here = list(around) if isinstance(around, dict) else []
        last = number == len(place) - 1
        if names:
            known = part in names
        elif isinstance(around, list):
            known = isinstance(part, int) and part < len(around)
        else:
            # A leaf may be added to `options` and the like, but not to `vars`: nothing could use it.
            free = last and place[0] != "vars" and _inner(model) is not None and not _fields(_inner(model))
            known = part in here or free
        if not known:
            choices = [str(name) for name in [*names, *here, *(document.values.get("vars", {}) if not number else [])]]
            raise ConfigError(
                f"{option}: {dotted(place[:number])}unknown {str(part)!r}"
                + (_nearest(str(part), choices) or f", expected one of {sorted(set(choices))}")
            )
        model = names[str(part)] if names else _inner(model)
        if isinstance(around, dict):
            around = around.get(part)
        else:
            around = around[part] if isinstance(around, list) and isinstance(part, int) else None


def _fields(annotation: Any) -> dict[str, Any]:
    """A model's fields by the names the file uses; nothing for what is no model."""
    for choice in _choices(annotation):
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            return {field.alias or name: field.annotation for name, field in choice.model_fields.items()}
    return {}


def _inner(annotation: Any) -> Any:
    """What a mapping or list holds, None for what is neither."""
    for choice in _choices(annotation):
        if get_origin(choice) in (dict, list, tuple):
            return get_args(choice)[-1]
    return None


def _choices(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _choices(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for choice in get_args(annotation):
            yield from _choices(choice)
    else:
        yield annotation


def _nearest(name: str, choices: list[str]) -> str:
    near = difflib.get_close_matches(name, choices, n=2, cutoff=0.5)
    return f", did you mean {' or '.join(near)}?" if near else ""


# ${var} ----------------------------------------------------------------------------------------------------


def _substitute(document: Document) -> None:
    variables: dict[str, Scalar] = {}
    declared = document.values.get("vars") or {}
    if not isinstance(declared, dict):
        raise document.problem(("vars",), f"expected `name: value` lines (found {declared!r})")
    for name, value in declared.items():
        variables[name] = _filled(value, variables, ("vars", name), document)
    rest = {key: value for key, value in document.values.items() if key != "vars"}
    document.values = _filled(rest, variables, (), document) | ({"vars": variables} if declared else {})


def _filled(value: Any, variables: dict[str, Scalar], place: Place, document: Document) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, variables, (*place, key), document) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, variables, (*place, number), document) for number, inner in enumerate(value)]
    if not isinstance(value, str):
        return value
    names = _VARIABLE.findall(value)
    for name in names:
        if name not in variables:
            hint = _nearest(name, list(variables)) or f", expected one of {sorted(variables)}"
            raise document.problem(place, f"unknown variable ${{{name}}}{hint}")
    if any(variables[name] is None for name in names):
        return None
    if whole := _VARIABLE.fullmatch(value):
        return variables[whole[1]]
    return _VARIABLE.sub(lambda match: str(variables[match[1]]), value)


# what pydantic says, in words of the file ------------------------------------------------------------------


def explained(document: Document, error: ValidationError, model: type[BaseModel]) -> ConfigError:
    """All that keeps a file from being this model, a line each."""
    lines = [str(document.problem(*_explain(document, dict(e), model))) for e in error.errors()]
    return ConfigError("\n".join(dict.fromkeys(lines)))


def _explain(document: Document, error: dict[str, Any], model: type[BaseModel]) -> tuple[Place, str]:
    place: Place = document.known(tuple(error["loc"]))
    if error["type"] == "missing":
        return place, f"expected a key `{error['loc'][-1]}`"
    if error["type"] == "extra_forbidden":
        around, key = error["loc"][:-1], str(error["loc"][-1])
        names = sorted(_fields_at(model, around))
        return place, f"unknown key{_nearest(key, names) or f', expected one of {names}'}"
    wanted = str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "expected", 1)
    wanted = wanted.replace("String should", "expected text that should", 1)
    if not wanted.startswith("expected"):
        wanted = f"expected something else: {wanted}"
    return place, f"{wanted} (found {error['input']!r})"


def _fields_at(model: type[BaseModel], place: Place) -> dict[str, Any]:
    annotation: Any = model
    for part in place:
        names = _fields(annotation)
        inner = names.get(str(part)) if names else _inner(annotation)
        annotation = inner if inner is not None else annotation
    return _fields(annotation)
