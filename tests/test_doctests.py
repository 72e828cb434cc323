"""Examples run as printed: docstrings of every module, and the code of README and docs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import polysense

NAMES = ["polysense", *(module.name for module in pkgutil.walk_packages(polysense.__path__, "polysense."))]
HOUSE = Path(__file__).parents[1]
PAGES = sorted([*HOUSE.glob("*.md"), *HOUSE.glob("docs/**/*.md")])
FLAGS = doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", NAMES)
def test_examples_of(name):
    found = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert not found.failed


def blocks(page: Path) -> list[str]:
    """The page's blocks marked python, without the indentation of a list."""
    found = re.findall(r"^( *)```python\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def examples(page: Path) -> str:
    """Its blocks that begin with a prompt, one after the other: a later one may use names of an earlier one."""
    return "\n\n".join(block for block in blocks(page) if block.lstrip().startswith(">>>"))


#: A translation with the same examples under other comments is not run again.
RUN = {re.sub(r" +#.*", "", examples(page)): page for page in reversed(PAGES) if examples(page)}


@pytest.mark.parametrize("page", RUN.values(), ids=lambda page: page.name)
def test_examples_on_the_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    test = doctest.DocTestParser().get_doctest(examples(page), {}, page.name, str(page), 0)
    assert not doctest.DocTestRunner(optionflags=FLAGS).run(test).failed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_of_python_are_python(page):
    for block in blocks(page):
        if not block.lstrip().startswith(">>>"):
            compile(block, page.name, "exec")
