"""Which encoder reads which view: the user's, or the default with its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..contracts import Encoder, Task
from ..data.reading import Cells
from ..errors import BadModel, BadOption, BadTable
from ..layers import safe
from ..modality.towers import default_encoder, on_disk
from ..modality.towers_known import BY_NAME
from ..own import Own
from ..registry import encoders as encoder_shelf
from ..registry import modalities
from ..talk import aligned
from .gather import sample, tell_kinds
from .plan import check_encoder, split_name


def choose_encoders(
    named: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]], cells: Mapping[str, Cells], rows: np.ndarray,
    *, seed: int, download: bool, say: Callable[[str], None], check: Callable[[], None], reasons: Mapping[str, str],
) -> dict[str, Encoder]:
    """{view: fitted encoder}: the user's where named, else the default, each printed with its reason.

    Args:
        named: {view: name, name with tower, or module}.
        options: {view: options of its encoder}.
        cells: {view: cells}.
        rows: training rows.
        download: a hub id may be downloaded.
        say: takes a sentence for the user.
        reasons: {view: why it is read by what is named}, where the user did not name it.
        check: stops where the policy for unreadable cells says so.

    Raises:
        BadOption: an encoder or option that does not fit the view.
        BadTable: no training record has a readable view.
    """
    made, name_of = {}, dict(zip(sorted(cells), aligned(sorted(cells)), strict=True))
    for view in sorted(cells):
        mine = dict(options.get(view, {}))
        values = sample(cells[view], rows, seed)
        given = named.get(view)
        if isinstance(given, torch.nn.Module):
            encoder = own_encoder(given, cells[view].view.modality, mine)
            reason = reasons.get(view, "given")
        else:
            name, chosen, reason = (
                (*split_name(given), reasons.get(view, "given")) if given
                else default_encoder(cells[view].view.modality, values, len(rows))
            )
            check_encoder(name, view, cells[view].view.modality, mine)
            try:
                encoder = encoder_shelf.make(name, **{**chosen, **mine})
            except BadOption as error:
                raise BadOption(f"view '{view}': {error}") from None
        if not values:
            check()
            raise BadTable(
                f"no training record has a readable '{view}'; declare the column as ignore (--columns {view}=ignore)"
            )
        encoder.download = download
        tell_kinds(encoder, cells[view])
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            encoder.fit(values)
        say(f"{name_of[view]} <- {encoder.name}: {reason.replace('--encoder VIEW=', f'--encoder {view}=')}")
        made[view] = encoder
    return made


def suited(
    task: Task, named: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]], modality: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Encoders, their options and the reason, with those that suit the task where the user names none.

    Args:
        named: {view: what the user named}.
        modality: {view: modality}, of all views.
    """
    found, more, reasons = dict(named), dict(options), {}
    for view, kind in modality.items():
        if view in named:
            continue
        for name, mine in task.suits(kind):
            tower = BY_NAME.get(mine.get("tower", ""))
            if tower is None or on_disk(tower):
                found[view], reasons[view] = name, f"suits the task {task.name}"
                more[view] = {**mine, **more.get(view, {})}
                break
    return found, more, reasons


def own_encoder(module: torch.nn.Module, modality: str, options: Mapping[str, Any]) -> Encoder:
    """A user's own module as encoder of a view.

    It is called with the tensors that the modality's from-scratch encoder prepares and returns
    ``Tokens``, (B, W) or (B, T, W). A module that is an ``Encoder`` is taken as it is.
    """
    if isinstance(module, Encoder):
        return module
    return Own(module, encoder_shelf.make(modalities[modality].large, **options))


def tower_copies(encoders: Mapping[str, Encoder], weights: bool) -> dict[str, Path]:
    """{name in the model folder: file} of the towers: all files if ``weights``, else the small ones of tuned towers."""
    return {
        f"towers/{safe(view)}/{name}": path
        for view, encoder in encoders.items() if encoder.tower for name, path in encoder.files(weights).items()
    }


def encoder_again(
    view: str, part: Mapping[str, Any], own: Mapping[str, torch.nn.Module], folder: Path | None = None
) -> Encoder:
    """An encoder from what a model folder keeps of it.

    Args:
        part: {"name", "options", "state"}.
        own: {view: module} for views that were trained with a user's own module.
        folder: of the model, which may carry files of towers.

    Raises:
        BadModel: the view's own module is not given.
    """
    if part["name"] in encoder_shelf:
        encoder = encoder_shelf.make(part["name"], **part["options"])
    elif view in own:
        encoder = own_encoder(own[view], part["name"].split(".")[0], part["options"])
    else:
        raise BadModel(
            f"view '{view}' was trained with a module of your own; load it with "
            f"polysense.load(folder, encoders={{'{view}': YourModule()}})"
        )
    if folder is not None:
        encoder.carried = folder / "towers" / safe(view)
    encoder.load(part["state"])
    return encoder


def full_name(encoder: Encoder) -> str:
    """Name, and the tower behind a colon: what ``encoders`` takes."""
    return f"{encoder.name}:{encoder.options()['tower']}" if encoder.tower else encoder.name
