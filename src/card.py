"""Render the model card of the workspace as a web page.

    python src/card.py

Reads reports/model_card.md, which evaluate wrote; writes reports/model_card.html.
"""

from markdown_it import MarkdownIt

from churn import paths
from churn.console import run_command
from churn.errors import UserError

STYLE = "body {max-width: 60em; margin: 2em auto; font-family: sans-serif} td, th {padding: 0 1em}"


def main() -> None:
    if not paths.CARD.exists():
        raise UserError(f"{paths.CARD} is missing; `dvc repro` or `dvc checkout` brings it")
    body = (
        MarkdownIt("commonmark", {"html": False})
        .enable("table")
        .render(paths.CARD.read_text(encoding="utf-8"))
    )
    page = paths.CARD.with_suffix(".html")
    head = f"<meta charset='utf-8'><title>Model card</title><style>{STYLE}</style>"
    page.write_text(f"<!doctype html>{head}\n{body}", encoding="utf-8")
    print(page)


if __name__ == "__main__":
    run_command(main)
