"""Whisper's decoder as the head of the task transcribe: it reads the positions of Whisper's encoder as they come.

Radford et al. 2022, arXiv:2212.04356. Letters: B records, N texts, S pieces of a sound, P positions of a piece (1,500 of
20 ms), T positions of a record, D their width, L tokens of a text, R texts of a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import BadModel, BadOption
from ..layers import safe
from ..modality.audio_decoder import LEARNS, Decoder, find_whisper, open_decoder, reader, standing_in
from ..modality.audio_listen import BEFORE, Own
from ..subtitles import Word
from ..tokens import Tokens
from ..vocabulary import STOP, UNKNOWN, Vocabulary

__all__ = ["LEARNS", "Listening", "Signs", "Writer"]

#: Token n of Whisper is number n + 3; below are the end, the start, and what parts the texts of two pieces of a sound.
_FIRST, _BETWEEN = 3, UNKNOWN


class Signs:
    """Whisper's tokens in place of a ``Vocabulary``.

    Args:
        writer: whose they are.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def __len__(self) -> int:
        return self.writer.script.tokens.get_vocab_size() + _FIRST

    def encode(self, text: str) -> list[int]:
        """Numbers of a text, without its end; as many as one piece of sound may have."""
        plain = " ".join(str(text).split())
        return [number + _FIRST for number in self.writer.script.ids(plain)][: self.writer.room] if plain else []

    def decode(self, numbers: Iterable[int]) -> str:
        """The text up to the first ``STOP``."""
        parts: list[list[int]] = [[]]
        for number in numbers:
            if number == STOP:
                break
            if number == _BETWEEN:
                parts.append([])
            elif number >= _FIRST:
                parts[-1].append(int(number) - _FIRST)
        return " ".join(filter(None, (self.writer.script.text(part) for part in parts)))

    def state(self) -> dict[str, Any]:
        """That of no pieces: they come with Whisper."""
        return Vocabulary().state()


class Listening(nn.Module):
    """What of Whisper's decoder has learned; the rest is no part of this module, moves not, and is saved with nothing.

    Args:
        writer: knows the decoder, and which of its parts learn.
    """

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self._writer = writer
        self.names = {safe(name): name for name in writer.learned}
        self.parts = nn.ParameterDict({key: nn.Parameter(writer.begun(name)) for key, name in self.names.items()})

    def at_work(self, device: torch.device, work: Callable[[Own], Any]) -> Any:
        """What ``work(engine)`` gives on that device while what has learned stands in for what has not."""
        engine = self._writer.engine(any(".lora_" in name for name in self.names.values()))
        if next(engine.network.parameters()).device != device:
            engine.network.to(device)
        parts = {name: self.parts[key] for key, name in self.names.items()}
        return standing_in(engine.network, parts, lambda: work(engine))


class Writer:
    """The Whisper of a task: what is remembered of it, where it lies on this machine, and what it says.

    Args:
        model: name, folder or hub id.
        tune: what of its decoder learns: "none", "lora" or "decoder".
        lora: rank of the factors.
        language: such as "en" or "zh"; "auto" lets the network tell, for each piece.
        beams: hypotheses kept by the search.
        prompt: words that go before each piece.

    Attributes:
        download: a hub id may be downloaded.
        carried: folder of a copy in the model folder, if there is one.
        learned: {name: shape} of what has learned; empty as long as Whisper is as it is.
    """

    def __init__(self, model: str, *, tune: str, lora: int, **how: Any) -> None:
        self.model, self.tune, self.lora, self.how = model, tune, lora, how
        self.download, self.carried = False, None
        self.learned: dict[str, list[int]] = {}
        self.known: dict[str, Any] = {}
        self._decoder: Decoder | None = None
        self._fresh = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Writer:
        return self

    # --- what it is ---

    @property
    def decoder(self) -> Decoder:
        """Whisper; looked for once, and refused if it is another than the one that was there in training.

        Raises:
            UnknownName, BadOption, MissingExtra: see ``find_whisper``.
            BadModel: its weights or settings are others.
        """
        if self._decoder is None:
            found = find_whisper(self.model, self.download, self.carried)
            self.known = self.known or found.state()
            for key, what in (("sha256", "weights"), ("settings", "settings")):
                if getattr(found, key) != self.known[key]:
                    raise BadModel(
                        f"Whisper '{self.model}': its {what} in {found.folder} have sha256 {getattr(found, key)[:12]}..., the "
                        f"model was trained with {self.known[key][:12]}...; put back the one it was trained with, or fit anew"
                    )
            self._decoder = open_decoder(found)
        return self._decoder

    @cached_property
    def _plain(self) -> Own:
        return reader(self.decoder, 0, **self.how)

    @cached_property
    def _adapted(self) -> Own:
        return reader(self.decoder, self.lora, **self.how)

    def engine(self, factors: bool) -> Own:
        """What reads, with room for low-rank factors if asked for."""
        return self._adapted if factors else self._plain

    @property
    def script(self) -> Any:
        """Its tokens."""
        return self._plain.script

    @property
    def room(self) -> int:
        """Tokens of a text at most."""
        before = len(self.script.ids(self.how["prompt"])[-BEFORE:]) + 1 if self.how["prompt"] else 0
        return self._plain.network.config.max_target_positions - 5 - before

    @property
    def signs(self) -> Signs:
        """Its tokens as numbers of an answer."""
        return Signs(self)

    @property
    def width(self) -> int:
        """D."""
        return int(self.known["width"])

    def begin(self) -> None:
        """Look for Whisper anew, whatever was there before; what cannot be opened is told before any work."""
        self.known, self.learned, self._decoder = {}, {}, None
        for name in ("_plain", "_adapted"):
            self.__dict__.pop(name, None)
        if self.tune == "lora":
            self.decoder.network(self.lora)
        self._plain  # noqa: B018  (opens it)

    def head(self) -> Listening:
        """What answers: nothing is opened for it but for a training."""
        return Listening(self)

    def deepen(self, on: bool) -> bool:
        """Whether the next head has parts that learn, if any are asked for."""
        self.learned, self._fresh = (self.decoder.learns(self.tune, self.lora) if on else {}), on
        return bool(self.learned)

    def begun(self, name: str) -> Tensor:
        """A part before it has learned; zeros where what has learned is about to be put in."""
        return self.decoder.begun(name, self.learned[name]) if self._fresh else torch.zeros(*self.learned[name])

    def files(self) -> dict[str, Path]:
        """{name: file} of a copy."""
        found = self.decoder.found
        return {str(path.relative_to(found.folder)): path for path in found.files()}

    def state(self) -> dict[str, Any]:
        return {"tower": dict(self.known), "learned": self.learned}

    def load(self, state: Mapping[str, Any]) -> Writer:
        """Undo ``state``; nothing is opened."""
        self.known, self.learned, self._decoder, self._fresh = dict(state["tower"]), dict(state["learned"]), None, False
        return self

    # --- what it says ---

    @property
    def positions(self) -> int:
        """P."""
        return self._plain.network.config.max_source_positions

    def pieces(self, fused: Tokens) -> tuple[Tensor, Tensor]:
        """(B, S, P, D) pieces of each record's sound, the real ones first, and how many of these there are (B,)."""
        size = self.positions
        order_BT = (~fused.mask).to(torch.uint8).argsort(dim=1, stable=True)
        x_BTD = fused.clean().gather(1, order_BT[..., None].expand_as(fused.x))
        x_BTD = F.pad(x_BTD, (0, 0, 0, -x_BTD.shape[1] % size))
        return x_BTD.unflatten(1, (-1, size)), fused.mask.sum(1) // size

    def judge(self, head: Listening, fused: Tokens, words_BRL: Tensor, given_BR: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each text (B, R): its loss summed over tokens, its tokens and end, and how many of these were right.

        Zeros where there is no text, or a sound of other than one piece: nobody knows where such a text is to be parted.
        """
        x_BSPD, count_B = self.pieces(fused)
        may_BR = given_BR & (count_B == 1)[:, None]
        row_N = torch.arange(len(given_BR), device=given_BR.device)[:, None].expand_as(given_BR)[may_BR]
        loss_BR, long_BR, right_BR = (torch.zeros(given_BR.shape, device=fused.x.device) for _ in range(3))
        if not len(row_N):  # of such a batch nothing is learned
            return loss_BR.requires_grad_(torch.is_grad_enabled()), long_BR, right_BR
        words_NL = words_BRL[may_BR]
        words_NL = F.pad(words_NL[:, : int((words_NL != STOP).sum(1).max())], (0, 1))  # and the end, which is 0
        real_NL = torch.arange(words_NL.shape[1], device=words_NL.device) <= (words_NL != STOP).sum(1, keepdim=True)
        scores_NLK, aim_NL = head.at_work(
            fused.x.device, lambda engine: _told(engine, x_BSPD[row_N, 0], words_NL)
        )
        loss_NL = F.cross_entropy(scores_NLK.transpose(1, 2), aim_NL, reduction="none") * real_NL
        right_NL = (scores_NLK.argmax(-1) == aim_NL) & real_NL
        return tuple(
            torch.zeros_like(loss_BR).index_put((may_BR,), part_N.to(loss_BR.dtype))
            for part_N in (loss_NL.sum(1), real_NL.sum(1), right_NL.sum(1))
        )

    def answer(self, head: Listening, fused: Tokens) -> Tensor:
        """(B, L) int64: numbers of the tokens, filled with ``STOP``."""
        x_BSPD, count_B = self.pieces(fused)

        def said(engine: Own) -> list[list[int]]:
            rows = []
            for x_SPD, count in zip(x_BSPD, count_B.tolist(), strict=True):
                texts = [engine.read(x_SPD[s][None])[1] for s in range(count)]
                row = [number for text in texts if text for number in (_BETWEEN, *(i + _FIRST for i in text))]
                rows.append(row[1:])
            return rows

        with torch.no_grad():
            rows = head.at_work(fused.x.device, said)
        found = torch.full((len(rows), max([1, *map(len, rows)])), STOP, device=fused.x.device)
        for row, ids in zip(found, rows, strict=True):
            row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
        return found

    def words(self, head: Listening, fused: Tokens, second_T: np.ndarray) -> list[Word]:
        """Words of one record with their seconds.

        Args:
            second_T: the middle of each position; those behind the end of a piece stand at its end.
        """
        x_1SPD, count_1 = self.pieces(fused)

        def heard(engine: Own) -> list[Word]:
            found = []
            for s in range(int(count_1[0])):
                prompt, said = engine.read(x_1SPD[:, s])
                if said:
                    second_P = second_T[s * self.positions : (s + 1) * self.positions]
                    start = max(0.0, round(float(second_P[0]) - _HALF, 3))
                    mine = engine.words(x_1SPD[:, s], prompt, said, max(_HALF, float(second_P[-1]) - start))
                    found += [
                        Word(one.text, round(one.start + start, 3), round(min(one.end + start, float(second_P[-1])), 3))
                        for one in mine
                    ]
            return found

        with torch.no_grad():
            return head.at_work(fused.x.device, heard)

    def fits(self, view: str, encoder: Any) -> None:
        """Refuse an encoder of a sound whose positions are not those that this decoder learned to read.

        Raises:
            BadOption: what to leave away.
        """
        self.decoder  # noqa: B018  (knows its hash)
        theirs = (encoder.state().get("tower") or {}).get("sha256") if encoder.tower else None
        if theirs != self.known["sha256"] or not getattr(encoder, "cut", False):
            raise BadOption(
                f"view '{view}': the decoder of task.model={self.model} reads what its own encoder hears, all of it; leave "
                f"--encoder {view}=..., the options of '{view}' and --quality away"
            )


#: Half of the seconds of a position.
_HALF = 0.01


def _told(engine: Own, heard_NPD: Tensor, words_NL: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (N, L, K) of every token of given texts and of their ends, the tokens before being given; and the tokens."""
    prompt_NQ = torch.tensor(engine.prompts(heard_NPD), device=words_NL.device)
    aim_NL = torch.where(words_NL == STOP, engine.script.end, words_NL - _FIRST)
    ids = torch.cat([prompt_NQ, aim_NL[:, :-1]], 1)
    hidden = engine.network.model.decoder(input_ids=ids, encoder_hidden_states=heard_NPD, use_cache=False).last_hidden_state
    return engine.network.proj_out(hidden[:, prompt_NQ.shape[1] - 1 :]).float(), aim_NL
