"""`make team-up` and `make team-down`: what they start, keep, and leave alone."""

import base64
import os
import signal
import socket
import stat
import subprocess
import urllib.error
import urllib.request

import pytest


def status(address: str, user: str = "", password: str = "", host: str = "") -> int:
    """The HTTP status with which MLflow's server answers a search for experiments."""
    url = f"{address}/api/2.0/mlflow/experiments/search?max_results=1"
    request = urllib.request.Request(url)
    if user:
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
    if host:
        request.add_header("Host", host)
    try:
        return urllib.request.urlopen(request, timeout=60).status
    except urllib.error.HTTPError as error:
        return error.code


def listening_addresses() -> set[str]:
    """The local addresses and ports on which something listens, in the kernel's hexadecimal."""
    lines = []
    for name in ("tcp", "tcp6"):
        with open(f"/proc/net/{name}") as table:
            lines += [line.split() for line in table.readlines()[1:]]
    return {local for _, local, _, state, *_ in lines if state == "0A"}


def test_who_may_ask(services):
    """401 without a password and with a wrong one, 403 for a foreign Host header, else 200."""
    env = services.env
    address, user = env["MLFLOW_TRACKING_URI"], env["MLFLOW_TRACKING_USERNAME"]
    password = env["MLFLOW_TRACKING_PASSWORD"]
    assert status(address) == 401
    assert status(address, user, "wrong-password") == 401
    assert status(address, user, password, host="evil.example") == 403
    assert status(address, user, password) == 200


def test_the_bucket_asks_who_you_are(on_services, monkeypatch):
    """Without the key, or with a wrong one, nobody reads the bucket."""
    import boto3
    from botocore.exceptions import ClientError

    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(on_services.env["AWS_ENDPOINT_URL"] + "/mlflow", timeout=60)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        boto3.Session().client("s3").list_objects(Bucket="mlflow")


def test_only_this_machine_reaches_them(services):
    """Each port is open on 127.0.0.1 and on no other address."""
    ports = [int(line.rsplit(":", 1)[1].split()[0]) for line in services.status().splitlines()[:3]]
    for port in ports:
        on_port = {name for name in listening_addresses() if name.endswith(f":{port:04X}")}
        assert on_port == {f"0100007F:{port:04X}"}


def test_passwords_are_the_owners(services):
    """Only their owner enters the folder and reads files with a password; no process shows one."""
    assert stat.S_IMODE(services.folder.stat().st_mode) == 0o700
    secrets = [value for name, value in services.env.items() if "PASSWORD" in name or "KEY" in name]
    for path in services.folder.iterdir():
        if path.is_file() and any(secret in path.read_text() for secret in secrets):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    arguments = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True).stdout
    assert not [secret for secret in secrets if secret in arguments]
    assert not [secret for secret in secrets if secret in services.logs()]


def test_a_restart_keeps_everything(on_services):
    """After `down` and `up` the addresses, passwords, runs and objects are those of before; a
    second `up` starts nothing.
    """
    import boto3
    import mlflow

    services, env = on_services, on_services.env
    mlflow.set_tracking_uri(env["MLFLOW_TRACKING_URI"])
    mlflow.set_experiment("kept")
    with mlflow.start_run() as run:
        mlflow.log_text("kept", "note.txt")
    boto3.Session().client("s3").put_object(Bucket="dvc", Key="kept/note.txt", Body=b"kept")

    services.down()
    assert "not running" in services.status()
    services.up()
    before = services.status()
    services.up()
    assert services.status() == before and services.env == env
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/note.txt") == "kept"
    found = (
        boto3.Session().client("s3").get_object(Bucket="dvc", Key="kept/note.txt")["Body"].read()
    )
    assert found == b"kept"


def test_down_ends_only_what_up_started(services, tmp_path):
    """A process that has got the number of a service that ended is left alone."""
    other = subprocess.Popen(["sleep", "600"])
    noted = services.folder / "bucket.json"
    services.down("bucket")
    text = noted.read_text()
    number = text.split(":")[1].split(",")[0].strip()
    noted.write_text(text.replace(number, str(other.pid)))
    services.down("bucket")
    assert other.poll() is None
    other.kill()
    other.wait()
    services.up("bucket")


@pytest.mark.parametrize("name", ["postgresql", "bucket", "mlflow"])
def test_a_killed_service_comes_back(services, name):
    """`up` after kill -9 of a service starts it again."""
    os.kill(services.process(name), signal.SIGKILL)
    services.up()
    env = services.env
    user, password = env["MLFLOW_TRACKING_USERNAME"], env["MLFLOW_TRACKING_PASSWORD"]
    assert status(env["MLFLOW_TRACKING_URI"], user, password) == 200


def test_a_taken_port_is_named(services):
    """`up` says which port another program took, and starts nothing there."""
    services.down("bucket")
    port = int(services.env["AWS_ENDPOINT_URL"].rsplit(":", 1)[1])
    with socket.create_server(("127.0.0.1", port)):
        refused = services.command("up")
    assert refused.returncode == 1
    assert f"error: port {port}, which is bucket's, is taken by another program" in refused.stderr
    services.up()
