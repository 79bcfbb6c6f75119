"""Ports and passwords of the services, and the variables that tell them to programs."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import postgresql
from processes import HOST, free_port, write_exports, write_private

SERVICES = ("postgresql", "bucket", "mlflow")  # in the order in which they start
PASSWORDS = ("database_password", "admin_password", "bucket_key", "bucket_secret", "session_key")
SERVER = Path(__file__).parent / "server"  # what MLflow's server is configured with
Settings = dict[str, str]


def load_settings(folder: Path) -> Settings:
    """Ports and passwords: drawn at the first call, and the same at every later one."""
    path = folder / "settings.json"
    if path.exists():
        settings: Settings = json.loads(path.read_text())
        return settings
    if not folder.exists():
        raise RuntimeError(f"{folder} does not exist: `make team-up` comes first")

    settings = {name: secrets.token_hex(20) for name in PASSWORDS}
    settings |= {f"{name}_port": free_port() for name in SERVICES}
    exports = {
        "MLFLOW_TRACKING_URI": f"http://{HOST}:{settings['mlflow_port']}",
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": settings["admin_password"],
        **bucket_environment(settings),
    }
    write_exports(folder / "credentials", exports)
    database = {
        "PGHOST": HOST,
        "PGPORT": settings["postgresql_port"],
        "PGUSER": postgresql.USER,
        "PGDATABASE": postgresql.DATABASE,
        "PGPASSWORD": settings["database_password"],
    }
    write_exports(folder / "database", database)
    write_private(path, json.dumps(settings, indent=2) + "\n")
    return settings


def bucket_environment(settings: Settings) -> Settings:
    """What DVC, fsspec and boto3 read to find the bucket."""
    return {
        "AWS_ENDPOINT_URL": f"http://{HOST}:{settings['bucket_port']}",
        "AWS_ACCESS_KEY_ID": settings["bucket_key"],
        "AWS_SECRET_ACCESS_KEY": settings["bucket_secret"],
        "AWS_DEFAULT_REGION": "us-east-1",
        # With a part of an object rclone sends the checksum of the whole.
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }


def mlflow_environment(folder: Path, settings: Settings) -> Settings:
    """What MLflow's server is told by its environment, which has the passwords in it."""
    own = f"{HOST}:{settings['mlflow_port']}"
    return {
        **bucket_environment(settings),
        "MLFLOW_BACKEND_STORE_URI": postgresql.uri(
            settings["postgresql_port"], settings["database_password"]
        ),
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://mlflow",
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "basic_auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": settings["admin_password"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": settings["session_key"],
        "MLFLOW_SERVER_ALLOWED_HOSTS": own,
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": f"http://{own}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # jobs are for language models
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONPATH": str(SERVER),  # basic_auth.ini names approval.py
    }
