"""A real PostgreSQL for a test: on the loopback, with a data folder, a free port and a password of its own."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from kg.server_home import free_port

# The server refuses to run as root; then it runs as nobody.
NOBODY = 65534
AS_NOBODY = ["setpriv", f"--reuid={NOBODY}", "--clear-groups"]


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    folder: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        return f"jdbc:postgresql://127.0.0.1:{self.port}/postgres"

    @classmethod
    def start(cls, password: str) -> Self:
        """Make a cluster and start it; the password is asked for on each connection."""
        folder = Path(tempfile.mkdtemp(prefix="crossgraph-postgres-"))
        (folder / "password").write_text(password)
        if os.geteuid() == 0:
            for path in (folder, folder / "password"):
                os.chown(path, NOBODY, NOBODY)
        server = cls(folder, free_port(), password)
        given = f"--auth=scram-sha-256 --username=postgres --encoding=UTF8 --locale=C --pwfile={folder}/password"
        server._do("initdb", *given.split(), "-D", str(folder / "data"))
        options = f"-h 127.0.0.1 -p {server.port} -k {folder} -c fsync=off -c timezone=America/New_York"
        server._do("pg_ctl", "-w", "-D", str(folder / "data"), "-l", str(folder / "log"), "-o", options, "start")
        return server

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        self._do("pg_ctl", "-w", "-m", "immediate", "-D", str(self.folder / "data"), "stop")
        shutil.rmtree(self.folder)

    def run(self, *statements: str) -> None:
        """Run SQL as the superuser."""
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-q", "-v", "ON_ERROR_STOP=1"]
        commands = [part for statement in statements for part in ("-c", statement)]
        subprocess.run(["psql", *where, *commands], check=True, env={**os.environ, "PGPASSWORD": self.password})

    def _do(self, *command: str) -> None:
        prefix = AS_NOBODY if os.geteuid() == 0 else []
        subprocess.run([*prefix, *command], check=True, stdout=subprocess.DEVNULL, cwd=self.folder)
