"""Comparator *textbook*, stage 3: test metrics and two plots."""

import json
import pickle

import matplotlib.pyplot as plt
import mlflow
import pandas as pd
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    RocCurveDisplay,
    accuracy_score,
    f1_score,
    roc_auc_score,
)

mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("churn")

with mlflow.start_run(run_name="evaluate"):
    table = pd.read_csv("data/test.csv", keep_default_na=False, na_values=[""])
    y = table.pop("churn")
    x = pd.get_dummies(table, dtype=float)
    with open("model.pkl", "rb") as file:
        model = pickle.load(file)
    probability = model.predict_proba(x)[:, 1]
    metrics = {
        "roc_auc": roc_auc_score(y, probability),
        "accuracy": accuracy_score(y, probability >= 0.5),
        "f1": f1_score(y, probability >= 0.5),
    }
    for name, value in metrics.items():
        mlflow.log_metric(name, value)
    for name, display in (("roc", RocCurveDisplay), ("confusion", ConfusionMatrixDisplay)):
        if name == "roc":
            display.from_predictions(y, probability)
        else:
            display.from_predictions(y, probability >= 0.5)
        plt.savefig(f"{name}.png")
        mlflow.log_artifact(f"{name}.png")
        plt.close()
    with open("metrics.json", "w") as file:
        json.dump(metrics, file)
