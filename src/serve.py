"""Serve the model that `production` names over HTTP, on this machine only, until Ctrl-C.

    python src/serve.py    (or make serve; --alias staging to look at a candidate, --port 5001)

The server is MLflow's own (`mlflow models serve`); docs/serving.md says how to ask it. The version
is looked up once,
here: every response names it in the headers x-model-version and x-model-md5. Start again after a
promotion.
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
from churn.tracking import logged_model, registry, store
from churn.tracking.store_errors import explain_store_error


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--port", type=int, default=5001, help="on 127.0.0.1 (default: %(default)s)"
    )
    parser.add_argument(
        "--alias", default="production", help="which version (default: %(default)s)"
    )
    return parser.parse_args()


def check_port(port: int) -> None:
    """Refuse a port that cannot be listened on: the server itself would say so in a traceback, some
    seconds later.
    """
    if not 1 <= port <= 65535:
        raise UserError(f"port {port}: must be 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # a server that ended a moment ago is no obstacle
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"port {port}: {error.strerror}; choose another") from None


def main() -> None:
    asked = arguments()
    check_port(asked.port)
    name = load_params().registry.model
    store.connect()
    version = registry.require_alias(name, asked.alias)
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # an exit that takes the copy of the model away
    with logged_model.verified_version_copy(version) as folder:
        digest = version.tags["model_md5"]
        print(
            f"{name} version {version.version} ({asked.alias}, model {digest[:8]}) on http://127.0.0.1:{asked.port}"
        )
        sys.stdout.flush()
        os.environ.update(settings(f"x-model-version:{version.version} x-model-md5:{digest}"))
        serve(folder, asked.port)


def settings(headers: str) -> dict[str, str]:
    """What MLflow's server reads from the environment.

    Args:
        headers: those of every response.
    """
    return {
        # The server is started by uvicorn's command line, which takes every option from the
        # environment too.
        "UVICORN_HEADERS": headers,
        # Requests run side by side, each on one thread: XGBoost's own would wait for one another's.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        # MLflow calls a bare `uvicorn`, which must be this environment's, activated or not.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def serve(folder: Path, port: int) -> None:
    """Run MLflow's server (`mlflow models serve`) over a checked copy of a model until it is ended."""
    from mlflow.models.flavor_backend_registry import get_flavor_backend

    backend = get_flavor_backend(str(folder), env_manager="local", workers=1)
    backend.serve(model_uri=str(folder), host="127.0.0.1", port=port, timeout=60)


if __name__ == "__main__":
    run_command(main, explain_store_error)
