"""polysense: one model from a table whose cells are text, pictures, sounds, numbers and categories.

>>> import polysense
>>> sorted(polysense.__all__) == polysense.__all__
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contracts import Encoder, Fusion, Modality, Plain, Task
    from .data.records import Records, as_records
    from .errors import PolysenseError
    from .matcher import Matcher
    from .model import Model
    from .network import Network, Trunk
    from .opening import load
    from .recommender import Recommender
    from .registry import encoders, fusions, modalities, tasks
    from .tokens import Tokens
    from .transcripts import transcribe

#: Public name -> module. Importing polysense imports none of them: they load when used.
_HOMES = {
    "Encoder": "contracts", "Fusion": "contracts", "Matcher": "matcher", "Modality": "contracts", "Model": "model",
    "Network": "network",
    "Plain": "contracts", "PolysenseError": "errors", "Recommender": "recommender", "Records": "data.records",
    "Task": "contracts",
    "Tokens": "tokens", "Trunk": "network", "as_records": "data.records", "encoders": "registry",
    "fusions": "registry", "load": "opening", "modalities": "registry", "tasks": "registry",
    "transcribe": "transcripts",
}

__all__ = [
    "Encoder",
    "Fusion",
    "Matcher",
    "Modality",
    "Model",
    "Network",
    "Plain",
    "PolysenseError",
    "Recommender",
    "Records",
    "Task",
    "Tokens",
    "Trunk",
    "as_records",
    "encoders",
    "fusions",
    "load",
    "modalities",
    "tasks",
    "transcribe",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'polysense' has no attribute '{name}'")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
