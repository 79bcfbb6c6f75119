"""Serve the model that `production` names over HTTP, on this machine only, until Ctrl-C.

    python src/serve.py    (or make serve; --alias staging to look at a candidate, --port 5001)
    python src/serve.py --log requests.jsonl    (for src/monitor.py --requests requests.jsonl)

The server is MLflow's own (that of `mlflow models serve`); docs/serving.md says how to call it. The
version is looked up once, at the start: every response names it in the headers x-model-version and
x-model-md5. Restart the server after a promotion.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from churn.console import run_command
from churn.errors import UserError
from churn.operations.request_log import LoggedModel, LogSettings, RequestLog
from churn.params import Params, load_params
from churn.tracking import launching_run, model_loading, registered_versions, store
from churn.tracking.store_errors import explain_store_error

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.pyfunc import PyFuncModel

HOST = "127.0.0.1"
TERMINATED = 143  # the exit code of a process that SIGTERM ended
SETTINGS = {
    "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT": "60",  # seconds
    # Requests run side by side, each on one thread: XGBoost's threads would wait for each other.
    # Read when XGBoost is imported.
    "OMP_NUM_THREADS": "1",
}


def main() -> None:
    for variable, value in SETTINGS.items():
        os.environ.setdefault(variable, value)
    options = parse_arguments()
    check_port(options.port)
    params = load_params()
    name = params.registry.model
    store.connect()
    launching_run.name_launching_run()
    version = registered_versions.require_alias(name, options.alias)

    # SIGTERM alone would leave the copy behind from which the model is loaded.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    model = model_loading.load_predictor(version)
    log = open_log(options, params, version, model) if options.log else None
    digest = version.tags["model_md5"]
    print(
        f"{name} version {version.version} ({options.alias}, model {digest[:8]}) on "
        f"http://{HOST}:{options.port}",
        flush=True,
    )
    try:
        headers = {"x-model-version": str(version.version), "x-model-md5": digest}
        served = LoggedModel(model, log) if log else model
        serve(served, options.port, headers)
    finally:
        if log and log.missing:
            print(f"{options.log}: {log}", file=sys.stderr)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Serve a registered model over HTTP, on this machine only, until Ctrl-C."
    )
    parser.add_argument("--port", type=int, default=5001, help=f"on {HOST} (default: %(default)s)")
    parser.add_argument(
        "--alias", default="production", help="which version (default: %(default)s)"
    )
    parser.add_argument(
        "--log", metavar="FILE", help="append id and probability of the customers that are scored"
    )
    parser.add_argument(
        "--log-inputs", action="store_true", help="with --log: their features too (personal data)"
    )
    parser.add_argument(
        "--log-share", type=float, default=1.0, help="with --log: of how many (default: 1, all)"
    )
    options = parser.parse_args()
    if not options.log and (options.log_inputs or options.log_share != 1):
        parser.error("--log-inputs and --log-share need --log FILE")
    if not 0 < options.log_share <= 1:
        parser.error(f"--log-share {options.log_share:g} is no share above 0, up to 1")
    return options


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


def open_log(
    options: argparse.Namespace, params: Params, version: ModelVersion, model: PyFuncModel
) -> RequestLog:
    """The log of requests that the options ask for.

    Raises:
        UserError: its file cannot be written.
    """
    about = {
        "model": version.name,
        "model_version": str(version.version),
        "model_md5": version.tags["model_md5"],
    }
    signature = model.metadata.signature
    inputs = signature.inputs.input_names() if options.log_inputs else []
    return RequestLog(
        LogSettings(Path(options.log), about, params.data.id, tuple(inputs), options.log_share)
    )


def serve(model: PyFuncModel | LoggedModel, port: int, headers: dict[str, str]) -> None:
    """Run MLflow's scoring server over a model in this process, until it is ended.

    Args:
        headers: those of every response.
    """
    import uvicorn
    from mlflow.pyfunc import scoring_server

    application = scoring_server.init(model)
    config = uvicorn.Config(application, host=HOST, port=port, headers=list(headers.items()))
    uvicorn.Server(config).run()


if __name__ == "__main__":
    run_command(main, explain_store_error)
