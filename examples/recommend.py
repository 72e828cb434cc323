"""Recommendation across modalities: items are pictures with names and sizes, some of them new; users are made up.

    python examples/recommend.py                     made where it is not there: the demo's folder (161 MB by apt-get)
    python examples/recommend.py --data FOLDER       FOLDER as polysense demo made it

The stamps are real; who takes them is not: each user likes three of the classes, which no column of the items shows, and some
stamps are liked by many. A sixth of the stamps is taken by nobody until the last period, so that only
their views can speak for them.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from sources import stamps, table

from polysense import Recommender
from polysense.judge.recommended import as_text


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("polysense-demo"), help="folder of the demo's tables")
    parser.add_argument("--users", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("polysense-recommend"), help="folder for tables and recommender")
    given = parser.parse_args(arguments)
    items, classes = shop(stamps(given.data))
    orders, later = made_up(classes, given.users)
    paths = {
        name: table(given.out / f"{name}.csv", rows)
        for name, rows in (("shop", items), ("orders", orders), ("later", later))
    }
    model = Recommender(options={"recommend.epochs": given.epochs}, verbose=True).fit(paths["orders"], paths["shop"])
    model.save(given.out / "recommender")
    print("\n" + as_text(model.evaluate(paths["later"])))
    names = {row["item"]: row["english"] for row in items}
    print("\nWhat one user took, and what comes next:")
    print("  took:", ", ".join(names[row["item"]] for row in orders if row["user"] == "u0"))
    print("  next:", ", ".join(names[item] for item, _ in model.recommend(["u0"], k=8)[0]))


def shop(folder: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Rows of the items table, and the class of each, which no column shows."""
    rows, classes = [], []
    for part in ("train", "valid", "test"):
        with (folder / f"{part}.csv").open(encoding="utf-8", newline="") as file:
            for record in csv.DictReader(file):
                picture = record["picture"] and str((folder / record["picture"]).resolve())
                shown = {name: record.get(name, "") for name in ("english", "width", "height")}
                rows.append({"item": f"s{len(rows)}", "picture": picture, **shown})
                classes.append(record["label"])
    return rows, classes


def made_up(classes: list[str], users: int, seed: int = 0) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Orders, and what was ordered later: one known item and one new one for each user."""
    rng = np.random.default_rng(seed)
    kinds, which = np.unique(classes, return_inverse=True)
    new = rng.permutation(len(classes)) < len(classes) // 6
    liked_by_many = rng.normal(size=len(classes))
    orders, later = [], []
    for u in range(users):
        taste = 4.0 * np.isin(which, rng.choice(len(kinds), min(3, len(kinds)), replace=False))
        wish = taste + liked_by_many + rng.gumbel(size=len(classes))
        known = rng.permutation(np.argsort(-np.where(new, -np.inf, wish))[: int(rng.integers(6, 21))])
        orders += [{"user": f"u{u}", "item": f"s{i}"} for i in known[:-1]]
        later += [{"user": f"u{u}", "item": f"s{i}"} for i in (known[-1], np.argmax(np.where(new, wish, -np.inf)))]
    return orders, later


if __name__ == "__main__":
    main()
