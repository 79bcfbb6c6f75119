"""The search for hyperparameters, and DVC experiments that are started from Python.

study, heartbeats        the studies in Optuna's database
objective, trials        what a trial is worth, and its run in MLflow
search_run               the run of a search in MLflow
search, workers          run the trials, in one process or in several
seed_comparison, plots   what the search found, beside today's parameters
experiment, queue        one DVC experiment, or all that are queued (dvc_queue: DVC's internals)
"""
