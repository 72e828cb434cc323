"""docs/reference is what the code says now, and every entry of a shelf says what a page needs."""

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from polysense.registry import encoders, fusions, tasks

_SPEC = importlib.util.spec_from_file_location("docs_make", Path(__file__).parents[1] / "docs" / "make.py")
make = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(make)

ENTRIES = [
    (shelf, name) for shelf in (encoders, fusions, tasks) for name in shelf
    if shelf[name].__module__.startswith("polysense.")
]


def test_the_pages_are_what_the_code_says():
    assert not (wrong := make.stale()), f"run make docs: {wrong}"


def test_an_entry_that_changes_makes_its_page_stale(monkeypatch):
    monkeypatch.setattr(fusions["concat"], "__doc__", "Something else.")
    assert make.stale() == ["fusions.md"]


@pytest.mark.parametrize(("shelf", "name"), ENTRIES, ids=[name for _, name in ENTRIES])
def test_an_entry_states_source_cost_and_when_it_wins(shelf, name):
    text = inspect.getdoc(shelf[name])
    parts = make.parts_of(text)
    assert re.search(r"\b(19|20)\d\d\b", text), "name the source: author and year"
    assert parts.wins, "a sentence that begins with Wins"
    assert parts.costs, "a sentence that begins with Costs"
    undescribed = [option.name for option in shelf.about(name).options.values() if not option.help]
    assert not undescribed


def test_every_page_links_to_headings_that_exist():
    for name, text in make.pages().items():
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors, name
