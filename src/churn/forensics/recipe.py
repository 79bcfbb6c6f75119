"""A recipe: everything that a model was made of."""

from dataclasses import dataclass, field

from churn import paths


@dataclass(frozen=True)
class Recipe:
    """Everything that a model was made of, as it was recorded, and what came of it."""

    name: str  # as the user called it
    label: str  # for tables: "version 3", "HEAD~3 (1a2b3c4)"
    commit: str
    patch: str | None  # how the code differed from the commit: "" not at all; None if that is lost
    data_md5: str
    schema_md5: str
    params: dict[str, object]  # by dotted name, with the seed
    params_md5: str  # parameters_digest of them, as it was recorded
    lock_md5: str  # of requirements.txt
    outs: dict[str, str]  # {path: md5} of the splits and the model
    metrics: dict[str, float]
    deps: dict[str, str] = field(default_factory=dict)  # {path: md5} of code and contract
    machine: dict[str, str] = field(default_factory=dict)  # packages, Python and computer
    model: str | None = None  # the name in the registry
    version: str | None = None
    run_id: str | None = None


def code_and_contract(md5s: dict[str, str]) -> dict[str, str]:
    """Of the md5s of files, those of the code and the contract."""
    kept = {}
    for path, digest in md5s.items():
        if path == str(paths.SCHEMA) or path.startswith("src/"):
            kept[path] = digest
    return kept
