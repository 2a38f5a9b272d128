from pathlib import Path

import pytest

from flows.settings import load_settings
from kg.errors import ConfigError
from kg.source_config import Credentials


def test_the_environment_is_read_with_its_groups(monkeypatch, tmp_path):
    monkeypatch.setenv("CROSSGRAPH_NEO4J__URI", "bolt://there:1")
    monkeypatch.setenv("CROSSGRAPH_NEO4J__PASSWORD", "secret-word")
    monkeypatch.setenv("CROSSGRAPH_SPARK__CONF", '{"a.b": "1"}')
    monkeypatch.setenv("CROSSGRAPH_CACHE", str(tmp_path))
    settings = load_settings()
    connection = settings.neo4j.connection()
    assert connection is not None
    assert (connection.uri, connection.password) == ("bolt://there:1", "secret-word")
    assert settings.spark.conf == {"a.b": "1"}
    assert settings.cache_folder == tmp_path
    assert "secret-word" not in repr(settings)


def test_a_uri_without_a_password_says_what_to_set(monkeypatch):
    monkeypatch.setenv("CROSSGRAPH_NEO4J__URI", "bolt://there:1")
    monkeypatch.delenv("CROSSGRAPH_NEO4J__PASSWORD", raising=False)
    with pytest.raises(ConfigError, match="CROSSGRAPH_NEO4J__PASSWORD"):
        load_settings().neo4j.connection()


def test_a_wrong_value_names_its_variable(monkeypatch):
    monkeypatch.setenv("CROSSGRAPH_MEMORY", "lots")
    with pytest.raises(ConfigError, match=r"CROSSGRAPH_MEMORY: expected a valid integer.*'lots'"):
        load_settings()


def test_the_cache_follows_xdg(monkeypatch):
    monkeypatch.delenv("CROSSGRAPH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert load_settings().cache_folder == Path("/x/crossgraph")


def test_what_runs_at_the_same_time_fits_the_memory(monkeypatch):
    monkeypatch.delenv("CROSSGRAPH_MEMORY", raising=False)
    settings = load_settings()
    parts = settings.split
    server = parts.neo4j_heap + parts.neo4j_pages
    assert settings.memory == 8192
    assert max(parts.spark, parts.torch) + server <= settings.memory * 3 / 4


def test_credentials_of_sources_come_by_name_and_no_message_repeats_them(monkeypatch):
    monkeypatch.setenv("CROSSGRAPH_SOURCES__RATINGS__USER", "reader")
    monkeypatch.setenv("CROSSGRAPH_SOURCES__RATINGS__PASSWORD", "sesame")
    monkeypatch.setenv("CROSSGRAPH_SOURCES__My_Api__HEADERS", '{"X-Key": "sesame"}')
    settings = load_settings()
    assert settings.credentials == {
        "ratings": Credentials("reader", "sesame"),
        "my_api": Credentials(headers={"X-Key": "sesame"}),
    }
    assert "sesame" not in f"{settings!r} {settings} {settings.model_dump()}"
    for wrong in ("sesame", '["sesame"]', '{"X-Key": ["sesame"]}'):
        monkeypatch.setenv("CROSSGRAPH_SOURCES__MY_API__HEADERS", wrong)
        with pytest.raises(ConfigError, match=r"CROSSGRAPH_.*expected") as caught:
            load_settings()
        assert "sesame" not in str(caught.value)
        assert caught.value.__suppress_context__
