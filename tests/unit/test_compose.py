"""deploy/compose.yaml as far as it can be looked at without a container engine."""

import re
from pathlib import Path

import service_settings

from churn.files import read_yaml
from conftest import ROOT

COMPOSE = ROOT / "deploy/compose.yaml"
VARIABLE = re.compile(r"(?<!\$)\$\{?(\w+)([^}]*)")
OPTIONAL = {"LISTEN_ADDRESS"}  # which has a default


def example() -> dict[str, str]:
    """The variables of .env.example."""
    text = (ROOT / "deploy/.env.example").read_text()
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.M))


def test_every_variable_is_in_the_example():
    """Those that compose.yaml reads are those of .env.example, and no others."""
    lines = [line.partition(" #")[0] for line in COMPOSE.read_text().splitlines()]
    used = {name for name, _ in VARIABLE.findall("\n".join(lines))}
    assert used == set(example())


def test_there_is_no_default_password():
    """Each variable refuses to be empty, and is empty in the example: nothing starts by itself."""
    for name, rest in VARIABLE.findall(COMPOSE.read_text()):
        assert rest.startswith(":-" if name in OPTIONAL else ":?set it in deploy/.env"), name
    assert {name for name, value in example().items() if value} == OPTIONAL


def test_the_server_is_told_what_the_tests_tell_it():
    """MLflow's server has the settings of `make team-up`, which the tests of tests/team run; those
    that name no address and no password are equal.
    """
    services = read_yaml(COMPOSE)["services"]
    settings = dict.fromkeys(service_settings.PASSWORDS, "x")
    settings |= {f"{name}_port": "1" for name in service_settings.SERVICES}
    tested = service_settings.mlflow_environment(Path("/folder"), settings)
    written = services["mlflow"]["environment"]
    assert written.keys() == tested.keys()
    for name in ("MLFLOW_ARTIFACTS_DESTINATION", "AWS_DEFAULT_REGION", "MLFLOW_DISABLE_TELEMETRY"):
        assert written[name] == tested[name]
    assert written["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert "--app-name basic-auth" in services["mlflow"]["command"][2]


def test_services_are_checked_pinned_and_kept():
    """Each has a health check; images have a tag; what must not be lost is in a volume; ports are
    open on this machine alone unless somebody says otherwise.
    """
    content = read_yaml(COMPOSE)
    services = content["services"]
    kept = set()
    for name, service in services.items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert "build" in service or re.search(r":\d[\w.-]*$", service["image"]), name
        kept |= {volume.split(":")[0] for volume in service.get("volumes", [])}
        for port in service.get("ports", []):
            assert port.startswith("${LISTEN_ADDRESS:-127.0.0.1}:"), name
    assert kept == set(content["volumes"]) == {"database", "buckets"}
    assert "ports" not in services["postgresql"]


def test_the_dockerfile_copies_what_exists():
    """And the image's programs do not run as root."""
    text = (ROOT / "deploy/Containerfile").read_text()
    for source in re.findall(r"^COPY (\S+) ", text, re.M):
        assert (ROOT / source).exists(), source
    assert re.search(r"^USER (?!root)\w+$", text, re.M)
    assert re.search(r"^FROM \S+:\d", text, re.M)
