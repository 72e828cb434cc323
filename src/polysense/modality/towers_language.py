"""Causal language models that write what a record says: found like towers, opened when first asked, stored with no model.

A network that reads a text from left to right and gives the scores of the next piece. Letters: B records, P positions,
E the network's width, K its pieces.
"""

from __future__ import annotations

import copy
import json
import math
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from ..data.cache import home
from ..errors import BadModel, BadOption, CannotWrite, need
from .towers_find import READS, Found, find, read_json
from .towers_open import quiet_transformers

#: The extra that brings transformers and peft.
EXTRA = "lora"
#: Rows of the table of pieces that tell how large its vectors are.
_SAMPLE = 4096


def find_language(name: str, download: bool = False, carried: Path | None = None) -> Found:
    """The language model of that name, folder or hub id; see ``find``.

    Raises:
        BadOption: no name is given, or the network does not write from left to right.
    """
    if not name:
        raise BadOption(
            "the decoder 'language' needs a language model: name one with task.model=NAME_FOLDER_OR_HUB_ID, such as "
            "task.model=gemma3-270m"
        )
    if Path(name).expanduser().is_dir() and (Path(name).expanduser() / "config.json").is_file():
        _check_writes(name, Path(name).expanduser())  # in words that suit, before it is read for its hash
    found = find(name, "language", download, carried)
    if found.weights[0].suffix != ".gguf":
        _check_writes(name, found.folder)
    return found


def _check_writes(name: str, folder: Path) -> None:
    """Refuse a network of a kind that does not write from left to right."""
    need("transformers", EXTRA)
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as writers

    about = read_json(folder, "config.json")
    kind = about.get("model_type")
    if kind in READS or kind not in writers or about.get("is_encoder_decoder"):
        reads = f"reads {' or '.join(READS[kind])}" if kind in READS else "does not write from left to right"
        raise BadOption(
            f"'{name}' is a network of kind {kind}, which {reads}; task.model takes a causal language model, such as one of "
            "kind gpt2, llama, qwen2 or gemma3_text"
        )


class Language:
    """A causal language model, frozen, shared by all that write with it; it opens when it is first needed.

    Args:
        found: where it lies.

    Attributes:
        width: E.
    """

    def __init__(self, found: Found) -> None:
        self.found, self.width = found, found.width
        self._others: dict[tuple[int, torch.dtype], nn.Module] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Language:
        return self

    @cached_property
    def folder(self) -> Path:
        """Its folder in the layout of transformers."""
        return _unpacked(self.found) if self.found.weights[0].suffix == ".gguf" else self.found.folder

    # --- text ---

    @cached_property
    def tokenizer(self) -> Any:
        """Of the package tokenizers; it neither cuts nor fills."""
        from tokenizers import Tokenizer

        file = self.folder / "tokenizer.json"
        if file.is_file():
            try:
                made = Tokenizer.from_file(str(file))
            except Exception as error:  # the package raises nothing more precise
                raise BadModel(f"{file} is no tokenizer ({error}); save the language model's own there") from None
        else:
            made = _converted_tokenizer(self.folder)
        made.no_padding()
        made.no_truncation()
        return made

    def numbers(self, text: str) -> list[int]:
        """Pieces of a text, without the signs that begin and end one.

        Raises:
            BadModel: a piece that the network does not have.
        """
        numbers = self.tokenizer.encode(text, add_special_tokens=False).ids
        if max(numbers, default=0) >= self._size("vocab_size"):
            raise BadModel(
                f"the tokenizer in {self.folder} makes the piece {max(numbers)} of '{text[:40]}', but the network's pieces end "
                f"at {self._size('vocab_size') - 1:.0f}; save the tokenizer that belongs to it"
            )
        return numbers

    def text(self, numbers: Sequence[int]) -> str:
        """The text of pieces."""
        return self.tokenizer.decode(list(numbers), skip_special_tokens=True)

    @cached_property
    def _told(self) -> list[dict[str, Any]]:
        """What its files tell, the likeliest place first."""
        about, more = read_json(self.folder, "config.json"), self.folder / "generation_config.json"
        return [about, about.get("text_config") or {}, read_json(self.folder, more.name) if more.is_file() else {}]

    def _size(self, *names: str) -> float:
        """A size under one of these names; infinite where none is told."""
        return next((one[name] for one in self._told for name in names if isinstance(one.get(name), int)), math.inf)

    @property
    def longest(self) -> float:
        """Positions that it can tell apart; infinite where it sets no limit."""
        return self._size("max_position_embeddings", "n_positions", "max_sequence_length")

    @cached_property
    def _signs(self) -> dict[str, int | None]:
        signs: dict[str, int | None] = {}
        for name in ("bos_token_id", "eos_token_id"):
            given = next((one[name] for one in self._told if one.get(name) is not None), None)
            signs[name] = given[0] if isinstance(given, list) and given else given
        return signs

    @property
    def start(self) -> int | None:
        """The piece that begins a text; None where the network has none."""
        return self._signs["bos_token_id"]

    @property
    def end(self) -> int:
        """The piece that ends a text.

        Raises:
            BadModel: none is named.
        """
        if self._signs["eos_token_id"] is None:
            raise BadModel(
                f"the language model in {self.folder} names no piece that ends a text; put eos_token_id into its config.json"
            )
        return self._signs["eos_token_id"]

    # --- network ---

    @cached_property
    def module(self) -> nn.Module:
        """transformers' network, in evaluation mode, without gradients, in float32."""
        module = _open(self.found, self.folder)
        _check_exit(self.found.name, module)
        return module

    def open(self) -> nn.Module:
        """The network, now."""
        return self.module

    def on(self, device: torch.device) -> Language:
        """Itself, its network on that device."""
        for module in (self.module, *self._others.values()):
            if next(module.parameters()).device != device:
                module.to(device)
        return self

    @property
    def pieces(self) -> int:
        """K."""
        return self.module.get_output_embeddings().weight.shape[0]

    @cached_property
    def rms(self) -> float:
        """Root of the mean square of a piece's vector, as the first layer gets it."""
        table = self.module.get_input_embeddings()
        some = torch.linspace(0, table.weight.shape[0] - 1, _SAMPLE, device=table.weight.device).long()
        with torch.no_grad():
            return float(table(some).square().mean().sqrt())

    def vectors(self, numbers: Tensor) -> Tensor:
        """(..., E) of pieces."""
        return self.module.get_input_embeddings()(numbers)

    def scores(self, hidden: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(..., K) of the next piece, from what the last layer gives (..., E)."""
        return _scores(self.network(0, dtype), hidden.to(dtype)).float()

    def layers(self, rank: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
        """``network`` without its exit."""
        return _layers(self.network(rank, dtype))

    def network(self, rank: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
        """The network, in another precision or with room for low-rank factors beside all linear maps of its layers.

        Hu et al. 2021, arXiv:2106.09685, by peft; scale 2, as alpha = 2 * rank. The factors' numbers come from elsewhere, see
        ``torch.func.functional_call``. Weights of the same precision are shared.

        Raises:
            MissingExtra: peft is not installed.
        """
        if not rank and dtype == torch.float32:
            return self.module
        if (rank, dtype) not in self._others:
            with torch.inference_mode(False), torch.random.fork_rng():
                plain = self.network(0, dtype) if rank else self.module
                held = {id(part): part for part in [*plain.parameters(), *plain.buffers()]} if rank else {}
                other = copy.deepcopy(plain, held)
                made = _with_factors(other, rank) if rank else other.to(dtype)
            self._others[rank, dtype] = made.eval().requires_grad_(False)
        return self._others[rank, dtype]

    def factors(self, rank: int) -> dict[str, list[int]]:
        """{name: shape} of the low-rank factors, as ``layers`` names them."""
        return {name: list(part.shape) for name, part in self.layers(rank).named_parameters() if ".lora_" in name}


def _with_factors(module: nn.Module, rank: int) -> nn.Module:
    peft = need("peft", EXTRA)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that GPT-2's maps are laid out the other way round, which it then heeds
        config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
        peft.inject_adapter_in_model(config, module)
    return module


_shared: WeakValueDictionary[tuple[str, str], Language] = WeakValueDictionary()


def open_language(found: Found) -> Language:
    """The language model of what was found; the same object while somebody holds it."""
    key = (found.sha256, found.settings)
    language = _shared.get(key)
    if language is None:
        language = _shared[key] = Language(found)
    return language


def _open(found: Found, folder: Path) -> nn.Module:
    transformers = need("transformers", EXTRA)
    with quiet_transformers(), torch.inference_mode(False), torch.random.fork_rng():
        try:
            module, about = transformers.AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, weights_only=True, output_loading_info=True,
                dtype=torch.float32, ignore_mismatched_sizes=True,  # they are told below, in words that say which
            )
        except Exception as error:  # damage shows in a dozen ways: JSON, safetensors, unpickling, shapes
            first = str(error).strip().split("\n")[0]
            raise BadModel(f"language model '{found.name}' cannot be opened from {folder}: {first}") from None
    if other := sorted(about["mismatched_keys"]):
        name, stored, wanted = other[0]
        raise BadModel(
            f"language model '{found.name}': the weights in {folder} hold '{name}' as {tuple(stored)}, its config.json asks "
            f"for {tuple(wanted)}; put back the config.json that was saved with them"
        )
    lost = sorted(about["missing_keys"])
    if lost:
        raise BadModel(
            f"language model '{found.name}': the weights in {folder} lack '{lost[0]}' and {len(lost) - 1} more; save the whole "
            "network there"
        )
    return module.eval().requires_grad_(False)


def _layers(module: nn.Module) -> nn.Module:
    return getattr(module, module.base_model_prefix)


def _scores(module: nn.Module, hidden: Tensor) -> Tensor:
    """The exit's scores: the table of pieces, scaled or squashed where the kind does so (Cohere, Granite, Gemma 2)."""
    about = module.config.get_text_config()
    scores = module.get_output_embeddings()(hidden)
    scale = (getattr(about, "logit_scale", None) or 1.0) / (getattr(about, "logits_scaling", None) or 1.0)
    if scale != 1.0:  # else two passes over 262,144 numbers a word for nothing
        scores = scores * scale
    most = getattr(about, "final_logit_softcapping", None)
    return scores if most is None else most * torch.tanh(scores / most)


def _check_exit(name: str, module: nn.Module) -> None:
    """Refuse a network whose scores are made in a way that is not known here: they would be others than its own."""
    given = {"input_ids": torch.arange(3)[None], "attention_mask": torch.ones(1, 3, dtype=torch.long), "use_cache": False}
    with torch.no_grad():
        try:
            own, ours = module(**given).logits, _scores(module, _layers(module)(**given).last_hidden_state)
        except Exception:  # another kind of network has other parts
            own, ours = torch.zeros(1), torch.ones(1)
    if own.shape != ours.shape or not torch.allclose(own, ours, atol=1e-4, rtol=1e-4):
        raise BadOption(
            f"the network '{name}' of kind {module.config.model_type} makes its scores in a way that is not known here; take "
            "one of kind gpt2, llama, qwen2 or gemma3_text"
        )


def _converted_tokenizer(folder: Path) -> Any:
    """Backend of a tokenizer that transformers must convert first."""
    transformers = need("transformers", EXTRA)
    with quiet_transformers():
        try:
            return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer
        except Exception as error:
            first = str(error).strip().split("\n")[0]
            raise BadModel(
                f"the language model's folder {folder} has no tokenizer that opens: {first}; save one there"
            ) from None


# --- GGUF ----------------------------------------------------------------------------------------


def _unpacked(found: Found) -> Path:
    """A folder in the layout of transformers made of a GGUF file, once, in the cache folder; 4 bytes a weight.

    Raises:
        MissingExtra: gguf is not installed.
        BadModel: the file is damaged.
        CannotWrite: no room.
    """
    place = home() / "language" / found.sha256[:32]
    if (place / "config.json").is_file():
        return place
    need("gguf", "gguf")
    transformers = need("transformers", EXTRA)
    source, name = found.weights[0].parent, found.weights[0].name
    aside = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=place.parent))
        with quiet_transformers(), torch.inference_mode(False), torch.random.fork_rng():
            more = {"gguf_file": name, "local_files_only": True}
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, **more)
            module = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **more)
        _write(module, tokenizer.backend_tokenizer, aside)
        aside.rename(place)
    except OSError as error:
        if (place / "config.json").is_file():  # another process was first
            return place
        raise CannotWrite(
            f"the language model '{found.name}' could not be unpacked into {place} ({error.strerror or error}); set "
            "POLYSENSE_CACHE to a folder with room"
        ) from None
    except Exception as error:  # damage shows in a dozen ways
        first = str(error).strip().split("\n")[0]
        raise BadModel(f"language model '{found.name}' cannot be read from {found.weights[0]}: {first}") from None
    finally:
        if aside is not None and aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
    return place


def _write(module: nn.Module, tokenizer: Any, folder: Path) -> None:
    """What ``save_pretrained`` would write, which refuses a network that came out of a GGUF file."""
    from safetensors.torch import save_file

    about = {key: value for key, value in json.loads(module.config.to_json_string(use_diff=False)).items()
             if key != "quantization_config"}
    tied = module.get_output_embeddings().weight is module.get_input_embeddings().weight
    exit_name = next(
        (f"{name}.weight" for name, part in module.named_modules() if part is module.get_output_embeddings()), ""
    )
    weights = {
        name: value.contiguous() for name, value in module.state_dict().items() if not (tied and name == exit_name)
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
