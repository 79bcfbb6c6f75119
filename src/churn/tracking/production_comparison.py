"""Compare a new model with the one in production, on test rows that neither was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from churn.errors import UserError
from churn.modeling import segments
from churn.modeling.bootstrap import Resampling, paired_differences
from churn.modeling.encoding import encode_labels
from churn.modeling.gate import Comparison
from churn.tracking import model_loading
from churn.tracking.evaluation_record import Evaluation
from churn.tracking.unseen_rows import find_unseen_rows

if TYPE_CHECKING:  # MLflow takes two seconds to import, and evaluate has other work to begin with
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.pyfunc import PyFuncModel

RESTORE_PRODUCTION = "another version that gets the alias `production` replaces it"
# only operations
RESTORE_PRODUCTION += (
    ": `python src/promote.py --rollback` makes the previous one production; or stage another with "
    "`--stage VERSION`, and promote that"
)
# end


def compare_with_production(evaluation: Evaluation, production: ModelVersion | None) -> Comparison:
    """Compare the model with the one in production on the same test rows.

    Raises:
        UserError: the production model is not what was registered.
    """
    if production is None:
        return Comparison(None, "no production model to compare with")
    predictor = _production_predictor(production)
    params, contract = evaluation.params, evaluation.contract
    try:
        unseen = find_unseen_rows(production, evaluation.test, contract, params)
        test = evaluation.test[unseen.is_unseen]
        scores = model_loading.score_rows(production, predictor, test)
    except UserError as error:  # a person decides at promotion
        return Comparison(None, str(error))

    ours = evaluation.probabilities[unseen.is_unseen]
    probabilities = (ours, scores["churn_probability"].to_numpy())
    resampling = Resampling(params.evaluate.bootstrap, params.seed)
    labels = encode_labels(test, contract)
    difference = paired_differences(labels, *probabilities, resampling)["roc_auc"]
    by_segment = None
    columns = params.evaluate.segments
    if columns:
        by_segment = segments.segment_differences(
            test, contract, columns, probabilities, resampling
        )
    return Comparison(difference, unseen.note, by_segment)


def _production_predictor(version: ModelVersion) -> PyFuncModel:
    """Load the scoring model in production.

    Raises:
        UserError: it is not what was registered. Nothing passes the gate then: a missing comparison
            would let every model pass.
    """
    try:
        return model_loading.load_predictor(version)
    except UserError as error:
        raise UserError(
            f"no model can be compared with the one in production: {error}. {RESTORE_PRODUCTION}"
        ) from None
