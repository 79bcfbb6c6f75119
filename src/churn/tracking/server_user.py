"""Who a server with users says that this process is."""

from churn.tracking import store

CURRENT_USER = "/api/2.0/mlflow/users/current"


def authenticated_user() -> str:
    """The name whose password the server has checked; "" where the store knows no users.

    That is a SQLite file, and a server without authentication. `connect` comes first.

    Raises:
        MlflowException: the server does not know this user.
    """
    uri = store.tracking_uri()
    if not uri.startswith("http"):
        return ""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request, verify_rest_response

    response = http_request(get_default_host_creds(uri), CURRENT_USER, "GET")
    if response.status_code == 404:
        return ""
    answer = verify_rest_response(response, CURRENT_USER).json()
    return str(answer["user"]["username"])
