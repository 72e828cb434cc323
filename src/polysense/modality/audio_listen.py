"""Whisper at work: sounds -> words with their seconds, through faster-whisper or through transformers.

Both engines write the same weights' words. A wave is float32 (n,), mono, 16 kHz, within about -1..1. Letters: B pieces,
L tokens of the text, T frames of Whisper's encoder (20 ms), M mel bands, V size of the vocabulary.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BadModel, BadOption, need
from ..subtitles import Word
from .audio_signal import HOP, HZ, LONGEST, pieces, silent
from .audio_tower import whisper_mel
from .towers_ctranslate import ENGLISH, is_ctranslate
from .towers_find import Found
from .towers_open import open_whisper, quiet_transformers

#: Seconds of one frame of Whisper's encoder.
FRAME = 0.02
#: Whisper's own rule for silence (Radford 2022, section 4.5): sure that nobody speaks, and unsure of its words.
_NOBODY, _UNSURE = 0.6, -1.0
ENGINES = ("auto", "faster", "torch")
#: Ids that may go before a text.
BEFORE = 100


def loops(text: str) -> bool:
    """The same over and over: it packs to less than 1 / 2.4 of its length (Whisper's own rule; Radford 2022, section 4.5).

    >>> loops("see you next time, " * 20), loops("Please enter your password followed by the pound key.")
    (True, False)
    """
    data = text.encode()
    return len(data) > 2.4 * len(zlib.compress(data)) if data else False


class Engine:
    """What turns pieces of sound into words.

    Args:
        found: the tower.
        language: such as "en" or "zh"; "auto" lets the network tell, for each piece.
        translate: write English whatever is spoken.
        beams: hypotheses kept by the search; 1 takes the likeliest next token.
        prompt: words that go before, whose manner of writing Whisper follows; empty for none.
    """

    #: Seconds that the network hears at a time.
    longest = LONGEST

    def __init__(
        self, found: Found, *, language: str = "auto", translate: bool = False, beams: int = 5, prompt: str = ""
    ) -> None:
        self.found, self.language, self.translate, self.beams, self.prompt = found, language, translate, beams, prompt

    def hear(self, wave: np.ndarray) -> tuple[str, list[Word]]:
        """The text of a sound of any length, and its words; empty where nobody speaks."""
        texts, words = [], []
        for start, stop in pieces(wave, self.longest):
            if silent(wave[start:stop]):
                continue
            piece = np.ascontiguousarray(wave[start:stop], np.float32)
            text, mine = self._piece(piece)
            if loops(text):
                text, mine = self._piece(piece, 3)
            texts.append(text.strip())
            words += [Word(one.text, one.start + start / HZ, one.end + start / HZ) for one in mine]
        return " ".join(filter(None, texts)), _in_order(words, len(wave) / HZ)

    def _piece(self, wave: np.ndarray, no_repeat: int = 0) -> tuple[str, list[Word]]:
        """Text and words of a piece; no run of ``no_repeat`` tokens is said twice, if not 0."""
        raise NotImplementedError

    def _check_language(self, known: Sequence[str]) -> None:
        """Refuse a language that the network does not know, or another than English for one that knows English only."""
        if self.language == "auto":
            return
        if not known and self.language != "en":
            raise BadOption(f"tower '{self.found.name}' knows English only, not '{self.language}'; choose another")
        if known and self.language not in known:
            some = ", ".join(sorted(known))
            raise BadOption(f"tower '{self.found.name}' knows no language '{self.language}'; known are {some}")


def _in_order(words: Sequence[Word], seconds: float) -> list[Word]:
    """Words whose times ascend and lie within the sound."""
    kept, last = [], 0.0
    for word in words:
        start = min(max(word.start, last), seconds)
        end = min(max(word.end, start), seconds)
        kept.append(Word(word.text, round(start, 3), round(end, 3)))
        last = start
    return kept


class Faster(Engine):
    """faster-whisper, on the CPU with weights of 8 bits. Reads the folders of CTranslate2 only."""

    def __init__(self, found: Found, **how: Any) -> None:
        super().__init__(found, **how)
        maker = need("faster_whisper", "whisper").WhisperModel
        try:
            self.model = maker(
                str(found.folder), device="auto", compute_type="auto", cpu_threads=torch.get_num_threads(),
                local_files_only=True,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise BadModel(f"tower '{found.name}' cannot be opened from {found.folder}: {str(error).splitlines()[0]}") from None
        self._check_language(self.model.supported_languages if self.model.model.is_multilingual else ())

    def _piece(self, wave: np.ndarray, no_repeat: int = 0) -> tuple[str, list[Word]]:
        parts, _ = self.model.transcribe(
            wave, language=None if self.language == "auto" else self.language,
            task="translate" if self.translate else "transcribe", beam_size=self.beams, temperature=0.0,
            condition_on_previous_text=False, initial_prompt=self.prompt or None, word_timestamps=True,
            no_repeat_ngram_size=no_repeat, no_speech_threshold=_NOBODY, log_prob_threshold=_UNSURE,
            compression_ratio_threshold=None,
        )
        parts = list(parts)
        words = [
            Word(one.word.replace("\ufffd", "").strip(), float(one.start), float(one.end))
            for part in parts for one in part.words or ()
        ]
        return "".join(part.text for part in parts).replace("\ufffd", ""), [word for word in words if word.text]


class Own(Engine):
    """transformers' Whisper, from its own folders or from CTranslate2's; word times by aligning attention (Radford 2022).

    Args:
        network: to be used in place of the tower's own, after it was tuned.
    """

    def __init__(self, found: Found, network: Any | None = None, **how: Any) -> None:
        super().__init__(found, **how)
        self.network = open_whisper(found.folder, found.name) if network is None else network
        self.longest = 2 * HOP * self.network.config.max_source_positions / HZ
        self.script = Script(found, self.network.config.vocab_size)
        self._check_language(self.script.languages)
        self._heads = self.script.heads or [
            (layer, head) for layer in range(self.network.config.decoder_layers // 2, self.network.config.decoder_layers)
            for head in range(self.network.config.decoder_attention_heads)
        ]

    def _piece(self, wave: np.ndarray, no_repeat: int = 0) -> tuple[str, list[Word]]:
        with torch.inference_mode():
            heard_1TD = self.encode([wave])
            prompt, said = self.say(heard_1TD, no_repeat)
            if not said:
                return "", []
            return self.script.text(said), self.words(heard_1TD, prompt, said, len(wave) / HZ)

    def read(self, heard_1TD: Tensor) -> tuple[list[int], list[int]]:
        """The prompt and what is said in a piece that the encoder has heard, once more without repeats where it loops."""
        prompt, said = self.say(heard_1TD)
        return self.say(heard_1TD, 3) if loops(self.script.text(said)) else (prompt, said)

    def say(self, heard_1TD: Tensor, no_repeat: int = 0) -> tuple[list[int], list[int]]:
        """Token ids of the prompt, and of the text of a piece; none where nobody speaks."""
        with quiet_transformers():
            prompt, nobody = self._begin(heard_1TD)
            said = self._say(heard_1TD, prompt, no_repeat)
        if said and nobody > _NOBODY and self._sure(heard_1TD, prompt, said) < _UNSURE:
            return prompt, []
        return prompt, said

    def _sure(self, heard_1TD: Tensor, prompt: list[int], said: list[int]) -> float:
        """Mean log probability of the tokens of a text and its end."""
        ids = [*prompt, *said, self.script.end]
        scores_LV = self._scores(heard_1TD, ids)[0].log_softmax(-1)
        return float(np.mean([float(scores_LV[i - 1, ids[i]]) for i in range(len(prompt), len(ids))]))

    def words(self, heard_1TD: Tensor, prompt: list[int], said: list[int], seconds: float) -> list[Word]:
        """Words of a text with their seconds, by where each token looked in a piece of so many seconds."""
        place_LT = self._looked(heard_1TD, torch.tensor([[*prompt, *said, self.script.end]], device=heard_1TD.device)).cpu()
        frames = max(1, min(place_LT.shape[1], round(seconds / FRAME)))
        return self.script.words(said, warped(place_LT[len(prompt) - 1 : -1, :frames].numpy()) * FRAME)

    def encode(self, waves: Sequence[np.ndarray]) -> Tensor:
        """(B, T, D): what the encoder hears in pieces that are not too long."""
        bands = self.network.config.num_mel_bins
        mel_BMT = torch.from_numpy(np.stack([
            whisper_mel(wave, bands, samples=round(self.longest * HZ)) for wave in waves
        ]))
        return self.network.model.encoder(mel_BMT).last_hidden_state

    def _begin(self, heard_1TD: Tensor) -> tuple[list[int], float]:
        """The prompt, its language told by the network where none is named, and the probability that nobody speaks."""
        first_V = self._scores(heard_1TD, [self.script.start])[0, -1].softmax(-1)
        nobody = float(first_V[self.script.nobody]) if self.script.nobody is not None else 0.0
        return self._prompt(first_V), nobody

    def _prompt(self, first_V: Tensor) -> list[int]:
        """Ids before a text, by the scores of the first of them."""
        language = self.language
        if language == "auto" and self.script.languages:
            language = max(self.script.languages, key=lambda name: float(first_V[self.script.languages[name]]))
        return self.script.prompt(language, self.translate, self.prompt)

    def prompts(self, heard_BTD: Tensor) -> list[list[int]]:
        """Ids before the texts of some pieces."""
        if self.language != "auto" or not self.script.languages:
            return [self.script.prompt(self.language, self.translate, self.prompt)] * len(heard_BTD)
        with torch.no_grad():
            first = torch.full((len(heard_BTD), 1), self.script.start, device=heard_BTD.device)
            scores_BV = self.network(encoder_outputs=(heard_BTD,), decoder_input_ids=first).logits[:, -1]
        return [self._prompt(first_V) for first_V in scores_BV]

    def _scores(self, heard_1TD: Tensor, ids: Sequence[int]) -> Tensor:
        given = torch.tensor([list(ids)], device=heard_1TD.device)
        return self.network(encoder_outputs=(heard_1TD,), decoder_input_ids=given).logits

    def _say(self, heard_1TD: Tensor, prompt: list[int], no_repeat: int = 0) -> list[int]:
        """Token ids of the text: beam search (transformers' own, Whisper's rules for timestamps left out)."""
        from transformers import GenerationConfig, GenerationMixin
        from transformers.modeling_outputs import BaseModelOutput

        room = min(self.network.config.max_target_positions // 2, self.network.config.max_target_positions - len(prompt) - 1)
        how = GenerationConfig(
            max_new_tokens=room, num_beams=self.beams, do_sample=False, no_repeat_ngram_size=no_repeat,
            eos_token_id=self.script.end, pad_token_id=self.script.end,
            suppress_tokens=self.script.never or None, begin_suppress_tokens=self.script.never_first or None,
        )
        out = GenerationMixin.generate(
            self.network, encoder_outputs=BaseModelOutput(heard_1TD), generation_config=how,
            decoder_input_ids=torch.tensor([prompt], device=heard_1TD.device),
        )[0].tolist()[len(prompt) :]
        return out[: out.index(self.script.end)] if self.script.end in out else out

    def _looked(self, heard_1TD: Tensor, ids: Tensor) -> Tensor:
        """(L, T): where in the sound each token looked."""
        kind = self.network.config._attn_implementation
        self.network.set_attn_implementation("eager")  # the others keep no weights
        try:
            out = self.network(encoder_outputs=(heard_1TD,), decoder_input_ids=ids, output_attentions=True)
        finally:
            self.network.set_attn_implementation(kind)
        return aligned(torch.stack([out.cross_attentions[layer][0, head] for layer, head in self._heads]))


def aligned(look_HLT: Tensor) -> Tensor:
    """(L, T): heads' attention standardised over the tokens, smoothed over 7 frames by the median, averaged.

    OpenAI's whisper/timing.py, as described with the release of word timestamps.
    """
    mean, deviation = look_HLT.mean(1, keepdim=True), look_HLT.std(1, keepdim=True, correction=0)
    even = (look_HLT - mean) / deviation.clamp_min(1e-9)
    if even.shape[-1] > 3:  # mirrored edges need so many frames
        even = torch.nn.functional.pad(even, (3, 3), mode="reflect").unfold(-1, 7, 1).median(-1).values
    return even.mean(0)


def warped(place_LT: np.ndarray) -> np.ndarray:
    """(L + 1,): the frame at which each token begins on the best path through (L, T), and the last one's end.

    Dynamic time warping (Sakoe and Chiba 1978), from the first token and frame to the last.

    >>> warped(np.array([[9.0, 9.0, 0.0, 0.0], [0.0, 0.0, 9.0, 9.0]])).tolist()
    [0, 2, 4]
    """
    count, frames = place_LT.shape
    cost = np.full((count + 1, frames + 1), np.inf)
    cost[0, 0] = 0.0
    came = np.zeros((count + 1, frames + 1), np.int8)
    for i in range(1, count + 1):
        both = np.minimum(cost[i - 1, :-1], cost[i - 1, 1:])  # from the token before, at this frame or the one before
        stepped = np.where(cost[i - 1, :-1] <= cost[i - 1, 1:], 0, 1)
        row, way, before = cost[i], came[i], np.inf
        for t in range(1, frames + 1):
            best, how = both[t - 1], stepped[t - 1]
            if before < best:
                best, how = before, 2
            row[t] = before = best - place_LT[i - 1, t - 1]
            way[t] = how
    begin, i, t = np.zeros(count + 1, int), count, frames
    begin[count] = frames
    while i:
        begin[i - 1] = t - 1
        how = came[i, t]
        i, t = i - (how < 2), t - (how != 1)
    return begin


class Script:
    """Whisper's tokens: what begins and ends a text, what may not be said, and how tokens are words.

    Args:
        found: the tower, whose folder holds tokenizer and rules.
        size: of the vocabulary.
    """

    def __init__(self, found: Found, size: int) -> None:
        self.tokens, self.name = _tokenizer(found), found.name
        self.start, self.end = self._of("<|startoftranscript|>"), self._of("<|endoftext|>")
        self.plain = self._of("<|notimestamps|>")
        self.nobody = next(filter(None, map(self.tokens.token_to_id, ("<|nospeech|>", "<|nocaptions|>"))), None)
        rules = _rules(found)
        english = size <= ENGLISH if "is_multilingual" not in rules else not rules["is_multilingual"]
        between = range(self.start + 1, self.tokens.token_to_id("<|translate|>") or self.start + 1)
        self.languages = {} if english else {self.tokens.id_to_token(i)[2:-2]: i for i in between}
        self.heads = [tuple(pair) for pair in rules.get("alignment_heads") or ()]
        special = {self.start, self.plain, *between, *range(self.plain + 1, size)} - {self.end}
        special |= {i for name in ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "nocaptions")
                    if (i := self.tokens.token_to_id(f"<|{name}|>")) is not None}
        self.never = sorted(special | {i for i in rules.get("suppress") or () if 0 <= i < size and i != self.end})
        self.never_first = sorted(i for i in rules.get("suppress_first") or () if 0 <= i < size)

    def _of(self, token: str) -> int:
        found = self.tokens.token_to_id(token)
        if found is None:
            raise BadModel(f"tower '{self.name}': its tokenizer has no {token}; choose a Whisper that writes")
        return found

    def prompt(self, language: str, translate: bool, words: str = "") -> list[int]:
        """Ids before the text; the last ``BEFORE`` of the words that go before it."""
        before = [self._of("<|startofprev|>"), *self.ids(words)[-BEFORE:]] if words.strip() else []
        if not self.languages:
            return [*before, self.start, self.plain]
        work = self._of("<|translate|>" if translate else "<|transcribe|>")
        return [*before, self.start, self.languages[language], work, self.plain]

    def ids(self, text: str) -> list[int]:
        """A text's ids, with the space that Whisper writes before it."""
        return self.tokens.encode(f" {text.strip()}", add_special_tokens=False).ids

    def text(self, ids: Sequence[int]) -> str:
        """What the ids say, without half signs."""
        return self.tokens.decode(list(ids), skip_special_tokens=True).replace("\ufffd", "").strip()

    def words(self, ids: Sequence[int], second_L: np.ndarray) -> list[Word]:
        """Words of a text with the seconds of their tokens: from the first token's begin to the next word's.

        Args:
            second_L: (L + 1,) where each token begins, and where the last one ends.
        """
        found: list[list[Any]] = []
        first, last = 0, 0
        while last < len(ids):
            last += 1
            part = self.tokens.decode(list(ids[first:last]), skip_special_tokens=True)
            if part.endswith("\ufffd") and last < len(ids):  # half a sign
                continue
            begins = part[:1].isspace() or _alone(part) or not found
            if begins and part.strip():
                found.append([part, second_L[first], second_L[last]])
            elif found:
                found[-1][0] += part
                if any(sign.isalnum() for sign in part):  # a mark takes the pause behind it
                    found[-1][2] = second_L[last]
            first = last
        whole = [Word(text.replace("\ufffd", "").strip(), float(start), float(end)) for text, start, end in found]
        return [word for word in whole if word.text]


def _alone(part: str) -> bool:
    """Begins with a sign that is a word by itself: no letter of a script that parts its words, no mark."""
    sign = part.lstrip()[:1]
    return "\u3040" <= sign <= "\u30ff" or "\u3400" <= sign <= "\u9fff" or "\uac00" <= sign <= "\ud7af" or sign >= "\U00020000"


def _tokenizer(found: Found) -> Any:
    file = found.folder / "tokenizer.json"
    try:
        if file.is_file():
            return need("tokenizers", "towers").Tokenizer.from_file(str(file))
        return need("transformers", "towers").WhisperTokenizerFast.from_pretrained(
            found.folder, local_files_only=True
        ).backend_tokenizer
    except Exception as error:  # tokenizers raise bare exceptions
        first = str(error).strip().split("\n")[0]
        raise BadModel(f"tower '{found.name}': its tokenizer in {found.folder} cannot be read ({first})") from None


def _rules(found: Found) -> dict[str, Any]:
    """What may not be said, and which heads look where the sound is: of CTranslate2's config.json or generation_config.json."""
    def read(name: str) -> Mapping[str, Any]:
        try:
            return json.loads((found.folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (ValueError, OSError) as error:
            raise BadModel(f"tower '{found.name}': {found.folder / name} cannot be read ({error})") from None

    config, more = read("config.json"), read("generation_config.json")
    return {
        "suppress": config.get("suppress_ids") or more.get("suppress_tokens"),
        "suppress_first": config.get("suppress_ids_begin") or more.get("begin_suppress_tokens"),
        "alignment_heads": config.get("alignment_heads") or more.get("alignment_heads"),
        **({"is_multilingual": more["is_multilingual"]} if "is_multilingual" in more else {}),
    }


def engine(found: Found, how: str = "auto", **options: Any) -> Engine:
    """The engine that opens a tower.

    Args:
        how: "faster" (faster-whisper), "torch" (transformers), or "auto": faster-whisper where it is installed and reads the
            tower's folder.

    Raises:
        BadOption: an engine that does not exist or cannot read the folder.
        MissingExtra: its package is not installed.
    """
    chosen = chosen_engine(found, how)
    return Faster(found, **options) if chosen == "faster" else Own(found, **options)


def chosen_engine(found: Found, how: str) -> str:
    """"faster" or "torch"."""
    if how not in ENGINES:
        raise BadOption(f"option 'engine' is {how!r}; give auto, faster or torch")
    reads = is_ctranslate(found.folder) and found.weights[0].suffix == ".bin"
    if how == "faster" and not reads:
        raise BadOption(
            f"tower '{found.name}' is a folder of transformers, which faster-whisper does not read; leave engine=faster away, "
            "or convert it with ct2-transformers-converter"
        )
    if how == "auto":
        return "faster" if reads and find_spec("faster_whisper") else "torch"
    return how
