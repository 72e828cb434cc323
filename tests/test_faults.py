"""Bad inputs and faults end in a result or in one sentence, whatever is fed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import small
from faulty import CASES, Place, what_happens


@pytest.fixture(scope="session")
def little_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "model"
    small.model().fit(small.records(30)).save(folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_every_fault_ends_as_the_list_says(name, tmp_path, little_folder):
    said = what_happens(CASES[name], Place(tmp_path, little_folder))
    assert re.search(CASES[name].ends, said, re.DOTALL), said
    assert "\n" not in said, "one sentence"
