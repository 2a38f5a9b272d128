import subprocess
import sys

import pytest

from flows import cli


def call(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["crossgraph", *arguments])
    monkeypatch.setenv("CROSSGRAPH_PREFECT", "false")
    with pytest.raises(SystemExit) as done:
        cli.main()
    return int(done.value.code or 0)


def test_help_imports_nothing_heavy():
    script = (
        "import sys; sys.argv = ['crossgraph', '--help']; from flows import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pyspark', 'prefect', 'dgl', 'pyarrow', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for command in (
        "setup",
        "demo",
        "run",
        "ingest",
        "embed",
        "recommend",
        "evaluate",
        "query",
        "doctor",
        "neo4j",
        "forget",
        "backup",
        "restore",
        "quarantine",
    ):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "dmo"], 2, "did you mean demo?"),
        (["run", "absent.yaml"], 2, "absent.yaml: no such project file"),
        (["run", "demo", "--set", "embed.epoch=1"], 2, "did you mean epochs?"),
        (["rum"], 2, "No such command"),
        (["run"], 2, "Missing argument"),
        (["embed", "demo", "--rollback", "--refresh"], 2, "exclude each other"),
        (["embed", "demo", "--ablate", "--rollback"], 2, "exclude each other"),
        (["embed", "demo", "--seeds", "2"], 2, "--seeds goes with --ablate"),
        (["embed", "demo", "--refresh"], 2, "run `crossgraph run demo` first"),
        (["embed", "demo", "--refresh", "--set", "embed.text.adapt={}"], 2, "`crossgraph run demo` does it anew"),
        (["query", "demo", "u0001", "--domain", "songs"], 2, "expected one of books, films"),
    ],
)
def test_what_is_wrong_on_the_command_line_is_one_line(monkeypatch, capsys, tmp_path, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *arguments) == code
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("crossgraph: ")
    assert says in line


def test_debug_shows_where_it_came_from(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROSSGRAPH_PREFECT", "false")
    monkeypatch.setattr(sys, "argv", ["crossgraph", "run", "dmo", "--debug"])
    with pytest.raises(Exception, match="did you mean demo"):
        cli.main()


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_flow", interrupted)
    assert call(monkeypatch, "run", "demo") == 130
    assert "run the same command again" in capsys.readouterr().err


def test_the_demos_data_alone(monkeypatch, capsys, tmp_path):
    assert call(monkeypatch, "demo", "--generate", str(tmp_path / "data"), "--scale", "0.06") == 0
    assert (tmp_path / "data" / "truth.json").exists()
    assert str(tmp_path / "data") in capsys.readouterr().out.replace("\n", "")


def test_a_server_that_does_not_run(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("CROSSGRAPH_HOME", str(tmp_path))
    assert call(monkeypatch, "neo4j", "status", "demo") == 1
    assert "crossgraph neo4j start demo" in capsys.readouterr().out
    assert call(monkeypatch, "neo4j", "stop", "demo") == 0
