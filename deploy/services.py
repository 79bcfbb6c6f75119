"""The three services of a team on one machine, without containers.

    python deploy/services.py up [NAME ...]      start what does not run
    python deploy/services.py down [NAME ...]    end what `up` started; the data stays
    python deploy/services.py status             which run, and where

NAME is postgresql (runs and registry), bucket (artifacts and data, spoken to as S3) or mlflow (the
server in front of both, with users and passwords); without one, all three. They listen on 127.0.0.1
only. Data, logs, ports and random passwords are in one folder, .team (--folder names another).
`source .team/credentials` makes a shell the server's admin.

This is for tests, and for a team without a container engine; deploy/compose.yaml is the same with
one. docs/team.md says how to use both.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import time
import urllib.request
from pathlib import Path

import postgresql
import psutil
from processes import (
    HOST,
    answers,
    family,
    make_private,
    remember,
    running,
    start,
    write_private,
)
from service_settings import (
    SERVER,
    SERVICES,
    Settings,
    load_settings,
    mlflow_environment,
)

BUCKETS = ("mlflow", "dvc")
PACKAGES = ("psycopg2", "boto3", "flask_wtf")  # of MLflow's server
START_SECONDS = 300  # a busy machine takes a minute to make MLflow's tables
STOP_SECONDS = 60


def main() -> None:
    options = parse_arguments()
    folder = options.folder.absolute()
    names = options.names or SERVICES
    try:
        if options.action == "up":
            start_services(folder, names)
        elif options.action == "down":
            stop_services(folder, names)
        else:
            print_status(folder)
    except (OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The services of a team on one machine.")
    parser.add_argument("action", choices=("up", "down", "status"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SERVICES)}")
    parser.add_argument("--folder", type=Path, default=Path(".team"), help="default: .team")
    options = parser.parse_args()
    unknown = set(options.names) - set(SERVICES)
    if unknown:
        parser.error(f"there is no service {', '.join(sorted(unknown))}")
    return options


def start_services(folder: Path, names: tuple[str, ...]) -> None:
    """Start the services that do not run, and wait until each answers.

    Raises:
        RuntimeError: something is not installed, or one does not start.
    """
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise RuntimeError(f"{package} is not installed; `make install-team` brings it")
    make_private(folder)
    for part in ("logs", *(f"buckets/{bucket}" for bucket in BUCKETS)):
        (folder / part).mkdir(parents=True, exist_ok=True)
    settings = load_settings(folder)
    for name in SERVICES:
        if name not in names or running(folder, name):
            continue
        stop(folder, name)  # of a service that was killed, what it started may still run
        port = settings[f"{name}_port"]
        if answers(port):
            raise RuntimeError(f"port {port}, which is {name}'s, is taken by another program")
        print(f"starting {name} ...", file=sys.stderr)
        if name == "postgresql":
            process_id = postgresql.start(folder, port, settings["database_password"])
        elif name == "bucket":
            process_id = start_bucket(folder, settings)
        else:
            process_id = start_mlflow(folder, settings)
        remember(folder, name, process_id)
        if name == "postgresql":
            postgresql.create_database(port, settings["database_password"])
    wait_until_up(folder, names, settings)
    print_status(folder)


def stop_services(folder: Path, names: tuple[str, ...]) -> None:
    """End the processes that `up` started, and no others."""
    for name in reversed(SERVICES):
        if name in names and stop(folder, name):
            print(f"{name} stopped")


def stop(folder: Path, name: str) -> bool:
    """End what runs of a service; whether anything ran."""
    processes = family(folder, name)
    if not processes:
        return False
    # SIGINT is PostgreSQL's fast shutdown, which does not wait for clients.
    processes[0].send_signal(signal.SIGINT if name == "postgresql" else signal.SIGTERM)
    _, left = psutil.wait_procs(processes, timeout=STOP_SECONDS)
    for survivor in left:
        survivor.kill()
    return True


def print_status(folder: Path) -> None:
    """Which services run, where, and how to use them."""
    settings = load_settings(folder)
    for name in SERVICES:
        process = running(folder, name)
        state = f"process {process.pid}" if process else "not running"
        print(f"{name:<11} {HOST}:{settings[f'{name}_port']:<6} {state}")
    print(f"source {os.path.relpath(folder / 'credentials')}")


def start_bucket(folder: Path, settings: Settings) -> int:
    """An S3 server over a folder, in which each bucket is a folder."""
    key = f"{settings['bucket_key']},{settings['bucket_secret']}"
    # From the environment, since everybody can read the arguments of a process.
    env = {**os.environ, "RCLONE_AUTH_KEY": f'"{key}"', "RCLONE_CONFIG": "/dev/null"}
    command = [program("rclone"), "serve", "s3", str(folder / "buckets")]
    # Without a cache an object is whole on the disk, under its name, before its upload is answered.
    command += ["--addr", f"{HOST}:{settings['bucket_port']}", "--vfs-cache-mode", "off"]
    return start(command, env, folder / "logs/bucket.log")


def start_mlflow(folder: Path, settings: Settings) -> int:
    """MLflow's server, which asks for passwords and passes artifacts on to the bucket."""
    env = mlflow_environment(folder, settings)
    auth = (SERVER / "basic_auth.ini").read_text()
    auth = auth.replace("DATABASE_URI", env["MLFLOW_BACKEND_STORE_URI"])
    write_private(folder / "basic_auth.ini", auth)
    command = [program("mlflow"), "server", "--app-name", "basic-auth", "--serve-artifacts"]
    command += ["--host", HOST, "--port", settings["mlflow_port"], "--workers", "1"]
    outer = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return start(command, outer | env, folder / "logs/mlflow.log")


def program(name: str) -> str:
    """A program of this environment.

    Raises:
        RuntimeError: it is not installed.
    """
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise RuntimeError(f"{name} is not installed; `make install-team` brings it")
    return str(path)


def wait_until_up(folder: Path, names: tuple[str, ...], settings: Settings) -> None:
    """Wait until the services answer.

    Raises:
        RuntimeError: one ended, or takes too long.
    """
    deadline = time.monotonic() + START_SECONDS
    for name in names:
        while not answers(settings[f"{name}_port"]) or not is_healthy(name, settings):
            if not running(folder, name) or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start; see {folder}/logs/{name}.log")
            time.sleep(0.2)


def is_healthy(name: str, settings: Settings) -> bool:
    """Whether MLflow's server answers requests; of the others, that they listen is enough."""
    if name != "mlflow":
        return True
    try:
        address = f"http://{HOST}:{settings['mlflow_port']}/health"
        return urllib.request.urlopen(address, timeout=10).status == 200
    except OSError:
        return False


if __name__ == "__main__":
    main()
