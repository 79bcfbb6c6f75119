"""The model card's template is a team's own: its mistakes are one message."""

import pytest

from churn.errors import UserError
from churn.modeling import model_card
from churn.tracking import mlflow_page
from conftest import ROOT


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{% if %}", "card.jinja: line 1: Expected an expression"),
        ("one\n{{ nowhere }}", "card.jinja: 'nowhere' is undefined"),
        (None, "card.jinja: No such file or directory"),
    ],
)
def test_mistakes_in_the_template(tmp_path, template, says):
    path = tmp_path / "card.jinja"
    if template:
        path.write_text(template)
    with pytest.raises(UserError, match=says):
        model_card.fill_in(path, {})


def test_a_template_is_filled_in(tmp_path):
    path = tmp_path / "card.jinja"
    path.write_text("{{ name }}: {% for row in rows %}{{ row }};{% endfor %}\n")
    assert model_card.fill_in(path, {"name": "größe", "rows": [1, 2]}) == "größe: 1;2;\n"


def test_the_projects_own_template_says_what_it_is_for():
    text = (ROOT / "docs/model_card.md.jinja").read_text()
    for heading in ("Purpose and limits", "Data", "Features", "Measured", "Rebuild it"):
        assert f"\n## {heading}" in text


def test_a_long_card_is_shortened_for_mlflow():
    assert mlflow_page.shortened("short") == "short"
    assert len(mlflow_page.shortened("x" * 10_000)) == 5000
