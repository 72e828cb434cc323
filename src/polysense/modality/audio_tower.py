"""Audio towers.

A value is float32 (n,), mono, 16 kHz. Letters: B records, T frames, F mel bands, D width of a token.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ..contracts import Batch
from ..errors import BadModel
from ..registry import encoders
from ..tokens import Tokens
from .audio import HZ, mel_filters
from .towers import Pretrained, read_json


@encoders("audio.pretrained")
class PretrainedAudio(Pretrained):
    """An audio tower, the encoder of a Whisper network: a named one, a folder, or a hub id.

    Radford et al. 2022, arXiv:2212.04356, section 2.2. A sound is padded or cut to the length that
    ``preprocessor_config.json`` names (30 s); pooled is the mean over the frames that hold sound.

    Args:
        tower: name (see ``polysense list towers``), folder, or hub id.
        positions: give every frame (20 ms) instead of the pooled sound.

    forward: {"x": (B, F, T), "frames": (B,)} -> (B, 1, D), or (B, T / 2, D) with ``positions``
    """

    modality = "audio"
    held = ("embed_positions.weight",)  # sines, never trained

    def __init__(self, *, tower: str = "whisper-tiny", positions: bool = False) -> None:
        super().__init__(tower)
        self.positions = bool(positions)
        self._settings: dict[str, int] | None = None

    def _hearing(self) -> dict[str, int]:
        """Bands, window, hop, samples a second and samples in all."""
        if self._settings is None:
            folder = self.folder
            config = read_json(folder, "preprocessor_config.json")
            kind = config.get("feature_extractor_type", "")
            if kind != "WhisperFeatureExtractor":
                raise BadModel(
                    f"tower '{self.tower}' hears through {kind or 'an unnamed feature extractor'}; "
                    "only WhisperFeatureExtractor is known: choose a Whisper network"
                )
            hz = config.get("sampling_rate", HZ)
            if hz != HZ:
                raise BadModel(f"tower '{self.tower}' hears at {hz} Hz; choose one that hears at {HZ} Hz")
            self._settings = {
                "bands": config.get("feature_size", 80), "window": config.get("n_fft", 400),
                "hop": config.get("hop_length", 160), "samples": config.get("chunk_length", 30) * HZ,
            }
        return self._settings

    def prepare(self, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        how = self._hearing()
        most = how["samples"] // how["hop"]
        x = np.empty((len(values), how["bands"], most), np.float32)
        frames = np.empty(len(values), np.int64)
        for i, wave in enumerate(values):
            x[i] = whisper_mel(wave, **how)
            frames[i] = min(most, max(1, -(-len(wave) // how["hop"])))
        return {"x": x, "frames": frames}

    @staticmethod
    def part(module: nn.Module) -> nn.Module:
        return module.encoder if hasattr(module, "decoder") else module

    def _tokens(self, batch: Batch) -> Tokens:
        x_BTD = self.network(batch["x"].device)(input_features=batch["x"]).last_hidden_state
        most = batch["x"].shape[-1]
        per_token = most // x_BTD.shape[1]
        real = (batch["frames"] + per_token - 1) // per_token
        mask_BT = torch.arange(x_BTD.shape[1], device=x_BTD.device) < real[:, None]
        hop_seconds = self._hearing()["hop"] / HZ
        seconds = (torch.arange(x_BTD.shape[1], device=x_BTD.device) + 0.5) * per_token * hop_seconds
        tokens = Tokens(x_BTD, mask_BT, place=seconds[None, :, None].expand(len(x_BTD), -1, -1))
        return tokens if self.positions else Tokens.single(tokens.pooled())


def whisper_mel(
    wave: np.ndarray, bands: int = 80, window: int = 400, hop: int = 160, samples: int = 480_000
) -> np.ndarray:
    """Whisper's log-mel spectrogram (F, samples // hop), zeros of sound where the wave ends.

    Radford et al. 2022, arXiv:2212.04356: log10, at most 8 decades below the loudest, (x + 4) / 4.
    """
    whole_wave = torch.zeros(samples)
    whole_wave[: min(len(wave), samples)] = torch.as_tensor(wave[:samples], dtype=torch.float32)
    # the original mirrors the edges where this module's own features see silence
    half = window // 2
    edges = torch.nn.functional.pad(whole_wave[None, None], (half, half), mode="reflect")[0, 0]
    spectrum = torch.stft(edges, window, hop, window=torch.hann_window(window), center=False, return_complex=True)
    power = spectrum.abs().square().T[: samples // hop]
    log = (power @ torch.from_numpy(mel_filters(bands, window))).clamp_min(1e-10).log10()
    return ((log.clamp_min(float(log.max()) - 8) + 4) / 4).T.numpy()
