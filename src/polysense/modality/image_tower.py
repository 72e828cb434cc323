"""Image towers.

Letters: B records, H and W rows and columns, T positions, D width of a token.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..contracts import Batch
from ..errors import BadModel, BadOption
from ..registry import encoders
from ..tokens import Tokens
from . import whole
from .image import augmented, every_position, grid, squares
from .towers import Pretrained, read_json


@encoders("image.pretrained")
class PretrainedImage(Pretrained):
    """An image tower: a named one, a folder, or a hub id.

    The whole picture is brought to a square and normalised as the tower was trained (Tan and Le 2019,
    arXiv:1905.11946, for EfficientNet; ``preprocessor_config.json`` for folders). Pooled: the mean of
    the feature map, or the network's own pooled output where its weights have one.

    Args:
        tower: name (see ``polysense list towers``), folder, or hub id.
        pixels: side of the square; a vision transformer made for another size interpolates its
            position embedding.
        positions: give every position instead of the pooled picture.

    forward: {"x": uint8 (B, 3, pixels, pixels)} -> (B, 1, D), or (B, T, D) with ``positions``
    """

    modality = "image"

    def __init__(
        self, *, tower: str = "efficientnet-lite0", pixels: int = 128, positions: bool = False
    ) -> None:
        super().__init__(tower)
        self.pixels, self.positions = whole("pixels", pixels, 32), bool(positions)
        self._scale: tuple[np.ndarray, np.ndarray] | None = None

    @staticmethod
    def part(module: nn.Module) -> nn.Module:
        return getattr(module, "vision_model", module)

    def prepare(self, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        if self.live is None:
            self.found()
        return {"x": squares(values, self.pixels)}

    def _tokens(self, batch: Batch) -> Tokens:
        x_BCHW = augmented(batch["x"]) if self.training and self.augment else batch["x"]
        opened, module = self.opened(x_BCHW.device), self.network(x_BCHW.device)
        if opened.config is None:  # EfficientNet-Lite
            pixels = ((x_BCHW.to(torch.float32) - 127) / 128).contiguous(memory_format=torch.channels_last)
            return self._from_map(module.extract_features(pixels))
        mean, scale = (torch.as_tensor(part, device=x_BCHW.device)[:, None, None] for part in self._normal())
        pixels = (x_BCHW.to(torch.float32) - mean) * scale
        config = getattr(opened.config, "vision_config", opened.config)
        size = getattr(config, "image_size", self.pixels)
        resize = "interpolate_pos_encoding"
        options = {resize: True} if _takes(type(module), resize) else {}
        try:
            out = module(pixel_values=pixels, **options)
        except (ValueError, RuntimeError) as error:
            if size in (self.pixels, [self.pixels, self.pixels]):
                raise
            first = str(error).split("\n")[0]
            raise BadOption(
                f"tower '{self.tower}' refuses pictures of {self.pixels} pixels ({first}); "
                f"set pixels to {size}"
            ) from None
        if out.last_hidden_state.ndim == 4:
            return self._from_map(out.last_hidden_state)
        if self.positions:
            return self._from_patches(out.last_hidden_state, getattr(config, "patch_size", None))
        pooled = getattr(out, "pooler_output", None)
        if pooled is None or opened.untrained:  # a pooler that the weights lack would be random
            pooled = out.last_hidden_state.mean(1)
        return Tokens.single(pooled)

    def _from_map(self, x_BDHW: Tensor) -> Tokens:
        return every_position(x_BDHW) if self.positions else Tokens.single(x_BDHW.mean((2, 3)))

    def _from_patches(self, x_BTD: Tensor, patch: Any) -> Tokens:
        """Patches without the class and register tokens that stand before them."""
        side = self.pixels // patch if isinstance(patch, int) else math.isqrt(x_BTD.shape[1])
        x_BTD = x_BTD[:, x_BTD.shape[1] - side * side :]
        mask = torch.ones(x_BTD.shape[:2], dtype=torch.bool, device=x_BTD.device)
        return Tokens(x_BTD, mask, place=grid(side, side, x_BTD))

    def _normal(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean, scale) for values 0..255: x -> (x - mean) * scale, per channel."""
        if self._scale is None:
            self._scale = normalisation(self.folder)
        return self._scale


@lru_cache
def _takes(module: type[nn.Module], argument: str) -> bool:
    return argument in inspect.signature(module.forward).parameters


def normalisation(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale for pixels 0..255 out of a folder's image processor.

    Raises:
        BadModel: the folder does not say how pixels are normalised.
    """
    if (folder / "preprocessor_config.json").is_file():
        config = read_json(folder, "preprocessor_config.json")
    elif (folder / "processor_config.json").is_file():
        config = read_json(folder, "processor_config.json").get("image_processor", {})
    else:
        raise BadModel(
            f"the tower's folder {folder} has no preprocessor_config.json, which says how pixels are "
            "normalised; save the image processor there"
        )
    factor = float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
    if not config.get("do_normalize", True):
        return np.zeros(3, np.float32), np.full(3, factor, np.float32)
    if "image_mean" not in config or "image_std" not in config:
        raise BadModel(f"{folder}/preprocessor_config.json lacks image_mean or image_std; add them")
    mean = np.broadcast_to(np.array(config["image_mean"], np.float64), 3)
    deviation = np.broadcast_to(np.array(config["image_std"], np.float64), 3)
    return (mean / factor).astype(np.float32), (factor / deviation).astype(np.float32)
