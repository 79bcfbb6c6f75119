"""The project's contract with the roles of params.yaml, and what of params.yaml does not fit it."""

from collections.abc import Iterable

from churn import paths
from churn.data.contract import Contract, load_contract, with_derived
from churn.data.features import feature_faults
from churn.errors import UserError
from churn.params import Params


def load_project_contract(params: Params) -> Contract:
    """Read the project's contract, with the derived features that a model gets.

    Raises:
        UserError: as `load_contract`; or everything in params.yaml that does not fit the contract.
    """
    contract = load_table_contract(params)
    faults = parameter_faults(params, contract)
    if faults:
        raise UserError(listed_faults(faults))
    return with_derived(contract, params.features or [])


def load_table_contract(params: Params) -> Contract:
    """Read the project's contract, data/schema.yaml, with the roles that params.yaml gives.

    Raises:
        UserError: as `load_contract`.
    """
    data = params.data
    return load_contract(paths.SCHEMA, data.id, data.target, data.positive, data.time)


def parameter_faults(params: Params, contract: Contract) -> list[str]:
    """Every name of a column or a feature in params.yaml that does not fit the contract.

    A stage asks for this before it computes anything, also for what only a later stage uses.
    """
    columns = [column.name for column in contract.features]
    derived = params.features or []
    segments = params.evaluate.segments or []
    return [
        *feature_faults(derived, columns),
        *_segment_faults(segments, [*columns, *dict.fromkeys(derived)]),
    ]


def listed_faults(faults: Iterable[str]) -> str:
    """Faults of params.yaml as one message."""
    return "\n".join(["params.yaml:", *(f"  {fault}" for fault in faults)])


def _segment_faults(names: list[str], known: list[str]) -> list[str]:
    faults = []
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            faults.append(f"evaluate.segments names {name!r} twice")
        if name not in known:
            faults.append(
                f"evaluate.segments names {name!r}, no feature of the contract; it has "
                f"{', '.join(known)}"
            )
    return faults
