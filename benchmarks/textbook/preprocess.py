"""Comparator *textbook*, stage 1: the split, as most public DVC + MLflow repositories write it."""

from pathlib import Path

import mlflow
import pandas as pd
import yaml
from sklearn.model_selection import train_test_split

params = yaml.safe_load(open("params.yaml"))
mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("churn")

with mlflow.start_run(run_name="preprocess"):
    table = pd.read_parquet("raw.parquet").drop(columns="customer_id")
    table["churn"] = (table["churn"] == "Yes").astype(int)
    rest, test = train_test_split(
        table, test_size=params["split"]["test"], random_state=params["seed"]
    )
    share = params["split"]["valid"] / (1 - params["split"]["test"])
    train, valid = train_test_split(rest, test_size=share, random_state=params["seed"])
    Path("data").mkdir(exist_ok=True)
    for name, rows in (("train", train), ("valid", valid), ("test", test)):
        rows.to_csv(f"data/{name}.csv", index=False)
        mlflow.log_metric(f"{name}_rows", len(rows))
    for name, value in params["split"].items():
        mlflow.log_param(f"split_{name}", value)
