"""Pretrained networks opened safely: from safetensors, or a state dict read with ``weights_only=True``.

No file can run code. What a network cannot answer without must be in its weights.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..errors import BadModel, need
from .towers_ctranslate import is_ctranslate, variables, whisper_config, whisper_weights
from .towers_find import Found, read_json
from .towers_known import BY_NAME


class Opened:
    """A tower's module, ready to answer. Shared by all encoders of the process that use it.

    Attributes:
        module: in evaluation mode, without gradients.
        config: of the network; None for EfficientNet-Lite.
        untrained: names of parameters that the weights file lacks (a pooler at most).
    """

    def __init__(self, module: nn.Module, config: Any = None, untrained: Collection[str] = ()) -> None:
        self.module = module.eval().requires_grad_(False)
        self.config, self.untrained = config, tuple(untrained)
        self.device = torch.device("cpu")

    def __deepcopy__(self, memo: dict[int, Any]) -> Opened:
        return self

    def to(self, device: torch.device) -> Opened:
        """Move the network where its input is."""
        if device != self.device:  # walking through all parameters costs a tenth of a small tower's forward
            self.module.to(device)
            self.device = device
        return self


_opened: WeakValueDictionary[tuple[str, str, str], Opened] = WeakValueDictionary()


def open_tower(found: Found) -> Opened:
    """The network of a found tower; the same object while somebody holds it."""
    key = (found.sha256, found.settings, found.modality)
    opened = _opened.get(key)
    if opened is None:
        with torch.inference_mode(False):  # whoever asks first: a copy of these weights may be tuned
            if is_ctranslate(found.folder) and found.weights[0].suffix == ".bin":
                network = open_whisper(found.folder, found.name)
                opened = Opened(network.model.encoder, network.config)
            else:
                opened = _open_lite(found) if _is_lite(found.name) else _open_transformers(found)
        _opened[key] = opened
    return opened


def _is_lite(name: str) -> bool:
    tower = BY_NAME.get(name)
    return tower is not None and "efficientnet_lite_pytorch" in tower.modules


def _open_lite(found: Found) -> Opened:
    return _lite(torch.load(found.weights[0], map_location="cpu", weights_only=True))


def _lite(weights: dict[str, torch.Tensor] | None) -> Opened:
    """EfficientNet-Lite0, each batch norm put into its convolution; with weights, or to be filled."""
    module = need("efficientnet_lite_pytorch", "packaged-towers").EfficientNet.from_name("efficientnet-lite0")
    if weights is not None:
        module.load_state_dict(weights)
    module._fc = nn.Identity()  # the ImageNet classes are not asked for
    _fuse(module.eval(), "_conv_stem", "_bn0")
    _fuse(module, "_conv_head", "_bn1")
    for block in module._blocks:
        _fuse(block, "_expand_conv", "_bn0")
        _fuse(block, "_depthwise_conv", "_bn1")
        _fuse(block, "_project_conv", "_bn2")
    # Fused and channels last, batches of 32 pictures cost less than half of the plain module's time.
    return Opened(module.to(memory_format=torch.channels_last))


def _fuse(module: nn.Module, convolution: str, norm: str) -> None:
    """Put a batch norm into the convolution before it; equal up to rounding."""
    if hasattr(module, convolution):
        setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm)))
        setattr(module, norm, nn.Identity())


#: Halves of pairs: transformers' class of the half alone, so that the other one is not read.
HALVES = {
    ("clip", "image"): "CLIPVisionModelWithProjection", ("clip", "text"): "CLIPTextModelWithProjection",
    ("siglip", "image"): "SiglipVisionModel", ("siglip", "text"): "SiglipTextModel",
    ("clap", "audio"): "ClapAudioModelWithProjection",
}
#: Parameters that answers do without: masks for training, tables that are computed, poolers (see ``Opened.untrained``).
_SPARE = ("pooler", "mask_token", "masked_spec_embed", "position_ids", "relative_position_index")


def open_whisper(folder: Path, name: str) -> Any:
    """transformers' WhisperForConditionalGeneration, from a folder of its own layout or of CTranslate2's, in float32.

    Raises:
        BadModel: the files are damaged or do not fit each other.
    """
    transformers = need("transformers", "towers")
    with quiet_transformers():
        try:
            if not is_ctranslate(folder) or any(folder.glob("*.safetensors")):
                return transformers.WhisperForConditionalGeneration.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False, weights_only=True, dtype=torch.float32,
                ).eval()
            config = transformers.WhisperConfig.from_dict(whisper_config(folder))
            network = transformers.WhisperForConditionalGeneration(config)
            weights = whisper_weights(variables(folder / "model.bin"))
            network.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
        except BadModel:
            raise
        except Exception as error:  # damage shows in a dozen ways
            first = str(error).strip().split("\n")[0]
            raise BadModel(f"tower '{name}' cannot be opened from {folder}: {first}") from None
    return network.eval()


def _maker(folder: Path, modality: str, config: Mapping[str, Any] | None = None) -> tuple[Any, Any]:
    """Class of transformers that answers for a folder, and its config, as it lies there or as it was remembered."""
    transformers = need("transformers", "towers")
    about = dict(config or read_json(folder, "config.json"))
    half = HALVES.get((str(about.get("model_type", "")).split("_")[0], modality))
    if half is None:
        config = transformers.CONFIG_MAPPING[about["model_type"]].from_dict(about)
        maker = transformers.AutoModel
    else:
        maker = getattr(transformers, half)
        config = maker.config_class.from_pretrained(folder, local_files_only=True)
        if isinstance(about.get("projection_dim"), int):  # a pair states it for both halves
            config.projection_dim = about["projection_dim"]
    for chance in ("layerdrop", "encoder_layerdrop"):  # a tuned tower keeps all its layers
        if hasattr(config, chance):
            setattr(config, chance, 0.0)
    if hasattr(config, "apply_spec_augment"):
        config.apply_spec_augment = False  # refuses sounds shorter than its masks
    return maker, config


def _answering(module: nn.Module) -> nn.Module:
    """The part that reads: of an encoder and a decoder the encoder."""
    return module.encoder if hasattr(module, "decoder") and hasattr(module, "encoder") else module


def _open_transformers(found: Found) -> Opened:
    with quiet_transformers():
        try:
            maker, config = _maker(found.folder, found.modality)
            module, about = maker.from_pretrained(
                found.folder, config=config, local_files_only=True, trust_remote_code=False, weights_only=True,
                use_safetensors=found.weights[0].suffix == ".safetensors", output_loading_info=True,
                dtype=torch.float32,
            )
        except Exception as error:  # damage shows in a dozen ways: JSON, safetensors, unpickling, shapes
            first = str(error).strip().split("\n")[0]
            raise BadModel(f"tower '{found.name}' cannot be opened from {found.folder}: {first}") from None
    missing = sorted(about["missing_keys"])
    lost = [key for key in missing if not any(word in key for word in _SPARE)]
    if lost:
        raise BadModel(
            f"tower '{found.name}': the weights in {found.folder} lack '{lost[0]}' and "
            f"{len(lost) - 1} more; save the whole network there"
        )
    return Opened(_answering(module), module.config, [key for key in missing if "pooler" in key])


def unfilled(
    name: str, modality: str, folder: Path, untrained: Collection[str], config: Mapping[str, Any] | None = None
) -> Opened:
    """A tower's network without its weights: from the package's code, or from ``config.json``."""
    if _is_lite(name):
        return _lite(None)
    with quiet_transformers(), torch.random.fork_rng():
        try:
            maker, config = _maker(folder, modality, config)
            if maker is need("transformers", "towers").AutoModel:
                module = maker.from_config(config, dtype=torch.float32, trust_remote_code=False)
            else:
                module = maker._from_config(config, dtype=torch.float32)
        except BadModel:
            raise
        except Exception as error:  # an unknown kind, numbers that do not fit each other
            first = str(error).strip().split("\n")[0]
            raise BadModel(f"tower '{name}': no network can be made of {folder / 'config.json'}: {first}") from None
    return Opened(_answering(module), module.config, untrained)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no warnings of transformers meanwhile."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def merged(opened: Opened, factors: Mapping[str, np.ndarray]) -> Opened:
    """A copy of the network with W + B A in place of W.

    Hu et al. 2021, arXiv:2106.09685, eq. 3; the scale is in B already.

    Args:
        factors: {"NAME.A": (R, in), "NAME.B": (out, R)} for weights (out, in) or (out, in, 1, 1).
    """
    module = copy.deepcopy(opened.module)
    for name in sorted(key[:-2] for key in factors if key.endswith(".A")):
        weight = module.get_submodule(name).weight
        product = torch.as_tensor(factors[f"{name}.B"]) @ torch.as_tensor(factors[f"{name}.A"])
        with torch.no_grad():
            weight.add_(product.reshape(weight.shape).to(weight.device))
    return Opened(module, opened.config, opened.untrained)
