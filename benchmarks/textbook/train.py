"""Comparator *textbook*, stage 2: fit, log one value at a time, log the model with MLflow's
defaults.
"""

import pickle

import mlflow
import mlflow.xgboost
import pandas as pd
import xgboost as xgb
import yaml

params = yaml.safe_load(open("params.yaml"))
mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("churn")


def read(path):
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    y = table.pop("churn")
    return pd.get_dummies(table, dtype=float), y


with mlflow.start_run(run_name="train"):
    for name, value in params["train"].items():
        mlflow.log_param(name, value)
    x_train, y_train = read("data/train.csv")
    x_valid, y_valid = read("data/valid.csv")
    model = xgb.XGBClassifier(
        n_estimators=params["train"]["rounds"],
        early_stopping_rounds=params["train"]["early_stopping"],
        learning_rate=params["train"]["learning_rate"],
        max_depth=params["train"]["max_depth"],
        subsample=params["train"]["subsample"],
        colsample_bytree=params["train"]["colsample_bytree"],
        tree_method="hist",
        eval_metric="logloss",
        random_state=params["seed"],
    )
    model.fit(x_train, y_train, eval_set=[(x_train, y_train), (x_valid, y_valid)], verbose=False)
    curves = model.evals_result()
    for step in range(len(curves["validation_1"]["logloss"])):
        mlflow.log_metric("train_logloss", curves["validation_0"]["logloss"][step], step=step)
        mlflow.log_metric("valid_logloss", curves["validation_1"]["logloss"][step], step=step)
    with open("model.pkl", "wb") as file:
        pickle.dump(model, file)
    mlflow.xgboost.log_model(model, name="model", registered_model_name="churn")
