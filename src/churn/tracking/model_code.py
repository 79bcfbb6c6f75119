"""Let a model be loaded with the code that it was logged with, not with the workspace's.

MLflow puts a model's code first on sys.path. Python looks a package up there only if it has not
imported one of that name, and this process has imported `churn`. Without this module, every version
would be scored by the workspace's code: what the gate compares with, and what customers get,
would not be the registered model. MLflow documents this limit of `code_paths` and the way out,
which is to remove the modules from sys.modules while a model is loaded. An answer to
https://github.com/mlflow/mlflow/issues/12377 (load several models with different code) would make
this module unnecessary.
"""

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType


@contextlib.contextmanager
def own_code() -> Iterator[None]:
    """Let a model that is loaded in the `with` import its own `churn`; the workspace's is back
    afterwards.
    """
    workspace = _remove_churn_modules()
    search_path = list(sys.path)
    try:
        yield
    finally:
        _remove_churn_modules()
        sys.modules.update(workspace)
        sys.path[:] = search_path


def _remove_churn_modules() -> dict[str, ModuleType]:
    """Take every module of `churn` out of sys.modules, and return them by name."""
    names = [name for name in sys.modules if name.split(".")[0] == "churn"]
    return {name: sys.modules.pop(name) for name in names}
