"""A Jinja filter for the hooks: they run in the new folder, where a relative path would lead
elsewhere.
"""

import os

from cookiecutter.utils import simple_filter

CALLED_IN = os.getcwd()  # cookiecutter imports this before it changes folders


@simple_filter
def absolute(path: str) -> str:
    """The path as cookiecutter's caller meant it."""
    return os.path.join(CALLED_IN, os.path.expanduser(path))
