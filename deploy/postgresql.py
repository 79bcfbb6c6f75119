"""Make and start a PostgreSQL database of one's own, from the system's packages.

PostgreSQL refuses to run as root: for root it runs as `postgres`, the account of Debian's package,
and the database is in a folder of that account.
"""

import os
import shutil
import subprocess
import time
from hashlib import sha256
from pathlib import Path

import psutil

HOST = "127.0.0.1"
USER = DATABASE = "mlflow"
ACCOUNT = "postgres"  # of the system, where root calls
GONE_SECONDS = 30


def start(folder: Path, port: str, password: str) -> int:
    """Start the server, and make its folder if there is none.

    Args:
        folder: the folder of the services; the database is in it, unless root calls.

    Returns:
        The id of the server's process.

    Raises:
        RuntimeError: PostgreSQL is not installed, or says why it does not start.
    """
    programs, data = find_programs(), data_folder(folder)
    if not (data / "PG_VERSION").exists():
        initialise(programs, data, password)
    wait_until_gone(data)
    options = f"-p {port} -c listen_addresses={HOST} -c unix_socket_directories="
    command = [programs / "pg_ctl", "start", "--wait", "--silent", "--pgdata", data]
    execute(*command, "--log", data.with_suffix(".log"), "--options", options)
    return server_process(data)


def wait_until_gone(data: Path) -> None:
    """Wait for the end of a server that was killed: no other starts while its process is listed."""
    deadline = time.monotonic() + GONE_SECONDS
    while (data / "postmaster.pid").exists() and psutil.pid_exists(server_process(data)):
        if time.monotonic() > deadline:
            return  # the number may be another program's by now, which PostgreSQL finds out
        time.sleep(0.2)


def server_process(data: Path) -> int:
    """The number of the server's process, as PostgreSQL notes it."""
    return int((data / "postmaster.pid").read_text().splitlines()[0])


def find_programs() -> Path:
    """The folder of initdb and pg_ctl, which Debian does not put on PATH."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not installed:
        raise RuntimeError("PostgreSQL is not installed; `apt-get install postgresql` brings it")
    return installed[-1].parent


def data_folder(folder: Path) -> Path:
    """Where the database is."""
    if os.getuid() != 0:
        return folder / "postgresql"
    digest = sha256(str(folder).encode()).hexdigest()[:12]
    return Path(f"/var/lib/postgresql/team-{digest}")


def initialise(programs: Path, data: Path, password: str) -> None:
    """Make an empty database, whose one user needs the password from everywhere."""
    password_file = data.with_suffix(".password")
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if os.getuid() == 0:
        shutil.chown(password_file, ACCOUNT, ACCOUNT)
    command = [programs / "initdb", "--pgdata", data, "--username", USER, "--encoding", "UTF8"]
    try:
        execute(*command, "--auth", "scram-sha-256", "--pwfile", password_file)
    finally:
        password_file.unlink()


def execute(*command: str | Path) -> None:
    """Run a program of PostgreSQL, root as another account.

    Raises:
        RuntimeError: it failed, with what it says.
    """
    as_account = {}
    if os.getuid() == 0:
        as_account = {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []}
    # The server keeps what it inherits open: a pipe would never end.
    result = subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, stderr=None, **as_account)
    if result.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed; it says why above")


def create_database(port: str, password: str) -> None:
    """Create MLflow's database in a server that runs, unless it is there."""
    import psycopg2

    connection = psycopg2.connect(
        host=HOST, port=port, user=USER, password=password, dbname="postgres"
    )
    connection.autocommit = True  # CREATE DATABASE runs in no transaction
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
        if cursor.fetchone() is None:
            cursor.execute(f"CREATE DATABASE {DATABASE}")
    connection.close()


def uri(port: str, password: str) -> str:
    """The address of MLflow's database, with the driver that SQLAlchemy is to take."""
    return f"postgresql+psycopg2://{USER}:{password}@{HOST}:{port}/{DATABASE}"
