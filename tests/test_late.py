"""Late fusions that are fitted on answers out of fold: numbers by hand, certificates, and the way through a fit.

N records, V views, C classes.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import polysense
import small
from polysense.errors import BadOption
from polysense.fusion.late import best_matrices, best_mixture, best_power, best_squares, onto_simplex, shared_out
from polysense.learn.late import out_of_fold
from polysense.network import Core, Trunk
from polysense.registry import fusions, tasks

HALF = np.array([0.5, 0.5])
FITTED = [name for name in fusions if fusions[name].fitted or name == "convex"]


def made(name: str, names: str = "ab", classes: int = 2, **options):
    torch.manual_seed(0)
    fusion = fusions.make(name, list(names), 4, **options)
    fusion.begin(classes)
    return fusion


def close(found, *expected: float, atol: float = 1e-5) -> None:
    np.testing.assert_allclose(np.asarray(found).flatten(), expected, atol=atol)


def told(rng: np.random.Generator, y_N: np.ndarray, right: float, sure: float = 0.8, classes: int = 2) -> np.ndarray:
    """(N, C): a view that names the true class with probability ``right``, always as sure."""
    n = len(y_N)
    said_N = np.where(rng.random(n) < right, y_N, (y_N + rng.integers(1, classes, n)) % classes)
    return np.eye(classes)[said_N] * (sure - (1 - sure) / (classes - 1)) + (1 - sure) / (classes - 1)


# --- combining, by hand --------------------------------------------------------------------------


def test_mean_with_fixed_weights():
    """0.7 * 0.9 + 0.3 * 0.5 = 0.78; without b: 0.7 / 0.7 of 0.9."""
    fusion = made("mean", weights="a=0.7,b=0.3")
    answers = torch.tensor([[[0.9, 0.1], [0.5, 0.5]]] * 2)
    close(fusion.combine(answers, torch.tensor([[True, True], [True, False]]), torch.ones(2) / 2), 0.78, 0.22, 0.9, 0.1)


def test_convex_with_fixed_weights_asks_for_no_fit():
    """0.6 * 0.5 + 0.4 * 0.25 = 0.4; b and c of three views with .2 and .3: 0.4 * 0.25 + 0.6 * 1 = 0.7."""
    fusion = made("convex", weights={"a": 0.6, "b": 0.4})
    assert not fusion.fitted and made("convex").fitted
    close(fusion.combine(torch.tensor([[[0.5, 0.5], [0.25, 0.75]]]), torch.ones(1, 2) > 0, torch.ones(2) / 2), 0.4, 0.6)
    fusion = made("convex", "abc", weights={"a": 0.5, "b": 0.2, "c": 0.3})
    answers = torch.tensor([[[torch.nan, 0.0], [0.25, 0.75], [1.0, 0.0]]])
    close(fusion.combine(answers, torch.tensor([[False, True, True]]), torch.ones(2) / 2), 0.7, 0.3)


def test_convex_of_many_views_shares_its_weights_out():
    fusion = made("convex", "abcdefg", weights={view: share for view, share in zip("abcdefg", [0.4] + [0.1] * 6, strict=True)})
    assert fusion.share_PV.shape == (1, 7)
    mask = torch.tensor([[True, True] + [False] * 5])
    answers = torch.tensor([[[1.0, 0.0], [0.0, 1.0]] + [[torch.nan, torch.nan]] * 5])
    close(fusion.combine(answers, mask, torch.ones(2) / 2), 0.8, 0.2)


def test_product_counts_the_prior_once():
    """Prior (0.8, 0.2). Views say (0.5, 0.5) and (0.8, 0.2): odds 4 * (1/4) * (4/4) = 1, so (0.5, 0.5): the second view only
    repeats the prior. With beta_2 = 2: odds 4 * (1/4)^2 = 1/4, so (0.2, 0.8). One view alone says what it says."""
    fusion = made("product")
    prior, answers = torch.tensor([0.8, 0.2]), torch.tensor([[[0.5, 0.5], [0.8, 0.2]]])
    close(fusion.combine(answers, torch.tensor([[True, True]]), prior), 0.5, 0.5)
    fusion.beta_M[2] = 2.0
    close(fusion.combine(answers, torch.tensor([[True, True]]), prior), 0.2, 0.8)
    close(fusion.combine(answers, torch.tensor([[False, True]]), prior), 0.8, 0.2)


def test_stacked_weighs_evidence_and_reads_presence():
    """Prior even; a says (0.8, 0.2), so e_a = (log 1.6, log 0.4). W_a = 2 I: odds (1.6 / 0.4)^2 = 16: 16/17. With the shift
    of a's presence (log 2, 0): 32/33. W_a swapping the classes: odds 1/4. b, absent, adds neither."""
    fusion = made("stacked")
    answers, mask = torch.tensor([[[0.8, 0.2], [torch.nan, torch.nan]]]), torch.tensor([[True, False]])
    fusion.matrix_VCC[0] = 2 * torch.eye(2)
    fusion.shift_VC[1] = torch.tensor([9.0, 0.0])
    close(fusion.combine(answers, mask, torch.ones(2) / 2), 16 / 17, 1 / 17)
    fusion.shift_VC[0, 0] = math.log(2)
    close(fusion.combine(answers, mask, torch.ones(2) / 2), 32 / 33, 1 / 33)
    fusion.shift_VC[0, 0], fusion.matrix_VCC[0] = 0.0, torch.eye(2).flip(0)
    close(fusion.combine(answers, mask, torch.ones(2) / 2), 0.2, 0.8)


@pytest.mark.parametrize("name", ["mean", "convex"])
@given(st.lists(st.booleans(), min_size=3, max_size=3), st.integers(0, 50))
@settings(max_examples=20)
def test_weights_are_convex_over_what_is_present(name, bits, seed):
    """Each view names a class of its own, so the answer is the weights."""
    rng = np.random.default_rng(seed)
    fixed = dict(zip("abc", rng.dirichlet(np.ones(3)).round(3) + 0.01, strict=True))
    options = [{}, {"weights": {view: float(share / sum(fixed.values())) for view, share in fixed.items()}}][seed % 2]
    fusion = made(name, "abc", 3, **options)
    if name == "convex" and not options:
        answers = rng.dirichlet(np.ones(3), (60, 3))
        fusion.fit_out_of_fold(answers, np.ones((60, 3), bool), rng.integers(3, size=60), np.ones(3) / 3)
    mask = torch.tensor([bits])
    said = fusion.combine(torch.eye(3)[None], mask, torch.full((3,), torch.nan) if any(bits) else torch.ones(3) / 3)[0]
    assert (said >= 0).all() and abs(float(said.sum()) - 1) < 1e-5
    assert not any(bits) or (said[~mask[0]] == 0).all()


def test_shares_of_views_that_weigh_nothing_are_even():
    mask = torch.tensor([[True, True, False], [False, True, True], [False, False, False]])
    close(shared_out(torch.tensor([1.0, 0.0, 0.0]), mask), 1, 0, 0, 0, 0.5, 0.5, 0, 0, 0)


# --- fitting -------------------------------------------------------------------------------------


@given(st.integers(1, 5), st.integers(2, 40), st.integers(0, 1000))
@settings(max_examples=25)
def test_the_certificate_bounds_what_any_other_weights_gain(views, n, seed):
    """max_m mean(p_m(y) / p) - 1 is reported, small, and true: random weights and corners gain no more."""
    rng = np.random.default_rng(seed)
    right_NV = rng.beta(0.7, 0.7, (n, views)) * 0.98 + 0.01
    weights, gap = best_mixture(right_NV)
    assert gap <= 1e-5 and (weights >= 0).all() and abs(weights.sum() - 1) < 1e-9
    assert abs(max((right_NV / (right_NV @ weights)[:, None]).mean(0)) - 1 - gap) < 1e-6
    found = np.log(right_NV @ weights).mean()
    for other in [*rng.dirichlet(np.ones(views), 20), *np.eye(views)]:
        assert np.log(right_NV @ other).mean() <= found + gap + 1e-12


def test_mixture_by_hand():
    """Two views, p_1 = (0.9, 0.1), p_2 = (0.1, 0.9): symmetric, so (1/2, 1/2). Where the first is better everywhere: (1, 0)."""
    close(best_mixture(np.array([[0.9, 0.1], [0.1, 0.9]]))[0], 0.5, 0.5)
    close(best_mixture(np.array([[0.9, 0.1], [0.8, 0.7]]))[0], 1.0, 0.0, atol=1e-3)


@given(st.integers(1, 5), st.integers(2, 30), st.integers(0, 1000))
@settings(max_examples=25)
def test_weights_of_numbers_have_the_least_squared_error(views, n, seed):
    rng = np.random.default_rng(seed)
    truth_N = rng.normal(size=n)
    said_NV = truth_N[:, None] + rng.normal(size=(n, views)) * rng.uniform(0.2, 2, views)
    weights, gap = best_squares(said_NV, truth_N)
    assert gap <= 1e-5 and (weights >= 0).all() and abs(weights.sum() - 1) < 1e-9
    found = ((said_NV @ weights - truth_N) ** 2).mean()
    scale = np.linalg.eigvalsh((said_NV - truth_N[:, None]).T @ (said_NV - truth_N[:, None]) / n)[-1]
    for other in [*rng.dirichlet(np.ones(views), 20), *np.eye(views)]:
        assert ((said_NV @ other - truth_N) ** 2).mean() >= found - 2 * gap * scale - 1e-9


def test_the_simplex_is_the_nearest():
    """(0.5, 0.1) lacks 0.4, shared evenly; (2, 0) is cut to (1, 0); inside it stays."""
    close(onto_simplex(np.array([0.5, 0.1])), 0.7, 0.3)
    close(onto_simplex(np.array([2.0, 0.0])), 1.0, 0.0)
    close(onto_simplex(np.array([0.2, 0.3, 0.5])), 0.2, 0.3, 0.5)


def test_power_by_hand():
    """Evidence 1 for class 0, which is right in 3 of 4 records: sigmoid(beta) = 3/4, beta = log 3; always right: the end, 10."""
    evidence = np.array([[1.0, 0.0]] * 4)
    assert abs(best_power(evidence, np.array([0, 0, 0, 1]), np.log(HALF))[0] - math.log(3)) < 1e-6
    assert best_power(evidence, np.zeros(4, int), np.log(HALF))[0] > 9.999
    prior = np.log([0.25, 0.75])  # odds e^beta / 3 = 1/3 at 1 of 4: beta 0, the low end
    assert best_power(evidence, np.array([0, 1, 1, 1]), prior)[0] < 0.011


def test_convex_fits_each_subset_and_reports_the_gap():
    """a is right 9 times in 10, b 6, c 5 (of 2): all weight goes to a; without a to b. c and b are thirty records short
    of weights of their own, and get those of all, shared out."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=400)
    answers = np.stack([told(rng, y, right) for right in (0.9, 0.65, 0.5)], 1)
    mask = np.ones((400, 3), bool)
    mask[:200, 2] = False
    answers[~mask] = np.nan
    fusion = made("convex", "abc")
    facts = fusion.fit_out_of_fold(answers, mask, y, HALF)
    assert facts["subsets"] == 4 and facts["gap"] <= 1e-5
    said = answers[np.arange(400), :, y]
    gaps = [best_mixture(said[mask[:, p].all(1)][:, p])[1] for p in ([0, 1], [0, 2], [1, 2], [0, 1, 2])]
    assert facts["gap"] == pytest.approx(max(gaps)) and min(gaps) < max(gaps)  # the certificate is that of the worst subset
    assert facts["weights"]["a"] > 0.7 and abs(sum(facts["weights"].values()) - 1) < 1e-3
    code = {"ab": 3, "ac": 5, "bc": 6, "abc": 7}
    right = answers[np.arange(400), :, y]
    for names, places in (("ab", [0, 1]), ("bc", [1, 2]), ("abc", [0, 1, 2])):
        rows = mask[:, places].all(1)
        close(fusion.share_PV[code[names], places], *best_mixture(right[rows][:, places])[0])
    mask[200:371, 2] = False  # 29 records with c are left
    facts = fusion.fit_out_of_fold(answers, mask, y, HALF)
    assert facts["subsets"] == 1
    close(fusion.share_PV[code["bc"]], 0, 0.5, 0.5)


def test_convex_fits_labels_and_numbers():
    """Labels: each label of each record is one answer. Numbers: see the squares above."""
    rng = np.random.default_rng(0)
    truth = (rng.random((50, 3)) < 0.4).astype(float)
    answers = np.stack([np.where(truth > 0, 0.9, 0.1), rng.random((50, 3))], 1)
    fusion = made("convex")
    assert fusion.fit_out_of_fold(answers, np.ones((50, 2), bool), truth, np.full(3, 0.4), "labels")["weights"]["a"] > 0.9
    numbers = rng.normal(size=(50, 1))
    answers = np.stack([numbers + 1, numbers - 3], 1)
    facts = fusion.fit_out_of_fold(answers, np.ones((50, 2), bool), numbers, np.zeros(1), "numbers")
    close([facts["weights"]["a"], facts["weights"]["b"]], 0.75, 0.25, atol=1e-3)  # 0.75 * 1 - 0.25 * 3 = 0


def test_product_finds_that_two_views_repeat_each_other():
    """b says what a says: the evidence of both is the double of one, so its power is half of a single view's."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=300)
    one = told(rng, y, 0.8, sure=0.7)
    fusion = made("product")
    facts = fusion.fit_out_of_fold(np.stack([one, one], 1), np.ones((300, 2), bool), y, HALF)
    assert facts["gap"] < 1e-6
    assert abs(float(fusion.beta_M[1]) - 2 * float(fusion.beta_M[2])) < 1e-4
    right = (one.argmax(1) == y).mean()
    assert abs(float(fusion.beta_M[1]) - math.log(right / (1 - right)) / math.log(0.7 / 0.3)) < 1e-4
    assert set(facts["temperature"]) == {"1", "2"}


def test_stacked_learns_that_a_view_confuses_classes():
    """a names class 1 for 0 and 0 for 1: every other late fusion follows it, stacking turns it round; b alone stays right."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=400)
    answers = np.stack([told(rng, 1 - y, 0.9), told(rng, y, 0.7)], 1)
    fusion = made("stacked")
    facts = fusion.fit_out_of_fold(answers, np.ones((400, 2), bool), y, HALF)
    assert facts["gap"] < 1e-4 and facts["ridge"] in (1, 10, 100, 1000)
    swapped = torch.tensor([[[0.2, 0.8], [0.8, 0.2]]])
    for mask in ([True, True], [True, False], [False, True]):
        assert fusion.combine(swapped, torch.tensor([mask]), torch.ones(2) / 2)[0, 0] > 0.6, mask


def test_stacked_is_at_the_optimum_of_what_it_states():
    """Any step away from the matrices and shifts costs; a heavy ridge leaves W = s I and u = 0."""
    rng = np.random.default_rng(0)
    y = torch.as_tensor(rng.integers(3, size=80))
    evidence = torch.as_tensor(rng.normal(size=(80, 2, 3))) + 2 * torch.nn.functional.one_hot(y, 3)[:, None]
    mask, prior = torch.ones(80, 2, dtype=torch.bool), torch.ones(3, dtype=torch.float64) / 3
    matrix, shift, slope = best_matrices(evidence, mask, y, prior, 1e4)
    assert slope < 1e-4 and shift.abs().max() < 0.01
    off = matrix - torch.diag_embed(matrix.diagonal(dim1=1, dim2=2))
    assert off.abs().max() < 0.01 and (matrix[:, 0, 0] - matrix[:, 2, 2]).abs().max() < 0.01
    matrix, shift, slope = best_matrices(evidence, mask, y, prior, 2.0)

    def loss(matrix: torch.Tensor, shift: torch.Tensor) -> float:
        scores = torch.einsum("nvc,vdc->nd", evidence, matrix) + shift.sum(0)
        scale = matrix.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(3)
        spread = (matrix - scale).square().sum() + shift.square().sum()  # the best scale is the mean of the diagonal
        return (torch.nn.functional.cross_entropy(scores, y, reduction="sum") + spread).item()

    assert slope < 1e-4
    for _ in range(20):
        step, move = torch.randn(2, 3, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
        assert loss(matrix + 0.01 * step, shift + 0.01 * move) > loss(matrix, shift)


# --- through a fit -------------------------------------------------------------------------------


def test_heads_learn_apart():
    """The loss is the mean over present views of each view's own loss, whatever the fusion makes of the answers."""
    task = tasks.make("classify", smoothing=0.0)
    task.fit(["x", "y"])
    core = Core(Trunk({"a": 3, "b": 3}, fusions.make("convex", ["a", "b"], 4), 4), task, 4).eval()
    x = {view: torch.randn(2, 1, 3) for view in "ab"}
    mask = {"a": torch.tensor([[True], [True]]), "b": torch.tensor([[True], [False]])}
    labels = torch.tensor([0, 1])

    def alone(view: str) -> torch.Tensor:
        return -core(x, {v: m & (v == view) for v, m in mask.items()}).log().gather(1, labels[:, None])[:, 0]

    wanted = torch.stack([(alone("a")[0] + alone("b")[0]) / 2, alone("a")[1]])
    torch.testing.assert_close(core(x, mask, {"label": labels}), wanted, atol=1e-5, rtol=1e-5)


def test_a_record_is_answered_by_heads_that_had_not_seen_it(monkeypatch):
    """Folds hold whole groups, every training record is answered once, and by the network that lacked its fold."""
    seen: list[tuple[set, np.ndarray]] = []
    import polysense.learn.late as late

    real_train, real_encode = late.train, late.encode

    def train(network, views, targets, rows, valid_rows, **more):
        seen.append((set(rows.tolist()), None))
        assert more["options"].members == 1 and not len(valid_rows)
        return real_train(network, views, targets, rows, valid_rows, **more)

    def encode(network, views, rows):
        seen[-1] = (seen[-1][0], rows)
        return real_encode(network, views, rows)

    monkeypatch.setattr(late, "train", train)
    monkeypatch.setattr(late, "encode", encode)
    records = small.records(60)
    for i, record in enumerate(records):
        record["who"] = f"p{i // 4}"
    model = small.model(fusion="convex", group="who", options={"fusion.folds": 3, "train.epochs": 1}).fit(records)
    assert len(seen) == 3
    tested = np.concatenate([rows for _, rows in seen])
    assert len(set(tested.tolist())) == len(tested)
    assert set(tested.tolist()) == seen[0][0] | set(seen[0][1].tolist())
    for learned, rows in seen:
        assert not {records[i]["who"] for i in learned} & {records[i]["who"] for i in rows.tolist()}
    assert model.made_["fusion"]["gap"] <= 1e-5 and set(model.made_["fusion"]["weights"]) == {"table", "text"}


@pytest.mark.parametrize("name", FITTED)
def test_a_fitted_fusion_survives_the_folder(name, tmp_path):
    """Equal bits after loading, under every mask; what was fitted is told, kept, and the same in every member."""
    records = small.records(80)
    model = small.model(fusion=name, options={"fusion.folds": 2, "train.regressions": 0.0}).fit(records)
    model.save(tmp_path / "model")
    again = polysense.load(tmp_path / "model")
    assert again.made_["fusion"] == model.made_["fusion"] and "gap" in again.made_["fusion"]
    fewer = [{**record, "text": None} for record in records[:5]] + [{"label": None, "text": "wet street"}]
    for some in (records[:20], fewer):
        assert np.array_equal(again.predict_proba(some), model.predict_proba(some))
    first, fresh = dict(model.network_.fusion.named_buffers()), dict(made(name, ["table", "text"], 3).named_buffers())
    for key, value in first.items():
        stacked = model.network_.members.state_of()[f"trunk.fusion.{key}"]
        assert (stacked == value).all() and not torch.equal(value, fresh[key]), key


def test_a_killed_fit_takes_the_answers_out_of_fold_up_again(tmp_path, monkeypatch):
    """The stage is read, not done anew, and the same bits come out."""
    import polysense.model as door

    records = small.records(60)
    options = {"fusion.folds": 2, "train.checkpoint": 0}
    whole = small.model(fusion="convex", options=options).fit(records)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("polysense.estimator.train", killed)
        with pytest.raises(KeyboardInterrupt):
            small.model(fusion="convex", options=options).fit(records, checkpoints=tmp_path / "kept")
    monkeypatch.setattr(door, "out_of_fold", killed)
    resumed = small.model(fusion="convex", options=options).fit(records, checkpoints=tmp_path / "kept", resume=True)
    assert np.array_equal(resumed.predict_proba(records), whole.predict_proba(records))


def test_a_network_trained_from_scratch_is_trained_anew_for_each_fold():
    """The encoders of the fit are untouched by the folds: they learn on all records afterwards, from where they began."""
    from polysense.learn.late import fresh

    model = small.model("text", encoders={"text": "text.plain"}, options={"train.epochs": 1}).fit(small.records(40, views="text"))
    encoders = model.network_.encoders
    encoder = encoders.encoders["text"]
    assert encoder.frozen and fresh(encoders).encoders["text"] is encoder
    encoder.frozen = False
    try:
        copied = fresh(encoders)
        assert copied.encoders["text"] is not encoder and list(copied.conditions) == list(encoders.conditions)
    finally:
        encoder.frozen = True


def test_a_late_fusion_refuses_answers_that_it_cannot_combine():
    from polysense.network import check_fits

    task = tasks.make("classify")
    task.kind = "numbers"
    with pytest.raises(BadOption, match="fusion 'product' combines classes, and task 'classify' answers numbers; choose another"):
        check_fits(made("product"), task)
    check_fits(made("convex"), task)


def test_folds_of_one_group_are_refused():
    records = [{**record, "who": "p"} for record in small.records(40)]
    valid = [{**record, "who": "q"} for record in small.records(12, seed=1)]
    with pytest.raises(BadOption, match="2 folds of 1 groups of records"):
        small.model(fusion="product", group="who").fit(records, valid=valid)


def test_the_time_limit_leaves_half_for_the_fit(monkeypatch):
    """Of 8 seconds left two folds may take 2 each."""
    import polysense.learn.late as late

    given_seconds: list[float] = []
    monkeypatch.setattr(late, "train", lambda *args, left, **more: given_seconds.append(left()))
    model = small.model(options={"train.epochs": 1}).fit(small.records(40))
    network = model.network_
    found = model._read(polysense.data.records.as_records(small.records(40)), rivals=False)[1]
    views = found.views(dict(network.encoders.conditions.items()))
    labels = {"label": np.arange(40) % 3}
    from polysense.learn.training import Training

    out_of_fold(lambda encoders: network, network.encoders, views, labels, np.arange(40), count=2, options=Training(), left=lambda: 8.0)
    assert len(given_seconds) == 2 and all(1.5 < seconds <= 2 for seconds in given_seconds)
