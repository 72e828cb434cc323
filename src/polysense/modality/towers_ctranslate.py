"""Whisper as CTranslate2 stores it: the variables of ``model.bin``, under the names that transformers gives them.

The file is plain: a version, the name of the specification, then each variable's name, shape, type and bytes, then names that
stand for others. Nothing in it can run.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadModel

#: CTranslate2's numbers of types that a weight may have.
_TYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}
#: Part of a layer here -> in transformers, and the linear layers that stand fused in it.
_ATTENTIONS = {
    "self_attention": ("self_attn", "self_attn_layer_norm", ("qkv", "o")),
    "attention": ("encoder_attn", "encoder_attn_layer_norm", ("q", "kv", "o")),
}
#: Numbers of one of Whisper's heads; size of the vocabulary of the networks that know English only.
_HEAD, ENGLISH = 64, 51864


def is_ctranslate(folder: Path) -> bool:
    """Whether a folder holds Whisper for CTranslate2 and faster-whisper."""
    return (folder / "model.bin").is_file() and (folder / "tokenizer.json").is_file()


def variables(path: Path) -> dict[str, np.ndarray]:
    """{name: array} of a ``model.bin``, memory-mapped; a name that stands for another has the same array.

    Raises:
        BadModel: it is cut short, or no such file.
    """
    found: dict[str, np.ndarray] = {}
    try:
        data = np.memmap(path, np.uint8, "r")
        with path.open("rb") as file:
            version, name = _number(file, "I"), _text(file)
            if version < 2 or name != "WhisperSpec":
                raise ValueError(f"it holds {name or 'no network'} of version {version}")
            _number(file, "I")
            for _ in range(_number(file, "I")):
                key = _text(file)
                shape = [_number(file, "I") for _ in range(_number(file, "B"))]
                kind, size = np.dtype(_TYPES[_number(file, "B")]), _number(file, "I")
                start = file.tell()
                if size != kind.itemsize * int(np.prod(shape)) or start + size > len(data):
                    raise ValueError(f"'{key}' is cut short")
                found[key] = data[start : start + size].view(kind).reshape(shape)
                file.seek(size, io.SEEK_CUR)
            for _ in range(_number(file, "I")):
                other = _text(file)
                found[other] = found[_text(file)]
    except (OSError, ValueError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise BadModel(f"{path} is no Whisper for CTranslate2, or damaged ({error}); put the file back") from None
    return found


def _number(file: Any, form: str) -> int:
    return struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))[0]


def _text(file: Any) -> str:
    return file.read(_number(file, "H")).rstrip(b"\0").decode()


def whisper_config(folder: Path) -> dict[str, Any]:
    """The shape of the network, as ``config.json`` of transformers writes it; special tokens by the size of the vocabulary."""
    found = variables(folder / "model.bin")
    try:
        vocabulary, width = found["decoder/embeddings/weight"].shape
        layers = {side: len({part for key in found if (part := _layer(key, side))}) for side in ("encoder", "decoder")}
        end = 50256 if vocabulary == ENGLISH else 50257
        return {
            "model_type": "whisper", "vocab_size": vocabulary, "d_model": width,
            "num_mel_bins": found["encoder/conv1/weight"].shape[1],
            **{f"{side}_layers": count for side, count in layers.items()}, "num_hidden_layers": layers["encoder"],
            **{f"{side}_attention_heads": width // _HEAD for side in layers},
            **{f"{side}_ffn_dim": len(found[f"{side}/layer_0/ffn/linear_0/bias"]) for side in layers},
            "max_source_positions": len(found["encoder/position_encodings/encodings"]),
            "max_target_positions": len(found["decoder/position_encodings/encodings"]),
            "bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": end + 1,
            "suppress_tokens": None, "begin_suppress_tokens": None,
        }
    except (KeyError, IndexError, ValueError) as error:
        raise BadModel(f"{folder / 'model.bin'} does not hold a whole Whisper ({error}); put the file back") from None


def _layer(key: str, side: str) -> str:
    """
    >>> _layer("encoder/layer_11/ffn/linear_0/bias", "encoder"), _layer("encoder/layer_norm/beta", "encoder")
    ('layer_11', '')
    """
    first, _, rest = key.partition("/")
    part = rest.partition("/")[0]
    return part if first == side and part[6:].isdigit() else ""


def whisper_weights(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The variables under transformers' names, in float32; fused projections taken apart."""
    made: dict[str, np.ndarray] = {}

    def array(name: str) -> np.ndarray:
        values = found[name]
        if values.dtype == np.int8:  # rows of whole numbers, each with its scale
            values = values / np.asarray(found[f"{name}_scale"], np.float32)[:, None]
        return np.array(values, np.float32)

    def norm(mine: str, theirs: str) -> None:
        made[f"{theirs}.weight"], made[f"{theirs}.bias"] = array(f"{mine}/gamma"), array(f"{mine}/beta")

    def linear(mine: str, theirs: str, names: str) -> None:
        """A linear layer, or several in one; ``*`` in ``theirs`` stands for each one's letter."""
        for letter, weight, bias in zip(
            names, np.split(array(f"{mine}/weight"), len(names)), np.split(array(f"{mine}/bias"), len(names)), strict=True
        ):
            place = theirs.replace("*", letter)
            made[f"{place}.weight"] = weight
            if letter != "k":  # Whisper's keys have no shift
                made[f"{place}.bias"] = bias

    for name in ("conv1", "conv2"):
        for part in ("weight", "bias"):
            made[f"model.encoder.{name}.{part}"] = array(f"encoder/{name}/{part}")
    made["model.decoder.embed_tokens.weight"] = array("decoder/embeddings/weight")
    for side in ("encoder", "decoder"):
        made[f"model.{side}.embed_positions.weight"] = array(f"{side}/position_encodings/encodings")
        norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        for layer in sorted({part for key in found if (part := _layer(key, side))}):
            there = f"model.{side}.layers.{layer[6:]}"
            for mine, (theirs, theirs_norm, parts) in _ATTENTIONS.items():
                if f"{side}/{layer}/{mine}/linear_0/weight" not in found:
                    continue
                norm(f"{side}/{layer}/{mine}/layer_norm", f"{there}.{theirs_norm}")
                for i, names in enumerate(parts):
                    place = f"{there}.{theirs}.{'out' if names == 'o' else '*'}_proj"
                    linear(f"{side}/{layer}/{mine}/linear_{i}", place, names)
            norm(f"{side}/{layer}/ffn/layer_norm", f"{there}.final_layer_norm")
            for i, theirs in enumerate(("fc1", "fc2")):
                linear(f"{side}/{layer}/ffn/linear_{i}", f"{there}.{theirs}", "o")
    made["proj_out.weight"] = made["model.decoder.embed_tokens.weight"]
    return made
