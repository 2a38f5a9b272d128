"""A local Neo4j, started and stopped without Docker or root: one home folder per server.

The home holds the configuration, the data, the logs, the chosen ports and the password. The server is a
process of its own that outlives the command that started it.
"""

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import neo4j
import psutil
from neo4j.exceptions import AuthError, DriverError, Neo4jError

from kg import server_import
from kg.errors import MachineError, StoreError
from kg.jars import Jars, infra_path
from kg.java import Java
from kg.lock import held
from kg.server_admin import ADMIN, ADMIN_TOOL, IMPORT, last_complaint, run_admin
from kg.server_home import (
    MAIN,
    Connection,
    ServerStatus,
    choose_ports,
    find_process,
    is_free,
    listens,
    read_ports,
    saved_connection,
    server_status,
    serves,
    write_private,
)

# Java's defaults spend most of a first minute compiling: half a load of 300,000 relationships on two cores.
LESS_INLINING = ("-XX:FreqInlineSize=100", "-XX:InlineSmallCode=1000", "-XX:MaxInlineLevel=9")
# What Neo4j's own neo4j.conf adds to the command line and a small server profits from.
JVM_OPTIONS = (
    "-XX:+UseG1GC",
    "-XX:+ExitOnOutOfMemoryError",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dlog4j2.disable.jmx=true",
    *(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in ("java.nio", "java.io", "sun.nio.ch")),
    *LESS_INLINING,
)


class LocalServer:
    """The Neo4j of one home folder; nothing happens until `start`."""

    def __init__(
        self,
        home: Path,
        jars: Jars,
        java: Java,
        java_options: str = "",
        page_cache: str = "256m",
        heap: str = "1g",
    ) -> None:
        """`page_cache` and `heap` are sizes as Java writes them; together they are most of what the server takes."""
        self.home = home.resolve()
        self._lib = jars.neo4j_lib
        self._java = java
        self._java_options = java_options
        self._page_cache = page_cache
        self._heap = heap

    @property
    def log_file(self) -> Path:
        """What the running server, or the last one, wrote."""
        return self.home / "logs" / "console.log"

    def connection(self) -> Connection:
        """How this server is reached once it runs; `StoreError` if it was never started."""
        return saved_connection(self.home)

    def start(self, bolt_port: int | None = None, http_port: int | None = None, timeout: float = 180) -> Connection:
        """Start the server unless it runs, wait until it answers a query, and say how to reach it.

        A port that is not given is the one used before, else Neo4j's usual one, else any that is free.
        On idle cores a start takes 6 to 10 seconds; `timeout` leaves room for a machine that is busy.
        """
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        busy = f"another process is starting or stopping the Neo4j in {self.home}"
        with held(self.home / "start.lock", wait=timeout, busy=busy):
            self._settle(timeout)
            if find_process(self.home):
                self._refuse_other_ports(bolt_port, http_port)
                return self._wait(timeout)
            choose_ports(self.home, bolt_port, http_port)
            try:
                return self._launch_and_wait(timeout)
            except MachineError:
                if all(map(is_free, read_ports(self.home))):
                    raise
            # Another server took a port between our look and Neo4j's: once more, on others.
            choose_ports(self.home, bolt_port, http_port)
            return self._launch_and_wait(timeout)

    def prepare(self, timeout: float = 60) -> None:
        """Make the home, its configuration and its password, as a first start would; nothing is started."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        busy = f"another process is starting or stopping the Neo4j in {self.home}"
        with held(self.home / "start.lock", wait=timeout, busy=busy):
            if find_process(self.home) is None:
                choose_ports(self.home)
                self._prepare()

    def stop(self, timeout: float = 60) -> bool:
        """Stop the server, by force after `timeout` seconds; false when it was not running."""
        if not self.home.is_dir():
            return False
        busy = f"another process is starting or stopping the Neo4j in {self.home}"
        with held(self.home / "start.lock", wait=timeout, busy=busy):
            return self._end(timeout)

    def status(self) -> ServerStatus:
        """Whether the server runs, where and since when."""
        return server_status(self.home)

    @contextlib.contextmanager
    def import_files(self) -> Iterator[Path]:
        """An empty folder for the files of an `import_graph`, which goes when the block ends."""
        folder = server_import.files_of(self.home)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def import_graph(self, *args: str) -> None:
        """Replace the database by what `neo4j-admin database import full ARGS` makes of `import_files`.

        Stops the server. Until `keep_import` says that it is to stay, a start by another process empties the database
        again, and so does this one where the import fails (`StoreError`).
        """
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with held(self.home / "start.lock", wait=60, busy=f"another process is starting the Neo4j in {self.home}"):
            self._settle(60)
            self._end(60)
            if not (self.home / "ports.json").exists():
                choose_ports(self.home)
            self._prepare()
            server_import.begin(self.home)
            memory = [f"-Xmx{self._heap}", "-XX:+UseParallelGC"]
            options = [*memory, f"{server_import.HOME_PROPERTY}{self.home}"]
            try:
                self._admin(ADMIN_TOOL, [*IMPORT, *args], options, server_import.files_of(self.home))
            except BaseException:
                server_import.discard(self.home)
                raise

    def keep_import(self) -> None:
        """Say that the imported database is complete."""
        server_import.end(self.home)

    def drop_import(self) -> None:
        """Stop the server and empty the database again, after an import that came to nothing."""
        self.stop()
        server_import.discard(self.home)

    def admin(self, *args: str) -> str:
        """Run `neo4j-admin ARGS` on this home and return what it printed; `StoreError` where it fails."""
        return self._admin(ADMIN, args)

    def _admin(self, main: str, args: Sequence[str], options: Sequence[str] = (), folder: Path | None = None) -> str:
        classes = ["-cp", f"{self._lib}/*"]
        command = self._java.command(*classes, *options, main, *args, java_options=self._java_options)
        return run_admin(self.home, command, " ".join(args[:2]), folder)

    def _launch_and_wait(self, timeout: float) -> Connection:
        self._prepare()
        self._launch()
        try:
            return self._wait(timeout)
        except (MachineError, StoreError):
            self._end(10)
            raise

    def _settle(self, timeout: float) -> None:
        """Throw away what a killed import left; `MachineError` while another process imports."""
        server_import.remove_left_files(self.home)
        if server_import.is_abandoned(self.home):
            self._end(timeout)
            server_import.discard(self.home)

    def _refuse_other_ports(self, bolt_port: int | None, http_port: int | None) -> None:
        for wanted, used in zip((bolt_port, http_port), read_ports(self.home), strict=True):
            if wanted not in (None, used):
                raise MachineError(f"the Neo4j in {self.home} already runs on port {used}, not {wanted}: stop it first")

    def _prepare(self) -> None:
        """Write the configuration and, before the very first start, set a password of our own making."""
        for name in ("conf", "logs", "run", "import", "plugins"):
            (self.home / name).mkdir(exist_ok=True)
        bolt, http = read_ports(self.home)
        template = (infra_path() / "neo4j" / "neo4j.conf").read_text()
        write_private(
            self.home / "conf" / "neo4j.conf",
            template.format(
                home=self.home,
                lib=self._lib,
                bolt_port=bolt,
                http_port=http,
                heap=self._heap,
                page_cache=self._page_cache,
            ),
        )
        if (self.home / "data" / "databases").exists():
            return
        if not (self.home / "password").exists():
            write_private(self.home / "password", secrets.token_hex(16))
        # From the file: on the command line other users of the machine could read it.
        self.admin("dbms", "set-initial-password", f"@{self.home / 'password'}")

    def _launch(self) -> None:
        """Start the server in a session of its own, so that Ctrl-C and the end of this process spare it."""
        main = [MAIN, f"--home-dir={self.home}", f"--config-dir={self.home / 'conf'}", "--console-mode"]
        memory = [f"-Xms{self._heap}", f"-Xmx{self._heap}"]
        classes = ["-cp", f"{self.home / 'plugins'}/*:{self._lib}/*"]
        command = self._java.command(
            *classes, "-Dfile.encoding=UTF-8", *JVM_OPTIONS, *memory, *main, java_options=self._java_options
        )
        write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        pid = os.posix_spawn(
            command[0],
            command,
            os.environ | {"NEO4J_HOME": str(self.home), "NEO4J_CONF": str(self.home / "conf")},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log_file), write, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        write_private(self.home / "server.pid", str(pid))

    def _wait(self, timeout: float) -> Connection:
        connection = self.connection()
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if not self._is_there():
                complaint = last_complaint(self.log_file.read_text(errors="replace"))
                raise MachineError(f"Neo4j ended while starting: {complaint}; see {self.log_file}")
            if listens(self.home) and answers(connection):
                return connection
            time.sleep(0.25)
        raise MachineError(f"Neo4j gave no answer within {timeout:.0f} s; see {self.log_file}")

    def _is_there(self) -> bool:
        """For a moment after its start a process has no command line, by which we know it: look twice."""
        if find_process(self.home) is None:
            time.sleep(0.25)
        return find_process(self.home) is not None

    def _end(self, timeout: float) -> bool:
        process = find_process(self.home)
        if process is None:
            return False
        # psutil signals nothing if the pid went to another process in between.
        process.terminate()
        if not self._gone(process, timeout):
            process.kill()
            self._gone(process, timeout)
        (self.home / "server.pid").unlink(missing_ok=True)
        return True

    def _gone(self, process: psutil.Process, timeout: float) -> bool:
        until = time.monotonic() + timeout
        while serves(process, self.home):
            if time.monotonic() >= until:
                return False
            time.sleep(0.1)
        with contextlib.suppress(ChildProcessError):  # raised where another process started it
            os.waitpid(process.pid, os.WNOHANG)
        return True


def answers(connection: Connection) -> bool:
    """Whether Neo4j answers a query now; `StoreError` where it answers but refuses the password."""
    auth = (connection.user, connection.password)
    try:
        with (
            neo4j.GraphDatabase.driver(
                connection.uri, auth=auth, connection_timeout=5, connection_acquisition_timeout=5
            ) as driver,
            driver.session(database=connection.database) as session,
        ):
            return session.run("RETURN 1").single() is not None
    except AuthError as error:
        raise StoreError(f"Neo4j at {connection.uri} refuses user {connection.user}: check the password") from error
    except (DriverError, Neo4jError, OSError):
        return False
