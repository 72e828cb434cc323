"""A quick model for tests: made-up records, encoders without towers, few and narrow layers."""

from __future__ import annotations

from typing import Any

from polysense import Model, demo

#: Without towers: the cheapest encoder of every view.
PLAIN = {"picture": "image.plain", "sound": "audio.plain", "text": "text.plain", "text_zh": "text.plain"}
QUICK = {"train.epochs": 3, "train.dim": 8, "train.members": 2}


def records(n: int = 60, seed: int = 0, *, views: str = "text table", folder=None, missing: float = 0.15) -> list[dict]:
    """Made-up records with only some of their views, for speed: of picture, sound, text, text_zh, table."""
    wanted = views.split()
    keep = {"label", *wanted, *(("temperature", "wind", "place", "windows", "day") if "table" in wanted else ())}
    made = demo.made_up(n, seed, folder, missing=missing)
    return [{key: value for key, value in record.items() if key in keep} for record in made]


def model(views: str = "text table", **settings: Any) -> Model:
    """A model for such records; options are added to the quick ones."""
    encoders = {view: name for view, name in PLAIN.items() if view in views.split()}
    settings["encoders"] = encoders | dict(settings.get("encoders") or {})
    settings["options"] = QUICK | dict(settings.get("options") or {})
    settings.setdefault("target", "label")
    return Model(**settings)
