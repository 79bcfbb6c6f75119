"""Many people at one MLflow server at the same moment, again and again; count what goes wrong.

    python benchmarks/faults.py [--rounds 10] [--people 10] [--store postgresql://...]

In each round everybody evaluates one new model at the same moment, each in a clone of their own,
and then promotes it or takes production back at the same moment. Afterwards every run has to be
FINISHED, the model one version, the tags `stage` what the aliases say, and the history what
happened to production. Without --store, the server keeps its runs in SQLite.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / part) for part in ("src", "tests")]

from conftest import Project, Server  # noqa: E402
from together import starter  # noqa: E402

NAME = "ChurnXGB"
MOVE = """
from churn.operations import promotion
store.connect()
move = promotion.Move(promotion.now(), *{move!r}, {{}})
promotion.make_move("ChurnXGB", move)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--people", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--store", help="a database for the server (default: a SQLite file)")
    options = parser.parse_args()

    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        clones = make_clones(Path(folder), options.people)
        first = clones[0]
        first.uri = options.store or first.uri
        server = Server.over(first, "--workers", "2")
        try:
            for clone in clones:
                clone.uri = server.address
            with starter(server.address, first.folder) as call:
                for number in range(options.rounds):
                    count_round(call, clones, number, counts)
                    print(f"round {number + 1}: {dict(counts)}", flush=True)
        finally:
            server.stop()


def make_clones(folder: Path, people: int) -> list[Project]:
    """Clones of one project, after `dvc repro` with a quick model."""
    first = Project.clone(folder / "0", tiny=True)
    first.out("dvc", "repro")
    first.commit("tiny")
    return [first, *(first.copy(folder / str(number)) for number in range(1, people))]


def count_round(call, clones: list[Project], number: int, counts: Counter[str]) -> None:
    """One round: evaluate at once, move production at once, and count what is wrong."""
    import mlflow

    from churn.operations import promotion

    first = clones[0]
    mlflow.set_tracking_uri(first.uri)
    for clone in clones:  # other code that scores is another version
        with (clone.folder / "src/churn/modeling/scoring.py").open("a") as code:
            code.write(f"# round {number}\n")
    start = time.monotonic()
    codes, said = call(*((clone.folder, ["evaluate.py"], "evaluate.main()") for clone in clones))
    counts["seconds of evaluations"] += round(time.monotonic() - start)
    counts["evaluations"] += len(codes)
    for code, text in zip(codes, said, strict=True):
        if code:
            counts["evaluations that failed"] += 1
            print(text[-600:])
    check_registry(first, counts)

    old, new = first.alias("production"), first.alias("staging")
    before = len(promotion.history(NAME)) if old else 0
    promote = MOVE.format(move=("promote", "Ada", "x", old, new))
    back = promotion.previous(promotion.history(NAME), old) if old else None
    roll_back = MOVE.format(move=("rollback", "Bob", "y", old, back))
    pieces = []
    for position, clone in enumerate(clones):
        code = roll_back if position % 2 and back else promote
        pieces.append((clone.folder, [""], code))
    codes, said = call(*pieces)
    counts["moves"] += len(codes)
    counts["moves that happened"] += codes.count(0)
    history = promotion.history(NAME)
    if len(history) - before != codes.count(0) or codes.count(0) > 1:
        counts["moves: history is wrong"] += 1
    for code, text in zip(codes, said, strict=True):
        if code and not any(words in text for words in ("is under way", "since you were asked")):
            counts["moves: refused for no reason"] += 1
            print(text[-600:])
    if promotion.pending(NAME):
        counts["moves left pending"] += 1
    check_registry(first, counts)


def check_registry(project: Project, counts: Counter[str]) -> None:
    """Count versions that come twice, stages that contradict the aliases, and open runs."""
    versions = project.versions()
    keys = Counter(
        (v.tags["model_md5"], v.tags["scoring_md5"], v.tags["threshold"]) for v in versions
    )
    for key, times in keys.items():
        if times > 1:
            doubled = [v.version for v in versions if v.tags["scoring_md5"] == key[1]]
            print("doubled:", doubled)
            counts["versions doubled"] += 1
    for stage in ("Staging", "Production"):
        named = project.alias(stage.lower())
        tagged = [v.version for v in versions if v.tags.get("stage") == stage]
        deprecated = [v.version for v in versions if v.current_stage == stage]
        for kind, found in (("tag", tagged), ("MLflow's stage", deprecated)):
            if [str(number) for number in found] != ([named] if named else []):
                print(kind, stage, found, named)
                counts[f"wrong {kind}"] += 1
    statuses = {run.info.status for run in project.runs("train") + project.runs("evaluate")}
    counts["states with open runs"] += statuses != {"FINISHED"}


if __name__ == "__main__":
    main()
