"""What is typed on the command line -> settings; a mistake is told in one line. Loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: Kind of estimator -> its module, its class, and its settings that come by place.
ESTIMATORS = {
    "model": ("polysense.model", "Model", ("target",)), "matcher": ("polysense.matcher", "Matcher", ("query", "item")),
    "recommender": ("polysense.recommender", "Recommender", ("user", "item")),
}


def settings_of(
    kind: str, recipe: Path | None, typed: dict[str, Any], columns: list[str], views: list[str], encoders: list[str],
    options: list[str],
) -> dict[str, Any]:
    """What the recipe says, and over it what was typed.

    Args:
        kind: of the estimator, see ``ESTIMATORS``.
        typed: {setting: value or None}.
        columns: "NAME=KIND,...", as typed.
        views: "VIEW=COLUMN+COLUMN".
        encoders: "VIEW=NAME".
        options: "KEY=VALUE".
    """
    settings = _recipe(recipe, kind) if recipe else {}
    settings |= {key: value for key, value in typed.items() if value is not None}
    for key, given in (
        ("columns", _pairs([pair for text in columns for pair in text.split(",")], "--columns")),
        ("views", _pairs(views, "--views")),
        ("encoders", _pairs(["*=auto" if text.strip() == "auto" else text for text in encoders], "--encoder")),
        ("options", {key: _value(value) for key, value in _pairs(options, "--set").items()}),
    ):
        settings[key] = {**(settings.get(key) or {}), **given}
    return settings


def ways_of(given: list[str]) -> dict[str, Any]:
    """{option of the task: value} of what was typed."""
    from .errors import BadOption

    found = {}
    for key, value in _pairs(given, "--set").items():
        section, dot, name = key.partition(".")
        if section != "task" or not dot:
            raise BadOption(f"--set {key} is settled when a model learns; here only task.NAME of a task of words may change")
        found[name] = _value(value)
    return found


def _pairs(texts: list[str], option: str) -> dict[str, str]:
    from .errors import BadOption

    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip() or not value.strip():
            form = {"--columns": "NAME=KIND,...", "--encoder": "VIEW=NAME"}.get(option, "KEY=VALUE")
            raise BadOption(f"{option} {text!r} is not {form}; names with a comma or '=' go into a recipe (--recipe)")
        pairs[key.strip()] = value.strip()
    return pairs


def _value(text: str) -> Any:
    """A typed value as YAML reads it: 3, 0.1, true, [32, 64], words."""
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if value == "" and text.strip():  # a sign that means something to YAML, such as |
        return text
    if isinstance(value, str):  # YAML 1.1 reads 1e-3 as a word
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _recipe(path: Path, kind: str) -> dict[str, Any]:
    import yaml

    from .errors import BadOption
    from .registry import suggest

    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadOption(f"the recipe {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadOption(f"the recipe {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(recipe, dict):
        raise BadOption(f"the recipe {path} must hold settings such as 'target: label', not {type(recipe).__name__}")
    known = [name for name in defaults_of(kind) if name not in ("download", "verbose", "cache", "time_limit", "tensorboard")]
    for key in recipe:
        if key not in known:
            raise BadOption(f"the recipe {path} has '{key}', which is no setting; {suggest(str(key), known)}")
    for key in ("columns", "views", "encoders", "options"):
        if not isinstance(recipe.get(key) or {}, dict):
            raise BadOption(f"the recipe {path} has {key}: {recipe[key]!r}; it must hold pairs such as NAME: VALUE")
    return recipe


def defaults_of(kind: str) -> dict[str, Any]:
    """{setting of an estimator: default}, without importing it and torch with it.

    >>> defaults_of("matcher")["fusion"]
    'concat'
    """
    from .registry import read_options

    module, name, first = ESTIMATORS[kind]
    options = read_options(module, name)
    return dict.fromkeys(first) | {name: option.default for name, option in options.items()}


def write(path: Path, text: str) -> None:
    """A file of text; its folder is made if needed.

    Raises:
        CannotWrite: no permission, disk full.
    """
    from .errors import CannotWrite

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CannotWrite(f"{path} could not be written: {error.strerror or error}") from error
