"""Generate labelled bank transfers from a seed: correct ones, and five kinds of fraud.

The columns of a correct transfer depend on its sender and purpose: the customer's wealth determines balance and amounts; rent
is paid at night by standing order to a payee known for years, groceries by app in the evening, invoices in office hours. Each
fraud breaks such a relation, with values that each column of correct transfers has too. Models see frauds only in the test.

    takeover      most of the balance, by app at night, to a new payee
    structuring   many transfers in a day, each just below 3,000
    mule          money that has just come in goes on abroad, nearly all of it
    redirected    an invoice of the usual size in office hours, but the payee is new and its country another
    probing       a few euros to new payees, many times at odd hours

3 % of the ages of payees are missing. Columns and units: see COLUMNS.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Rows = dict[str, NDArray[np.generic]]

COLUMNS = {
    "account": "private or business",
    "amount": "euros",
    "balance": "euros, before the transfer",
    "hour": "of the day, 0..24",
    "channel": "app, web, branch or standing",
    "country": "of the payee",
    "payee_age": "days since the first transfer to the payee; 0 is new",
    "since_last": "days since the account's last transfer",
    "last_24h": "transfers of the account within the last day",
}
CHANNELS = ("app", "web", "branch", "standing")
COUNTRIES = ("ES", "PT", "FR", "DE", "IT", "GB", "other")
CORRECT = "correct"

# purpose -> share, median amount, spread of its logarithm, middle and spread of the hour, channels by CHANNELS, median age of
# the payee, share of new payees
_PRIVATE = {
    "rent": (0.15, 750.0, 0.10, 3.0, 0.5, (0.0, 0.05, 0.0, 0.95), 900.0, 0.0),
    "household": (0.55, 45.0, 0.60, 18.5, 2.5, (0.75, 0.2, 0.05, 0.0), 250.0, 0.15),
    "friends": (0.20, 25.0, 0.50, 21.0, 2.0, (0.95, 0.05, 0.0, 0.0), 400.0, 0.12),
    "purchase": (0.10, 600.0, 0.60, 12.0, 2.5, (0.2, 0.45, 0.35, 0.0), 90.0, 0.6),
}
_BUSINESS = {
    "invoice": (0.55, 4000.0, 0.60, 11.0, 2.0, (0.05, 0.85, 0.1, 0.0), 600.0, 0.06),
    "wages": (0.30, 1900.0, 0.20, 4.0, 0.5, (0.0, 0.1, 0.0, 0.9), 1000.0, 0.03),
    "supplies": (0.15, 350.0, 0.50, 15.0, 2.0, (0.3, 0.65, 0.05, 0.0), 120.0, 0.45),
}


def correct(count: int, rng: np.random.Generator) -> Rows:
    """Generate correct transfers."""
    business = rng.random(count) < 0.35
    wealth = rng.normal(0, 0.6, count)  # of the customer, in natural logarithms
    rows = {name: np.zeros(count) for name in ("amount", "hour", "payee_age")} | {"channel": np.zeros(count, int)}
    for chosen, purposes in ((~business, _PRIVATE), (business, _BUSINESS)):
        places = np.flatnonzero(chosen)
        kinds = rng.choice(len(purposes), len(places), p=[purpose[0] for purpose in purposes.values()])
        for kind, (_, median, spread, middle, hours, channels, age, new) in enumerate(purposes.values()):
            where = places[kinds == kind]
            rows["amount"][where] = median * np.exp(wealth[where] + rng.normal(0, spread, len(where)))
            rows["hour"][where] = rng.normal(middle, hours, len(where)) % 24
            rows["channel"][where] = rng.choice(len(CHANNELS), len(where), p=channels)
            known = np.floor(age * rng.lognormal(0, 0.6, len(where)))
            rows["payee_age"][where] = np.where(rng.random(len(where)) < new, rng.integers(0, 4, len(where)), known)
    busy = np.where(business, 2.5, 0.4) * np.exp(0.5 * wealth)
    transfers: Rows = {
        "account": np.where(business, "business", "private"),
        "amount": rows["amount"].round(2),
        "balance": (np.where(business, 40_000, 3_500) * np.exp(1.2 * wealth + rng.normal(0, 0.4, count))).round(2),
        "hour": rows["hour"].round(2),
        "channel": np.array(CHANNELS)[rows["channel"]],
        "country": np.array(COUNTRIES)[_countries(count, business, rng)],
        "payee_age": rows["payee_age"],
        "since_last": rng.exponential(1 / busy).round(2),
        "last_24h": rng.poisson(busy).astype(float),
    }
    # Nobody sends more than the account holds.
    transfers["amount"] = np.minimum(transfers["amount"], 0.7 * transfers["balance"]).round(2)  # type: ignore[operator]
    return transfers


def _countries(count: int, business: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    abroad = rng.random(count) < np.where(business, 0.25, 0.04)
    return np.where(abroad, rng.choice(len(COUNTRIES), count, p=[0, 0.3, 0.25, 0.2, 0.15, 0.07, 0.03]), 0)


def _takeover(rows: Rows, rng: np.random.Generator) -> Rows:
    count = len(rows["amount"])
    share = rng.uniform(0.5, 0.95, count)
    return rows | {
        "amount": (share * rows["balance"]).round(2),  # type: ignore[operator]
        "hour": rng.uniform(0, 6, count).round(2),
        "channel": np.full(count, "app"),
        "payee_age": np.zeros(count),
    }


def _structuring(rows: Rows, rng: np.random.Generator) -> Rows:
    count = len(rows["amount"])
    return rows | {
        "amount": rng.uniform(2600, 2999, count).round(2),
        "channel": rng.choice(["app", "web"], count),
        "since_last": rng.uniform(0.01, 0.1, count).round(2),
        "last_24h": rng.integers(5, 10, count).astype(float),
    }


def _mule(rows: Rows, rng: np.random.Generator) -> Rows:
    count = len(rows["amount"])
    return (
        rows
        | {
            "account": np.full(count, "private"),
            "amount": (rng.uniform(0.85, 0.99, count) * rows["balance"]).round(2),  # type: ignore[operator]
            "channel": np.full(count, "app"),
            "country": rng.choice(COUNTRIES[1:], count),
            "payee_age": rng.integers(0, 5, count).astype(float),
            "since_last": rng.uniform(0.01, 0.3, count).round(2),
        }
    )


def _redirected(rows: Rows, rng: np.random.Generator) -> Rows:
    count = len(rows["amount"])
    return rows | {
        "account": np.full(count, "business"),
        "amount": (4000 * rng.lognormal(0, 0.6, count)).round(2),
        "balance": (40_000 * rng.lognormal(0, 0.6, count)).round(2),
        "hour": np.clip(rng.normal(11, 2, count), 8, 18).round(2),
        "channel": np.full(count, "web"),
        "country": rng.choice(COUNTRIES[1:], count),
        "payee_age": np.zeros(count),
    }


def _probing(rows: Rows, rng: np.random.Generator) -> Rows:
    count = len(rows["amount"])
    return rows | {
        "amount": rng.uniform(1, 6, count).round(2),
        "hour": rng.uniform(0, 24, count).round(2),
        "channel": np.full(count, "web"),
        "payee_age": np.zeros(count),
        "since_last": rng.uniform(0.01, 0.05, count).round(2),
        "last_24h": rng.integers(2, 8, count).astype(float),
    }


FRAUDS: dict[str, Callable[[Rows, np.random.Generator], Rows]] = {
    "takeover": _takeover,
    "structuring": _structuring,
    "mule": _mule,
    "redirected": _redirected,
    "probing": _probing,
}


def generate(normal: int, frauds: int, seed: int) -> Rows:
    """Generate `normal` correct transfers, then `frauds` of each kind: the columns of COLUMNS, and `kind`."""
    rng = np.random.default_rng(seed)
    parts = [correct(normal, rng) | {"kind": np.full(normal, CORRECT)}]
    for kind, change in FRAUDS.items():
        if frauds:
            parts.append(change(correct(frauds, rng), rng) | {"kind": np.full(frauds, kind)})
    rows: Rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    age = rows["payee_age"].astype(float)
    age[rng.random(len(age)) < 0.03] = np.nan
    return rows | {"payee_age": age}


def write(rows: Rows, path: Path) -> None:
    """Write the rows as a CSV file; missing values are empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows)
        for values in zip(*(column.tolist() for column in rows.values()), strict=True):
            writer.writerow("" if value != value else value for value in values)


def main() -> None:
    """Write train.csv and calibration.csv, which hold correct transfers only, and test.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for number, (name, (normal, frauds)) in enumerate(SPLITS.items()):
        write(generate(normal, frauds, 3 * arguments.seed + number), arguments.folder / f"{name}.csv")


# split -> transfers: correct ones, and of each kind of fraud
SPLITS = {"train": (8000, 0), "calibration": (1500, 0), "test": (3000, 100)}

if __name__ == "__main__":
    main()
