"""Make what a fresh clone needs and git cannot hold: the MLflow store and the page of `dvc plots`.

python src/init.py    (part of every `make` target that needs it; does nothing the second time)
"""

from pathlib import Path

from churn.console import run_command
from churn.files import write_whole
from churn.tracking import store
from churn.tracking.store_errors import explain_store_error

TEMPLATE = Path(".dvc/plots/offline.html")
PAGE = """<!DOCTYPE html>
<html>
<head>
<meta charset='utf-8'>
{refresh_tag}
<title>DVC plots</title>
<script>(function () { SCRIPTS })();</script>
<style>body { font-family: sans-serif; } table { border-spacing: 15px; }</style>
</head>
<body>
{plot_divs}
</body>
</html>
"""


def main() -> None:
    if not TEMPLATE.exists():
        write_plots_page(TEMPLATE)
    database = store.store_file()
    if database and not database.exists():
        store.connect()


def write_plots_page(path: Path) -> None:
    """Write the page that `dvc plots` fills, with the Vega scripts in it.

    The page that DVC brings loads them from a content delivery network, and so needs the internet.
    """
    import vl_convert

    scripts = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    scripts = scripts.replace("</script", "<\\/script")  # which would end the page's own element
    write_whole(PAGE.replace("SCRIPTS", scripts), path)


if __name__ == "__main__":
    run_command(main, explain_store_error)
