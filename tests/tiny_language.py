"""Tiny causal language models, built from their configs, with a tokenizer trained here; one that has read a few texts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

COLOURS, THINGS = ("red", "green", "blue", "yellow"), ("apple", "bus", "car", "flower")
TEXTS = [f"a {colour} {thing}" for colour in COLOURS for thing in THINGS]
_SIGNS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def tokenizer(folder: Path) -> int:
    """Byte pairs of the texts; how many pieces there are."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.train_from_iterator([*TEXTS, *(f" {word}" for word in (*COLOURS, *THINGS)), "this is"], trainers.BpeTrainer(
        vocab_size=340, special_tokens=["<pad>", "<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ))
    made.save(str(folder / "tokenizer.json"))
    return made.get_vocab_size()


def gpt2(folder: Path):
    """Learned positions; its maps are laid out the other way round."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(
        vocab_size=tokenizer(folder), n_embd=16, n_layer=2, n_head=2, n_positions=64, **_SIGNS
    ))


def llama(folder: Path, width: int = 16):
    """Turned positions, a table of pieces for the exit of its own."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(
        vocab_size=tokenizer(folder), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64, **_SIGNS,
    ))


def gemma(folder: Path):
    """Scaled vectors, one table of pieces, layers that look back over four positions."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    return Gemma3ForCausalLM(Gemma3TextConfig(
        vocab_size=tokenizer(folder), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, sliding_window=4, max_position_embeddings=64, **_SIGNS,
    ))


def gemma2(folder: Path):
    """Scores that are squashed."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    return Gemma2ForCausalLM(Gemma2Config(
        vocab_size=tokenizer(folder), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=64, final_logit_softcapping=0.05, **_SIGNS,
    ))


def read(folder: Path):
    """Llama, 32 wide, that has learned to write the texts behind their words: "apple red" goes on with "a red apple"."""
    from tokenizers import Tokenizer

    module = llama(folder, 32)
    pieces = Tokenizer.from_file(str(folder / "tokenizer.json"))
    asked = [f" {thing} {colour}" for colour in COLOURS for thing in THINGS]
    rows = [[1, *pieces.encode(before).ids, *pieces.encode(text).ids, 2] for before, text in zip(asked, TEXTS, strict=True)]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    optimiser = torch.optim.Adam(module.parameters(), lr=5e-3)
    for _ in range(200):
        optimiser.zero_grad()
        module(input_ids=ids, attention_mask=(ids > 0).long(), labels=torch.where(ids > 0, ids, -100)).loss.backward()
        optimiser.step()
    return module


KINDS = {"gpt2": gpt2, "llama": llama, "gemma": gemma, "gemma2": gemma2, "read": read}


@pytest.fixture(scope="session")
def tiny_language(tmp_path_factory):
    """Kind -> folder of a tiny language model, made once."""
    pytest.importorskip("transformers")
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            from polysense.modality.towers_open import quiet_transformers

            place = tmp_path_factory.mktemp(kind)
            with torch.random.fork_rng(), quiet_transformers():
                torch.manual_seed(0)
                KINDS[kind](place).save_pretrained(place)
            made[kind] = place
        return made[kind]

    return folder
