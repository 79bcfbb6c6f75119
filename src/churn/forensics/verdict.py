"""Decide whether a rebuilt model is the recorded one and, if not, what is to blame.

Pure: a recipe and what was found in the rebuilt workspace go in, a verdict comes out.

The chain is raw data, contract, splits, model, metrics: each is made from those before it, so the
first that differs is where to look. Code, parameters and environment act on the whole chain.
"""

from collections.abc import Callable
from dataclasses import dataclass

from churn import paths
from churn.forensics.recipe import Recipe
from churn.modeling.metrics import COMPARED_METRICS
from churn.params import parameters_digest

SCHEMA, RAW, MODEL = str(paths.SCHEMA), str(paths.RAW), str(paths.MODEL)
MISSING = "missing"  # in place of the md5 of a file that is not there
MACHINE_NAMES = {
    "environment": "packages",
    "python": "python",
    "platform": "platform",
    "processor": "processor",
}
PACKAGES = ("requirements.txt", "packages")
HEXADECIMAL = set("0123456789abcdef")


@dataclass(frozen=True)
class Rebuilt:
    """What was found in a rebuilt workspace."""

    deps: dict[str, str]  # {path: md5, or MISSING}
    data_md5: str
    lock_md5: str
    machine: dict[str, str]  # environment_tags() of the Python that ran it
    outs: dict[str, str]  # {path: md5}
    metrics: dict[str, float]


@dataclass(frozen=True)
class Row:
    """One thing that is compared."""

    part: str  # code, data, params, environment, split, model or metric
    name: str
    recorded: str
    rebuilt: str

    @property
    def same(self) -> bool:
        """Whether it is as it was recorded."""
        return self.recorded == self.rebuilt


@dataclass(frozen=True)
class Verdict:
    """The first of the chain that differs, and why; nothing of it if the model is identical."""

    artifact: str = ""
    blame: str = ""  # code, data, params, environment, randomness, or record: the tags are wrong
    reason: str = ""

    @property
    def identical(self) -> bool:
        """Whether the rebuilt model is the recorded one."""
        return not self.artifact

    @property
    def tag(self) -> str:
        """The verdict as a tag of the version."""
        return "identical" if self.identical else f"differs: {self.artifact} ({self.blame})"

    def __str__(self) -> str:
        if self.identical:
            return "identical: data, splits, model and metrics are those that were recorded"
        first = f"differs: the first that differs is {self.artifact}"
        return f"{first}. To blame: {self.blame}. {self.reason}"


def compare_chain(recipe: Recipe, rebuilt: Rebuilt) -> list[Row]:
    """Compare the artifacts in the order in which they are made, the metrics digit by digit."""
    rows = [
        Row("data", RAW, recipe.data_md5, rebuilt.data_md5),
        Row("data", SCHEMA, recipe.schema_md5, rebuilt.deps.get(SCHEMA, MISSING)),
    ]
    for path, recorded in recipe.outs.items():
        part = "model" if path == MODEL else "split"
        rows.append(Row(part, path, recorded, rebuilt.outs[path]))
    for name, value in recipe.metrics.items():
        rows.append(Row("metric", name, repr(value), repr(rebuilt.metrics.get(name))))
    return rows


def compare_causes(recipe: Recipe, rebuilt: Rebuilt) -> list[Row]:
    """Compare code, parameters and environment, which act on the whole chain."""
    rows = [Row("code", "commit", recipe.commit[:8], recipe.commit[:8])]
    if recipe.patch is None:
        rows.append(Row("code", "its patch", "yes", "lost"))
    elif recipe.patch:
        rows.append(Row("code", "its patch", "applied", "applied"))
    rows += _compare_code(recipe, rebuilt)

    count = f"{len(recipe.params)} values"
    rows.append(Row("params", count, recipe.params_md5, parameters_digest(recipe.params)))
    rows.append(Row("environment", "requirements.txt", recipe.lock_md5, rebuilt.lock_md5))
    for key, name in MACHINE_NAMES.items():
        if key in recipe.machine:
            rows.append(Row("environment", name, recipe.machine[key], rebuilt.machine[key]))
    return rows


def _compare_code(recipe: Recipe, rebuilt: Rebuilt) -> list[Row]:
    """One row per file that differs; one row for all of them if none does."""
    code = {path: digest for path, digest in recipe.deps.items() if path != SCHEMA}
    rows = []
    for path, recorded in code.items():
        found = rebuilt.deps.get(path)
        if found != recorded:
            rows.append(Row("code", path, recorded, found or MISSING))
    if code and not rows:
        rows.append(Row("code", f"{len(code)} files", "as read", "as read"))
    return rows


def find_verdict(recipe: Recipe, rebuilt: Rebuilt, rebuild_again: Callable[[], Rebuilt]) -> Verdict:
    """Compare, and find what explains a difference.

    First comes what is known to be different (code, parameters, contract, packages), then whether
    the code gives the same twice, then the machine, then the record itself.

    Args:
        rebuild_again: rebuilds once more in the same workspace; called only if nothing that is
            known to be different explains the difference.
    """
    chain = compare_chain(recipe, rebuilt)
    different = [row for row in chain if not row.same]
    if not different:
        return Verdict()
    first = different[0]
    blame, reason = _known_difference(recipe, rebuilt, first)
    if not blame:
        second = compare_chain(recipe, rebuild_again())
        blame, reason = _remaining_difference(recipe, rebuilt, chain, second)
    return Verdict(first.name, blame, reason)


def _known_difference(recipe: Recipe, rebuilt: Rebuilt, first: Row) -> tuple[str, str]:
    """What is to blame among the things that are known to be different, and why; or ("", "")."""
    if recipe.patch is None:
        return "code", (
            f"The tree differed from commit {recipe.commit[:8]}, and its run does not hold the "
            "patch (any more)"
        )
    causes = [row for row in compare_causes(recipe, rebuilt) if not row.same]
    code = [row for row in causes if row.part == "code"]
    if code:
        files = _describe(code)
        return "code", f"Not what the run read: {files}; no commit and no patch holds it"
    if any(row.part == "params" for row in causes):
        return "params", (
            "The recorded values are not those of the tag params_md5: somebody changed them"
        )
    if first.part == "data":
        return "data", f"{first.name} of this commit is not the one that was read"
    packages = [row for row in causes if row.name in PACKAGES]
    if packages:
        return "environment", f"Other packages: {_describe(packages)}"
    return "", ""


def _remaining_difference(
    recipe: Recipe, rebuilt: Rebuilt, chain: list[Row], second: list[Row]
) -> tuple[str, str]:
    """What is to blame where all that is known is as recorded, and why.

    Args:
        chain: of `compare_chain`, of the first rebuild.
        second: the same of another rebuild in the same workspace.
    """
    for row, other in zip(chain, second, strict=True):
        if row.rebuilt != other.rebuilt:
            return "randomness", (
                f"Two rebuilds here differ from each other in {row.name}: the code draws numbers "
                "that no seed feeds"
            )
    causes = compare_causes(recipe, rebuilt)
    machine = [row for row in causes if row.part == "environment" and not row.same]
    if machine:
        return "environment", (f"Two rebuilds here agree, on another machine: {_describe(machine)}")
    has_changed_metric = any(row.part == "metric" and not row.same for row in chain)
    if recipe.metrics and not has_changed_metric:
        return "record", (
            "Every metric is as recorded, to the last digit: the md5 in the tags was changed"
        )
    return "record", (
        "Code, data, parameters and environment are those of the tags, and two rebuilds here "
        "agree: the tags are wrong"
    )


def verdict_table(rows: list[Row]) -> str:
    """Recorded values beside rebuilt ones; of the metrics, those that people compare or that
    differ.
    """
    shown = []
    for row in rows:
        if row.part != "metric" or row.name in COMPARED_METRICS or not row.same:
            shown.append(row)

    lines = [("", "", "recorded", "rebuilt", "")]
    for row in shown:
        result = "same" if row.same else "DIFFERENT"
        lines.append((row.part, row.name, _short(row.recorded), _short(row.rebuilt), result))
    hidden = len(rows) - len(shown)
    if hidden:
        lines.append(("metric", f"{hidden} others", "", "", "same"))

    # The name of a processor is long, and sets no width.
    measured = [line for line in lines if line[1] != "processor"]
    widths = []
    for column in zip(*measured, strict=True):
        widths.append(max(map(len, column)))
    widths[-1] = 0  # nothing stands behind the last column
    padded = []
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        padded.append("  ".join(cells).rstrip())
    return "\n".join(padded)


def _describe(rows: list[Row]) -> str:
    texts = []
    for row in rows:
        texts.append(f"{row.name} was {_short(row.recorded)}, is {_short(row.rebuilt)}")
    return "; ".join(texts)


def _short(text: str) -> str:
    """The first 8 digits of an md5; anything else as it is."""
    is_md5 = len(text) == 32 and not set(text) - HEXADECIMAL
    return text[:8] if is_md5 else text
