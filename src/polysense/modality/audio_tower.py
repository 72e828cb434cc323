"""Audio towers.

A value is float32 (n,), mono, 16 kHz. Letters: B records, n samples, T frames or tokens, F mel bands, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import Batch, State
from ..errors import BadModel, BadOption
from ..registry import encoders
from ..tokens import Tokens
from . import amount, whole
from .audio_signal import HZ, hz_to_mel, mel_filters, mel_to_hz, once, pieces, silent, trimmed, window_starts
from .towers import Pretrained
from .towers_find import read_json


@encoders("audio.pretrained")
class PretrainedAudio(Pretrained):
    """An audio tower: a named one, a folder, or a hub id.

    The encoder of Whisper (Radford et al. 2022, arXiv:2212.04356, section 2.2), Wav2Vec2 and its kin (Baevski et
    al. 2020, arXiv:2006.11477), AST (Gong et al. 2021, arXiv:2104.01778) and the audio half of CLAP (Wu et al.
    2022, arXiv:2211.06687). How a sound is heard stands in ``preprocessor_config.json``. Source of the pooling, where
    a network has none of its own: mean = sum_t m_t x_t / sum_t m_t over the tokens that hold sound (Whisper,
    Wav2Vec2); AST: the mean of its two class tokens; CLAP: W2 relu(W1 mean_t x_t), the space it shares with texts.

    Wins with few sounds: Whisper and Wav2Vec2 know speech, AST and CLAP any sound. Loses to ``audio.cnn``
    where sounds are many and of one odd kind; CLAP learned at 48 kHz and gets nothing above 8 kHz here.
    Costs one pass a window, once, because frozen outputs are cached: O(L (T D^2 + T^2 D)); Whisper always hears
    30 s, AST and CLAP 10 s, Wav2Vec2 what there is.

    Args:
        tower: name (see ``polysense list towers``), folder, or hub id.
        positions: give every token (Whisper, Wav2Vec2 20 ms; AST 100 ms, CLAP 320 ms) instead of the pooled sound.
        seconds: of a sound that are heard at a time, from its beginning; at most what the tower can hear.
        hop: seconds from one window of ``seconds`` to the next, until the whole sound is heard, the tokens of all windows
            one after the other (or their mean); 0 hears the first window only.
        once: of windows that overlap keep each moment once, from the window in which it lies farther from the ends; with
            ``positions``.
        cut: hear the whole sound in pieces that are cut where it is softest, each with the silence that Whisper hears behind
            it, and leave silent pieces out: what Whisper's own decoder reads. For Whisper, in place of ``hop``.
        trim: decibels below the loudest 10 ms at which both ends are cut as silence; 0 cuts nothing.

    forward: {"x": (B, F, T) or (B, n), ...} -> (B, 1, D), or (B, T, D) with ``positions``, place in seconds;
    with ``hop`` or ``cut`` {"x": (B, S, F, T) or (B, S, n), ..., "mask": (B, S)} of S windows
    """

    modality = "audio"
    held = ("embed_positions.weight",)  # sines, never trained

    #: Windows that a network without gradient hears at a time.
    at_once = 32

    def __init__(
        self, *, tower: str = "whisper-tiny", positions: bool = False, seconds: int = 30, hop: float = 0.0, once: bool = False,
        cut: bool = False, trim: float = 0.0,
    ) -> None:
        super().__init__(tower)
        self.positions, self.seconds = bool(positions), whole("seconds", seconds)
        self.hop, self.trim, self.once = amount("hop", hop), amount("trim", trim), bool(once)
        if self.hop and not 0.01 <= self.hop <= self.seconds:
            raise BadOption(f"option 'hop' is {hop}; give 0, or from 0.01 to the {seconds} seconds of a window")
        self.cut = bool(cut)
        if self.cut and self.hop:
            raise BadOption(f"options 'cut' and 'hop'={hop} both say how long sounds are heard; give one of them")
        self._ear: _Ear | None = None

    def load(self, state: State) -> None:
        super().load(state)
        self._ear = None

    def _hearing(self) -> _Ear:
        if self._ear is None:
            about = _extractor(self.folder)
            kind = about.get("feature_extractor_type", "")
            if kind not in _EARS:
                raise BadModel(
                    f"tower '{self.tower}' hears through {kind or 'an unnamed feature extractor'}; "
                    f"known are {', '.join(_EARS)}: choose a network with one of these"
                )
            ear = _EARS[kind]
            hz = about.get("sampling_rate", ear.hz)
            if hz != ear.hz:
                raise BadModel(f"tower '{self.tower}' hears at {hz} Hz; choose one that hears at {ear.hz} Hz")
            self._ear = ear(about, self.tower)
        return self._ear

    def prepare(self, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        waves = [np.asarray(value, np.float32) for value in values]
        if self.trim:
            waves = [trimmed(torch.from_numpy(wave), self.trim).numpy() for wave in waves]
        ear = self._hearing()
        size = round(min(self.seconds, ear.longest) * HZ)
        if self.cut:
            return self._prepare_pieces(waves, ear, size)
        if not self.hop:
            return ear.prepare([wave[: self.seconds * HZ] for wave in waves])
        if self.hop * HZ > size:
            raise BadOption(f"option 'hop' is {self.hop}, but tower '{self.tower}' hears {size / HZ:g} seconds at a time")
        starts = [window_starts(len(wave), size, round(self.hop * HZ)) for wave in waves]
        flat = ear.prepare([wave[i : i + size] for wave, mine in zip(waves, starts, strict=True) for i in mine])
        return _by_record(flat, [len(mine) for mine in starts])

    def _prepare_pieces(self, waves: Sequence[np.ndarray], ear: _Ear, size: int) -> dict[str, np.ndarray]:
        """Windows of pieces, and of each its begin and end in seconds, "span" (B, S, 2)."""
        if not isinstance(ear, _Whisper):
            raise BadOption(f"option 'cut' is for Whisper, and tower '{self.tower}' is another network; give 'hop' instead")
        spans = [[(a, b) for a, b in pieces(wave, size / HZ) if not silent(wave[a:b])] for wave in waves]
        flat = ear.prepare([wave[a:b] for wave, mine in zip(waves, spans, strict=True) for a, b in mine])
        flat["span"] = np.array([span for mine in spans for span in mine], np.float32).reshape(-1, 2) / HZ
        return _by_record(flat, [len(mine) for mine in spans])

    def _tokens(self, batch: Batch) -> Tokens:
        if self.cut:
            return self._of_pieces(batch)
        if not self.hop:
            every, pooled = self._hearing().hear(self.network(batch["x"].device), batch)
            if self.positions:
                return every
            return Tokens.single(every.pooled() if pooled is None else pooled)
        mask_BS = batch["mask"]
        flat = {"mask" if key == _WITHIN else key: array[mask_BS] for key, array in batch.items() if key != "mask"}
        every, pooled = self._hear_some(flat)
        start_S = (mask_BS.cumsum(1) - 1)[mask_BS] * (round(self.hop * HZ) / HZ)
        place, mask = every.place + start_S[:, None, None], every.mask
        if self.once:
            count_B = mask_BS.sum(1)
            last_S = (mask_BS & (mask_BS.cumsum(1) == count_B[:, None]))[mask_BS]
            size = min(self.seconds, self._hearing().longest)
            mask = mask & once(place[..., 0], start_S[:, None], start_S[:, None] == 0, last_S[:, None], size, self.hop)
        every = Tokens(every.x, mask, place=place).together(mask_BS.sum(1), False)
        if self.positions:
            return every
        if pooled is None:
            return Tokens.single(every.pooled())
        return Tokens.single(pooled).together(mask_BS.sum(1), True)

    def _of_pieces(self, batch: Batch) -> Tokens:
        """All that Whisper's decoder reads; positions in the silence behind a piece stand at its end."""
        mask_BS, count_B = batch["mask"], batch["mask"].sum(1)
        if not mask_BS.any():
            blank = torch.zeros(len(mask_BS), 1, self.dim, device=mask_BS.device)
            return Tokens(blank, mask_BS.new_zeros(len(mask_BS), 1), place=blank[..., :1])
        every, _ = self._hear_some({key: array[mask_BS] for key, array in batch.items() if key not in ("mask", "span")})
        if not self.positions:
            every = Tokens(every.x, every.mask).together(count_B, False)
            return Tokens.single(every.pooled(), every.present)
        start_S, end_S = batch["span"][mask_BS].unbind(-1)
        place = torch.minimum(every.place + start_S[:, None, None], end_S[:, None, None])
        return Tokens(every.x, torch.ones_like(every.mask), place=place).together(count_B, False)

    def _hear_some(self, batch: Batch) -> tuple[Tokens, Tensor | None]:
        """Windows a few at a time: a sound of half an hour has a hundred."""
        count = len(batch["x"])
        step = count if torch.is_grad_enabled() else self.at_once
        heard = [
            self._hearing().hear(self.network(batch["x"].device), {key: array[i : i + step] for key, array in batch.items()})
            for i in range(0, count, step)
        ]
        every, pooled = zip(*heard, strict=True)
        tokens = Tokens(*(torch.cat([getattr(one, part) for one in every]) for part in ("x", "mask")),
                        place=torch.cat([one.place for one in every]))
        return tokens, None if pooled[0] is None else torch.cat(pooled)


#: In windows, the key of the mask that an ear makes of the samples of each.
_WITHIN = "within"


def _by_record(flat: Mapping[str, np.ndarray], counts: Sequence[int]) -> dict[str, np.ndarray]:
    """Arrays of windows (N, ...) as those of records (B, S, ...), and which windows there are: "mask" (B, S).

    >>> _by_record({"x": np.array([1, 2, 3])}, [2, 1])["x"].tolist()
    [[1, 2], [3, 0]]
    """
    count_B = np.array(counts, int)
    mask_BS = np.arange(count_B.max(initial=1)) < count_B[:, None]
    arrays = {}
    for key, array in flat.items():
        arrays[_WITHIN if key == "mask" else key] = laid = np.zeros((*mask_BS.shape, *array.shape[1:]), array.dtype)
        laid[mask_BS] = array
    return {**arrays, "mask": mask_BS}


def _extractor(folder: Path) -> dict[str, Any]:
    """How a folder's network hears, from either of the files that may say it."""
    named = [name for name in ("preprocessor_config.json", "processor_config.json") if (folder / name).is_file()]
    if not named and "suppress_ids" in read_json(folder, "config.json"):  # Whisper as CTranslate2 stores it
        return {"feature_extractor_type": "WhisperFeatureExtractor"}
    if not (folder / "preprocessor_config.json").is_file() and (folder / "processor_config.json").is_file():
        return read_json(folder, "processor_config.json").get("feature_extractor", {})
    return read_json(folder, "preprocessor_config.json")


# --- ears: how a family of towers hears, and where its tokens stand in time ------------------------


class _Ear:
    """What comes before and after the network.

    Args:
        about: of the feature extractor.
        tower: name, for sentences.
    """

    hz = HZ
    #: Seconds that are heard at a time.
    longest = float("inf")

    def __init__(self, about: Mapping[str, Any], tower: str) -> None:
        self.about, self.tower = about, tower

    def prepare(self, waves: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def hear(self, module: nn.Module, batch: Batch) -> tuple[Tokens, Tensor | None]:
        """All tokens with their seconds, and the pooled answer where the network has one."""
        raise NotImplementedError


def _timed(x_BTD: Tensor, real_B: Tensor, seconds_T: Tensor) -> Tokens:
    """Tokens of which the first few of each record are real, one at least, each with the middle of its time."""
    mask_BT = torch.arange(x_BTD.shape[1], device=x_BTD.device) < real_B.clamp_min(1)[:, None]
    return Tokens(x_BTD, mask_BT, place=seconds_T[None, :, None].expand(len(x_BTD), -1, -1))


class _Whisper(_Ear):
    """Log-mel of a fixed length, in which silence follows the sound."""

    def __init__(self, about: Mapping[str, Any], tower: str) -> None:
        super().__init__(about, tower)
        self.hop = about.get("hop_length", 160)
        self.how = {
            "bands": about.get("feature_size", 80), "window": about.get("n_fft", 400), "hop": self.hop,
            "samples": about.get("chunk_length", 30) * HZ,
        }
        self.longest = self.how["samples"] / HZ

    def prepare(self, waves: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        most = self.how["samples"] // self.hop
        x = np.empty((len(waves), self.how["bands"], most), np.float32)
        for i, wave in enumerate(waves):
            x[i] = whisper_mel(wave, **self.how)
        return {"x": x, "frames": np.array([min(most, max(1, -(-len(wave) // self.hop))) for wave in waves], np.int64)}

    def hear(self, module: nn.Module, batch: Batch) -> tuple[Tokens, Tensor | None]:
        x_BTD = module(input_features=batch["x"]).last_hidden_state
        merged = batch["x"].shape[-1] // x_BTD.shape[1]
        seconds = (torch.arange(x_BTD.shape[1], device=x_BTD.device) + 0.5) * merged * self.hop / HZ
        return _timed(x_BTD, (batch["frames"] + merged - 1) // merged, seconds), None


class _Waves(_Ear):
    """Raw samples, of zero mean and unit variance where the extractor says so (Wav2Vec2, HuBERT, WavLM).

    A network whose first layer has a group norm over time reads padding; its sounds are heard in groups
    of equal length. The others take a mask.
    """

    #: Samples that one token of the usual networks hears; shorter sounds get silence.
    least = 400

    def prepare(self, waves: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        x = np.zeros((len(waves), max([self.least, *map(len, waves)])), np.float32)
        mask = np.zeros(x.shape, bool)
        for i, wave in enumerate(waves):
            if self.about.get("do_normalize", True) and len(wave):
                wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
            x[i, : len(wave)], mask[i, : max(self.least, len(wave))] = wave, True
        return {"x": x, "mask": mask}

    def hear(self, module: nn.Module, batch: Batch) -> tuple[Tokens, Tensor | None]:
        mask_Bn = batch["mask"]
        x_Bn, length_B = torch.where(mask_Bn, batch["x"], 0), mask_Bn.sum(1)
        if getattr(module.config, "feat_extract_norm", "group") == "group":
            x_BTD = None
            for length in length_B.unique().tolist():
                which = length_B == length
                part = module(x_Bn[which, :length]).last_hidden_state
                if x_BTD is None:
                    most = int(self._tokens(module, torch.tensor(x_Bn.shape[1])))
                    x_BTD = part.new_zeros(len(x_Bn), most, part.shape[2])
                x_BTD = x_BTD.index_put((which.nonzero()[:, 0],), F.pad(part, (0, 0, 0, most - part.shape[1])))
        else:
            x_BTD = module(x_Bn, attention_mask=mask_Bn.long()).last_hidden_state
        stride = int(np.prod(module.config.conv_stride))
        seconds = (torch.arange(x_BTD.shape[1], device=x_BTD.device) * stride + self.least / 2) / HZ
        return _timed(x_BTD, self._tokens(module, length_B), seconds), None

    @staticmethod
    def _tokens(module: nn.Module, length: Tensor) -> Tensor:
        """Tokens that the convolutions make of so many samples."""
        for kernel, stride in zip(module.config.conv_kernel, module.config.conv_stride, strict=True):
            length = (length - kernel) // stride + 1
        return length


class _Spectrogram(_Ear):
    """Kaldi's filter banks of a fixed length as a picture (AST); a token is the mean of the bands of its time."""

    def __init__(self, about: Mapping[str, Any], tower: str) -> None:
        super().__init__(about, tower)
        self.longest = about.get("max_length", 1024) / 100

    def prepare(self, waves: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        most, bands = self.about.get("max_length", 1024), self.about.get("num_mel_bins", 128)
        x = np.zeros((len(waves), most, bands), np.float32)
        frames = np.empty(len(waves), np.int64)
        for i, wave in enumerate(waves):
            found = kaldi_mel(wave[: (most + 2) * 160], bands)[:most]
            x[i, : len(found)], frames[i] = found, len(found)
        if self.about.get("do_normalize", True):
            x = (x - self.about.get("mean", -4.2677393)) / (2 * self.about.get("std", 4.5689974))
        return {"x": x.astype(np.float32), "frames": frames}

    def hear(self, module: nn.Module, batch: Batch) -> tuple[Tokens, Tensor | None]:
        out, config = module(input_values=batch["x"]), module.config
        step = config.time_stride
        count = (batch["x"].shape[1] - config.patch_size) // step + 1
        # class and distillation token first, then bands from outside, time inside
        x_BTD = out.last_hidden_state[:, 2:].unflatten(1, (-1, count)).mean(1)
        seconds = (torch.arange(count, device=x_BTD.device) * step + config.patch_size / 2) * 160 / HZ
        real = (batch["frames"] + step - 1) // step
        return _timed(x_BTD, real.clamp_max(count), seconds), out.pooler_output


class _Clap(_Ear):
    """Decibels in mel bands of 10 s at 48 kHz; a shorter sound is repeated as often as it fits."""

    hz = 48_000

    def __init__(self, about: Mapping[str, Any], tower: str) -> None:
        super().__init__(about, tower)
        if about.get("truncation", "fusion") == "fusion" or about.get("padding", "repeatpad") != "repeatpad":
            raise BadModel(
                f"tower '{tower}' hears long sounds through random pieces (fusion), so that the same sound gets other "
                "answers; choose one without, such as laion/clap-htsat-unfused"
            )
        self.hop, self.samples = about.get("hop_length", 480), int(about.get("max_length_s", 10) * self.hz)
        self.longest = self.samples / self.hz

    def prepare(self, waves: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        from scipy.signal import resample_poly

        about, found, frames = self.about, [], []
        for wave in waves:
            wave = wave[: self.samples * HZ // self.hz] if len(wave) else np.zeros(1, np.float32)
            wave = resample_poly(wave, self.hz // HZ, 1).astype(np.float32)
            frames.append(-(-len(wave) // self.hop))
            wave = np.tile(wave, self.samples // len(wave))
            found.append(decibel_mel(
                np.pad(wave, (0, self.samples - len(wave))), about.get("feature_size", 64),
                about.get("fft_window_size", 1024), self.hop, self.hz,
                (about.get("frequency_min", 0), about.get("frequency_max", 14_000)),
            ))
        blank = (0, self.samples // self.hop + 1, about.get("feature_size", 64))
        x = np.stack(found) if found else np.zeros(blank, np.float32)
        return {"x": x, "frames": np.array(frames, np.int64)}

    def hear(self, module: nn.Module, batch: Batch) -> tuple[Tokens, Tensor | None]:
        out = module(input_features=batch["x"][:, None])
        x_BTD = module.audio_projection(out.last_hidden_state.mean(2).transpose(1, 2))  # mean over bands
        count = x_BTD.shape[1]
        step = batch["x"].shape[1] / count  # frames of a token
        seconds = (torch.arange(count, device=x_BTD.device) + 0.5) * step * self.hop / self.hz
        real = (batch["frames"] / step).ceil().long()
        return _timed(x_BTD, real.clamp_max(count), seconds), out.audio_embeds


_EARS = {
    "WhisperFeatureExtractor": _Whisper, "Wav2Vec2FeatureExtractor": _Waves, "ASTFeatureExtractor": _Spectrogram,
    "ClapFeatureExtractor": _Clap,
}


# --- signal --------------------------------------------------------------------------------------


def whisper_mel(
    wave: np.ndarray, bands: int = 80, window: int = 400, hop: int = 160, samples: int = 480_000
) -> np.ndarray:
    """Whisper's log-mel spectrogram (F, samples // hop), zeros of sound where the wave ends.

    Radford et al. 2022, arXiv:2212.04356: log10, at most 8 decades below the loudest, (x + 4) / 4.
    """
    whole_wave = torch.zeros(samples)
    whole_wave[: min(len(wave), samples)] = torch.as_tensor(wave[:samples], dtype=torch.float32)
    # the original mirrors the edges where this package's own features see silence
    power = _mirrored_power(whole_wave, window, hop)[: samples // hop]
    log = (power @ torch.from_numpy(mel_filters(bands, window))).clamp_min(1e-10).log10()
    return ((log.clamp_min(float(log.max()) - 8) + 4) / 4).T.numpy()


def _mirrored_power(wave_n: Tensor, window: int, hop: int) -> Tensor:
    """(T, window / 2 + 1): squared magnitude of Hann windows centred on multiples of the hop, edges mirrored."""
    half = window // 2
    edges = F.pad(wave_n[None, None], (half, half), mode="reflect")[0, 0]
    spectrum = torch.stft(edges, window, hop, window=torch.hann_window(window), center=False, return_complex=True)
    real, imaginary = torch.view_as_real(spectrum).square().unbind(-1)
    return (real + imaginary).T


def kaldi_mel(wave: np.ndarray, bands: int = 128) -> np.ndarray:
    """Kaldi's log filter banks (T, F) as AST reads them: natural logarithm, not below that of 2^-23.

    Windows of 25 ms every 10 ms, inside the sound; each without its mean, pre-emphasised
    (x_i - 0.97 x_{i-1}), times a symmetric Hann window, filled to 512 samples. Sounds shorter than one
    window get silence.
    """
    with torch.inference_mode():
        wave_n = torch.as_tensor(wave, dtype=torch.float32)
        rows = F.pad(wave_n, (0, max(0, 400 - len(wave_n)))).unfold(0, 400, 160)
        rows = rows - rows.mean(1, keepdim=True)
        rows = torch.cat([rows[:, :1] * 0.03, rows[:, 1:] - 0.97 * rows[:, :-1]], 1)
        spectrum = torch.fft.rfft(rows * torch.hann_window(400, periodic=False), 512)
        power = torch.view_as_real(spectrum).square().sum(-1)
        return (power @ _kaldi_filters(bands)).clamp_min(2.0**-23).log().numpy()


@lru_cache
def _kaldi_filters(bands: int) -> Tensor:
    """(257, F): triangles that are straight on the mel scale 1127 ln(1 + hz / 700), from 20 Hz to 8 kHz."""

    def mel(hz: Any) -> Any:
        return 1127 * np.log(1 + np.asarray(hz, np.float64) / 700)

    return _triangles(mel(np.arange(257) * HZ / 512), np.linspace(mel(20), mel(HZ / 2), bands + 2))


def _triangles(line: np.ndarray, edges: np.ndarray) -> Tensor:
    """(lines, F): 0 at one edge, 1 at the next, 0 at the one after."""
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    line = line[:, None]
    rising, falling = (line - low) / (centre - low), (high - line) / (high - centre)
    return torch.from_numpy(np.maximum(0, np.minimum(rising, falling)).astype(np.float32))


def decibel_mel(
    wave: np.ndarray, bands: int, window: int, hop: int, hz: int, span: tuple[float, float]
) -> np.ndarray:
    """Power in Slaney's mel bands (n // hop + 1, F), in decibels, not below -100.

    Args:
        hz: samples a second.
        span: lowest and highest frequency, in Hz.
    """
    with torch.inference_mode():
        power = _mirrored_power(torch.as_tensor(wave, dtype=torch.float32), window, hop)
        return (power @ _slaney_filters(bands, window, hz, span)).clamp_min(1e-10).log10().mul(10).numpy()


@lru_cache
def _slaney_filters(bands: int, window: int, hz: int, span: tuple[float, float]) -> Tensor:
    """(window / 2 + 1, F): triangles between mel points, each of area 1 over Hz."""
    edges = mel_to_hz(np.linspace(*hz_to_mel(np.array(span, np.float64)), bands + 2))
    unit = torch.from_numpy((2 / (edges[2:] - edges[:-2])).astype(np.float32))
    return _triangles(np.arange(window // 2 + 1) * hz / window, edges) * unit
