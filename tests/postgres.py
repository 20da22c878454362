"""A PostgreSQL server that lives as long as the test session: the fixtures `postgres` and `postgres_url`.

It is a real one, with fsync on, that listens on a Unix socket in its own folder and lets everybody in. PostgreSQL does
not run as root, so where the tests do, it runs as another user. Each worker of pytest-xdist starts its own.
"""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

_START_S = 60  # it takes two; a busy machine gets more
_USERS = ("postgres", "nobody")  # who runs it instead of root: Debian's package makes the first


class PostgresServer:
    """A running server."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._numbers = itertools.count()

    def connect(self):
        """A connection without our code; every statement commits."""
        import psycopg

        return psycopg.connect(host=str(self.folder), user="armchair", dbname="postgres", autocommit=True)

    def new_url(self) -> str:
        """The URL of an empty place, for `Store.create`.

        It is a schema of its own instead of a database, which would take 8 MB and a quarter of a second a test.
        """
        schema = f"store_{next(self._numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE SCHEMA {schema}")
        socket = quote(str(self.folder), safe="")
        return f"postgresql+psycopg://armchair@/postgres?host={socket}&options=-csearch_path%3D{schema}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server; the test is skipped where PostgreSQL is not installed."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'armchair[postgres]'")
    binaries = _binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    user = _other_user()
    if os.getuid() == 0 and user is None:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")
    # Not pytest's own temporary folder, which other users may not enter.
    folder = Path(tempfile.mkdtemp(prefix="armchair-postgres-"))
    as_user = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    try:
        folder.chmod(0o755)
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        initialise = [binaries / "initdb", "-D", folder / "data", "-U", "armchair", "-A", "trust", "-E", "UTF8"]
        made = subprocess.run(initialise, capture_output=True, text=True, check=False, cwd=folder, **as_user)
        assert made.returncode == 0, made.stderr
        command = [binaries / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses="]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **as_user)
        try:
            yield _wait(PostgresServer(folder), process)
        finally:
            process.send_signal(signal.SIGQUIT)  # "immediate": nobody needs the data again
            process.wait(timeout=30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """The URL of an empty place on the server, for `Store.create(root, index_url=...)`."""
    return postgres.new_url()


def _binaries() -> Path | None:
    """The folder of `initdb` and `postgres`; Debian keeps it out of the PATH."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).parent
    debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(debian, key=lambda path: float(path.parents[1].name), default=None)
    return newest.parent if newest else None


def _other_user() -> pwd.struct_passwd | None:
    """Who runs the server: None for the user who runs the tests, unless that is root."""
    if os.getuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return next((known[name] for name in _USERS if name in known), None)


def _wait(server: PostgresServer, process: subprocess.Popen) -> PostgresServer:
    import psycopg

    deadline = time.monotonic() + _START_S
    while True:
        try:
            server.connect().close()
            return server
        except psycopg.OperationalError:
            log = (server.folder / "log").read_text()
            assert process.poll() is None, f"PostgreSQL does not start: {log}"
            assert time.monotonic() < deadline, f"PostgreSQL takes more than {_START_S} s to start: {log}"
            time.sleep(0.05)
