"""Names -> classes for the four shelves.

A shelf knows its home package. What stands there is found by reading the source (``ast``), so
that listing names, one-line summaries and options costs milliseconds and imports nothing; a class
is imported when it is asked for. Nobody imports a module for its side effect. A class whose
``__init__`` ends in ``**more`` also has the options of its base, which stands in the same file.

Other packages add entries through the entry point group ``polysense.<shelf>``, or at run time::

    @polysense.fusions("mine")
    class Mine(Fusion): ...
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .errors import BadOption, UnknownName

#: Class attributes that are read from the source.
_SAID = ("kind", "fusion", "training", "tuning", "mixes")


@dataclass(frozen=True)
class Option:
    """A keyword-only parameter of an entry: what a user may set."""

    name: str
    default: Any
    help: str = ""


@dataclass(frozen=True)
class Entry:
    """What is known of an entry without importing it.

    Attributes:
        kind, fusion, training, tuning, mixes: the class attributes of these names, where there are such: what a task's answers
            are, which fusion and options of train and tune suit it, and whether texts of training records may stand among
            the answers.
    """

    name: str
    summary: str
    module: str
    qualname: str
    options: dict[str, Option] = field(default_factory=dict)
    kind: str = ""
    fusion: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    tuning: Mapping[str, Any] = field(default_factory=dict)
    mixes: bool = False


class Registry:
    """One shelf: ``shelf[name]`` gives the class, ``shelf(name)`` registers one.

    >>> fusions = Registry("fusion", "polysense.fusion")
    >>> "concat" in fusions
    True
    """

    def __init__(self, noun: str, home: str) -> None:
        self.noun, self.home, self.plural = noun, home, plural(noun)
        self._classes: dict[str, type] = {}

    def __call__(self, name: str) -> Callable[[type], type]:
        def register(cls: type) -> type:
            cls.name = name
            self._classes[name] = cls
            return cls

        return register

    @cached_property
    def _home(self) -> dict[str, Entry]:
        """Entries of the home package, read from its source."""
        spec = find_spec(self.home)
        folders = spec.submodule_search_locations if spec else None
        entries: dict[str, Entry] = {}
        for folder in folders or ():
            for path in sorted(Path(folder).glob("*.py")):
                module = self.home if path.stem == "__init__" else f"{self.home}.{path.stem}"
                tree = ast.parse(path.read_text(encoding="utf-8"))
                for entry in _entries(tree, self.plural, module):
                    entries[entry.name] = entry
        return entries

    @cached_property
    def _plugins(self) -> dict[str, Any]:
        return {point.name: point for point in entry_points(group=f"polysense.{self.plural}")}

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted({*self._home, *self._plugins, *self._classes})

    def __iter__(self):
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._classes or name in self._home or name in self._plugins

    def __getitem__(self, name: str) -> type:
        """The class of that name.

        Raises:
            UnknownName: no such entry; the message names the nearest ones.
        """
        if name not in self._classes:
            if name in self._home:
                entry = self._home[name]
                self._classes[name] = getattr(importlib.import_module(entry.module), entry.qualname)
            elif name in self._plugins:
                self._classes[name] = self._plugins[name].load()
            else:
                raise UnknownName(f"there is no {self.noun} '{name}'; {suggest(name, self.names())}")
        return self._classes[name]

    def about(self, name: str) -> Entry:
        """Summary and options of an entry; imports it only if it is not one of the home's."""
        if name in self._home:
            return self._home[name]
        cls = self[name]
        text = inspect.getdoc(cls) or ""
        said = {key: getattr(cls, key) for key in _SAID if hasattr(cls, key)}
        return Entry(name, text.split("\n")[0], cls.__module__, cls.__qualname__, options_of(cls), **said)

    def check(self, name: str, options: Iterable[str], prefix: str = "") -> None:
        """Refuse options that the entry does not have.

        Raises:
            UnknownName: no such entry.
            BadOption: no such option; the message writes out the nearest spelling.
        """
        if name not in self:
            self[name]
        known = self.about(name).options
        for option in options:
            if option not in known:
                raise BadOption(
                    f"{self.noun} '{name}' has no option '{prefix}{option}'; "
                    + suggest(option, list(known), prefix)
                )

    def check_types(self, name: str, options: Mapping[str, Any], prefix: str = "") -> None:
        """Refuse values that are of another type than the option's default.

        Raises:
            BadOption: a word for a number, say.
        """
        for option, value in options.items():
            default = self.about(name).options[option].default
            wanted = (int, float) if isinstance(default, float) else type(default)
            wanted = (list, tuple) if wanted is tuple else wanted
            wrong = not isinstance(value, wanted) or (isinstance(value, bool) and not isinstance(default, bool))
            if default is not None and wrong:
                raise BadOption(f"{prefix}{option}={value!r} must be like its default {default!r}")

    def make(self, name: str, *args: Any, **options: Any) -> Any:
        """Build an entry: positional arguments from the library, options from the user."""
        self.check(name, options)
        return self[name](*args, **options)


def options_of(cls: type) -> dict[str, Option]:
    """The keyword-only parameters of a class with their helps; a ``**`` hands on those of its base."""
    found: dict[str, Option] = {}
    for base in inspect.getmro(cls):
        if "__init__" not in vars(base):
            continue
        helps, parameters = option_helps(inspect.getdoc(base) or ""), inspect.signature(base).parameters.values()
        for one in parameters:
            if one.kind is one.KEYWORD_ONLY:
                found.setdefault(one.name, Option(one.name, one.default, helps.get(one.name, "")))
        if not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
    return found


def read_options(module: str, name: str) -> dict[str, Option]:
    """What ``options_of`` gives, read from the source of a module that is too heavy to import for it.

    >>> read_options("polysense.model", "Model")["on_bad"].default
    'mask'
    """
    tree = ast.parse(Path(find_spec(module).origin).read_text(encoding="utf-8"))
    cls = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    init = next(node for node in cls.body if getattr(node, "name", None) == "__init__")
    return _options(init, option_helps(ast.get_docstring(cls) or ""))


def plural(noun: str) -> str:
    """
    >>> plural("fusion"), plural("modality")
    ('fusions', 'modalities')
    """
    return noun[:-1] + "ies" if noun.endswith("y") else noun + "s"


def suggest(word: str, known: list[str], prefix: str = "") -> str:
    """The cure for a misspelt word.

    >>> suggest("conct", ["concat", "sum"])
    "did you mean 'concat'? There are: concat, sum"
    """
    if not known:
        return "it has none"
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    there = "here are: " + ", ".join(prefix + name for name in known)
    return f"did you mean '{prefix}{near[0]}'? T{there}" if near else f"t{there}"


def option_helps(text: str) -> dict[str, str]:
    """Lines of a docstring's ``Args:`` section: name -> help.

    >>> option_helps("One line.\\n\\nArgs:\\n    rank: factors,\\n        at least 1.\\n    p: share.\\n\\nRaises:\\n    x: y")
    {'rank': 'factors, at least 1.', 'p': 'share.'}
    """
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n(?=[ \t]))*)", text, re.MULTILINE)
    helps: dict[str, str] = {}
    key = None
    for line in section.group(1).splitlines() if section else ():
        match = re.match(r"^ {4}(\w+): (.*)", line)
        if match:
            key = match.group(1)
            helps[key] = match.group(2).strip()
        elif key and line.strip():
            helps[key] += " " + line.strip()
    return helps


def _entries(tree: ast.Module, decorator: str, module: str) -> Iterable[Entry]:
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and getattr(mark.func, "id", None) == decorator:
                text = ast.get_docstring(node) or ""
                options = _options_of(node, classes)
                yield Entry(ast.literal_eval(mark.args[0]), text.split("\n")[0], module, node.name, options, **_said(node))


def _said(node: ast.ClassDef) -> dict[str, Any]:
    """{name: value} of those class attributes that an entry tells."""
    found = {}
    for part in node.body:
        names = part.targets if isinstance(part, ast.Assign) else [getattr(part, "target", None)]
        for name in {getattr(name, "id", None) for name in names} & set(_SAID):
            with contextlib.suppress(ValueError):  # computed: nothing that the source says
                found[name] = ast.literal_eval(part.value)
    return found


def _options_of(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> dict[str, Option]:
    """What ``options_of`` gives: its own options, then those that a ``**`` hands to a base in the same file."""
    init = next((n for n in node.body if getattr(n, "name", None) == "__init__"), None)
    found = _options(init, option_helps(ast.get_docstring(node) or "")) if init else {}
    for base in node.bases if init is None or init.args.kwarg else ():
        if getattr(base, "id", None) in classes:
            found |= {name: one for name, one in _options_of(classes[base.id], classes).items() if name not in found}
    return found


def _options(init: ast.FunctionDef, helps: dict[str, str]) -> dict[str, Option]:
    return {
        arg.arg: Option(arg.arg, ast.literal_eval(default) if default else None, helps.get(arg.arg, ""))
        for arg, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)
    }


#: The four shelves.
modalities = Registry("modality", "polysense.modality")
encoders = Registry("encoder", "polysense.modality")
fusions = Registry("fusion", "polysense.fusion")
tasks = Registry("task", "polysense.task")
