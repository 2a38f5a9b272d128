"""`crossgraph resolve explain`, on tables that are written by hand."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from flows.resolve import explain_entity, show_explanation
from kg.errors import ConfigError
from kg.resolution import Resolution
from kg.resolve_pairs import match_schema
from kg.schema import ALIAS, RECORD, node_schema
from kg.tables import Workspace

PROJECT = """
name: people
sources: {people: {format: csv, path: null}}
nodes: {Person: {source: people, key: id, properties: {name: name}}}
resolution: {Person: {block: [name], compare: {name: {value: name}}, prefer: score}}
"""
RESOLUTION = Resolution.model_validate({"block": ["name"], "compare": {"name": {"value": "name"}}})


@pytest.fixture
def project(tmp_path: Path) -> str:
    (tmp_path / "people.yaml").write_text(PROJECT)
    record = {"kept": "b", "filled": 1}
    with Workspace(tmp_path / "run").stage("tables").create("test") as draft:
        for table, rows, schema in (
            ("nodes/Person", [{"key": "b", "name": "Ann"}], node_schema([pa.field("name", pa.string())])),
            ("aliases/Person", [{"alias": "a", "key": "b"}], ALIAS),
            (
                "matches/Person",
                [
                    {"left": "a", "right": "b", "rule": "block[0]", "score": 0.9, "merged": True}
                    | {"similarity_name": 0.9}
                ],
                match_schema(RESOLUTION),
            ),
            (
                "records/Person",
                [
                    {"key": "a", "prefer": "1", "values": json.dumps({"name": "[Anne]"})} | record,
                    {"key": "b", "prefer": "2", "values": json.dumps({"name": "Ann"})} | record,
                ],
                RECORD,
            ),
        ):
            draft.write(table, pa.Table.from_pylist(rows, schema), schema)
    return str(tmp_path / "people.yaml")


def test_the_chain_of_a_merged_record_is_printed(
    project: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_explanation(explain_entity(project, "a", workspace=str(tmp_path / "run")))
    printed = capsys.readouterr().out
    assert "Person b" in printed and "`prefer` score is highest: 2" in printed
    assert "a = b, score 0.900, found by block[0] name" in printed
    # As it is in the file, whatever it would mean to the terminal.
    assert "[Anne]" in printed


def test_without_tables_or_with_an_unknown_key_it_says_what_to_do(project: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no tables yet: run `crossgraph run people` first"):
        explain_entity(project, "a", workspace=str(tmp_path / "other"))
    with pytest.raises(ConfigError, match=r"z: no node has this key"):
        explain_entity(project, "z", workspace=str(tmp_path / "run"))
