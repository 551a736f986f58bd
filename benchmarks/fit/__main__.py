"""Compare `avizor fit` without an option with the examples, which were made by hand for their data.

    python benchmarks/fit [--data FOLDER] [--only machine-sounds,...] [--out DIR]

For each set: how long the command takes, the ROC AUC of what it made and of the example on the same test items, and how many
normal items are flagged at alpha 0.05 over 20 splits. Then the bound of cross-fitting: few items of a set, 20 times others.
Then `--labels` beside the examples of classifiers: FOLDER has `fsdd` and `mnist10k`; without it they are left out. docs/fit.md
has the results.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

for folder in (Path(__file__).parent.parent, Path(__file__).parent.parent.parent / "examples"):
    sys.path.insert(0, str(folder))

from fit.classifiers import HEAD, comparisons  # noqa: E402
from fit.cross_fitted import measure_cross_fitting  # noqa: E402
from fit.run import measure  # noqa: E402
from fit.sets import sets  # noqa: E402

_HEAD = (
    "| set | normal items | minutes | AUC of the example | AUC of `avizor fit` | flagged at alpha 0.05, 20 splits |",
    "|---|---:|---:|---:|---:|---:|",
)


def main() -> None:
    """Measure, and print the tables as the results come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", default="", help="Names of sets, and cross-fitting.")
    parser.add_argument("--out", type=Path, default=Path("fit-benchmark"))
    arguments = parser.parse_args()
    only = set(filter(None, arguments.only.split(",")))
    print(*_HEAD, sep="\n", flush=True)
    for each in sets(arguments.out):
        if not only or each.name in only:
            print(measure(each, arguments.out), flush=True)
    if not only or "cross-fitting" in only:
        print(*measure_cross_fitting(arguments.out), sep="\n", flush=True)
    if arguments.data:
        print("", *HEAD, sep="\n", flush=True)
        for comparison, data in comparisons(arguments.data):
            if not only or comparison.name in only:
                print(comparison.row(arguments.out, data), flush=True)


if __name__ == "__main__":
    main()
