"""What the four recipes share: the demo's real records, a plain network on some of their views, polysense beside it."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from polysense import Model

sys.path.append(str(Path(__file__).parents[1]))
from scores import heading, line  # noqa: E402
from sources import stamps  # noqa: E402

EVERY = ("picture", "english", "chinese", "speech", "sound", "width", "height", "aspect", "alpha")
#: What the articles build: no regression helps the network, it has one member, and no view is hidden in training.
PLAIN = {"train.regressions": 0.0, "train.members": 1, "train.drop": 0.0, "train.auxiliary": 0.0}
#: What polysense takes for so few records where there is no tower.
NO_TOWER = {"picture": "image.plain", "english": "text.plain", "speech": "audio.plain"}
WIDTH = 54


def begin(doc: str, arguments: list[str] | None) -> argparse.Namespace:
    """--data FOLDER (made as `polysense demo` makes it where it is not there), --epochs N; prints the heading."""
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("polysense-demo"), help="folder of the demo's tables")
    parser.add_argument("--epochs", type=int, default=20)
    given = parser.parse_args(arguments)
    stamps(given.data)
    heading(WIDTH)
    return given


def run(
    name: str, given: argparse.Namespace, encoders: dict[str, str], fusion: str = "concat", **options: Any
) -> None:
    """The views that ``encoders`` names, all else left out, read by one plain network; judged on the test records."""
    _line(name, given, list(encoders), encoders=encoders, fusion=fusion,
          options=PLAIN | {"train.epochs": given.epochs} | options)


def default(given: argparse.Namespace, *views: str) -> None:
    """The same views as polysense reads them when nothing is said: with regressions, members, and towers that are on disk."""
    _line(f"polysense as it comes: {', '.join(views)}", given, list(views))
    _line("polysense where no tower is on disk", given, list(views), encoders={view: NO_TOWER[view] for view in views})


def _line(name: str, given: argparse.Namespace, views: list[str], **settings: Any) -> None:
    started = time.process_time()
    columns = {column: "ignore" for column in EVERY if column not in views}
    model = Model("label", group="group", columns=columns, cache=False, **settings)
    model.fit(given.data / "train.csv", valid=given.data / "valid.csv")
    line(name, model.evaluate(given.data / "test.csv"), started, WIDTH)
