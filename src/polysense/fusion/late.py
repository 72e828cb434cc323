"""Late fusions: every view answers alone, then the answers are combined.

B and N records, V views, C classes (or numbers of an answer), P subsets of the views.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..contracts import Fusion
from ..errors import BadOption
from ..registry import fusions
from . import check_count, even, fixed_weights

#: Up to so many views every subset has weights of its own.
FEW = 6
#: Records that must have all views of a subset for it to get weights of its own.
LEAST = 30
#: The duality gap at which a solution counts as found, and the steps after which it does not.
TOLERANCE, STEPS = 1e-5, 20_000
#: Below this a probability is not read.
TINY = 1e-6


@fusions("mean")
class Mean(Fusion):
    """Mean of the present views' answers; the training prior where nothing is present.

    The sum rule of Kittler et al. 1998 ("On combining classifiers", IEEE TPAMI 20), eq. 24: p = (1 / M) sum_m p_m over
    the M present views; with ``weights`` p = gamma p_1 + delta p_2, gamma + delta = 1, shared out over what is present.
    The views' heads learn together, from the loss of the mean.
    Wins where views repeat each other and records lack views that none lacked in training: 0.9 points over ``concat``
    (docs/strengths.md). With redundant views that are all there, and few records, it loses 4.6 points; it also
    loses where views interact, or where one is much better than the others (``convex`` finds out). Costs no
    parameters beyond a head per view.

    Args:
        views: names, in any order.
        dim: D of every view.
        weights: fixed ones instead of equal ones, as in picture=0.7,text=0.3; above 0, sum 1, every view named.

    combine: (B, V, C), mask (B, V), prior (C,) -> (B, C)

    Raises:
        BadOption: weights that are not above 0, do not sum to 1 or do not fit the views.

    >>> answers = torch.tensor([[[1., 0.], [0., 1.]], [[1., 0.], [0., 1.]]])
    >>> Mean(["a", "b"], 8).combine(answers, torch.tensor([[True, True], [True, False]]), torch.ones(2) / 2)
    tensor([[0.5000, 0.5000],
            [1.0000, 0.0000]])
    """

    late = True
    kinds = ("classes", "labels", "numbers")

    def __init__(self, views: Sequence[str], dim: int, *, weights: str | Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.views = sorted(views)
        fixed_V = fixed_weights(weights, views)
        self.register_buffer("weight_V", torch.ones(len(self.views)) if fixed_V is None else fixed_V, persistent=False)

    def combine(self, answers_BVC: Tensor, mask_BV: Tensor, prior_C: Tensor) -> Tensor:
        share_BV = mask_BV * self.weight_V.to(answers_BVC.dtype)
        return mixed(answers_BVC, mask_BV, share_BV / share_BV.sum(1, keepdim=True).clamp_min(TINY), prior_C)


@fusions("convex")
class Convex(Fusion):
    """Weighted mean of the views' answers, the weights fitted on answers to records that the heads had not seen.

    Linear opinion pool (Stone 1961; Kittler et al. 1998, section 2): p = sum_m a_m p_m, a >= 0, sum a = 1. For classes the
    weights maximise sum_n log sum_m a_m p_m(y_n) over out-of-fold answers, a concave problem, solved by expectation
    maximisation (Dempster et al. 1977; step a_m <- a_m mean_n p_m(y_n) / p(y_n)) up to a certificate: the optimum is
    nowhere better by more than max_m mean_n p_m(y_n) / p(y_n) - 1. For numbers they minimise the squared error, with the
    certificate of Frank and Wolfe 1956. Up to six views every subset with thirty records has weights of its own;
    otherwise the weights of all views are shared out over the present ones. The heads learn each for itself.
    Wins where views differ in worth, and is the easiest to explain; it loses where views interact. Costs V
    numbers a subset, and ``folds`` short trainings more.

    Args:
        views: names, in any order.
        dim: D of every view.
        weights: fixed ones instead of fitted ones, as in picture=0.7,text=0.3; above 0, sum 1, every view named.
        folds: parts of the training records; each is answered by a training without it.

    combine: (B, V, C), mask (B, V), prior (C,) -> (B, C)

    Raises:
        BadOption: weights as for ``mean``; folds < 2.

    >>> fusion, rng = Convex(["a", "b"], 8), np.random.default_rng(0)
    >>> y = rng.integers(2, size=400)
    >>> def told(right): return np.eye(2)[np.where(rng.random(400) < right, y, 1 - y)] * 0.8 + 0.1
    >>> facts = fusion.fit_out_of_fold(np.stack([told(0.9), told(0.5)], 1), np.ones((400, 2), bool), y, np.ones(2) / 2)
    >>> facts["weights"]["a"] > 0.99, facts["gap"] < 1e-4
    (True, True)
    """

    late = apart = True
    kinds = ("classes", "labels", "numbers")

    def __init__(
        self, views: Sequence[str], dim: int, *, weights: str | Mapping[str, float] | None = None, folds: int = 3
    ) -> None:
        super().__init__()
        check_count("folds", folds, 2)
        self.views, self.folds = sorted(views), folds
        fixed_V = fixed_weights(weights, views)
        self.fitted = fixed_V is None
        start_V = torch.full((len(self.views),), 1 / len(self.views)) if fixed_V is None else fixed_V
        self.register_buffer("share_PV", shared_out(start_V, self._masks()))

    def _masks(self) -> Tensor:
        """(P, V) bool: the subsets that have weights; row p has view v where bit v of p is set. Of many views: all."""
        count = len(self.views)
        if count > FEW:
            return torch.ones(1, count, dtype=torch.bool)
        return torch.arange(2**count)[:, None] >> torch.arange(count) & 1 == 1

    def combine(self, answers_BVC: Tensor, mask_BV: Tensor, prior_C: Tensor) -> Tensor:
        share_PV = self.share_PV.to(answers_BVC.dtype)
        if len(self.views) <= FEW:
            bit_V = 2 ** torch.arange(len(self.views), device=mask_BV.device)
            share_BV = share_PV[(mask_BV * bit_V).sum(1)]
        else:
            share_BV = shared_out(share_PV[0], mask_BV)
        return mixed(answers_BVC, mask_BV, share_BV, prior_C)

    def fit_out_of_fold(
        self, answers_NVC: np.ndarray, mask_NV: np.ndarray, target_N: np.ndarray, prior_C: np.ndarray, kind: str = "classes"
    ) -> dict[str, Any]:
        masks_PV = self._masks().numpy()
        gaps, fitted = [0.0], {}
        for p in np.argsort(-masks_PV.sum(1), kind="stable"):
            rows = np.flatnonzero((mask_NV | ~masks_PV[p]).all(1))
            mine = np.flatnonzero(masks_PV[p])
            if len(mine) >= 2 and len(rows) >= LEAST:
                fitted[p], gap = best_weights(answers_NVC[np.ix_(rows, mine)], target_N[rows], kind)
                gaps.append(gap)
        whole_V = np.full(len(self.views), 1 / len(self.views))
        if len(masks_PV) - 1 in fitted:
            whole_V = fitted[len(masks_PV) - 1]
        table_PV = shared_out(torch.as_tensor(whole_V), torch.as_tensor(masks_PV)).numpy()
        for p, weights in fitted.items():
            table_PV[p] = 0
            table_PV[p, masks_PV[p]] = weights
        self.share_PV.copy_(torch.as_tensor(table_PV))
        return {
            "weights": {view: round(float(share), 4) for view, share in zip(self.views, whole_V, strict=True)},
            "subsets": len(fitted), "gap": float(max(gaps)),
        }


@fusions("product")
class Product(Fusion):
    """Product of the views' answers with the prior counted once, tempered because views repeat each other.

    Product of experts (Kittler et al. 1998, eq. 8; Hinton 2002): p(c) ~ prior(c) prod_m (p_m(c) / prior(c))^beta, which for
    beta = 1 is log p = sum_m log p_m - (M - 1) log prior + const: right where views are independent given the class.
    They hardly are, so beta_M = 1 / temperature is fitted for each number M of present views on out-of-fold answers, a
    concave problem in one number; the slope that is left is reported. The heads learn each for itself.
    Wins where views err independently and say how sure they are; one view that is surely wrong spoils it, where
    ``convex`` shrugs. Costs V numbers, and ``folds`` short trainings more.

    Args:
        views: names, in any order.
        dim: D of every view.
        folds: parts of the training records; each is answered by a training without it.

    combine: (B, V, C) probabilities, mask (B, V), prior (C,) -> (B, C)

    Raises:
        BadOption: folds < 2.

    >>> half = torch.tensor([[[0.8, 0.2], [0.8, 0.2]]])
    >>> Product(["a", "b"], 8).combine(half, torch.tensor([[True, True]]), torch.tensor([0.5, 0.5]))
    tensor([[0.9412, 0.0588]])
    """

    late = apart = fitted = True
    kinds = ("classes",)

    def __init__(self, views: Sequence[str], dim: int, *, folds: int = 3) -> None:
        super().__init__()
        check_count("folds", folds, 2)
        self.views, self.folds = sorted(views), folds
        self.register_buffer("beta_M", torch.ones(len(self.views) + 1))

    def combine(self, answers_BVC: Tensor, mask_BV: Tensor, prior_C: Tensor) -> Tensor:
        evidence_BC = evidence(answers_BVC, mask_BV, prior_C).sum(1)
        beta_B = self.beta_M.to(answers_BVC.dtype)[mask_BV.sum(1)]
        scores_BC = prior_C.clamp_min(TINY).log() + beta_B[:, None] * evidence_BC
        return torch.where(mask_BV.any(1, keepdim=True), scores_BC.softmax(-1), prior_C)

    def fit_out_of_fold(
        self, answers_NVC: np.ndarray, mask_NV: np.ndarray, target_N: np.ndarray, prior_C: np.ndarray, kind: str = "classes"
    ) -> dict[str, Any]:
        prior = torch.as_tensor(prior_C, dtype=torch.float64)
        each_NVC = evidence(torch.as_tensor(answers_NVC).double(), torch.as_tensor(mask_NV), prior).numpy()
        slopes = {}
        for m in range(1, len(self.views) + 1):
            sums, labels = [], []
            for subset in combinations(range(len(self.views)), m):
                rows = np.flatnonzero(mask_NV[:, subset].all(1))
                sums.append(each_NVC[np.ix_(rows, subset)].sum(1))
                labels.append(target_N[rows])
            if sum(map(len, labels)) >= LEAST:
                beta, slopes[m] = best_power(np.concatenate(sums), np.concatenate(labels), prior.clamp_min(TINY).log().numpy())
                self.beta_M[m] = beta
        return {
            "temperature": {str(m): round(1 / float(self.beta_M[m]), 4) for m in slopes},
            "gap": max(map(abs, slopes.values()), default=0.0),
        }


@fusions("stacked")
class Stacked(Fusion):
    """Multinomial logistic regression on the views' log answers and their presence bits.

    Stacked generalisation, Wolpert 1992 (Neural Networks 5): scores = log prior + sum_m k_m (s_m e_m + D_m e_m + u_m), with
    e_m = log p_m - log prior and k_m the presence bits, fitted on out-of-fold answers; each record also counts once
    with some of its views hidden, so that every subset is learned. The scales s_m are free; D and u are drawn towards 0 by
    a ridge, chosen on half of the records. The heads learn each for itself.
    Wins with many records, where a view's confusions tell of the class; it loses to ``convex`` and ``product``
    with few. Costs V C (C + 1) + V numbers, and ``folds`` short trainings more.

    Args:
        views: names, in any order.
        dim: D of every view.
        ridge: weight of |D|^2 + |u|^2 beside the summed log loss; 0 chooses among 1, 10, 100 and 1000.
        folds: parts of the training records; each is answered by a training without it.

    combine: (B, V, C) probabilities, mask (B, V), prior (C,) -> (B, C)

    Raises:
        BadOption: ridge < 0, folds < 2.

    >>> fusion = Stacked(["a", "b"], 8); fusion.begin(2)
    >>> fusion.combine(torch.tensor([[[0.8, 0.2], [0.5, 0.5]]]), torch.tensor([[True, False]]), torch.tensor([0.5, 0.5]))
    tensor([[0.8000, 0.2000]])
    """

    late = apart = fitted = True
    kinds = ("classes",)

    def __init__(self, views: Sequence[str], dim: int, *, ridge: float = 0.0, folds: int = 3) -> None:
        super().__init__()
        check_count("folds", folds, 2)
        if not 0 <= ridge < math.inf:
            raise BadOption(f"fusion.ridge={ridge} must be at least 0")
        self.views, self.ridge, self.folds = sorted(views), ridge, folds

    def begin(self, classes: int) -> None:
        count = len(self.views)
        self.register_buffer("matrix_VCC", torch.eye(classes).repeat(count, 1, 1))
        self.register_buffer("shift_VC", torch.zeros(count, classes))

    def combine(self, answers_BVC: Tensor, mask_BV: Tensor, prior_C: Tensor) -> Tensor:
        matrix_VCC, shift_VC = self.matrix_VCC.to(answers_BVC.dtype), self.shift_VC.to(answers_BVC.dtype)
        scores_BC = stacked_scores(evidence(answers_BVC, mask_BV, prior_C), mask_BV, matrix_VCC, shift_VC, prior_C)
        return torch.where(mask_BV.any(1, keepdim=True), scores_BC.softmax(-1), prior_C)

    def fit_out_of_fold(
        self, answers_NVC: np.ndarray, mask_NV: np.ndarray, target_N: np.ndarray, prior_C: np.ndarray, kind: str = "classes"
    ) -> dict[str, Any]:
        rng = np.random.default_rng(0)
        fewer_NV = mask_NV & (rng.random(mask_NV.shape) < 0.5)
        keep = np.flatnonzero(fewer_NV.any(1) & (fewer_NV != mask_NV).any(1))
        rows = np.concatenate([np.flatnonzero(mask_NV.any(1)), keep])
        mask = torch.as_tensor(np.concatenate([mask_NV[mask_NV.any(1)], fewer_NV[keep]]))
        prior = torch.as_tensor(prior_C, dtype=torch.float64)
        each = evidence(torch.as_tensor(answers_NVC[rows]).double(), mask, prior)
        labels, half = torch.as_tensor(target_N[rows]), torch.as_tensor(rows % 2 == 0)

        def fit(part: Tensor, ridge: float) -> tuple[Tensor, Tensor, float]:
            return best_matrices(each[part], mask[part], labels[part], prior, ridge)

        ridge = self.ridge
        if not ridge:
            def loss(one: float) -> float:
                scores = stacked_scores(each[~half], mask[~half], *fit(half, one)[:2], prior)
                return torch.nn.functional.cross_entropy(scores, labels[~half]).item()

            ridge = min((1.0, 10.0, 100.0, 1000.0), key=loss)
        matrix_VCC, shift_VC, slope = fit(torch.ones_like(half), ridge)
        self.matrix_VCC.copy_(matrix_VCC)
        self.shift_VC.copy_(shift_VC)
        return {"ridge": ridge, "gap": slope}


# --- combining -----------------------------------------------------------------------------------


def shared_out(weight_V: Tensor, mask_BV: Tensor) -> Tensor:
    """(B, V): the weights over what is present, scaled to sum 1; equal shares where all that is present weighs 0.

    >>> shared_out(torch.tensor([0.6, 0.4, 0.0]), torch.tensor([[True, True, False], [False, False, True]]))
    tensor([[0.6000, 0.4000, 0.0000],
            [0.0000, 0.0000, 1.0000]])
    """
    kept_BV = weight_V * mask_BV
    total_B1 = kept_BV.sum(1, keepdim=True)
    return torch.where(total_B1 > TINY, kept_BV / total_B1.clamp_min(TINY), even(mask_BV, weight_V.dtype))


def mixed(answers_BVC: Tensor, mask_BV: Tensor, share_BV: Tensor, prior_C: Tensor) -> Tensor:
    """(B, C): sum of the present answers by their shares; the prior where nothing is present."""
    kept_BVC = torch.where(mask_BV[..., None], answers_BVC, torch.zeros_like(answers_BVC))
    return torch.where(mask_BV.any(1, keepdim=True), torch.einsum("bvc,bv->bc", kept_BVC, share_BV), prior_C)


def evidence(answers_BVC: Tensor, mask_BV: Tensor, prior_C: Tensor) -> Tensor:
    """(B, V, C): log p_m - log prior; 0 for absent views."""
    kept_BVC = torch.where(mask_BV[..., None], answers_BVC, prior_C.to(answers_BVC.dtype))
    return kept_BVC.clamp_min(TINY).log() - prior_C.clamp_min(TINY).log()


def stacked_scores(
    evidence_BVC: Tensor, mask_BV: Tensor, matrix_VCC: Tensor, shift_VC: Tensor, prior_C: Tensor
) -> Tensor:
    """(B, C): log prior + sum_m k_m (W_m e_m + u_m)."""
    said_BC = torch.einsum("bvc,vdc->bd", evidence_BVC, matrix_VCC)
    return prior_C.clamp_min(TINY).log() + said_BC + mask_BV.to(shift_VC.dtype) @ shift_VC


# --- fitting: small convex problems, each with a certificate -------------------------------------


def best_weights(answers_NVC: np.ndarray, target_N: np.ndarray, kind: str) -> tuple[np.ndarray, float]:
    """Weights on the simplex for a subset of views, and the gap to the optimum that is left at most.

    Args:
        target_N: class numbers, (N, L) zeros and ones of labels, or (N,) numbers.
        kind: of the answers: "classes", "labels" or "numbers".
    """
    if kind == "numbers":
        return best_squares(answers_NVC[..., 0].astype(float), target_N.reshape(len(target_N)).astype(float))
    if kind == "labels":
        right = np.where(target_N[:, None] > 0.5, answers_NVC, 1 - answers_NVC)
        return best_mixture(np.moveaxis(right, 1, 2).reshape(-1, right.shape[1]))
    return best_mixture(answers_NVC[np.arange(len(target_N)), :, target_N])


def best_mixture(right_NV: np.ndarray) -> tuple[np.ndarray, float]:
    """argmax of mean_n log sum_m a_m right_nm over the simplex, and the duality gap.

    Expectation maximisation; by concavity no weights are better by more than max_m mean_n right_nm / p_n - 1.

    >>> weights, gap = best_mixture(np.array([[0.9, 0.5], [0.8, 0.5], [0.1, 0.5]]))
    >>> weights.round(3), gap < 1e-5
    (array([0.355, 0.645]), True)
    """
    right_NV = np.maximum(right_NV.astype(float), TINY)
    weights = np.full(right_NV.shape[1], 1 / right_NV.shape[1])
    for _ in range(STEPS):
        gain_V = (right_NV / (right_NV @ weights)[:, None]).mean(0)
        gap = gain_V.max() - 1
        if gap <= TOLERANCE:
            break
        weights = weights * gain_V
        weights /= weights.sum()
    return weights, float(max(gap, 0.0))


def best_squares(said_NV: np.ndarray, truth_N: np.ndarray) -> tuple[np.ndarray, float]:
    """argmin of mean_n (sum_m a_m said_nm - truth_n)^2 / 2 over the simplex, and the gap of Frank and Wolfe.

    Projected gradient steps of one over the largest curvature.

    >>> weights, gap = best_squares(np.array([[1.0, 4.0], [2.0, 2.0]]), np.array([2.0, 2.0]))
    >>> weights.round(3), gap < 1e-5
    (array([0.667, 0.333]), True)
    """
    error_NV = said_NV - truth_N[:, None]  # sum a = 1, so the mixture's error is the mixture of errors
    gram_VV = error_NV.T @ error_NV / len(error_NV)
    scale = max(float(np.linalg.eigvalsh(gram_VV)[-1]), 1e-12)
    weights = np.full(said_NV.shape[1], 1 / said_NV.shape[1])
    for _ in range(STEPS):
        slope_V = gram_VV @ weights / scale
        gap = float(slope_V @ weights - slope_V.min())
        if gap <= TOLERANCE:
            break
        weights = onto_simplex(weights - slope_V)
    return weights, max(gap, 0.0)


def onto_simplex(point_V: np.ndarray) -> np.ndarray:
    """The nearest weights >= 0 with sum 1 (Duchi et al. 2008, figure 1).

    >>> onto_simplex(np.array([1.2, 0.4, -1.0]))
    array([0.9, 0.1, 0. ])
    """
    down = np.sort(point_V)[::-1]
    excess = (down.cumsum() - 1) / np.arange(1, len(down) + 1)
    return np.maximum(point_V - excess[np.flatnonzero(down > excess)[-1]], 0)


def best_power(evidence_NC: np.ndarray, label_N: np.ndarray, log_prior_C: np.ndarray) -> tuple[float, float]:
    """argmax over beta in 0.01..10 of mean_n log softmax(log prior + beta e_n)[y_n], and the slope left there.

    The slope falls in beta; where it does not change its sign within the range, the nearer end is taken.

    >>> beta, slope = best_power(np.array([[1.0, 0.0]] * 3), np.array([0, 0, 1]), np.log([0.5, 0.5]))
    >>> round(beta, 4), abs(slope) < 1e-6  # 2/3 = sigmoid(beta), beta = log 2
    (0.6931, True)
    """
    picked = evidence_NC[np.arange(len(label_N)), label_N].mean()

    def slope(beta: float) -> float:
        scores_NC = log_prior_C + beta * evidence_NC
        share_NC = np.exp(scores_NC - scores_NC.max(1, keepdims=True))
        return float(picked - (share_NC / share_NC.sum(1, keepdims=True) * evidence_NC).sum(1).mean())

    low, high = 0.01, 10.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    beta = (low + high) / 2
    return beta, slope(beta)


def best_matrices(
    evidence_NVC: Tensor, mask_NV: Tensor, label_N: Tensor, prior_C: Tensor, ridge: float
) -> tuple[Tensor, Tensor, float]:
    """Matrices and shifts of ``stacked``, and the largest slope that is left.

    Minimises summed log loss + ridge / 2 (|D|^2 + |u|^2), W_m = s_m I + D_m: strictly convex in D and u.
    """
    views, classes = evidence_NVC.shape[1:]
    scale_V = torch.ones(views, dtype=torch.float64, requires_grad=True)
    apart_VCC = torch.zeros(views, classes, classes, dtype=torch.float64, requires_grad=True)
    shift_VC = torch.zeros(views, classes, dtype=torch.float64, requires_grad=True)
    numbers = [scale_V, apart_VCC, shift_VC]
    descent = torch.optim.LBFGS(
        numbers, max_iter=100, history_size=10, tolerance_grad=1e-6, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def matrix() -> Tensor:
        return scale_V[:, None, None] * torch.eye(classes, dtype=torch.float64) + apart_VCC

    def loss() -> Tensor:
        descent.zero_grad()
        scores = stacked_scores(evidence_NVC, mask_NV, matrix(), shift_VC, prior_C)
        value = torch.nn.functional.cross_entropy(scores, label_N)
        value = value + ridge / (2 * len(label_N)) * (apart_VCC.square().sum() + shift_VC.square().sum())
        value.backward()
        return value

    with torch.enable_grad():
        descent.step(loss)
        loss()
    slope = max(float(one.grad.abs().max()) for one in numbers)
    return matrix().detach(), shift_VC.detach(), slope
