"""Say what keeps this clone from working, with the command that mends it.

    python src/doctor.py    (make doctor)

Looks at Python and its packages, git, params.yaml and the contract, the data, MLflow's store and
DVC's queue; changes nothing. Exit code 1: something has to be mended.
"""

import sys

from churn.console import run_command
from churn.tracking import diagnosis


def main() -> None:
    checks = dict(diagnosis.CHECKS)
    # only experiments
    checks["the queue"] = check_queue
    # end
    found = False
    for name, check in checks.items():
        faults = diagnosis.find_faults(name, check)
        found = found or bool(faults)
        if not faults:
            print(f"ok    {name}")
        for fault in faults:
            print(f"MEND  {name}: {fault.what}")
            if fault.mend:
                print(f"      {fault.mend}")
    if found:
        sys.exit(1)


# only experiments
def check_queue() -> list[diagnosis.Fault]:
    """Every experiment in DVC's queue has somebody who works it off."""
    from churn.experiments import dvc_queue

    waiting = [task.name for task in dvc_queue.list_tasks().values() if task.is_open]
    if not waiting or dvc_queue.has_workers():
        return []
    fault = f"{len(waiting)} experiments wait in DVC's queue, and no worker runs"
    return [
        diagnosis.Fault(
            fault, "python src/sweep.py --queue, or `dvc queue remove --all` drops them"
        )
    ]


# end
if __name__ == "__main__":
    run_command(main)
