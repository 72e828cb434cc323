"""A text about a record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..contracts import State
from ..errors import BadOption
from ..registry import suggest, tasks
from ..tokens import Tokens
from ..vocabulary import STOP, Vocabulary
from . import Words, references
from .caption_large import BRIDGES, PRECISIONS, Writer
from .caption_net import DECODERS
from .caption_say import How, held, say, steps

DECODINGS = ("greedy", "beam", "sample")
#: The value of ``task.decoder`` that takes a language model.
LARGE = "language"


@tasks("caption")
class Caption(Words):
    """A text: a decoder says it word by word, seeing the record and the words before.

    Trained by teacher forcing on -log p(word | record, words before), the mean over a text's words and its end. Decoders:
    "show-tell" (Vinyals et al. 2015, arXiv:1411.4555: the pooled record starts an LSTM), "attend" (Xu et al. 2015,
    arXiv:1502.03044: an LSTM that looks at all positions before each word), "transformer" (Vaswani et al. 2017,
    arXiv:1706.03762: words that ask each other and all fused tokens; so any views, such as a picture and numbers), and
    "language" (Liu et al. 2023, arXiv:2304.08485: a causal language model that goes on from soft words; it stays as it is, a
    bridge before it learns).

    Wins where texts follow from what is seen by rule (reports on measured values), or are many. Where they are few and each
    its own, the nearest records' texts are hard to beat; so the answer is the text on which the network and they agree most,
    their share chosen on validation (``learn.consensus``; ``train.regressions=0`` leaves the network alone, and so does who
    says how words are to be chosen: ``tell``, ``stream``, ``predict --set``). Costs K W for K pieces,
    8 W^2 for an LSTM and 16 W^2 for a layer of a Transformer; a language model costs what it costs, forwards and backwards, for
    every record and epoch: 0.1 CPU seconds with 268 M parameters.

    Args:
        decoder: "show-tell", "attend", "transformer" or "language".
        model: of "language": name (see ``polysense list towers``), folder, or hub id of a causal language model.
        bridge: of "language", from fused tokens to soft words: "projector" (two layers, one soft word a token; Liu et al.
            2023, arXiv:2310.03744), "linear" (one layer) or "resampler" (learned queries that ask the tokens; Alayrac et al.
            2022, arXiv:2204.14198, section 3.1.1).
        each: soft words that a projector or one layer makes of a token; several where a view is one token (Mokady et al. 2021,
            arXiv:2111.09734, section 3.2).
        queries: soft words of a resampler.
        prompt: of "language": words around the soft words, which stand where it says {record}, else before it.
        lora: rank of low-rank factors in the language model, trained after the bridge with tune.rate for tune.epochs and kept
            only where validation gains (Hu et al. 2021, arXiv:2106.09685); 0 leaves the language model as it is.
        precision: that the language model computes in while training: "float32" or "bfloat16" (half the time where the
            hardware has it, 2 bytes a weight more); answers are float32.
        split: pieces of a text: "word", "subword" or "character".
        vocabulary: different pieces at most.
        width: W of the decoder.
        depth: layers of a transformer, or of a resampler.
        heads: attention heads of them.
        dropout: share of the decoder's activations dropped in training.
        smoothing: share of the target probability spread over all words (Szegedy et al. 2016, arXiv:1512.00567, section 7);
            not over those of a language model.
        doubly: weight of sum_i (L / T - sum_t alpha_ti)^2, so that attend looks at all of T positions over L words (Xu et al.
            2015, eq. 14, where the sum is to be 1).
        decoding: "greedy" takes the likeliest word, "beam" the likeliest text of several, "sample" draws.
        beams: texts that a beam search holds.
        penalty: of long texts in a beam search, log p / ((5 + L) / 6)^penalty; 0 favours short ones.
        temperature: of drawing: below 1 likely words become likelier.
        top_k: draw from that many likeliest words only; 0 from all.
        top_p: draw from the fewest likeliest words that hold this share of the probability.
        shortest: pieces of a text at least.
        longest: pieces of a text at most; longer targets are cut.
        no_repeat: no run of that many pieces is said twice; 0 allows it.
        seed: of drawing; a record draws from numbers of its own.

    Raises:
        BadOption: a value out of its range.
        BadTable: (fit) fewer than two different texts.

    >>> task = Caption(longest=6); task.fit(["a red apple", "a green apple"])
    >>> task.encode(["a green apple", None])["words"].tolist(), task.restore(task.prior()[None]).tolist()
    ([[[3, 5, 4, 0, 0, 0]], [[0, 0, 0, 0, 0, 0]]], ['a green apple'])
    """

    kind = "words"
    fusion = "tokens"
    training = {
        "epochs": 10, "batch": 16, "average": 5,
        "decoder=language": {
            "epochs": 5, "average": 3, "batch": 16, "drop": 0.0, "dim": 192, "rate": 2e-3, "dropout": 0.1, "input_dropout": 0.1,
        },
    }
    free = tuple(How.__dataclass_fields__)
    mixes = True

    def __init__(
        self, *, decoder: str = "transformer", split: str = "word", vocabulary: int = 8_000, width: int = 192, depth: int = 2,
        heads: int = 4, dropout: float = 0.3, smoothing: float = 0.1, doubly: float = 0.0, decoding: str = "greedy",
        beams: int = 4, penalty: float = 0.7, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, shortest: int = 1,
        longest: int = 64, no_repeat: int = 0, seed: int = 0, model: str = "", bridge: str = "projector", each: int = 1,
        queries: int = 8, prompt: str = "", lora: int = 0, precision: str = "float32",
    ) -> None:
        values = dict(locals())
        values.pop("self")
        _check(values)
        self.__dict__.update(values)
        self.writer = None
        if decoder == LARGE:
            self.writer = Writer(
                model, lora=lora, bridge=bridge, prompt=prompt, each=each, queries=queries, depth=depth, heads=heads,
                precision=precision, longest=longest,
            )
        self.needs_positions = True if self.writer else DECODERS[decoder].needs_positions
        self.looks = not self.writer and self.needs_positions

    @property
    def one_text(self) -> bool:
        """A beam search is dear to a language model, and means nothing where words are drawn by chance."""
        return self.writer is not None or self.decoding == "sample"

    def fit(self, values: Sequence[Any]) -> None:
        self.learn(values, self.split, self.vocabulary)
        if self.writer:
            self.writer.begin()
            self.pieces = self.writer.tongue

    def state(self) -> State:
        return super().state() | ({"language": self.writer.state()} if self.writer else {})

    def load(self, state: State) -> None:
        super().load(state)
        if self.writer:
            self.pieces = self.writer.load(state["language"]).tongue

    def encode(self, values: Sequence[Any]) -> dict[str, np.ndarray]:
        """{"words": (B, R, L) int64}, R the most references of a record; nothing but ``STOP`` where there is none."""
        texts = [references(value) for value in values]
        most = max(map(len, texts), default=1) or 1
        flat = [text for one in texts for text in [*one, *[""] * (most - len(one))]]
        return {"words": self.pieces.rows(flat, self.longest).reshape(len(texts), most, self.longest)}

    def head(self, dim: int) -> nn.Module:
        if self.writer:
            return self.writer.head(dim)
        more = {"heads": self.heads, "depth": self.depth}
        return DECODERS[self.decoder](dim, len(self.pieces), width=self.width, dropout=self.dropout, **more)

    def loss(self, head: nn.Module, fused: Tokens, targets: Mapping[str, Tensor]) -> Tensor:
        words_NL, real_NL, many = _each(fused, targets["words"])
        loss_NL, _, looked_NLT = head.judge(many, words_NL, real_NL, self.smoothing if head.training else 0.0)
        loss_N = (loss_NL * real_NL).sum(1) / real_NL.sum(1).clamp_min(1)
        if self.doubly and looked_NLT is not None:
            loss_N = loss_N + self.doubly * _uneven(looked_NLT, real_NL, many.mask)
        return _mean_of_references(loss_N, real_NL.any(1), targets["words"].shape[1])

    def force(self, head: nn.Module, fused: Tokens, targets: Mapping[str, Tensor]) -> Tensor:
        words_NL, real_NL, many = _each(fused, targets["words"])
        loss_NL, right_NL, _ = head.judge(many, words_NL, real_NL)
        figures_N3 = torch.stack([(part * real_NL).sum(1) for part in (loss_NL, torch.ones_like(loss_NL), right_NL)], 1)
        return figures_N3.unflatten(0, (-1, targets["words"].shape[1])).sum(1)

    def answer(self, head: nn.Module, fused: Tokens) -> Tensor:
        """(B, longest) int64: numbers of the words, filled with ``STOP``."""
        how = self.how()
        return torch.cat([say(head, some, how) for some in _some(fused, head, how)])

    def held(self, head: nn.Module, fused: Tokens) -> tuple[Tensor, Tensor]:
        """Texts of a beam search, or the answer alone, see ``one_text``."""
        if self.one_text:
            return super().held(head, fused)
        how = replace(self.how(), decoding="beam")
        parts = [held(head, some, how) for some in _some(fused, head, how)]
        return torch.cat([words_BSL for words_BSL, _ in parts]), torch.cat([log_BS for _, log_BS in parts])

    def stream(self, head: nn.Module, fused: Tokens) -> Iterator[Tensor]:
        if self.decoding == "beam":
            raise BadOption("a beam search knows its text only at the end; to stream it choose decoding='greedy' or 'sample'")
        return (words_B for words_B, _ in steps(head, fused, self.how()))

    def looked(self, head: nn.Module, fused: Tokens, said: Tensor) -> Tensor | None:
        return head(fused, said)[1]

    def how(self) -> How:
        """How words are chosen."""
        return How(**{name: getattr(self, name) for name in How.__dataclass_fields__})


def _some(fused: Tokens, head: nn.Module, how: How) -> Iterator[Tokens]:
    """As many records at a time as a decoder says together."""
    parts = (fused.x, fused.mask, fused.weight, fused.place)
    size = max(1, head.together // (how.beams if how.decoding == "beam" else 1))
    for i in range(0, len(fused.x), size):
        yield Tokens(*(None if part is None else part[i : i + size] for part in parts))


def _each(fused: Tokens, words_BRL: Tensor) -> tuple[Tensor, Tensor, Tokens]:
    """Each reference by itself (N = B R): its words, which count, its tokens."""
    long_BR = (words_BRL != STOP).sum(-1)
    most = min(int(long_BR.max()) + 1, words_BRL.shape[-1])  # what is behind the longest text costs nothing
    words_NL, count = words_BRL[..., :most].flatten(0, 1), words_BRL.shape[1]
    long_N1 = long_BR.flatten()[:, None]
    real_NL = (torch.arange(most, device=words_NL.device) <= long_N1) & (long_N1 > 0)
    parts = (fused.x, fused.mask, fused.weight, fused.place)
    many = fused if count == 1 else Tokens(*(None if part is None else part.repeat_interleave(count, 0) for part in parts))
    return words_NL, real_NL, many


def _mean_of_references(loss_N: Tensor, there_N: Tensor, count: int) -> Tensor:
    """(B,): the mean over those of a record's references that there are."""
    loss_BR, there_BR = (part.unflatten(0, (-1, count)) for part in (loss_N * there_N, there_N))
    return loss_BR.sum(1) / there_BR.sum(1).clamp_min(1)


def _uneven(looked_NLT: Tensor, real_NL: Tensor, mask_NT: Tensor) -> Tensor:
    """(N,): sum over positions of (L / T - sum of what L words gave to it)^2.

    By hand: two words both look at the first of two positions: (1 - 2)^2 + (1 - 0)^2 = 2.

    >>> everything = torch.ones(1, 2, dtype=torch.bool)
    >>> _uneven(torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]), everything, everything)
    tensor([2.])
    """
    given_NT = (looked_NLT * real_NL[..., None]).sum(1)
    even_N1 = real_NL.sum(1, keepdim=True) / mask_NT.sum(1, keepdim=True).clamp_min(1)
    return ((even_N1 - given_NT).square() * mask_NT).sum(1)


def _check(values: Mapping[str, Any]) -> None:
    """Refuse options that are out of their range."""
    choices = {"decoder": [*DECODERS, LARGE], "decoding": DECODINGS, "bridge": BRIDGES, "precision": PRECISIONS}
    for name, known in choices.items():
        if values[name] not in known:
            raise BadOption(f"task.{name}={values[name]!r} is none; {suggest(str(values[name]), list(known))}")
    for name, low in (
        ("width", 8), ("depth", 1), ("heads", 1), ("beams", 1), ("top_k", 0), ("shortest", 0), ("longest", 1), ("no_repeat", 0),
        ("seed", 0), ("queries", 1), ("each", 1), ("lora", 0),
    ):
        if isinstance(values[name], bool) or not isinstance(values[name], int) or values[name] < low:
            raise BadOption(f"task.{name}={values[name]!r} must be a whole number of at least {low}")
    for name, low, high in (
        ("dropout", 0, 0.99), ("smoothing", 0, 0.99), ("doubly", 0, 1e6), ("penalty", -10, 10), ("temperature", 1e-3, 100),
        ("top_p", 1e-6, 1),
    ):
        if isinstance(values[name], bool) or not isinstance(values[name], (int, float)) or not low <= values[name] <= high:
            raise BadOption(f"task.{name}={values[name]!r} must be a number from {low:g} to {high:g}")
    if values["width"] % (2 * values["heads"]):
        raise BadOption(f"task.width={values['width']} must be a multiple of twice task.heads={values['heads']}")
    if values["shortest"] > values["longest"]:
        raise BadOption(f"task.shortest={values['shortest']} must not be above task.longest={values['longest']}")
    Vocabulary(values["split"], values["vocabulary"])
