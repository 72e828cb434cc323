"""``quality``: how much work a fit may be, from fewest CPU seconds to what answers best; the hardware decides what that is.

It only fills in what the user has left open: encoders, options, folds, seeds, tune that are named stay as they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .. import processes
from ..data.records import Records
from ..data.schema import View
from ..modality.towers import TOWERS, suits
from ..modality.towers_find import find, on_disk
from ..modality.towers_known import Tower
from ..registry import encoders, modalities
from .plan import AUTO, OTHERS

#: What ``fast`` sets beside plain features.
FAST = {"train.members": 1}
#: Models that ``best`` averages, the most first; records of all of them for a core, and for a GiB of free memory.
MODELS, OF_A_CORE, OF_A_GIB = (5, 3), 20_000, 20_000
#: Records that are looked at for the languages of a text.
SOME = 500
#: Records, or groups, that a fold needs.
LEAST = 10


class Hardware(NamedTuple):
    """What a fit runs on.

    Attributes:
        cores: that this process may use.
        gpu: name of the accelerator; empty where there is none.
        gib: of memory that are free.
    """

    cores: int
    gpu: str
    gib: float

    def __str__(self) -> str:
        return f"{self.cores} core{'s' * (self.cores != 1)}, {self.gpu or 'no GPU'}, {self.gib:.0f} GiB of memory free"


def hardware() -> Hardware:
    """What there is here."""
    import torch

    gpu = ""
    if torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator().type
        gpu = torch.cuda.get_device_name() if kind == "cuda" else f"GPU ({kind})"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # no such figure on this system
        free = 0
    return Hardware(cores, gpu, free / 2**30)


def chosen(
    quality: str, settings: Mapping[str, Any], views: Mapping[str, str], records: int, groups: int, machine: Hardware,
    words: bool = False,
) -> tuple[dict[str, Any], str]:
    """Settings that a quality adds to those of the user, and a line that says which and why.

    Args:
        settings: of the model, as the user gave them.
        views: {view: modality}.
        records: with a target.
        groups: among them; as many as records where there is no group column.
        words: the answers are texts, which have no average.

    >>> chosen("fast", {}, {"note": "text"}, 90, 90, Hardware(2, "", 8.0))[0]["encoders"]
    {'note': 'text.plain'}
    """
    if quality == "fast":
        added, why = _fast(settings, views)
    else:
        added, why = _best(settings, views, records, groups, machine, words)
    yours = ", ".join(key for key in ("encoders", "options", "folds", "seeds", "tune") if _named(settings, key))
    return added, (
        f"quality {quality} on {machine}, {records:,} records: {why}" + (f"; what you named stays ({yours})" if yours else "")
    )


def fetch(views: Sequence[View], records: Records, say: Callable[[str], None]) -> None:
    """Download the default tower of each view for which none is on disk, so that it can be tried."""
    some, spoken = range(min(len(records), SOME)), []
    for view in views:
        texts = [value for name in view.columns for value in records.column(name, some) if isinstance(value, str)]
        spoken.append((view.modality, modalities[view.modality].languages(texts) if view.modality == "text" else set()))
    for tower in missing(spoken):
        say(f"downloading the tower {tower.name}: none that suits is on disk")
        find(tower.name, tower.modality, download=True)


def missing(spoken: Sequence[tuple[str, set[str]]]) -> list[Tower]:
    """The towers that would be the default of a view of which none is on disk, and that can be downloaded.

    Args:
        spoken: of each view its modality and the languages that it holds.

    >>> missing([("table", set())])
    []
    """
    found = []
    for modality, languages in spoken:
        suited = [tower for tower in TOWERS if tower.modality == modality and tower.default and suits(tower, languages)]
        if not any(map(on_disk, suited)):
            found += [tower for tower in suited if not tower.packaged][:1]
    return list(dict.fromkeys(found))


def _named(settings: Mapping[str, Any], key: str) -> bool:
    return settings.get(key) not in (None, {}, (), [], "", 1 if key == "seeds" else None)


def _flat(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options written flat or nested, flat."""
    flat: dict[str, Any] = {}
    for key, value in (options or {}).items():
        nested = isinstance(value, Mapping) and "." not in key
        flat |= {f"{key}.{name}": one for name, one in value.items()} if nested else {key: value}
    return flat


def _fast(settings: Mapping[str, Any], views: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    given, options = dict(settings.get("encoders") or {}), _flat(settings.get("options"))
    plain = {}
    for view, modality in views.items():
        name = modalities[modality].small
        wanted = {key.partition(".")[2] for key in options if key.startswith(f"{view}.")}
        if OTHERS not in given and wanted <= set(encoders.about(name).options):
            plain[view] = name
    return {"encoders": plain | given, "options": FAST | options}, (
        "plain features and one member of the network; no tower runs"
    )


def _best(
    settings: Mapping[str, Any], views: Mapping[str, str], records: int, groups: int, machine: Hardware, words: bool
) -> tuple[dict[str, Any], str]:
    added: dict[str, Any] = {}
    why = []
    given = dict(settings.get("encoders") or {})
    if processes.count() == 1 and OTHERS not in given and set(views) - set(given):
        added["encoders"] = {OTHERS: AUTO} | given
        why.append("encoders are tried and chosen on validation records")
    several = any(_named(settings, key) for key in ("folds", "seeds", "tune"))
    if several:
        pass
    elif machine.gpu and set(views.values()) & {"text", "image", "audio"}:
        added["tune"] = "all"
        why.append("towers are tuned, for there is a GPU")
    elif words:
        why.append("one model, for texts have no average")
    else:
        most = min(OF_A_CORE * machine.cores, OF_A_GIB * max(machine.gib, 1.0))
        count = next((count for count in MODELS if records * count <= most), 1)
        if count > 1 and groups >= LEAST * count:
            added["folds"] = count
            why.append(f"{count} models, each on all but one of {count} folds, answer together")
        elif count > 1:
            added["seeds"] = count
            why.append(f"{count} models of as many seeds answer together, for there are too few records or groups for folds")
        else:
            why.append("one model, for several would take more cores or memory")
        why.append("towers stay frozen, for tuning them takes a GPU" if not machine.gpu else "no view has a tower")
    return added, "; ".join(why) or "nothing is left to choose"
