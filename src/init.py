"""Make what a fresh clone needs and git cannot hold: the MLflow store and the offline page of `dvc plots`.

python src/init.py    (part of every `make` target that needs it; does nothing the second time)
"""

from pathlib import Path

from churn.console import run_command
from churn.modeling import plots
from churn.tracking import store
from churn.tracking.store_errors import explain_store_error

TEMPLATE = Path(".dvc/plots/offline.html")


def main() -> None:
    if not TEMPLATE.exists():
        plots.offline_template(TEMPLATE)
    if (file := store.store_file()) and not file.exists():
        store.connect()


if __name__ == "__main__":
    run_command(main, explain_store_error)
