"""Give a person an account on the team's MLflow server, and what the role may do.

    python deploy/users.py ann scientist    may log runs, register models and set `staging`
    python deploy/users.py bob approver     may also promote: MANAGE on the registered model

Run it as the server's admin (`source .team/credentials`). A new account's password is drawn here
and written to .team/ann.env, with all that the person's shell needs: hand that file over, and
delete it. For a person who has an account only the role is changed.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from processes import write_private

from churn.console import run_command
from churn.errors import UserError
from churn.params import load_params
from churn.tracking import registry, server_user, store
from churn.tracking.store_errors import explain_store_error

if TYPE_CHECKING:
    from mlflow.server.auth.client import AuthServiceClient

FOLDER = Path(".team")
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
    parser.add_argument("name")
    parser.add_argument("role", choices=ROLES)
    options = parser.parse_args()

    experiment_id = store.connect()
    if not server_user.authenticated_user():
        raise UserError("MLFLOW_TRACKING_URI names no server with users; docs/team.md says how")
    model = load_params().registry.model
    create_model(model)
    client, permission = app_client(), ROLES[options.role]
    is_new = create_user(client, options.name, experiment_id)
    grant(client, options.name, "experiment", experiment_id, "EDIT")
    grant(client, options.name, "registered_model", model, permission)
    print(f"{options.name} is {options.role}: EDIT on the experiment, {permission} on {model}")
    if is_new:
        print(f"source {FOLDER / options.name}.env")


def create_model(name: str) -> None:
    """Create the registered model: whoever does it may manage it, and that is to be the admin."""
    import mlflow

    if not registry.model_exists(name):
        mlflow.MlflowClient().create_registered_model(name)


def create_user(client: AuthServiceClient, name: str, experiment_id: str) -> bool:
    """Create an account, and write down what its owner needs; whether there was none."""
    import mlflow

    password = secrets.token_urlsafe(24)
    try:
        client.create_user(name, password)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
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
    lines = [f"export {variable}={value}\n" for variable, value in needed.items()]
    FOLDER.mkdir(exist_ok=True)
    write_private(FOLDER / f"{name}.env", "".join(lines))
    return True


def grant(client: AuthServiceClient, name: str, kind: str, resource: str, permission: str) -> None:
    """Let a person have this permission on an experiment or a model, in place of an earlier one."""
    import mlflow

    try:
        client.grant_user_permission(name, kind, resource, permission)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        client.revoke_user_permission(name, kind, resource)
        client.grant_user_permission(name, kind, resource, permission)


def app_client() -> AuthServiceClient:
    """MLflow's client of users and permissions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing it imports the whole server
        from mlflow.server import get_app_client
    return get_app_client("basic-auth", store.tracking_uri())


if __name__ == "__main__":
    run_command(main, explain_store_error)
