"""Give a person an account on the team's MLflow server, and what the role may do.

    python deploy/users.py ann scientist    may log runs, register models and set `staging`
    python deploy/users.py bob approver     may also promote: MANAGE on the registered model

Run it as the server's admin (`source .team/credentials`). A new account's password is drawn here
and written to .team/ann.env, with all that the person's shell needs: hand that file over, and
delete it. For a person who has an account only the role is changed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import secrets
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from processes import make_private, write_exports

from churn.console import run_command
from churn.errors import UserError
from churn.params import load_params
from churn.tracking import registry, server_user, store
from churn.tracking.store_errors import explain_store_error

FOLDER = Path(".team")
CREATE = "/api/2.0/mlflow/users/create"
GRANT = "/api/3.0/mlflow/users/permissions/grant"
REVOKE = "/api/3.0/mlflow/users/permissions/revoke"
ROLES = {"scientist": "EDIT", "approver": "MANAGE"}  # permission on the registered model
# The bucket of `make team-up` has one key for all; on a real one each person has a key.
BUCKET_VARIABLES = (
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Give a person an account and a role.")
    parser.add_argument("name", type=account_name)
    parser.add_argument("role", choices=ROLES)
    options = parser.parse_args()

    experiment_id = store.connect()
    if not server_user.authenticated_user():
        raise UserError("MLFLOW_TRACKING_URI names no server with users; docs/team.md says how")
    model = load_params().registry.model
    create_model(model)
    permission = ROLES[options.role]
    is_new = create_user(options.name, experiment_id)
    grant(options.name, "experiment", experiment_id, "EDIT")
    grant(options.name, "registered_model", model, permission)
    print(f"{options.name} is {options.role}: EDIT on the experiment, {permission} on {model}")
    if is_new:
        print(f"source {FOLDER / options.name}.env")


def account_name(text: str) -> str:
    """A name that MLflow takes and that can be the name of a file."""
    if not re.fullmatch(r"\w[\w.@+-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is more than letters, digits, and . @ + - _")
    return text


def create_model(name: str) -> None:
    """Create the registered model: whoever does it may manage it, and that is to be the admin."""
    import mlflow

    if not registry.model_exists(name):
        mlflow.MlflowClient().create_registered_model(name)


def create_user(name: str, experiment_id: str) -> bool:
    """Create an account, and write down what its owner needs; whether there was none."""
    import mlflow

    password = secrets.token_urlsafe(24)
    needed = {
        "MLFLOW_TRACKING_URI": store.tracking_uri(),
        "MLFLOW_TRACKING_USERNAME": name,
        "MLFLOW_TRACKING_PASSWORD": password,
        # `mlflow run` logs into the experiment Default otherwise, where nobody may write.
        "MLFLOW_EXPERIMENT_NAME": mlflow.get_experiment(experiment_id).name,
    }
    for variable in BUCKET_VARIABLES:
        if variable in os.environ:
            needed[variable] = os.environ[variable]
    make_private(FOLDER)
    # Before the account is made: nobody else knows its password.
    part = FOLDER / f"{name}.env.part"
    write_exports(part, needed)
    try:
        post(CREATE, {"username": name, "password": password})
    except mlflow.MlflowException as error:
        part.unlink()
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    part.rename(FOLDER / f"{name}.env")
    return True


def grant(name: str, kind: str, resource: str, permission: str) -> None:
    """Let a person have this permission on an experiment or a model, in place of an earlier one."""
    import mlflow

    subject = {"username": name, "resource_type": kind, "resource_id": resource}
    with contextlib.suppress(mlflow.MlflowException):  # there is no earlier one
        post(REVOKE, subject)
    post(GRANT, {**subject, "permission": permission})


def post(endpoint: str, content: dict[str, str]) -> None:
    """Call MLflow's REST API of users and permissions.

    MLflow's own client of it imports the whole server, which takes seconds.

    Raises:
        MlflowException: the server refuses.
    """
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request, verify_rest_response

    creds = get_default_host_creds(store.tracking_uri())
    verify_rest_response(http_request(creds, endpoint, "POST", json=content), endpoint)


if __name__ == "__main__":
    run_command(main, explain_store_error)
