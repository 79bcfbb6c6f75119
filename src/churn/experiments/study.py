"""The studies of the search: the database of their trials, and which study to go on with."""

import json
import time
import warnings
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from churn.errors import UserError
from churn.files import text_md5
from churn.params import Params

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)

HEARTBEAT_SECONDS = 5
GRACE_SECONDS = 15  # without a heartbeat, until a trial counts as dead
START_SECONDS = 10  # until a process that creates a study has opened its run in MLflow

# The states of trials that count towards `sweep.trials`.
COUNTED_STATES = (TrialState.COMPLETE, TrialState.PRUNED)
RUN_ID = "mlflow_run"  # the attribute of a study that names the search's run


def open_database(url: str) -> RDBStorage:
    """Open the database that keeps the trials, and make it if there is none.

    Raises:
        UserError: no database answers at the URL, or its driver is not installed.
    """
    is_sqlite = url.startswith("sqlite")
    engine_options: dict[str, Any] = {"connect_args": {"timeout": 60}} if is_sqlite else {}
    try:
        database = RDBStorage(
            url,
            engine_kwargs=engine_options,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
        )
    except (ImportError, sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
        raise UserError(_describe_database_error(url, error)) from None

    if is_sqlite:
        _use_write_ahead_log(database)
    return database


def _describe_database_error(url: str, error: Exception) -> str:
    reason = str(error.__cause__ or error).splitlines()[0]  # the cause names a missing driver
    message = f"{url.split('@')[-1]} is no database for a search: {reason}"
    if url.startswith("sqlite"):
        message += "; `rm sweep.db*` begins anew (the trials so far are in MLflow)"
    return message


def _use_write_ahead_log(database: RDBStorage) -> None:
    """Make the 20 small transactions of a trial ten times cheaper than with SQLite's defaults.

    In WAL mode a crash of the machine may cost the last of them, and never the file.
    """

    def relax_sync(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")

    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    sqlalchemy.event.listen(database.engine, "connect", relax_sync)
    database.engine.dispose()  # connections that are open already lack the setting


def study_cache_key(parameters: Params, data_tags: dict[str, str]) -> str:
    """Cache key of a study: data, folds, seed, search space and fixed parameters, as one md5.

    The number of trials is no part of it, so that a search can be made longer.
    """
    sweep = parameters.sweep.model_dump(exclude={"trials"})
    fixed = parameters.train.model_dump(exclude={"threads", *parameters.sweep.space})
    return text_md5(json.dumps([sweep, fixed, parameters.seed, data_tags]))


def open_study(database: RDBStorage, cache_key: str, resume: bool) -> optuna.Study:
    """Create a new study of this cache key or, with `resume`, load its latest one if there is any.

    Raises:
        UserError: another process created the same study at the same time.
    """
    prefix = cache_key[:8]
    numbers = [0]
    for name in optuna.get_all_study_names(database):
        if name.startswith(prefix):
            numbers.append(int(name.split("-")[1]))
    latest = max(numbers)

    if resume and latest:
        study = optuna.load_study(study_name=f"{prefix}-{latest}", storage=database)
        _wait_for_its_run(study)
        return study
    try:
        return optuna.create_study(
            study_name=f"{prefix}-{latest + 1}", storage=database, direction="maximize"
        )
    except optuna.exceptions.DuplicatedStudyError:
        raise UserError(
            "another process started this search in the same second; join it with --resume"
        ) from None


def _wait_for_its_run(study: optuna.Study) -> None:
    """Give another machine, which has only just created the study, time to open the run."""
    deadline = time.monotonic() + START_SECONDS
    while RUN_ID not in study.user_attrs and time.monotonic() < deadline:
        time.sleep(0.5)


def count_trials(study: optuna.Study, *more_states: TrialState) -> int:
    """The number of trials that count towards `sweep.trials`, and of those in `more_states`."""
    return len(study.get_trials(deepcopy=False, states=COUNTED_STATES + more_states))


def explain_study_error(error: BaseException) -> str:
    """The message for an exception of Optuna; "" for any other."""
    libraries = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    if "optuna" not in libraries:
        return ""
    text = str(error).strip() or type(error).__name__
    reason = text.splitlines()[0]
    return (
        f"the database of the search failed: {reason}; `rm sweep.db*` and a new search begin anew"
    )
