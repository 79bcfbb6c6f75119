"""How long a fit takes where other processes need the cores, with and without short waits.

    python benchmarks/threads.py [--rounds 3]    (after `make repro`)

src/churn/__init__.py lets OpenMP's threads spin for 1,000 turns while they wait for one another;
libgomp's own default is 300,000. Each fit is a process of its own, and fits the model of
params.yaml: alone, and beside as many busy processes as there are cores.
"""

import argparse
import os
import statistics
import subprocess
import sys

sys.path.insert(0, "src")

from churn.console import progress, text_table

# Prints how many seconds it took.
FIT = """
import sys, time
sys.path.insert(0, "src")
import train
from churn.data.project_contract import load_project_contract
from churn.params import load_params
params = load_params()
contract = load_project_contract(params)
start = time.perf_counter()
train.fit(params, contract)
print(time.perf_counter() - start)
"""
BUSY = "while True: pass"
SPINS = ("1000", "300000")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    rounds = parser.parse_args().rounds

    seconds: dict[tuple[str, str], list[float]] = {}
    show = progress(rounds, "round", line_every=1)
    for number in range(rounds):
        for spins in SPINS:
            seconds.setdefault(("alone", spins), []).append(fit(spins))
        busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)]
        try:
            for spins in SPINS:
                seconds.setdefault(("beside busy processes", spins), []).append(fit(spins))
        finally:
            for process in busy:
                process.kill()
                process.wait()
        show(number + 1)
    rows = []
    for case in ("alone", "beside busy processes"):
        ours, default = (statistics.median(seconds[case, spins]) for spins in SPINS)
        rows.append(
            {
                "a fit": case,
                "seconds": f"{ours:.2f}",
                "as libgomp waits": f"{default:.2f}",
                "ratio": f"{default / ours:.1f}",
            }
        )
    print(text_table(rows))


def fit(spins: str) -> float:
    """The seconds of one fit."""
    result = subprocess.run(
        [sys.executable, "-c", FIT],
        env={**os.environ, "GOMP_SPINCOUNT": spins},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(result.stdout.split()[-1])


if __name__ == "__main__":
    main()
