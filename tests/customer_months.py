"""A simulated table of customer-months: one row per customer and month, as most churn tables are.

    python tests/customer_months.py data/raw.parquet [MONTHS]

24 months (or MONTHS) from January 2024. New customers come each month; a customer who churns has no
later row. There is a season, a price rise in month 18, and in each month a competitor who courts
some of the regions: that is over when the next month begins, so nobody can predict it. The column
`market_price` is the same for all customers of a month, and so tells which month it is. `churn` is
whether the customer leaves in the month that follows.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

REGIONS = ("north", "east", "south", "west", "centre", "coast")
START = 1200  # customers in the first month
ARRIVALS = 70  # new customers in each later month
PRICE_RISE = 18  # the month


def customer_months(months: int = 24, seed: int = 7) -> pd.DataFrame:
    """The rows of so many months; those of fewer months are the first of them.

    Returns:
        customer, month (a date), churn ("yes" or "no") and the features.
    """
    draw = np.random.default_rng(seed)
    active = new_customers(draw, START, first=0)
    active["tenure"] = draw.integers(0, 48, START).astype("int64")
    known = START
    tables = []
    for month in range(1, months + 1):
        courted = draw.normal(0, 1.3, len(REGIONS))
        price = 100 + month + draw.normal(0, 0.2)
        rows = active.assign(month=pd.Timestamp(2023, 12, 31) + pd.offsets.MonthEnd(month))
        rows["market_price"] = round(price, 2)
        rows["support_calls"] = draw.poisson(0.6, len(rows)).astype("int64")
        if month >= PRICE_RISE:
            rows["monthly_charge"] = (rows["monthly_charge"] * 1.15).round(2)

        odds = log_odds(rows, month) + courted[pd.Categorical(rows["region"], REGIONS).codes]
        leaves = draw.random(len(rows)) < 1 / (1 + np.exp(-odds))
        rows["churn"] = np.where(leaves, "yes", "no")
        tables.append(rows)

        active = active[~leaves].assign(tenure=active["tenure"] + 1)
        active = pd.concat([active, new_customers(draw, ARRIVALS, first=known)])
        active = active.reset_index(drop=True)
        known += ARRIVALS
    first = ["customer", "month", "churn"]
    table = pd.concat(tables, ignore_index=True)
    return table[[*first, *(name for name in table if name not in first)]]


def new_customers(draw: np.random.Generator, count: int, first: int) -> pd.DataFrame:
    """Customers with a tenure of 0, numbered from `first`."""
    return pd.DataFrame(
        {
            "customer": [f"K{number:05d}" for number in range(first, first + count)],
            "region": draw.choice(REGIONS, count),
            "plan": draw.choice(["monthly", "yearly"], count, p=[0.6, 0.4]),
            "tenure": np.zeros(count, "int64"),
            "monthly_charge": draw.uniform(20, 80, count).round(2),
        }
    )


def log_odds(rows: pd.DataFrame, month: int) -> pd.Series:
    """Of churn in the next month, without the competitor."""
    season = 0.3 * np.cos(2 * np.pi * month / 12)
    return (
        -3.6
        + season
        + 0.9 * (rows["plan"] == "monthly")
        - 0.02 * rows["tenure"]
        + 0.015 * (rows["monthly_charge"] - 50)
        + 0.3 * rows["support_calls"]
    )


if __name__ == "__main__":
    target = Path(sys.argv[1])
    table = customer_months(*map(int, sys.argv[2:]))
    table.to_parquet(target, index=False)
    months = table["month"].nunique()
    churn_rate = (table["churn"] == "yes").mean()
    print(f"{target}: {len(table):,} rows, {months} months, {churn_rate:.1%} churn")
