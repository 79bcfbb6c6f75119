"""A rule of MLflow's server: only who may manage a model changes what of it is in production.

MLflow's permissions know no aliases: whoever may register a version (EDIT) may give it any alias.
The pipeline has to set `staging`, and only an approver (MANAGE) may set `production`. MLflow asks
the function that basic_auth.ini names as `authorization_function` about each request; this one
checks the password as MLflow does, and refuses an alias `production`, a change of the history of
promotions, another name for the model and a change of the tags with which a version's files are
checked to everybody else.

It runs inside the server, and uses `authorize` and `Requirement` of mlflow.server.auth, which are
not part of MLflow's documented interface: tests/team tries the rule on a real server, with the
version that is pinned.
"""

import json
from typing import Any

from flask import Response, make_response, request
from mlflow.server.auth import authenticate_request_basic_auth, authorize
from mlflow.server.auth.requirements import Requirement
from werkzeug.datastructures import Authorization

# The tags of a version that its files are compared with: src/churn/tracking/logged_model.py.
FILES = ("files_md5", "model_md5", "schema_md5", "scoring_md5", "threshold")
REFUSED = "only an approver (MANAGE) may change what is in production"


def authenticate() -> Authorization | Response:
    """Check name and password of a request, and whether its user may do it.

    Returns:
        Who asks; or the answer 401 or 403.
    """
    user = authenticate_request_basic_auth()
    if isinstance(user, Response) or not changes_production():
        return user
    name = str(content().get("name", ""))
    model = ("registered_model", name)
    if is_admin(user.username) or authorize(user.username, model, [Requirement(*model, "manage")]):
        return user
    return make_response({"error_code": "PERMISSION_DENIED", "message": REFUSED}, 403)


def changes_production() -> bool:
    """Whether a request sets the alias `production`, writes into the history of promotions, gives
    the model another name, or changes a tag that says which files a version has.
    """
    if request.method == "GET":
        return False
    if request.path.endswith("/mlflow/registered-models/rename"):
        return True
    if request.path.endswith("/mlflow/registered-models/alias"):
        return str(content().get("alias", "production")).lower() == "production"
    if request.path.endswith(("/registered-models/set-tag", "/registered-models/delete-tag")):
        return str(content().get("key", "promotion")).startswith("promotion")
    if request.path.endswith(("/model-versions/set-tag", "/model-versions/delete-tag")):
        return str(content().get("key", FILES[0])) in FILES
    return False


def content() -> dict[str, Any]:
    """The content of a request; empty if it is no JSON object, which is then refused.

    Like MLflow this ignores what the request says of its type, and reads JSON within JSON: else
    another form of the same request would pass.
    """
    found = request.get_json(force=True, silent=True)
    if isinstance(found, str):
        found = json.loads(found)
    return found if isinstance(found, dict) else {}


def is_admin(username: str) -> bool:
    from mlflow.server.auth import store

    return bool(store.get_user(username).is_admin)
