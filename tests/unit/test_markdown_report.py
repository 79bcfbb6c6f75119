"""The report of a pull request as Markdown."""

from churn.tracking.markdown_report import Report, escape, markdown_table, metric_rows, render
from churn.tracking.revision import Comparison, Revision

BASE = Revision("main", "0123456789", {"roc_auc": 0.8, "value": 1000.0}, {"train.max_depth": 4}, {})


def report(**facts: object) -> Report:
    given = {
        "results": {"roc_auc": 0.81, "roc_auc_low": 0.79, "roc_auc_high": 0.83, "f1": 0.5},
        "parameters": {"train.max_depth": 4},
        "gate": "passed (no production model to compare with)",
        "version": "ChurnXGB version 2",
        "changed_outputs": [],
        "warning": "",
        "tables": {},
        "what_changed": "",
    }
    return Report(**(given | facts))


def test_metrics_of_both_with_intervals():
    """A metric of one side alone is shown; a paired interval takes the plain difference's place."""
    comparison = Comparison({"roc_auc": (0.01, -0.002, 0.022)})
    rows = {row["metric"]: row for row in metric_rows(report().results, BASE, comparison)}
    assert list(rows) == ["roc_auc", "value", "f1"]
    assert rows["roc_auc"] == {
        "metric": "roc_auc",
        "main": "0.8000",
        "here": "0.8100 (0.7900 to 0.8300)",
        "difference": "+0.0100 (-0.0020 to +0.0220)",
    }
    assert (rows["value"]["main"], rows["value"]["here"]) == ("1,000.00", "-")
    assert (rows["f1"]["main"], rows["f1"]["difference"]) == ("-", "-")


def test_only_what_differs_is_listed():
    """Equal parameters are counted; nothing is said of what there is not."""
    text = render(report(), BASE, Comparison(reason="the test rows are others"))
    assert "All 1 are those of `main`." in text
    assert "No interval for the differences: the test rows are others." in text
    assert "Warning" not in text and "What changed" not in text and "Not committed" not in text

    text = render(
        report(
            parameters={"train.max_depth": 6, "seed": 1},
            changed_outputs=["dvc.lock"],
            warning="final_bill (1.000)",
            tables={"Segments": [{"segment": "a", "rows": "12"}]},
            what_changed="code  differs",
        ),
        BASE,
        Comparison(),
    )
    assert "| train.max_depth | 4 | 6 |\n| seed | - | 1 |" in text
    assert "**Not committed as the pipeline writes it: `dvc.lock`.**" in text
    assert "- Warning: final_bill (1.000)" in text
    assert "### Segments\n\n| segment | rows |\n| --- | --- |\n| a | 12 |" in text
    assert "````text\ncode  differs\n````" in text


def test_a_value_of_somebodys_table_is_text():
    """It breaks no table, becomes no HTML, and notifies nobody."""
    nasty = "a|b\n<img src=x> @everyone"
    assert escape(nasty) == "a\\|b &lt;img src=x> &#64;everyone"
    assert markdown_table([{"segment": nasty}]).count("\n") == 2
