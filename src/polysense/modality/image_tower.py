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
from .image import CHANGES, changed, every_position, grid, squares, take_changes
from .towers import Pretrained
from .towers_find import read_json


@encoders("image.pretrained")
class PretrainedImage(Pretrained):
    """An image tower: a named one, a folder, or a hub id.

    EfficientNet (Tan and Le 2019, arXiv:1905.11946), ResNet (He et al. 2015, arXiv:1512.03385), ConvNeXt
    (Liu et al. 2022, arXiv:2201.03545), ViT (Dosovitskiy et al. 2020, arXiv:2010.11929), DINOv2 (Oquab et
    al. 2023, arXiv:2304.07193), the vision halves of CLIP (Radford et al. 2021, arXiv:2103.00020) and SigLIP
    (Zhai et al. 2023, arXiv:2303.15343). The whole picture is brought to a square and normalised as the tower
    was trained, (x - mean) / deviation as ``preprocessor_config.json`` says. Pooled: the network's own pooled
    output where its weights have one (for CLIP y = W LN(x_class), in the space that both halves share), else
    the mean of the map. Source of every position in that space: y_t = W LN(x_t), the same map for patches.

    Wins with few pictures of everyday things, and loses to ``image.cnn`` where pictures look like nothing
    on the web and are many. Costs one pass a picture, once, because frozen outputs are cached: O(L (T D^2 + T^2 D))
    for a transformer of L layers on T = (pixels / patch)^2 patches, O(pixels^2) for a convolutional network.

    Args:
        tower: name (see ``polysense list towers``), folder, or hub id.
        pixels: side of the square; a vision transformer made for another size interpolates its
            position embedding.
        positions: give every position instead of the pooled picture.
        flip: while tuned, mirror with probability 1/2; switch it off where left and right differ: digits, letters.
        crop: while tuned, move by up to this share of the side, the edge repeated.
        zoom: while tuned, enlarge a part of at least 1 - zoom of the side.
        colour: while tuned, brightness, contrast and saturation times 1 - colour to 1 + colour.
        erase: while tuned, probability that a rectangle is filled with noise.

    forward: {"x": uint8 (B, 3, pixels, pixels)} -> (B, 1, D), or (B, T, D) with ``positions``, place x, y in 0..1
    """

    modality = "image"
    only_tuned = CHANGES

    def __init__(
        self, *, tower: str = "efficientnet-lite0", pixels: int = 128, positions: bool = False, flip: bool = True,
        crop: float = 0.125, zoom: float = 0.0, colour: float = 0.0, erase: float = 0.0,
    ) -> None:
        super().__init__(tower)
        take_changes(self, flip=flip, crop=crop, zoom=zoom, colour=colour, erase=erase)
        self.pixels, self.positions = whole("pixels", pixels, 32), bool(positions)
        self._scale: tuple[np.ndarray, np.ndarray] | None = None

    def prepare(self, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        if self.live is None:
            self.found()
        return {"x": squares(values, self.pixels)}

    def _tokens(self, batch: Batch) -> Tokens:
        x_BCHW = changed(self, batch["x"])
        opened, module = self.opened(x_BCHW.device), self.network(x_BCHW.device)
        if opened.config is None:  # EfficientNet-Lite
            pixels = ((x_BCHW.to(torch.float32) - 127) / 128).contiguous(memory_format=torch.channels_last)
            return self._from_map(module.extract_features(pixels))
        mean, scale = (torch.as_tensor(part, device=x_BCHW.device)[:, None, None] for part in self._normal())
        pixels = (x_BCHW.to(torch.float32) - mean) * scale
        config, size = opened.config, getattr(opened.config, "image_size", self.pixels)
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
        every = out.last_hidden_state
        if self.positions and every.ndim == 4:
            return every_position(every)
        if self.positions:
            if hasattr(module, "visual_projection"):
                every = module.visual_projection(module.vision_model.post_layernorm(every))
            return self._from_patches(every, getattr(config, "patch_size", None))
        pooled = out.image_embeds if hasattr(out, "image_embeds") else getattr(out, "pooler_output", None)
        if pooled is None or opened.untrained:  # a pooler that the weights lack would be random
            pooled = every.mean(1) if every.ndim == 3 else every.mean((2, 3))
        return Tokens.single(pooled.flatten(1))

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
