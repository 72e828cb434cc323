"""Laws that every modality of the shelf and its plain features keep. B records, P numbers."""

from __future__ import annotations

import numpy as np
import pytest

from polysense.contracts import Plain
from polysense.data.schema import KINDS, TABLE_KINDS
from polysense.registry import encoders, modalities
from test_encoder_laws import VALUES, through_files

every = pytest.mark.parametrize("name", list(modalities))


def rows(features) -> np.ndarray:
    return np.asarray(features.toarray() if hasattr(features, "toarray") else features, np.float64)


@pytest.fixture(params=list(modalities))
def plain(request) -> Plain:
    part = modalities[request.param].plain()
    part.fit(VALUES[request.param])
    part.values = VALUES[request.param]
    return part


@every
def test_it_reads_kinds_that_exist_and_names_its_encoders(name):
    modality = modalities[name]
    assert modality.kinds and set(modality.kinds) <= set(KINDS)
    assert set(modality.kinds) == {name} or set(modality.kinds) == set(TABLE_KINDS)
    for encoder in (modality.small, modality.large):
        assert encoder in encoders and encoder.startswith(f"{name}.")


def test_no_kind_is_read_twice():
    kinds = [kind for name in modalities for kind in modalities[name].kinds]
    assert len(kinds) == len(set(kinds))


def test_a_row_for_each_record(plain):
    found = rows(plain.transform(plain.values))
    assert found.shape[0] == 6 and found.shape[1] > 0 and np.isfinite(found).all()
    assert not np.array_equal(found[0], found[1]), "different values, different numbers"


def test_alone_as_in_a_batch(plain):
    together = rows(plain.transform(plain.values))
    for i in range(6):
        np.testing.assert_allclose(rows(plain.transform([plain.values[i]]))[0], together[i], atol=1e-5)


def test_records_are_separate(plain):
    changed = [plain.values[3], *plain.values[1:]]
    np.testing.assert_allclose(rows(plain.transform(changed))[1:], rows(plain.transform(plain.values))[1:], atol=1e-6)


def test_state_and_load_give_equal_bits(plain):
    again = type(plain)()
    again.load(through_files(plain.state()))
    np.testing.assert_array_equal(rows(again.transform(plain.values)), rows(plain.transform(plain.values)))
    assert again.fingerprint() == plain.fingerprint()


def test_fit_repeats(plain):
    again = type(plain)()
    again.fit(plain.values)
    assert again.fingerprint() == plain.fingerprint()


def test_one_value_is_enough(plain):
    again = type(plain)()
    again.fit(plain.values[:1])
    assert np.isfinite(rows(again.transform(plain.values))).all()
