"""What the commands in src/ share, in the order in which to read it.

params, param_checks, paths, files, errors, console
            parameters and which contradict one another, file locations, reading files, error
            messages, command line
signals     Ctrl-C that waits until a write has ended
data        the contract of a churn table, its validation, the split, derived features, drift,
            reading and writing tables
modeling    encoding, booster, baseline, metrics with intervals, plots, gate, the model that scores
tracking    the MLflow store and its runs, lineage from git and DVC, the model registry
operations  promotion to production and its history, scoring, campaigns, monitoring
experiments the search for hyperparameters, and DVC's queue of experiments
forensics   rebuild a model, compare two models, explain a change of a metric

A package imports only from those above it, and those below `tracking` do not import one another.
`make lint` checks this.
"""

import os

# Waiting OpenMP threads keep their cores busy: where another process needs a core, a fit of half a
# second takes ten or more. So they wait passively. The libraries read this when XGBoost or
# scikit-learn is imported: every command imports `churn` first.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
