"""A loader as a process of its own, that a test can kill: says which batch it is about to commit, line by line.

``python -m tests.kg.loading TABLES LOADED`` with a connection as JSON on its standard input; both are workspaces.
"""

import json
import sys
from typing import Any

from kg.ledger import Done, Ledger
from kg.load import Options, load
from kg.server_home import Connection
from kg.store import Store
from kg.tables import Workspace

SMALL = Options(node_rows=40, edge_rows=100)


def main(tables: str, loaded: str) -> None:
    """Load the newest output of `tables` as the flows do, in small batches."""
    output = Workspace(tables).stage("tables").current()
    assert output
    stage = Workspace(loaded).stage("loaded")
    write, commit = Ledger._write, Ledger._commit

    def told_known(self: Ledger, place: tuple[str, str, str], *of: Any) -> Done:
        if self._name(place) in self._done:
            print(f"known {' '.join(place)}", flush=True)
        return write(self, place, *of)

    def told_new(self: Ledger, place: tuple[str, str, str], *of: Any) -> Done:
        print(f"new {' '.join(place)}", flush=True)
        return commit(self, place, *of)

    Ledger._write, Ledger._commit = told_known, told_new  # type: ignore[method-assign]
    with Store(Connection(**json.load(sys.stdin))) as store, stage.create("test") as draft:
        load(store, output, draft, "small", before=stage.current(), options=SMALL)


if __name__ == "__main__":
    main(*sys.argv[1:])
