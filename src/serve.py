"""Serve the model that `production` names over HTTP, on this machine only, until Ctrl-C.

    python src/serve.py    (or make serve; --alias staging to look at a candidate, --port 5001)

The server is MLflow's own (`mlflow models serve`); docs/serving.md says how to call it. The version
is looked up once, at the start: every response names it in the headers x-model-version and
x-model-md5. Restart the server after a promotion.
"""

import argparse
import os
import signal
import socket
import sys
from pathlib import Path

from churn.console import run_command
from churn.errors import UserError
from churn.params import load_params
from churn.tracking import launching_run, logged_model, registry, store
from churn.tracking.store_errors import explain_store_error

HOST = "127.0.0.1"
TERMINATED = 143  # the exit code of a process that SIGTERM ended
REQUEST_SECONDS = 60


def main() -> None:
    options = parse_arguments()
    check_port(options.port)
    name = load_params().registry.model
    store.connect()
    launching_run.name_launching_run()
    version = registry.require_alias(name, options.alias)

    # SIGTERM alone would leave the copy of the model behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    with logged_model.verified_version_copy(version) as folder:
        digest = version.tags["model_md5"]
        print(
            f"{name} version {version.version} ({options.alias}, model {digest[:8]}) on "
            f"http://{HOST}:{options.port}",
            flush=True,
        )
        headers = f"x-model-version:{version.version} x-model-md5:{digest}"
        os.environ.update(server_settings(headers))
        serve(folder, options.port)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Serve a registered model over HTTP, on this machine only, until Ctrl-C."
    )
    parser.add_argument("--port", type=int, default=5001, help=f"on {HOST} (default: %(default)s)")
    parser.add_argument(
        "--alias", default="production", help="which version (default: %(default)s)"
    )
    return parser.parse_args()


def check_port(port: int) -> None:
    """Refuse a port on which the server could not listen.

    The server itself would say so in a traceback, some seconds later.

    Raises:
        UserError: it is no port, or another process has it.
    """
    if not 1 <= port <= 65535:
        raise UserError(f"port {port}: must be 1 to 65535")
    with socket.socket() as probe:
        # A server that ended a moment ago is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(f"port {port}: {error.strerror}; choose another") from None


def server_settings(headers: str) -> dict[str, str]:
    """What MLflow's server reads from the environment.

    Args:
        headers: those of every response.
    """
    own_programs = Path(sys.executable).parent
    return {
        # MLflow starts uvicorn by its command line, which reads every option from the environment.
        "UVICORN_HEADERS": headers,
        # Requests run side by side, each on one thread: XGBoost's threads would wait for each
        # other.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        # MLflow calls a bare `uvicorn`, which must be this environment's, activated or not.
        "PATH": f"{own_programs}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def serve(folder: Path, port: int) -> None:
    """Run MLflow's server (`mlflow models serve`) over a checked copy of a model until it ends."""
    from mlflow.models.flavor_backend_registry import get_flavor_backend

    backend = get_flavor_backend(str(folder), env_manager="local", workers=1)
    backend.serve(model_uri=str(folder), host=HOST, port=port, timeout=REQUEST_SECONDS)


if __name__ == "__main__":
    run_command(main, explain_store_error)
