"""The large form of a caption: fused tokens become soft words before the words of a causal language model.

Liu et al. 2023, "Visual Instruction Tuning" (LLaVA), arXiv:2304.08485, section 4: the language model stays as it is, a bridge
turns what was seen into vectors of its own width. Letters: B records, N texts, T fused positions, D their width, S soft words,
P positions before the text, L words of it, E the language model's width, K its pieces, H heads, R learned queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from ..errors import BadModel, BadOption, need
from ..layers import masked_softmax, safe
from ..modality.towers_language import Language, find_language, open_language
from ..tokens import Tokens
from ..vocabulary import START, STOP, Vocabulary
from .caption_net import Decoder, State

BRIDGES = ("projector", "linear", "resampler")
PRECISIONS = ("float32", "bfloat16")
#: Where the soft words stand in the prompt; before all of it where it does not say.
PLACE = "{record}"
#: Numbers below that of the language model's first piece: the end, the start, and what is unknown, see ``vocabulary``.
_FIRST = 3
#: Scores of pieces that are held at a time: 128 MB.
_HELD = 32_000_000
_NEVER = -1e9


class Tongue:
    """The pieces of a language model in place of a ``Vocabulary``: piece n of the model is number n + 3.

    Args:
        writer: whose pieces they are.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def __len__(self) -> int:
        return self.writer.language.tokenizer.get_vocab_size() + _FIRST

    def encode(self, text: str) -> list[int]:
        """Numbers of a text, without its end."""
        plain = " ".join(str(text).split())
        return [number + _FIRST for number in self.writer.language.numbers(" " + plain if self.writer.space else plain)]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text up to the first ``STOP``."""
        found = []
        for number in numbers:
            if number == STOP:
                break
            if number >= _FIRST:
                found.append(int(number) - _FIRST)
        return " ".join(self.writer.language.text(found).split())

    def rows(self, texts: Sequence[str], longest: int) -> np.ndarray:
        """(N, longest) int64: numbers of the texts, cut where they are longer, filled with ``STOP``."""
        found = np.full((len(texts), longest), STOP, np.int64)
        for row, text in zip(found, texts, strict=True):
            numbers = self.encode(text)[:longest]
            row[: len(numbers)] = numbers
        return found

    def state(self) -> dict[str, Any]:
        """That of no pieces: they come with the language model."""
        return Vocabulary().state()


# --- bridges -------------------------------------------------------------------------------------


class Projector(nn.Module):
    """Soft words for each position: linear (LLaVA, arXiv:2304.08485, eq. 1: H = W Z), or two layers with a GELU between.

    The two layers are those of Liu et al. 2023, arXiv:2310.03744, section 3.2; several soft words for a pooled vector are the
    mapping network of ClipCap (Mokady et al. 2021, arXiv:2111.09734, section 3.2, an MLP).

    Args:
        dim: D.
        width: E.
        deep: two layers.
        each: soft words for a position, N.

    forward: (B, T, D) -> (B, T N, E)
    """

    def __init__(self, dim: int, width: int, *, deep: bool = True, each: int = 1) -> None:
        super().__init__()
        self.each = each
        last = [nn.GELU(), nn.Linear(width, each * width)] if deep else []
        self.layers = nn.Sequential(nn.Linear(dim, width if deep else each * width), *last)

    def forward(self, fused: Tokens) -> Tokens:
        x_BME = self.layers(fused.clean()).unflatten(-1, (self.each, -1)).flatten(1, 2)
        return Tokens(x_BME, fused.mask.repeat_interleave(self.each, 1))


class Asking(nn.Module):
    """A layer of the resampler: the queries ask the positions and each other, then a layer for each query.

    Alayrac et al. 2022, arXiv:2204.14198, section 3.1.1 and figure 5: keys and values are positions and queries together.

    forward: queries (B, R, D), positions (B, T, D), their mask -> (B, R, D)
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_queries, self.norm_x, self.norm_feed = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.asking, self.asked, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.feed = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, queries_BRD: Tensor, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        normed_BRD = self.norm_queries(queries_BRD)
        both_BMD = torch.cat([self.norm_x(x_BTD), normed_BRD], 1)
        may_BM = torch.cat([mask_BT, mask_BT.new_ones(queries_BRD.shape[:2])], 1)
        query_BHRF, key_BHMF, value_BHMF = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.asking(normed_BRD), *self.asked(both_BMD).chunk(2, -1))
        )
        scores_BHRM = query_BHRF @ key_BHMF.transpose(-1, -2) / query_BHRF.shape[-1] ** 0.5
        told_BHRF = masked_softmax(scores_BHRM, may_BM[:, None, None]) @ value_BHMF
        queries_BRD = queries_BRD + self.out(told_BHRF.transpose(1, 2).flatten(2))
        return queries_BRD + self.feed(self.norm_feed(queries_BRD))


class Resampler(nn.Module):
    """R soft words whatever the number of positions: learned queries that ask them, layer by layer.

    Perceiver resampler of Flamingo, Alayrac et al. 2022, arXiv:2204.14198, section 3.1.1. A record without any position gets
    none.

    Args:
        dim: D, a multiple of ``heads``.
        width: E.
        queries: R.
        depth: layers.
        heads: H.

    forward: (B, T, D) -> (B, R, E)
    """

    def __init__(self, dim: int, width: int, *, queries: int, depth: int, heads: int) -> None:
        super().__init__()
        self.queries_RD = nn.Parameter(torch.randn(queries, dim) * 0.02)
        self.layers = nn.ModuleList(Asking(dim, heads) for _ in range(depth))
        self.norm, self.out = nn.LayerNorm(dim), nn.Linear(dim, width)

    def forward(self, fused: Tokens) -> Tokens:
        x_BTD = fused.clean()
        queries_BRD = self.queries_RD.expand(len(x_BTD), -1, -1)
        for layer in self.layers:
            queries_BRD = layer(queries_BRD, x_BTD, fused.mask)
        return Tokens(self.out(self.norm(queries_BRD)), fused.present[:, None].expand(-1, queries_BRD.shape[1]))


# --- writing -------------------------------------------------------------------------------------


class Large(Decoder):
    """A bridge, and a language model that goes on from its soft words and the prompt.

    Before the text stand: the sign that begins one, the prompt up to ``{record}``, the soft words of the positions that there
    are, the rest of the prompt. Soft words have the root mean square of the language model's own vectors, times a learned
    factor, or its layers would see something far from any word. Records of a batch end at the same place (filled from the
    left). The language model is no part of this module: it moves not, has no gradients, and is saved with nothing.

    Args:
        dim: D.
        writer: knows the language model; low-rank factors beside its weights are made here where it names some.
        bridge: "projector", "linear" or "resampler".
        prompt: words around the soft words.
        each: soft words that a projector or one layer makes of a position.
        queries, depth, heads: of a resampler.
        precision: that the language model computes in while training; answers are float32.
        longest: pieces of a text at most.

    Raises:
        BadOption: (forward) there are more positions than the language model can tell apart.

    forward: fused (N, T, D), words (N, L) -> scores (N, L, K + 3), each given the words before; None
    """

    needs_positions = True
    together = 64

    def __init__(
        self, dim: int, writer: Writer, *, bridge: str = "projector", prompt: str = "", each: int = 1, queries: int = 8,
        depth: int = 2, heads: int = 4, precision: str = "float32", longest: int = 1,
    ) -> None:
        nn.Module.__init__(self)  # words have no vectors of their own here
        self._writer = writer  # no module: its network is neither moved nor saved with this one
        self.prompt, self.precision, self.rank, self.longest = prompt, precision, writer.lora, longest
        width = int(writer.known["width"])
        if bridge == "resampler":
            self.bridge = Resampler(dim, width, queries=queries, depth=depth, heads=heads)
        else:
            self.bridge = Projector(dim, width, deep=bridge == "projector", each=each)
        self.loudness = nn.Parameter(torch.ones(1))
        self.names = {safe(name): name for name in writer.factors}
        self.factors = nn.ParameterDict({
            key: nn.Parameter(_begun(name, writer.factors[name])) for key, name in self.names.items()
        })

    @property
    def language(self) -> Language:
        """On the device of the bridge."""
        return self._writer.language.on(self.loudness.device)

    # --- what stands before the text ---

    def prefix(self, fused: Tokens) -> Tokens:
        """(B, P, E): vectors before the text, the real ones at the right."""
        soft, language = self.bridge(fused), self.language
        rms_BS1 = soft.x.square().mean(-1, keepdim=True).add(1e-12).sqrt()
        soft = Tokens(soft.x / rms_BS1 * language.rms * self.loudness, soft.mask)
        before, behind = (language.numbers(part) if part else [] for part in parted(self.prompt))
        start = language.end if language.start is None else language.start
        parts = [self._words([start, *before], len(soft.x)), soft, self._words(behind, len(soft.x))]
        return _to_the_right(Tokens(torch.cat([part.x for part in parts], 1), torch.cat([part.mask for part in parts], 1)))

    def _words(self, numbers: Sequence[int], count: int) -> Tokens:
        """The same words for every record."""
        some = torch.tensor(numbers, dtype=torch.long, device=self.loudness.device)
        x_BLE = self.language.vectors(some).expand(count, -1, -1)
        return Tokens(x_BLE, torch.ones(x_BLE.shape[:2], dtype=torch.bool, device=some.device))

    # --- the language model ---

    def _run(self, x_BQE: Tensor, mask_BM: Tensor, past: Any = None, keep: bool = True) -> tuple[Tensor, Any]:
        """(B, Q, E) of the last layer for new positions behind those of ``past``, and what is kept of all."""
        self._check_fits(mask_BM.shape[1])
        place_BQ = (mask_BM.long().cumsum(1) - 1).clamp_min(0)[:, -x_BQE.shape[1]:]
        out = self._layers({
            "inputs_embeds": x_BQE.to(self._computes), "attention_mask": mask_BM.long(), "position_ids": place_BQ,
            "past_key_values": (past or _kept([])) if keep else None, "use_cache": keep,
        })
        return out.last_hidden_state.to(x_BQE.dtype), out.past_key_values

    def _check_fits(self, count: int) -> None:
        """Refuse more positions than the language model can tell apart."""
        if count > self.language.longest:
            raise BadOption(
                f"soft words, prompt and text are {count} positions, but the language model '{self._writer.model}' has "
                f"{self.language.longest}; lower task.longest, shorten task.prompt, or make fewer soft words: "
                "fusion.positions=false, or task.bridge=resampler with few task.queries"
            )

    @property
    def _computes(self) -> torch.dtype:
        return torch.bfloat16 if self.training and self.precision == "bfloat16" else torch.float32

    def _layers(self, given: Mapping[str, Any]) -> Any:
        language, computes = self.language, self._computes
        if not self.names:
            return language.layers(0, computes)(**given)
        factors = {name: self.factors[key].to(computes) for key, name in self.names.items()}
        return functional_call(language.layers(self.rank, computes), factors, (), dict(given))

    def _scores(self, hidden: Tensor) -> Tensor:
        return self.language.scores(hidden, self._computes)

    def _numbered(self, scores: Tensor) -> Tensor:
        """(..., K + 3): the end of a text is number 0."""
        end = self.language.end
        never = scores.new_full((*scores.shape[:-1], _FIRST - 1), _NEVER)
        out = torch.cat([scores[..., end : end + 1], never, scores], -1)
        out[..., end + _FIRST] = _NEVER
        return out

    # --- as a decoder ---

    def begin(self, fused: Tokens) -> State:
        start = self.prefix(fused)
        hidden_BPE, past = self._run(start.x, start.mask)
        return {"last": hidden_BPE[:, -1], "mask": start.mask, **_laid(past)}

    def step(self, state: State, words_B: Tensor) -> tuple[Tensor, State]:
        if bool((words_B == START).all()):  # nothing was said yet
            return self._numbered(self._scores(state["last"])), state
        x_B1E = self.language.vectors((words_B - _FIRST).clamp_min(0))[:, None]
        mask_BM = torch.cat([state["mask"], state["mask"].new_ones(len(words_B), 1)], 1)
        hidden_B1E, past = self._run(x_B1E, mask_BM, _again(state))
        return self._numbered(self._scores(hidden_B1E[:, 0])), {"last": hidden_B1E[:, 0], "mask": mask_BM, **_laid(past)}

    def forward(self, fused: Tokens, words_NL: Tensor) -> tuple[Tensor, Tensor | None]:
        return self._numbered(self._scores(self._hidden(fused, words_NL))), None

    def _hidden(self, fused: Tokens, words_NL: Tensor) -> Tensor:
        """(N, L, E): what the last layer gives before each word, the words before it being given."""
        start = self.prefix(fused)
        self._check_fits(start.x.shape[1] + self.longest)  # before the first step, not when a long text comes
        said_NL = words_NL[:, :-1]
        x_NQE = torch.cat([start.x, self.language.vectors((said_NL - _FIRST).clamp_min(0))], 1)
        mask_NQ = torch.cat([start.mask, said_NL != STOP], 1)
        return self._run(x_NQE, mask_NQ, keep=False)[0][:, start.x.shape[1] - 1 :]

    def judge(
        self, fused: Tokens, words_NL: Tensor, real_NL: Tensor, smoothing: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """As every decoder; prompt and soft words have no loss, and nothing is smoothed over the pieces of all languages.

        The scores of K pieces are held for a few words at a time: of 262,144 pieces those of a whole batch would fill memory.
        """
        hidden_FE, aims_F = self._hidden(fused, words_NL)[real_NL].float(), self._own(words_NL[real_NL])
        size = max(1, _HELD // self.language.pieces)
        parts = [Told.apply(hidden_FE[i : i + size], aims_F[i : i + size], self._scores) for i in range(0, len(aims_F), size)]
        losses_NL, right_NL = torch.zeros(real_NL.shape, device=real_NL.device), torch.zeros_like(real_NL)
        if not parts:
            return losses_NL, right_NL, None
        losses_F, right_F = (torch.cat(part) for part in zip(*parts, strict=True))
        return losses_NL.index_put((real_NL,), losses_F), right_NL.index_put((real_NL,), right_F), None

    def _own(self, words: Tensor) -> Tensor:
        """Numbers of pieces as the language model has them."""
        return torch.where(words == STOP, self.language.end, words - _FIRST)


class Told(torch.autograd.Function):
    """-log p(piece) of each word, and whether it is the likeliest piece; the gradient is made on the way.

    d loss / d score = softmax(score) - 1 at the piece, so the scores of K pieces need neither be kept for the gradient nor be
    made twice. Two products with the table of pieces, and few passes over K numbers a word.

    apply: hidden (F, E), aims (F,), hidden -> scores (F, K) -> losses (F,), right (F,)
    """

    @staticmethod
    def forward(ctx: Any, hidden_FE: Tensor, aims_F: Tensor, scores: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        learns = ctx.needs_input_grad[0]
        with torch.set_grad_enabled(learns):
            asked_FE = hidden_FE.detach().requires_grad_(learns)
            scores_FK = scores(asked_FE)
        with torch.no_grad():
            most_F1 = scores_FK.amax(-1, keepdim=True)  # argmax would cost as much as a product
            aimed_F1 = scores_FK.gather(1, aims_F[:, None]) - most_F1
            share_FK = (scores_FK - most_F1).exp_()
            sum_F1 = share_FK.sum(-1, keepdim=True)
            losses_F, right_F = (sum_F1.log() - aimed_F1)[:, 0], aimed_F1[:, 0] >= 0
            if learns:
                share_FK.div_(sum_F1).scatter_add_(1, aims_F[:, None], share_FK.new_full((len(aims_F), 1), -1.0))
        if learns:
            ctx.save_for_backward(*torch.autograd.grad(scores_FK, asked_FE, share_FK))
        ctx.mark_non_differentiable(right_F)
        return losses_F, right_F

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_F: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        """A word's gradient times that of its loss."""
        return ctx.saved_tensors[0] * loss_F[:, None], None, None


def parted(prompt: str) -> tuple[str, str]:
    """What stands before the soft words and what behind.

    >>> parted("Look: {record} It is"), parted("A picture of")
    (('Look:', ' It is'), ('', 'A picture of'))
    """
    before, place, behind = prompt.partition(PLACE)
    return (before.strip(), behind.rstrip()) if place else ("", prompt.strip())


def _to_the_right(tokens: Tokens) -> Tokens:
    """Real positions moved together to the right end, in their order; columns that nobody needs left away.

    >>> _to_the_right(Tokens(torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[True, False, True]]))).x.flatten()
    tensor([1., 3.])
    """
    order_BP = tokens.mask.long().argsort(dim=1, stable=True)
    mask_BP = tokens.mask.gather(1, order_BP)
    x_BPE = tokens.clean().gather(1, order_BP[..., None].expand_as(tokens.x))
    most = max(1, int(mask_BP.sum(1).max()))
    return Tokens(x_BPE[:, -most:], mask_BP[:, -most:])


def _laid(past: Any) -> State:
    """Keys and values of all layers, tensors whose first axis is B."""
    found = {}
    for i, layer in enumerate(past.layers):
        found[f"keys{i}"], found[f"values{i}"] = layer.keys, layer.values
    return found


def _again(state: State) -> Any:
    """Undo ``_laid``."""
    count = sum(key.startswith("keys") for key in state)
    return _kept([(state[f"keys{i}"], state[f"values{i}"]) for i in range(count)])


def _kept(pairs: list[tuple[Tensor, Tensor]]) -> Any:
    """A cache of keys and values, whole also where a layer looks back over a window only."""
    from transformers import DynamicCache

    return DynamicCache(pairs)


def _begun(name: str, shape: Sequence[int]) -> Tensor:
    """A factor before it has learned: B is zero, so that the network is what it was; A as peft draws it."""
    if ".lora_B" in name:
        return torch.zeros(*shape)
    return nn.init.kaiming_uniform_(torch.empty(*shape), a=5**0.5)


# --- as part of the task -------------------------------------------------------------------------


class Writer:
    """The language model of a task: what is remembered of it, and where it lies on this machine.

    Args:
        model: name, folder or hub id.
        lora: rank of the second training.
        bridge, prompt, each, queries, depth, heads, precision, longest: as in ``Large``.

    Attributes:
        download: a hub id may be downloaded.
        carried: folder of a copy in the model folder, if there is one.
        factors: {name: shape} of low-rank factors; empty before the second training, and where it did not help.
    """

    def __init__(self, model: str, *, lora: int = 0, **shape: Any) -> None:
        self.model, self.lora, self.shape = model, lora, shape
        self.download, self.carried = False, None
        self.factors: dict[str, list[int]] = {}
        self.known: dict[str, Any] = {}
        self._language: Language | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Writer:
        return self

    @property
    def language(self) -> Language:
        """The language model; looked for once, and refused if it is another than the one that was trained with.

        Raises:
            UnknownName, BadOption, MissingExtra: see ``find_language``.
            BadModel: its weights or settings are others.
        """
        if self._language is None:
            found = find_language(self.model, self.download, self.carried)
            self.known = self.known or found.state()
            for key, what in (("sha256", "weights"), ("settings", "settings")):
                if getattr(found, key) != self.known[key]:
                    raise BadModel(
                        f"language model '{self.model}': its {what} in {found.folder} have sha256 "
                        f"{getattr(found, key)[:12]}..., the model was trained with {self.known[key][:12]}...; put back the "
                        "one it was trained with, or fit anew"
                    )
            self._language = open_language(found)
        return self._language

    def begin(self) -> None:
        """Look for the language model anew, whatever was there before."""
        self.known, self.factors, self._language = {}, {}, None
        self.language.open()  # what cannot be opened is told before any work
        if self.lora:
            need("peft", "lora")

    @property
    def tongue(self) -> Tongue:
        """Its pieces."""
        return Tongue(self)

    @property
    def space(self) -> bool:
        """A text begins with a space, because words stand before it."""
        return bool(parted(self.shape["prompt"])[1])

    def head(self, dim: int) -> Large:
        """What answers: nothing is opened for it."""
        return Large(dim, self, **self.shape)

    def deepen(self, on: bool) -> bool:
        """Whether the next head has low-rank factors, if any are asked for."""
        self.factors = self.language.factors(self.lora) if on and self.lora else {}
        return bool(self.factors)

    def files(self) -> dict[str, Path]:
        """{name: file} of a copy."""
        found = self.language.found
        return {str(path.relative_to(found.folder)): path for path in found.files()}

    def state(self) -> dict[str, Any]:
        return {"tower": dict(self.known), "factors": self.factors}

    def load(self, state: Mapping[str, Any]) -> Writer:
        """Undo ``state``; nothing is opened."""
        self.known, self.factors, self._language = dict(state["tower"]), dict(state["factors"]), None
        return self
