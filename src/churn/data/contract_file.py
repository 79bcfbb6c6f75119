"""The file of the data contract: what data/schema.yaml, pandera's YAML, says of each column."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from churn.errors import UserError

Rules = dict[str, Any]  # what the file says of one column, in pandera's terms


def read_text(path: str | Path) -> str:
    """The text of a contract.

    Raises:
        UserError: it is not there, or no text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; `python src/infer_schema.py TABLE` writes one"
        ) from None
    except ValueError:
        raise UserError(f"{path} is no pandera schema (a mapping with `columns:`)") from None


def parse_rules(text: str, path: str | Path) -> dict[str, Rules]:
    """The rules of each column in the text of a contract.

    Args:
        path: the name of the file in an error message.

    Raises:
        UserError: it is no pandera schema.
    """
    try:
        columns = yaml.load(text, yaml.CSafeLoader)["columns"]
        return {name: dict(rules) for name, rules in columns.items()}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(
            f"{path} is no valid YAML (line {line}: {error.problem}); keep one side of a conflict "
            f"of git, or `git checkout {path}` brings the committed one back"
        ) from None
    except (yaml.YAMLError, TypeError, KeyError, ValueError, AttributeError):
        raise UserError(f"{path} is no pandera schema (a mapping with `columns:`)") from None


def range_limits(rules: Mapping[str, Any]) -> tuple[float, float]:
    """The smallest and the largest number that a column's rules allow."""
    in_range = rules.get("in_range", {})
    low = in_range.get("min_value", -np.inf)
    high = in_range.get("max_value", np.inf)
    # An end that is not allowed itself becomes the next number that is.
    if not in_range.get("include_min", True):
        low = np.nextafter(low, np.inf)
    if not in_range.get("include_max", True):
        high = np.nextafter(high, -np.inf)

    above = np.nextafter(rules.get("greater_than", -np.inf), np.inf)
    below = np.nextafter(rules.get("less_than", np.inf), -np.inf)
    low = max(low, rules.get("greater_than_or_equal_to", -np.inf), above)
    high = min(high, rules.get("less_than_or_equal_to", np.inf), below)
    return float(low), float(high)
