"""Comparator *bare*: the same work in one script with no DVC and no MLflow.

Read, clean, split, fit, score, save.

python bare.py RAW.parquet OUTPUT_FOLDER
"""

import json
import sys
from pathlib import Path

import pandas as pd
import xgboost as xgb
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

raw, out = Path(sys.argv[1]), Path(sys.argv[2])
table = pd.read_parquet(raw).drop(columns="customer_id")
y = (table.pop("churn") == "Yes").astype(int)
table = table.astype({column: "category" for column in table if table[column].dtype == "str"})
x_rest, x_test, y_rest, y_test = train_test_split(table, y, test_size=0.2, random_state=42)
x_train, x_valid, y_train, y_valid = train_test_split(
    x_rest, y_rest, test_size=0.25, random_state=42
)
model = xgb.XGBClassifier(
    n_estimators=1000,
    learning_rate=0.05,
    max_depth=4,
    subsample=0.8,
    colsample_bytree=0.8,
    tree_method="hist",
    enable_categorical=True,
    early_stopping_rounds=50,
    eval_metric="logloss",
    random_state=42,
)
model.fit(x_train, y_train, eval_set=[(x_train, y_train), (x_valid, y_valid)], verbose=False)
auc = roc_auc_score(y_test, model.predict_proba(x_test)[:, 1])
out.mkdir(parents=True, exist_ok=True)
model.save_model(out / "model.ubj")
(out / "metrics.json").write_text(json.dumps({"roc_auc": auc}))
