"""Where the files of the project are."""

import os
from pathlib import Path

RAW = Path("data/raw.parquet")
SCHEMA = Path("data/schema.yaml")
SPLITS = {name: Path(f"data/prepared/{name}.parquet") for name in ("train", "valid", "test")}
MODEL = Path("models/churn.ubj")
CURVES = Path("reports/training.csv")
METRICS = Path("reports/metrics.json")
PLOTS = Path("reports/plots")
CARD = Path("reports/model_card.md")
CARD_TEMPLATE = Path("docs/model_card.md.jinja")


def project_root() -> Path:
    """The project's root; DVC_ROOT names it also inside the temporary copies that `dvc exp run
    --temp` works in.
    """
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()
