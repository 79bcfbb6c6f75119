"""Is a rebuilt model the recorded one, and if not, what is to blame? Pure: a recipe and what was
found in, verdict out.

The chain is raw data, contract, splits, model, metrics: each is made from those before it, so the
first that differs is where to look. Code, parameters and environment act on the whole chain.
"""

from collections.abc import Callable
from dataclasses import dataclass

from churn import paths
from churn.forensics.recipe import Recipe
from churn.modeling.metrics import COMPARED_METRICS
from churn.params import parameters_digest


@dataclass(frozen=True)
class Rebuilt:
    """What was found in a rebuilt workspace: `deps` and `outs` are {path: md5} ("missing" for a
    file that is not there), `machine` is lineage.environment() of the interpreter that ran it.
    """

    deps: dict[str, str]
    data_md5: str
    lock_md5: str
    machine: dict[str, str]
    outs: dict[str, str]
    metrics: dict[str, float]


@dataclass(frozen=True)
class Row:
    part: str  # code, data, params, environment, or a place in the chain
    what: str
    recorded: str
    rebuilt: str

    @property
    def same(self) -> bool:
        return self.recorded == self.rebuilt


@dataclass(frozen=True)
class Verdict:
    """`artifact` is the first of the chain that differs, "" when none does; `blame` is code, data,
    params, randomness, environment, or record: the tags themselves are wrong.
    """

    artifact: str
    blame: str
    why: str

    @property
    def identical(self) -> bool:
        return not self.artifact

    @property
    def tag(self) -> str:
        return "identical" if self.identical else f"differs: {self.artifact} ({self.blame})"

    def __str__(self) -> str:
        if self.identical:
            return "identical: data, splits, model and metrics are those that were recorded"
        return f"differs: the first that differs is {self.artifact}. To blame: {self.blame}. {self.why}"


def compare_chain(recipe: Recipe, rebuilt: Rebuilt) -> list[Row]:
    """The artifacts in the order in which they are made, the metrics digit by digit."""
    schema = str(paths.SCHEMA)
    rows = [Row("data", str(paths.RAW), recipe.data_md5, rebuilt.data_md5)]
    rows += [Row("data", schema, recipe.schema_md5, rebuilt.deps.get(schema, "missing"))]
    for path, digest in recipe.outs.items():
        rows.append(
            Row("model" if path == str(paths.MODEL) else "split", path, digest, rebuilt.outs[path])
        )
    for name, value in recipe.metrics.items():
        rows.append(Row("metric", name, repr(value), repr(rebuilt.metrics.get(name))))
    return rows


def compare_causes(recipe: Recipe, rebuilt: Rebuilt) -> list[Row]:
    """Code, parameters and environment: what else must be as it was for the chain to be as it was."""
    rows = [Row("code", "commit", recipe.commit[:8], recipe.commit[:8])]
    if recipe.patch is None:
        rows.append(Row("code", "its patch", "yes", "lost"))
    elif recipe.patch:
        rows.append(Row("code", "its patch", "applied", "applied"))
    code = {path: digest for path, digest in recipe.deps.items() if path != str(paths.SCHEMA)}
    changed = [path for path, digest in code.items() if rebuilt.deps.get(path) != digest]
    rows += [Row("code", path, code[path], rebuilt.deps.get(path, "missing")) for path in changed]
    count = f"{len(code)} files"
    rows += [Row("code", count, "as read", "as read")] if code and not changed else []
    rows.append(
        Row(
            "params",
            f"{len(recipe.params)} values",
            recipe.params_md5,
            parameters_digest(recipe.params),
        )
    )
    rows.append(Row("environment", "requirements.txt", recipe.lock_md5, rebuilt.lock_md5))
    names = {
        "environment": "packages",
        "python": "python",
        "platform": "platform",
        "processor": "processor",
    }
    for key, name in names.items():
        if key in recipe.machine:
            rows.append(Row("environment", name, recipe.machine[key], rebuilt.machine[key]))
    return rows


def find_verdict(recipe: Recipe, rebuilt: Rebuilt, again: Callable[[], Rebuilt]) -> Verdict:
    """Compare, and when something differs find the cause that explains it: first what is known to
    be another (code, contract, parameters, lock), then whether the code gives the same twice, then
    the machine, then the record.

    Args:
        again: rebuilds once more in the same workspace; called only when nothing else explains the
            difference.
    """
    artifacts = compare_chain(recipe, rebuilt)
    different = [row for row in artifacts if not row.same]
    if not different:
        return Verdict("", "", "")
    first = different[0]
    other = [row for row in compare_causes(recipe, rebuilt) if not row.same]
    changed = {
        part: [row for row in other if row.part == part]
        for part in ("code", "params", "environment")
    }

    def verdict(blame: str, why: str) -> Verdict:
        return Verdict(first.what, blame, why)

    if recipe.patch is None:
        return verdict(
            "code",
            f"The tree differed from commit {recipe.commit[:8]}, and its run does not hold the patch (any more)",
        )
    if changed["code"]:
        return verdict(
            "code",
            f"Not what the run read: {_differences(changed['code'])}; no commit and no patch holds it",
        )
    if changed["params"]:
        return verdict(
            "params",
            "The recorded values are not those of the tag params_md5: somebody changed them",
        )
    if first.part == "data":
        return verdict("data", f"{first.what} of this commit is not the one that was read")
    packages = [
        row for row in changed["environment"] if row.what in ("requirements.txt", "packages")
    ]
    if packages:
        return verdict("environment", f"Other packages: {_differences(packages)}")
    second = compare_chain(recipe, again())
    unstable = [a.what for a, b in zip(artifacts, second, strict=True) if a.rebuilt != b.rebuilt]
    if unstable:
        why = f"Two rebuilds here differ from each other in {unstable[0]}: the code draws numbers that no seed feeds"
        return verdict("randomness", why)
    if changed["environment"]:
        return verdict(
            "environment",
            f"Two rebuilds here agree, on another machine: {_differences(changed['environment'])}",
        )
    if recipe.metrics and all(row.part != "metric" for row in different):
        return verdict(
            "record",
            "Every metric is as recorded, to the last digit: the md5 in the tags was changed",
        )
    why = "Code, data, parameters and environment are those of the tags, and two rebuilds here agree: the tags are wrong"
    return verdict("record", why)


def _differences(rows: list[Row]) -> str:
    return "; ".join(
        f"{row.what} was {short_md5(row.recorded)}, is {short_md5(row.rebuilt)}" for row in rows
    )


def short_md5(text: str) -> str:
    """The first 8 digits of an md5; anything else as it is."""
    return text[:8] if len(text) == 32 and not set(text) - set("0123456789abcdef") else text


def verdict_table(rows: list[Row]) -> str:
    """Recorded beside rebuilt; of the metrics those that people compare, and those that differ."""
    shown = [
        row for row in rows if row.part != "metric" or row.what in COMPARED_METRICS or not row.same
    ]
    lines = [("", "", "recorded", "rebuilt", "")]
    lines += [
        (
            r.part,
            r.what,
            short_md5(r.recorded),
            short_md5(r.rebuilt),
            "same" if r.same else "DIFFERENT",
        )
        for r in shown
    ]
    if (hidden := len(rows) - len(shown)) > 0:
        lines.append(("metric", f"{hidden} others", "", "", "same"))
    # The name of a processor is long, and sets no width.
    widths = [max(len(line[i]) for line in lines if line[1] != "processor") for i in range(4)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=True)
        ).rstrip()
        for line in lines
    )
