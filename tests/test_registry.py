"""Names -> classes for the four shelves."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys

import pytest

import polysense
from polysense.contracts import Encoder, Fusion, Modality, Task
from polysense.errors import BadOption, UnknownName
from polysense.registry import Registry, encoders, fusions, modalities, option_helps, options_of, suggest, tasks

SHELVES = {"modality": modalities, "encoder": encoders, "fusion": fusions, "task": tasks}
BASES = {"modality": Modality, "encoder": Encoder, "fusion": Fusion, "task": Task}
ENTRIES = [(noun, name) for noun, shelf in SHELVES.items() for name in shelf]
every = pytest.mark.parametrize(("noun", "name"), ENTRIES, ids=[f"{noun}-{name}" for noun, name in ENTRIES])


def test_the_shelves_hold_what_this_version_promises():
    assert {"image", "text", "audio", "table"} <= set(modalities)
    assert {"concat", "sum", "attention", "gated", "transformer", "mean"} <= set(fusions)
    assert "classify" in tasks
    for name in ("text.bag", "text.plain", "image.cnn", "image.plain", "audio.cnn", "audio.plain", "table.mlp",
                 "text.pretrained", "image.pretrained", "audio.pretrained"):
        assert name in encoders


@every
def test_an_entry_is_of_its_shelf_and_knows_its_name(noun, name):
    cls = SHELVES[noun][name]
    assert issubclass(cls, BASES[noun]) and cls.name == name


@every
def test_what_is_read_from_the_source_is_what_the_class_has(noun, name):
    """Summary and options come from the source without importing it: they must not differ from the class's own."""
    about, cls = SHELVES[noun].about(name), SHELVES[noun][name]
    assert about.summary == (inspect.getdoc(cls) or "").split("\n")[0] and about.summary.endswith(".")
    assert cls.__module__ == about.module and cls.__qualname__ == about.qualname
    if noun == "modality":
        return
    options = {key: option.default for key, option in options_of(cls).items()}
    assert about.options == options_of(cls)
    assert {key: option.default for key, option in about.options.items()} == options
    assert json.loads(json.dumps(options)) == json.loads(json.dumps(options, default=list))
    for key, option in about.options.items():
        assert option.help, f"{name} says nothing of its option '{key}'"


@every
def test_what_stands_before_the_star_is_the_librarys(noun, name):
    """A fusion is given views and width, an encoder and a task nothing: everything else is a named option."""
    if noun == "modality":
        return
    kinds = inspect.signature(SHELVES[noun][name]).parameters.values()
    given = [p.name for p in kinds if p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD)]
    assert given == (["views", "dim"] if noun == "fusion" else [])


def test_a_misspelt_name_is_answered_with_the_right_one():
    with pytest.raises(UnknownName, match="there is no fusion 'conct'; did you mean 'concat'\\?"):
        fusions["conct"]
    with pytest.raises(UnknownName, match="here are: .*image.cnn"):
        encoders["zzz"]
    with pytest.raises(UnknownName, match="there is no fusion 'conct'"):
        fusions.check("conct", [])
    with pytest.raises(BadOption, match="fusion 'transformer' has no option 'fusion.haeds'; did you mean 'fusion.heads'"):
        fusions.check("transformer", ["haeds"], "fusion.")


def test_an_unknown_name_is_a_mistake_of_the_user_in_one_sentence():
    with pytest.raises(UnknownName) as caught:
        fusions["conct"]
    assert caught.value.exit_code == 2 and isinstance(caught.value, KeyError)
    assert "\n" not in str(caught.value) and not str(caught.value).startswith('"')


def test_a_class_registered_at_run_time():
    shelf = Registry("fusion", "polysense.fusion")

    @shelf("mine")
    class Mine(Fusion):
        """One line.

        Args:
            views: names.
            dim: D.
            power: of the mean.
        """

        def __init__(self, views, dim, *, power: int = 2) -> None:
            super().__init__()
            self.power = power

    assert "mine" in shelf and "mine" in shelf.names() and shelf["mine"] is Mine and Mine.name == "mine"
    assert shelf.about("mine").summary == "One line." and shelf.about("mine").options["power"].help == "of the mean."
    assert shelf.make("mine", ["a"], 4, power=3).power == 3
    with pytest.raises(BadOption, match="did you mean 'power'"):
        shelf.make("mine", ["a"], 4, pwer=3)
    assert "mine" not in fusions, "a shelf of one's own is one's own"


def test_options_of_a_base_are_handed_on(tmp_path, monkeypatch):
    """Own options first, then the base's that a ``**`` lets in; a base's default yields to the class's own."""
    package = tmp_path / "shelf_of_mine"
    package.mkdir()
    (package / "__init__.py").write_text(
        'from polysense.registry import Registry\nfusions = Registry("fusion", "nowhere")\n'
        'class Base:\n    """B.\n\n    Args:\n        a: first.\n        b: second.\n    """\n'
        '    def __init__(self, *, a=1, b=2): pass\n'
        '@fusions("open")\nclass Open(Base):\n    """O.\n\n    Args:\n        c: third.\n        b: mine.\n    """\n'
        '    def __init__(self, *, c=3, b=4, **more): pass\n'
        '@fusions("shut")\nclass Shut(Base):\n    """S.\n\n    Args:\n        c: third.\n    """\n'
        '    def __init__(self, *, c=3): pass\n'
        '@fusions("same")\nclass Same(Base):\n    """T."""\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    shelf = Registry("fusion", "shelf_of_mine")
    found = {name: {o.name: (o.default, o.help) for o in shelf.about(name).options.values()} for name in shelf}
    assert list(found["open"]) == ["c", "b", "a"]
    assert found == {
        "open": {"c": (3, "third."), "b": (4, "mine."), "a": (1, "first.")},
        "shut": {"c": (3, "third.")},
        "same": {"a": (1, "first."), "b": (2, "second.")},
    }
    made = importlib.import_module("shelf_of_mine")
    for name in ("Open", "Shut", "Same"):
        assert options_of(getattr(made, name)) == shelf.about(name.lower()).options


def test_a_plugin_from_an_entry_point(monkeypatch):
    class Point:
        name = "theirs"

        def load(self):
            return polysense.fusions["sum"]

    monkeypatch.setattr("polysense.registry.entry_points", lambda group: [Point()] if group == "polysense.fusions" else [])
    shelf = Registry("fusion", "polysense.fusion")
    assert "theirs" in shelf and "theirs" in shelf.names() and shelf["theirs"] is polysense.fusions["sum"]


def test_listing_a_shelf_imports_nothing_heavy():
    """Names, one-liners and options of all shelves, without torch and numpy; and no import for its side effect."""
    code = (
        "import sys, polysense.registry as r\n"
        "for shelf in (r.modalities, r.encoders, r.fusions, r.tasks):\n"
        "    for name in shelf: shelf.about(name)\n"
        "assert not {'torch', 'numpy', 'transformers'} & set(sys.modules), 'heavy'\n"
        "import polysense; print(polysense.fusions['concat'].__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "Concat\n", done.stderr


def test_helps_of_several_lines():
    text = "One.\n\nArgs:\n    a: first,\n        second.\n    b: other.\n\nforward: x\n"
    assert option_helps(text) == {"a": "first, second.", "b": "other."}
    assert option_helps("no section") == {}


def test_suggestions():
    assert suggest("hed", ["heads", "depth"], "fusion.") == "did you mean 'fusion.heads'? There are: fusion.heads, fusion.depth"
    assert suggest("zzz", ["heads"]) == "there are: heads"
    assert suggest("zzz", []) == "it has none"
