from pathlib import Path

import pytest

from flows.project import SHIPPED, load_project
from kg.errors import ConfigError

SMALL = """\
name: small
vars: {data: things, pictures: null}
sources:
  items: {format: csv, path: "${data}/items.csv"}
  users: {format: csv, path: /abs/users.csv}
  events: {format: csv, path: "${data}/events.csv", options: {sep: ";"}}
nodes:
  Item: {source: items, key: id, domain: things, image: "concat('${pictures}/', id)"}
  User: {source: users, key: id}
relationships:
  LIKES: {source: events, from: {User: user}, to: {Item: item}, interaction: true}
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def error(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_project(str(path), list(overrides))
    return str(caught.value)


def test_relative_paths_count_from_the_file_and_a_null_variable_empties_its_value(small, tmp_path):
    project = load_project(str(small))
    assert project.sources["items"].path == str(tmp_path / "things" / "items.csv")
    assert project.sources["users"].path == "/abs/users.csv"
    assert project.nodes["Item"].image is None


def test_a_variable_set_on_the_command_line_counts_from_here(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    project = load_project(str(small), ["data=elsewhere", "pictures=elsewhere"])
    assert project.sources["items"].path == str(tmp_path / "elsewhere" / "items.csv")
    assert project.nodes["Item"].image == f"concat('{tmp_path / 'elsewhere'}/', id)"


def test_overrides_reach_every_section_written_or_not(small):
    project = load_project(
        str(small),
        ["embed.epochs=3", "recommend.candidates.vector=7", "sources.items.options.sep=|", "embed.image=null"],
    )
    assert (project.embed.epochs, project.recommend.candidates.vector, project.embed.image) == (3, 7, None)
    assert project.sources["items"].options == {"sep": "|"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("embed.epoch=3", "--set embed.epoch=3: embed: unknown 'epoch', did you mean epochs"),
        ("dta=x", "unknown 'dta', did you mean data"),
        ("vars.new=1", "vars: unknown 'new'"),
        ("sources.itms.path=x", "sources: unknown 'itms', did you mean items"),
        ("embed.epochs=many", "--set embed.epochs=many: embed.epochs: expected a valid integer"),
        ("embed.epochs", "expected `--set name=value`"),
    ],
)
def test_an_override_that_fits_nowhere_names_what_is_near(small, override, message):
    assert message in error(small, override)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format: csv, path: /abs", "format: cvs, path: /abs", "small.yaml:5: sources.users.format: expected 'csv'"),
        ("source: users, key", "source: users, kye", "small.yaml:9: nodes.User.kye: unknown key, did you mean key?"),
        ("{source: users, key: id}", "{source: users}", "small.yaml:9: nodes.User: expected a key `key`"),
        ("source: users, key", "source: user, key", "small.yaml:9: nodes.User.source: unknown source 'user'"),
        ("to: {Item: item}", "to: {Itm: item}", "small.yaml:11: relationships.LIKES.to: unknown label 'Itm'"),
        (
            "${data}/items",
            "${dat}/items",
            "small.yaml:4: sources.items.path: unknown variable ${dat}, did you mean data",
        ),
        ("name: small", "name: a/b", "small.yaml:1: name: expected text that should match"),
    ],
)
def test_an_error_says_where_and_what_was_expected(small, old, new, message):
    small.write_text(SMALL.replace(old, new))
    assert message in error(small)


@pytest.mark.parametrize(
    ("export", "message"),
    [
        ("lables: [User]", "small.yaml:13: export.lables: unknown key, did you mean labels?"),
        ("labels: [User, Itm]", "small.yaml:13: export.labels.1: unknown 'Itm', expected one of ['Item', 'User']"),
        ("types: [LIKS]", "small.yaml:13: export.types.0: unknown 'LIKS', expected one of ['LIKES']"),
        ("domains: [thing]", "small.yaml:13: export.domains.0: unknown 'thing', expected one of ['things']"),
        ("properties: {Itm: [title]}", "small.yaml:13: export.properties.Itm: unknown 'Itm'"),
        ("where: {Item: {year: {mn: 1}}}", "small.yaml:13: export.where.Item.year.mn: unknown key, did you mean min?"),
        ("where: {Item: {year: {min: [1]}}}", "small.yaml:13: export.where.Item.year.min: expected a number, a text"),
        ("until: someday", "small.yaml:13: export.until: expected a valid datetime"),
        ("around: {hops: 1}", "small.yaml:13: export.around: expected a key `seeds`"),
        ("around: {seeds: {Usr: [a]}}", "small.yaml:13: export.around.seeds.Usr: unknown 'Usr'"),
        ("around: {seeds: {User: [a]}, types: [L]}", "small.yaml:13: export.around.types.0: unknown 'L'"),
        ("labels: [Item]", "small.yaml:12: export: leaves nothing to learn from, expected at least LIKES with User"),
    ],
)
def test_what_an_export_names_must_be_in_the_file(small, export, message):
    small.write_text(f"{SMALL}export:\n  {export}\n")
    assert error(small).startswith(f"{small.parent}/{message}")
    assert len(error(small).splitlines()) == 1


def test_an_exports_seeds_count_from_the_file(small, tmp_path):
    small.write_text(f"{SMALL}export: {{around: {{seeds: {{User: keys.txt, Item: [7]}}}}}}\n")
    seeds = load_project(str(small)).export.around.seeds
    assert seeds == {"User": str(tmp_path / "keys.txt"), "Item": ["7"]}
    assert load_project(str(small), ["export.around.hops=3"]).export.around.hops == 3


def test_every_mistake_is_told_at_once(small):
    small.write_text(SMALL.replace("format: csv", "format: cvs").replace("domain: things", "domain: 3x"))
    assert len(error(small).splitlines()) == 4


def test_an_unknown_name_lists_the_shipped_ones():
    with pytest.raises(ConfigError, match="did you mean movielens-100k"):
        load_project("movielens-10k")


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.yaml")))
def test_the_shipped_projects_are_valid_and_count_from_the_current_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project = load_project(name)
    assert project.name == name
    assert all(source.path is None or source.path.startswith(str(tmp_path)) for source in project.sources.values())
    assert project.targets
