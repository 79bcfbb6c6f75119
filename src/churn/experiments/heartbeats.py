"""Trials whose process was killed before its first heartbeat. The only module that reads Optuna's
tables.

Optuna's `fail_stale_trials`, and with it `RetryHeartbeatStaleTrialCallback`, look only at trials
that have sent a heartbeat (`RDBStorage._get_stale_trial_ids`). A trial that was killed between its
creation and its first heartbeat is RUNNING for ever, and every process that works on the study
would wait for it. Optuna has no public call that says which trials have sent one.

What breaks: a release of Optuna that renames the tables `trials`, `studies` or `trial_heartbeats`
makes the end of a search fail, if it waits for trials of other processes. Optuna first recorded the
heartbeat when it created the trial (https://github.com/optuna/optuna/pull/2190, review of
2021-01-20): if it did so again, this module could go.
"""

from datetime import datetime, timedelta

import optuna
from optuna.trial import TrialState
from sqlalchemy import text

LONGEST_START = timedelta(seconds=60)  # from a trial's creation to its first heartbeat
NUMBERS_WITH_HEARTBEAT = text(
    "SELECT trials.number FROM trials"
    " JOIN studies ON studies.study_id = trials.study_id"
    " JOIN trial_heartbeats ON trial_heartbeats.trial_id = trials.trial_id"
    " WHERE studies.study_name = :study_name"
)


def fail_trials_without_heartbeat(
    study: optuna.Study, database: optuna.storages.RDBStorage
) -> None:
    """Mark as failed the running trials that have sent no heartbeat a minute after their start."""
    with database.engine.connect() as connection:
        rows = connection.execute(NUMBERS_WITH_HEARTBEAT, {"study_name": study.study_name})
        with_heartbeat = {row.number for row in rows}

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        started = trial.datetime_start
        is_late = started is not None and datetime.now() - started > LONGEST_START
        if trial.number not in with_heartbeat and is_late:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
