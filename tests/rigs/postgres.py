"""A real PostgreSQL for the tests.

The first that can be had: the connection string in POSTGRES_CONNECTION; a container, where a container engine
answers; the system's own binaries, run in a temporary folder; none, which is a skip with the reason, and a failure
where CI is set.

    postgres      the one server of the session, as `Server`
    catalog       a new database on it, as PLAYHEAD_LAKE_CATALOG wants it
    own_postgres  a server of the test's own, to be killed and started again
"""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import psutil
import psycopg
import pytest

from rigs.brokers import free_ports
from rigs.containers import has_container_engine
from rigs.processes import Process
from rigs.waiting import until

VERSION = "17"  # of a container; compose.yaml has the same. The system's may be older: Debian 12 has 15
UP_WITHIN_S = 60.0
ADMITTED = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
BINARIES = "usr/lib/postgresql/*/bin/initdb"


class Server(Protocol):
    """A server that makes databases."""

    connection: str

    def stop(self) -> None:
        """End it for good, where it is ours."""


class NoServer(Exception):  # noqa: N818  (a reason, not an error)
    """No server can be had this way; the message says why."""


class GivenServer:
    """A server that somebody else runs."""

    def __init__(self, connection: str) -> None:
        self.connection = connection

    def stop(self) -> None:
        """Let it be."""


class ContainerServer:
    """A server in a container. Raises NoServer if no container engine answers."""

    def __init__(self) -> None:
        if not has_container_engine():
            raise NoServer("no container engine answers")
        from testcontainers.postgres import PostgresContainer

        self._container = PostgresContainer(f"postgres:{VERSION}-alpine")
        self._container.start()
        host, port = self._container.get_container_host_ip(), self._container.get_exposed_port(5432)
        self.connection = f"host={host} port={port} user=test password=test dbname=test"

    def stop(self) -> None:
        self._container.stop()


class SystemServer:
    """A server from the system's binaries; it can be killed and started again at the same address.

    It refuses to run as root, so root runs it as the user `postgres`, or as `nobody`. The folder is one that this
    user can reach, which pytest's are not; or a given one, on a disk that fills up, and then WAL files are small.
    Raises NoServer if there are no binaries.
    """

    def __init__(self, folder: Path | None = None) -> None:
        found = sorted(Path("/").glob(BINARIES), key=lambda path: int(path.parts[-3]))
        if not found:
            raise NoServer(f"nothing at /{BINARIES}")
        self._binaries = found[-1].parent
        self._user = _unprivileged()
        self._folder = folder or Path(tempfile.mkdtemp(prefix="playhead-postgres-"))
        if self._user is not None:
            os.chown(self._folder, pwd.getpwnam(self._user).pw_uid, pwd.getpwnam(self._user).pw_gid)
        (self.port,) = free_ports(1)
        self.connection = f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"
        self._process: Process | None = None
        options = ["-D", str(self._folder / "data"), "-U", "postgres", "--auth=trust", "--no-sync"]
        options += ["--wal-segsize=1"] if folder else []
        done = subprocess.run(
            [*_as(self._user), self._binaries / "initdb", *options, "--locale=C", "--encoding=UTF8"],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._folder,
        )
        if done.returncode:
            raise NoServer(f"initdb failed: {done.stdout}{done.stderr}")
        (self._folder / "data" / "pg_hba.conf").write_text(ADMITTED)
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = ["-D", str(self._folder / "data"), "-h", "127.0.0.1", "-p", str(self.port)]
        options += ["-c", "fsync=off"]  # we kill processes, not machines
        self._process = Process(
            [*_as(self._user), self._binaries / "postgres", *options, "-k", self._folder],
            log=self._folder / "postgres.log",
            cwd=self._folder,
        )
        try:
            self._process.wait_for(self._answers, within_s=UP_WITHIN_S)
        except (AssertionError, psycopg.OperationalError) as error:
            raise NoServer(f"the server did not come up: {error}") from error

    def _answers(self) -> bool:
        with psycopg.connect(self.connection):
            return True

    def is_alive(self) -> bool:
        """Return whether it runs; without room for its WAL it may have ended by itself."""
        return self._process is not None and self._process.is_alive()

    def kill(self) -> None:
        """Kill -9 the server and everything it started, at once."""
        assert self._process is not None
        children = self._process.children(recursive=True)
        self._process.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        until(lambda: not any(_runs(child) for child in children), "some children run")

    def restart(self) -> None:
        """Restart it as an operator does: clients are cut off, nothing is left to recover."""
        assert self._process is not None
        self._process.end(signal.SIGINT)
        self.start()

    def pause(self) -> None:
        """Let it and all its children answer nobody; connections stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them answer again."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        for process in self._process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        self._process.send(number)

    def stop(self) -> None:
        if self.is_alive():
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _unprivileged() -> str | None:
    """Return the user to run the server as; None: whoever we are."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return "nobody"


def _as(user: str | None) -> list[str]:
    """Return what begins a command that another user runs.

    Python would fork the test process, and a large one may be refused the memory for that.
    """
    if user is None:
        return []
    known = pwd.getpwnam(user)
    return ["setpriv", f"--reuid={known.pw_uid}", f"--regid={known.pw_gid}", "--clear-groups", "--"]


def new_database(server: Server) -> str:
    """Make an empty database that a role of its own owns, which may do nothing else; return how to reach it."""
    name, password = f"playhead_{secrets.token_hex(4)}", secrets.token_hex(16)
    with psycopg.connect(server.connection, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'".encode())
        connection.execute(f"CREATE DATABASE {name} OWNER {name}".encode())
    return psycopg.conninfo.make_conninfo(server.connection, dbname=name, user=name, password=password)


def none_to_be_had(reasons: list[str]) -> None:
    """Skip, or fail where CI promises a server."""
    message = f"no PostgreSQL: {'; '.join(reasons)}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@contextlib.contextmanager
def some_server() -> Iterator[Server]:
    """Have the first server that can be had."""
    given = os.environ.get("POSTGRES_CONNECTION")
    if given:
        yield GivenServer(given)
        return
    reasons = []
    for make in (ContainerServer, SystemServer):
        try:
            server = make()
        except NoServer as reason:
            reasons.append(str(reason))
            continue
        try:
            yield server
        finally:
            server.stop()
        return
    none_to_be_had(reasons)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The one server of the session."""
    with some_server() as server:
        yield server


@pytest.fixture
def catalog(postgres: Server) -> str:
    """A new database, as PLAYHEAD_LAKE_CATALOG."""
    return f"postgres:{new_database(postgres)}"


@pytest.fixture
def own_postgres() -> Iterator[SystemServer]:
    """A server of the test's own."""
    try:
        server = SystemServer()
    except NoServer as reason:
        none_to_be_had([str(reason)])
    else:
        yield server
        server.stop()
