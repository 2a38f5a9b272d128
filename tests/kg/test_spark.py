"""Spark starts, stops with its JVM, and starts again in one process; where it does not start, one line says so."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kg.jars import Jars

# In a process of its own, for a process has one Spark and the other tests share theirs.
SCRIPT = """
import json, os, sys
from pathlib import Path
import psutil
from kg.errors import MachineError
from kg.java import find_java
from kg.spark import session

jars, options = [Path(jar) for jar in json.loads(sys.argv[1])], sys.argv[2]

def children():
    return [p.name() for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]

found = {"errors": [], "counts": [], "sizes": [], "children": []}
for wrong in ({"memory": "1k"}, {"master": "nowhere"}):
    try:
        with session(find_java(), jars, java_options=options, **wrong):
            pass
    except MachineError as error:
        found["errors"].append(str(error))
    found["children"].append(children())
for size in ("3", "5"):
    conf = {"spark.sql.shuffle.partitions": size}
    with session(find_java(), jars, memory="600m", conf=conf, java_options=options) as spark:
        found["counts"].append(spark.range(10).distinct().count())
        found["sizes"].append(spark.conf.get("spark.sql.shuffle.partitions"))
    found["children"].append(children())
print(json.dumps(found))
"""


@pytest.mark.slow
def test_spark_starts_again_after_failing_and_after_stopping(jars: Jars, java_options: str) -> None:
    arguments = [json.dumps([str(jar) for jar in jars.spark]), java_options]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert [" did not start with " in error and "\n" not in error for error in found["errors"]] == [
        True,
        True,
    ]
    assert "1k of memory" in found["errors"][0]
    assert "Spark at nowhere " in found["errors"][1]
    # Each session has its own settings, and none leaves a JVM behind.
    assert (found["counts"], found["sizes"]) == ([10, 10], ["3", "5"])
    assert found["children"] == [[], [], [], []]
