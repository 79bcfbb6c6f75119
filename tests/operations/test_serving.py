"""The production model over real HTTP: the right answer, or a 4xx that says what is wrong; never a
wrong number.
"""

import http.client
import json
import re
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
from served import CSV, JSON, PARQUET, members, started

from conftest import ROOT, Project, free_port

pytestmark = pytest.mark.sample


@pytest.fixture(scope="module")
def project(tiny_pipeline, tmp_path_factory) -> Project:
    """A quick model, which a person has put into production."""
    project = tiny_pipeline.copy(tmp_path_factory.mktemp("serving"))
    project.use_environment()
    project.client.set_registered_model_alias("ChurnXGB", "production", "1")
    return project


@pytest.fixture(scope="module")
def server(project):
    """What `make serve` starts."""
    with started(project, "make", "serve", "PORT=<port>") as server:
        yield server


@pytest.fixture(scope="module")
def customers(project) -> pd.DataFrame:
    """The test split as a caller has it: without id and target."""
    return pd.read_parquet(project.folder / "data/prepared/test.parquet").drop(
        columns=["customer_id", "churn"]
    )


def expected(project: Project, rows: pd.DataFrame, version: str = "1") -> list[float]:
    """What the registered model, loaded in this process, says of the rows."""
    import mlflow

    from churn.tracking import model_loading, registered_versions

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", project.uri)
        mlflow.set_tracking_uri(project.uri)  # which sets the environment too
        predictor = model_loading.load_predictor(
            registered_versions.version_by_number("ChurnXGB", version)
        )
        return predictor.predict(rows)["churn_probability"].tolist()


# How a caller can write rows (a list of {column: value}).


def records(rows: list[dict]) -> str:
    return json.dumps({"dataframe_records": rows})


def table(rows: list[dict], **changed) -> str:
    content = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
    return json.dumps({"dataframe_split": content | changed})


def columns(rows: list[dict], key: str = "inputs") -> str:
    return json.dumps({key: {name: [row[name] for row in rows] for name in rows[0]}})


def csv(rows: list[dict]) -> str:
    return pd.DataFrame(rows).to_csv(index=False)


def parquet(rows: list[dict]) -> bytes:
    frame = pd.DataFrame(rows)
    return frame.astype(dict.fromkeys(frame.select_dtypes("number"), "float64")).to_parquet()


FORMATS = {
    "dataframe_split": (table, JSON),
    "dataframe_records": (records, JSON),
    "inputs by column": (columns, JSON),
    "inputs by row": (lambda rows: json.dumps({"inputs": rows}), JSON),
    "instances by column": (lambda rows: columns(rows, "instances"), JSON),
    "instances by row": (lambda rows: json.dumps({"instances": rows}), JSON),
    "csv": (csv, CSV),
    "parquet": (parquet, PARQUET),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_models_own_probabilities(server, project, customers, name):
    """All customers of the test split, in each format that MLflow accepts: not one digit
    differs.
    """
    write, content_type = FORMATS[name]
    rows = json.loads(customers.to_json(orient="records", double_precision=15))
    if name.startswith(
        ("inputs", "instances")
    ):  # np.array, which MLflow makes of these, turns null into a number
        assert not customers.drop(columns="total_charges").isna().any().any()
    assert server.probabilities(write(rows), content_type) == expected(project, customers)


def test_50_000_rows_in_one_request(server, project, customers):
    """Right to the last row and in order; both columns of the answer are there."""
    many = pd.concat([customers] * 35, ignore_index=True).head(50_000)
    status, answer, _ = server.ask(
        table(json.loads(many.to_json(orient="records", double_precision=15)))
    )
    assert status == 200 and len(answer["predictions"]) == 50_000
    assert [row["churn_probability"] for row in answer["predictions"]] == expected(project, many)
    assert {type(row["churn"]) for row in answer["predictions"]} == {bool}


# Three real customers; a test changes one cell of the second, or the text of the request.
ROWS = [
    {
        "female": 1,
        "senior_citizen": 0,
        "partner": 1,
        "dependents": 0,
        "tenure": tenure,
        "phone_service": 1,
        "multiple_lines": "No",
        "internet_service": "DSL",
        "online_security": "No",
        "online_backup": "Yes",
        "device_protection": "No",
        "tech_support": "No",
        "streaming_tv": "No",
        "streaming_movies": "No",
        "contract": contract,
        "paperless_billing": 1,
        "payment_method": "Electronic check",
        "monthly_charges": charge,
        "total_charges": round(tenure * charge, 2),
    }
    for tenure, contract, charge in (
        (1, "Month-to-month", 70.05),
        (30, "One year", 55.3),
        (68, "Two year", 90.1),
    )
]


def with_cell(**cells) -> list[dict]:
    """ROWS with other cells in the second row."""
    return [ROWS[0], ROWS[1] | cells, ROWS[2]]


def without(name: str, rows=ROWS) -> list[dict]:
    return [{key: value for key, value in row.items() if key != name} for row in rows]


def literal(column: str, text: str) -> str:
    """A request whose second row has this very text, no JSON of Python's, in a cell."""
    return records(with_cell(**{column: "@"})).replace('"@"', text)


NAMES = list(ROWS[0])
CELLS = [list(row.values()) for row in ROWS]

# What is wrong: (request, content type, status, what the message says).
BAD = {
    "missing column": (records(without("tenure")), JSON, 400, "Model is missing inputs ['tenure']"),
    "missing column, split": (
        table(without("contract")),
        JSON,
        400,
        "Model is missing inputs ['contract']",
    ),
    "missing column, csv": (csv(without("tenure")), CSV, 400, "Model is missing inputs ['tenure']"),
    "missing in one row": (
        records([ROWS[0], *without("tenure", [ROWS[1]])]),
        JSON,
        400,
        "column tenure: null where none is allowed",
    ),
    "other case of a name": (
        records([{("Tenure" if k == "tenure" else k): v for k, v in r.items()} for r in ROWS]),
        JSON,
        400,
        "inputs ['tenure']",
    ),
    "no column names": (table(ROWS, columns=None), JSON, 400, "Model is missing inputs ['female'"),
    "text in a number": (
        records(with_cell(tenure="twelve")),
        JSON,
        400,
        "column tenure to type 'float64'",
    ),
    "text in a number, split": (
        table(with_cell(tenure="twelve")),
        JSON,
        400,
        "column tenure to type 'float64'",
    ),
    # MLflow's parser of `inputs`, `instances` and CSV names the value only.
    "text in a number, inputs": (columns(with_cell(tenure="twelve")), JSON, 400, "'twelve'"),
    "text in a number, instances": (
        columns(with_cell(tenure="twelve"), "instances"),
        JSON,
        400,
        "'twelve'",
    ),
    "text in a number, csv": (csv(with_cell(tenure="twelve")), CSV, 400, "'twelve'"),
    "empty text in a number": (
        records(with_cell(tenure="")),
        JSON,
        400,
        "column tenure to type 'float64'",
    ),
    "decimal comma": (
        records(with_cell(monthly_charges="55,3")),
        JSON,
        400,
        "column monthly_charges",
    ),
    "unknown category": (
        records(with_cell(contract="Three year")),
        JSON,
        400,
        "column contract: 'Three year' is not one of Month-to-month, One year, Two year",
    ),
    "unknown category, inputs": (
        columns(with_cell(contract="Three year")),
        JSON,
        400,
        "column contract: 'Three",
    ),
    "unknown category, csv": (
        csv(with_cell(contract="Three year")),
        CSV,
        400,
        "column contract: 'Three year'",
    ),
    "category with a space": (
        records(with_cell(contract="One year ")),
        JSON,
        400,
        "column contract: 'One year '",
    ),
    "category in small letters": (
        records(with_cell(contract="one year")),
        JSON,
        400,
        "column contract: 'one year'",
    ),
    "number in a text": (
        records(with_cell(contract=12)),
        JSON,
        400,
        "column contract: 12 is not one of",
    ),
    "true in a text": (
        records(with_cell(contract=True)),
        JSON,
        400,
        "column contract: True is not one of",
    ),
    "null text": (
        records(with_cell(contract=None)),
        JSON,
        400,
        "column contract: null where none is allowed",
    ),
    "null text, inputs": (
        columns(with_cell(contract=None)),
        JSON,
        400,
        "column contract: 'None' is not one of",
    ),
    "null text, csv": (
        csv(with_cell(contract=None)),
        CSV,
        400,
        "column contract: null where none is allowed",
    ),
    "null number": (
        records(with_cell(tenure=None)),
        JSON,
        400,
        "column tenure: null where none is allowed",
    ),
    "null number, inputs": (
        columns(with_cell(tenure=None)),
        JSON,
        400,
        "column tenure: null where none is allowed",
    ),
    "null number, csv": (
        csv(with_cell(tenure=None)),
        CSV,
        400,
        "column tenure: null where none is allowed",
    ),
    "NaN": (literal("tenure", "NaN"), JSON, 400, "column tenure: null where none is allowed"),
    "NaN as text": (
        records(with_cell(tenure="nan")),
        JSON,
        400,
        "column tenure: null where none is allowed",
    ),
    "Infinity": (literal("tenure", "Infinity"), JSON, 400, "column tenure: inf is too large"),
    "-Infinity": (
        literal("total_charges", "-Infinity"),
        JSON,
        400,
        "column total_charges: -inf is too large",
    ),
    "infinity, csv": (csv(with_cell(tenure=np.inf)), CSV, 400, "column tenure: inf is too large"),
    "infinity as text": (
        records(with_cell(total_charges="inf")),
        JSON,
        400,
        "column total_charges: inf is too large",
    ),
    "1e999": (literal("tenure", "1e999"), JSON, 400, "column tenure: inf is too large"),
    "1e39, no single precision": (
        literal("monthly_charges", "1e39"),
        JSON,
        400,
        "column monthly_charges: 1e+39 is",
    ),
    "401 digits": (
        literal("tenure", "1" + "0" * 400),
        JSON,
        400,
        "column tenure to type 'float64'",
    ),
    "below its range": (
        records(with_cell(tenure=-1)),
        JSON,
        400,
        "column tenure: -1.0 is not in the range 0 to 120",
    ),
    "above its range": (
        records(with_cell(tenure=121)),
        JSON,
        400,
        "column tenure: 121.0 is not in the range 0 to 120",
    ),
    "part of a month": (
        records(with_cell(tenure=1.5)),
        JSON,
        400,
        "column tenure: 1.5 is not a whole number",
    ),
    "2 where 0 or 1 belongs": (
        records(with_cell(female=2)),
        JSON,
        400,
        "column female: 2.0 is not one of 0, 1",
    ),
    "list in a number": (
        records(with_cell(tenure=[30])),
        JSON,
        400,
        "column tenure to type 'float64'",
    ),
    "object in a number": (
        records(with_cell(tenure={"months": 30})),
        JSON,
        400,
        "column tenure to type 'float64'",
    ),
    "list in a text": (
        records(with_cell(contract=["One year"])),
        JSON,
        400,
        "column contract: a list or an object",
    ),
    "object in a text": (
        records(with_cell(contract={"a": 1})),
        JSON,
        400,
        "column contract: a list or an object",
    ),
    "list in a text, inputs": (
        columns(with_cell(contract=["One year"])),
        JSON,
        400,
        "inhomogeneous shape",
    ),
    "object in a text, inputs": (
        columns(with_cell(contract={"a": 1})),
        JSON,
        400,
        "column contract: ",
    ),
    "a number's column twice": (
        table(ROWS, columns=[*NAMES, "tenure"], data=[[*cells, 5] for cells in CELLS]),
        JSON,
        400,
        "'DataFrame' object has no attribute 'dtype'",  # MLflow's words
    ),
    "a text's column twice": (
        table(ROWS, columns=[*NAMES, "contract"], data=[[*cells, "One year"] for cells in CELLS]),
        JSON,
        400,
        "column contract",
    ),
    "a row too short": (
        table(ROWS, data=[CELLS[0], CELLS[1][:-2], CELLS[2]]),
        JSON,
        400,
        "column monthly_charges: null",
    ),
    "all rows too short": (
        table(ROWS, data=[cells[:-1] for cells in CELLS]),
        JSON,
        400,
        "passed data had 18 columns",
    ),
    "a row too long": (
        table(ROWS, data=[CELLS[0], [*CELLS[1], 1]]),
        JSON,
        400,
        "passed data had 20 columns",
    ),
    "a row too long, csv": (
        csv(ROWS).rstrip("\n") + ",1\n",
        CSV,
        400,
        "Expected 19 fields in line 4, saw 20",
    ),
    "all rows too long, csv": (
        re.sub(r"(?<=\d)\n", ",1\n", csv(ROWS)),
        CSV,
        400,
        "could not convert string to float",
    ),
    "columns of different lengths": (
        json.dumps(
            {
                "inputs": {
                    name: [0] if name == "tenure" else [row[name] for row in ROWS] for name in NAMES
                }
            }
        ),
        JSON,
        400,
        "must be of the same length",
    ),
    "index of another length": (
        table(ROWS, index=[1]),
        JSON,
        400,
        "does not match length of index",
    ),
    "csv with semicolons": (csv(ROWS).replace(",", ";"), CSV, 400, "Model is missing inputs"),
    "csv without its header": (csv(ROWS).split("\n", 1)[1], CSV, 400, "Model is missing inputs"),
    "csv with an open quote": ('"' + csv(ROWS), CSV, 400, "EOF inside string"),
    "no rows, records": (records([]), JSON, 400, "Model is missing inputs"),
    "no rows, inputs": ('{"inputs": []}', JSON, 400, "Model is missing inputs"),
    "no rows, instances": ('{"instances": []}', JSON, 400, "Model is missing inputs"),
    "a row without cells": (records([{}]), JSON, 400, "Model is missing inputs"),
    "null for rows": ('{"dataframe_records": null}', JSON, 400, "must be a list of records"),
    "an object for rows": ('{"dataframe_records": {}}', JSON, 400, "must be a list of records"),
    "numbers for rows": ('{"dataframe_records": [1, 2]}', JSON, 400, "Model is missing inputs"),
    "null for a row": ('{"dataframe_records": [null]}', JSON, 400, "Model is missing inputs"),
    "a list for a table": ('{"dataframe_split": []}', JSON, 400, "must be a dictionary"),
    "cells without names": (
        json.dumps({"inputs": CELLS}),
        JSON,
        400,
        "could not convert string to float",
    ),
    "empty body": ("", JSON, 400, "valid JSON"),
    "empty body, csv": ("", CSV, 400, "No columns to parse"),
    "empty body, parquet": ("", PARQUET, 400, "Parquet"),
    "broken JSON": (records(ROWS)[:-20], JSON, 400, "valid JSON"),
    "bytes that are no UTF-8": (b'{"dataframe_records": "\xff"}', JSON, 400, "valid JSON"),
    "CSV called JSON": (csv(ROWS), JSON, 400, "valid JSON"),
    "JSON called CSV": (records(ROWS), CSV, 400, "Model is missing inputs"),
    "noise called Parquet": (b"PAR1 noise PAR1", PARQUET, 400, "Parquet"),
    "a bare list": (json.dumps(ROWS), JSON, 400, "Received a list"),
    "a bare number": ("3", JSON, 400, "must be a JSON dictionary"),
    "a bare null": ("null", JSON, 400, "must be a JSON dictionary"),
    "an empty object": ("{}", JSON, 400, "must be a JSON dictionary"),
    "another key": (json.dumps({"rows": ROWS}), JSON, 400, "must be a JSON dictionary"),
    "two keys": (
        json.dumps({"inputs": ROWS, "dataframe_records": ROWS}),
        JSON,
        400,
        "must be a JSON dictionary",
    ),
    "a chat": (
        '{"messages": [{"role": "user", "content": "Will I stay?"}]}',
        JSON,
        400,
        "Model is missing inputs",
    ),
    "XML": ("<rows/>", "text/xml", 415, "only supports the following content types"),
    "a form": (
        records(ROWS),
        "application/x-www-form-urlencoded",
        415,
        "only supports the following content types",
    ),
    "another charset": (
        records(ROWS),
        "application/json; charset=latin-1",
        415,
        "only supports UTF-8",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(server, name):
    """4xx and why; what our own model refuses comes without a stack trace."""
    body, content_type, status, says = BAD[name]
    got, answer, _ = server.ask(body, content_type)
    assert got == status, answer
    assert says in (answer if isinstance(answer, str) else answer["message"])
    if re.match(r"column \w+: ", says):
        assert answer["error_code"] == "INVALID_PARAMETER_VALUE" and "stack_trace" not in answer


def test_a_bad_row_among_good_ones_refuses_them_all(server):
    """A request is answered whole or not at all, and the server goes on."""
    rows = ROWS * 1000
    assert server.ask(records([*rows, ROWS[1] | {"contract": "?"}]))[0] == 400
    assert len(server.probabilities(records(rows))) == 3000


# What MLflow's server makes of odd values before the model sees them: (request, content type, the
# rows it scores).
READ = {
    "number as text": (records(with_cell(tenure="12")), JSON, with_cell(tenure=12)),
    "true for 1": (records(with_cell(female=True)), JSON, with_cell(female=1)),
    "true for 1, anywhere": (records(with_cell(tenure=True)), JSON, with_cell(tenure=1)),
    "null where the contract allows it": (
        records(with_cell(total_charges=None)),
        JSON,
        with_cell(total_charges=None),
    ),
    "no such key, same": (
        [ROWS[0], *without("total_charges", [ROWS[1]])],
        JSON,
        [ROWS[0], with_cell(total_charges=None)[1]],
    ),
    "last cell absent, same": (
        table(ROWS, data=[CELLS[0], CELLS[1][:-1], CELLS[2]]),
        JSON,
        with_cell(total_charges=None),
    ),
    "NaN, same": (literal("total_charges", "NaN"), JSON, with_cell(total_charges=None)),
    "extra column": (records([row | {"shoe_size": 44} for row in ROWS]), JSON, ROWS),
    "extra column, csv with its index": (pd.DataFrame(ROWS).to_csv(), CSV, ROWS),
    "columns in another order": (
        records([dict(reversed(row.items())) for row in ROWS]),
        JSON,
        ROWS,
    ),
    "index of its own": (table(ROWS, index=[7, 7, 7]), JSON, ROWS),
    "the same key twice: the last": (
        records(ROWS).replace('"tenure": 30', '"tenure": 5, "tenure": 30'),
        JSON,
        ROWS,
    ),
    "the same csv column twice: the first": (
        pd.DataFrame(ROWS).assign(again=5).rename(columns={"again": "tenure"}).to_csv(index=False),
        CSV,
        ROWS,
    ),
    "one value for all rows, inputs": (
        json.dumps(
            {
                "inputs": {
                    name: 5 if name == "tenure" else [row[name] for row in ROWS] for name in NAMES
                }
            }
        ),
        JSON,
        [row | {"tenure": 5} for row in ROWS],
    ),
    "params, of which the model has none": (
        json.dumps({"inputs": ROWS, "params": {"threshold": 0.9}}),
        JSON,
        ROWS,
    ),
    "no rows, split": (table(ROWS, data=[]), JSON, []),
    "no rows, csv": (csv(ROWS).split("\n")[0] + "\n", CSV, []),
}


@pytest.mark.parametrize("name", READ)
def test_odd_values_are_read_as_documented(server, project, name):
    """The probabilities of the rows that docs/serving.md says are meant."""
    body, content_type, meant = READ[name]
    frame = pd.DataFrame(meant, columns=NAMES)
    frame = frame.astype({c: "float64" for c in NAMES if not isinstance(ROWS[0][c], str)})
    body = records(body) if isinstance(body, list) else body
    assert server.probabilities(body, content_type) == expected(project, frame)


def test_mlflows_own_faults(server):
    """The two requests that MLflow's server answers with 500, before it asks the model.

    When this fails, MLflow has mended them: take them out of docs/serving.md.
    """
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.putrequest("POST", "/invocations")
    connection.putheader("Content-Length", "2")
    connection.endheaders(b"{}")
    assert connection.getresponse().status == 500  # no content type at all
    deep = '{"inputs": ' + "[" * 100_000 + "]" * 100_000 + "}"
    assert server.ask(deep)[0] == 500
    assert server.probabilities(records(ROWS))  # it goes on


def test_every_response_names_the_version(server, project):
    """Good or bad, the headers say which version answered and the md5 of its model, which is
    dvc.lock's.
    """
    md5 = project.outs()["models/churn.ubj"]
    for headers in (
        server.ask(records(ROWS))[2],
        server.ask("")[2],
        dict(server.get("/version").headers),
    ):
        assert (headers["x-model-version"], headers["x-model-md5"]) == ("1", md5)


def test_the_documents_examples_run(server):
    """Each curl command of docs/serving.md, and the answer it shows."""
    page = (ROOT / "docs/serving.md").read_text()
    blocks = re.findall(
        r"^```shell\n(curl.*?)^```(?:\n+```(?:json|text)\n(.*?)^```)?", page, re.M | re.S
    )
    assert len(blocks) >= 4
    for block, answer in blocks:
        command = block.replace("127.0.0.1:5001", f"127.0.0.1:{server.port}")
        done = subprocess.run(["bash", "-euc", command], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        shape = re.sub(r"\d+", "N", answer.strip())  # a tiny model has other figures
        assert shape and shape in re.sub(r"\d+", "N", done.stdout.replace("\r", "")), done.stdout


def test_unknown_alias_taken_port(server, project):
    """One line each that says what there is."""
    result = project.run(
        "python", "src/serve.py", "--alias", "champion", "--port", str(free_port())
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: ChurnXGB has no alias 'champion'; it has ")
    assert "production (version 1)" in result.stderr
    result = project.run(
        "python", "src/serve.py", "--port", "0"
    )  # which MLflow would take for uvicorn's default
    assert (result.returncode, result.stderr) == (1, "error: port 0: must be 1 to 65535\n")
    result = project.run("python", "src/serve.py", "--port", str(server.port))
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"error: port {server.port}: Address already in use; choose another\n"


def test_no_model_at_all(tmp_path):
    """An empty store: what to do, and no server."""
    empty = Project.clone(tmp_path)
    result = empty.run("python", "src/serve.py", "--port", str(free_port()))
    assert result.returncode == 1
    assert (
        "the registry has no model ChurnXGB; `make repro` makes and registers one" in result.stderr
    )


def test_a_restarted_server_has_the_new_production_model(server, project, customers):
    """Another version is promoted: the running server stays what its headers say, one started by
    `mlflow run` answers with the new model, and `--alias` shows any other version.
    """
    project.set(**{"train.max_depth": 2})
    project.out("dvc", "repro")
    project.out("python", "src/promote.py", "--yes", "--reason", "shallower trees")
    project.client.set_registered_model_alias("ChurnXGB", "shadow", "1")
    body = table(json.loads(customers.to_json(orient="records", double_precision=15)))
    old, new = expected(project, customers, "1"), expected(project, customers, "2")
    assert old != new
    launcher = ["mlflow", "run", ".", "--env-manager", "local", "-e", "serve", "-P", "port=<port>"]
    with (
        started(project, *launcher, stop=signal.SIGINT) as production,
        started(
            project, "python", "src/serve.py", "--alias", "shadow", "--port", "<port>"
        ) as shadow,
    ):
        for running, version, probabilities in (
            (server, "1", old),
            (production, "2", new),
            (shadow, "1", old),
        ):
            assert running.probabilities(body) == probabilities
            assert running.ask(body)[2]["x-model-version"] == version


def test_a_killed_parent_leaves_no_worker(project):
    """SIGTERM to the one process that was started (as systemd or Docker sends it): the server
    behind it ends too.
    """
    with started(project, "python", "src/serve.py", "--port", "<port>") as server:
        server.process.terminate()
        server.process.wait(120)
        deadline = time.monotonic() + 120
        while members(server.process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert members(server.process.pid) == []
        with pytest.raises(OSError):
            server.get("/ping")
