"""What is different between two models, in short, for a report that runs nothing."""

from contextlib import ExitStack

from churn.errors import UserError
from churn.forensics import difference, explanation, workspace
from churn.forensics.resolve import resolve_recipe
from churn.forensics.snapshot import read_snapshot


def summarize_differences(a: str, b: str) -> str:
    """What `why.py A B` says without --attribute, or why it cannot say it.

    Args:
        a: a model by any name that why.py takes.
        b: the same.
    """
    try:
        with ExitStack() as stack:
            snapshots = []
            for name in (a, b):
                recipe = resolve_recipe(name)
                folder = stack.enter_context(workspace.checkout(recipe))
                snapshots.append(read_snapshot(recipe, folder))
            difference.check_different(*snapshots)
            return explanation.differences_text(*snapshots)
    except UserError as error:
        return str(error)
