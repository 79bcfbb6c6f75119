"""Time src/score.py on a large table against a bare Booster.predict on the same rows, and watch
both memories.

    python benchmarks/score.py [--rows 5000000]

bare: a script that reads the whole table, makes one DMatrix, predicts, and writes the
probabilities; no contract, no registry, no rejected rows, no lineage.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from run import ENV, ROOT, call, project

BARE = """
import sys
import pandas as pd, pyarrow as pa, pyarrow.parquet as pq, xgboost as xgb
booster = xgb.Booster(model_file=sys.argv[1])
table = pq.read_table(sys.argv[2])
rows = table.drop(["customer_id"]).to_pandas()
for name in rows.columns[rows.dtypes == "str"]:
    rows[name] = rows[name].astype("category")
ids, p = table["customer_id"], booster.predict(xgb.DMatrix(rows, enable_categorical=True))
pq.write_table(pa.table({"customer_id": ids, "p": p}), sys.argv[3])
"""


def large(path: Path, rows: int) -> None:
    """The customers of the sample again and again, in a drawn order, each with an id of its own."""
    sample = pq.read_table(ROOT / "data/raw.parquet").drop(["churn"])
    draw, written = np.random.default_rng(0), 0
    with pq.ParquetWriter(path, sample.schema) as writer:
        while written < rows:
            count = min(500_000, rows - written)
            part = sample.take(draw.integers(len(sample), size=count))
            ids = pa.array([f"C{i:09d}" for i in range(written, written + count)])
            writer.write_table(
                part.set_column(part.schema.get_field_index("customer_id"), "customer_id", ids)
            )
            written += count


def measured(folder: Path, *command: str) -> tuple[float, float]:
    """Wall seconds and peak resident MiB of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=ENV)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Time batch scoring against a bare Booster.predict."
    )
    parser.add_argument("--rows", type=int, default=5_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as base:
        folder, table = Path(base, "ours"), Path(base, "customers.parquet")
        folder.mkdir()
        project(folder, ROOT)
        (folder / "data/raw.parquet").write_bytes((ROOT / "data/raw.parquet").read_bytes())
        call(folder, "dvc", "repro")
        call(
            folder,
            sys.executable,
            "src/promote.py",
            "--reason",
            "benchmark",
            "--yes",
            "--by",
            "benchmark",
        )
        large(table, rows)
        score = (sys.executable, "src/score.py", str(table), str(Path(base, "scores.parquet")))
        bare = (
            sys.executable,
            "-c",
            BARE,
            "models/churn.ubj",
            str(table),
            str(Path(base, "bare.parquet")),
        )
        few = Path(base, "few.parquet")
        large(few, 1000)
        start = measured(
            folder, score[0], score[1], str(few), str(Path(base, "few-scores.parquet"))
        )[0]
        results = {"score.py": measured(folder, *score), "bare": measured(folder, *bare)}
        ours, theirs = (
            pq.read_table(Path(base, name)) for name in ("scores.parquet", "bare.parquet")
        )
        if not np.array_equal(
            ours["churn_probability"].to_numpy().astype("float32"), theirs["p"].to_numpy()
        ):
            sys.exit("the two give different probabilities")
    print(f"{'':<10} {'seconds':>8} {'rows a second':>14} {'peak MiB':>9}   {rows:,} rows")
    for name, (seconds, memory) in results.items():
        print(f"{name:<10} {seconds:>8.1f} {rows / seconds:>14,.0f} {memory:>9,.0f}")
    print(f"score.py / bare: {results['score.py'][0] / results['bare'][0]:.2f} in time", end=", ")
    print(
        f"{results['score.py'][1] / results['bare'][1]:.2f} in memory; "
        f"of its time {start:.1f} s are the start"
    )


if __name__ == "__main__":
    main()
