"""Make what a fresh clone needs and git cannot hold: the MLflow store and the offline page of `dvc plots`.

python src/init.py    (part of every `make` target that needs it; does nothing the second time)
"""

from pathlib import Path

from churn import plots, tracking
from churn.errors import run

TEMPLATE = Path(".dvc/plots/offline.html")


def main() -> None:
    if not TEMPLATE.exists():
        plots.offline_template(TEMPLATE)
    if (store := tracking.store_file()) and not store.exists():
        tracking.connect()


if __name__ == "__main__":
    run(main)
