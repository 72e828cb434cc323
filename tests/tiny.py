"""Tiny towers with random weights, built from their configs and saved as folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

LETTERS = "abcdefghijklmnopqrstuvwxyz红色的公交车été"


def text_tower(folder: Path) -> Path:
    """BERT: 2 layers, width 16, a vocabulary of letters."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "bus", "car", *sorted(set(LETTERS))]
    words += [f"##{letter}" for letter in sorted(set(LETTERS))]
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def image_tower(folder: Path) -> Path:
    """ViT: 2 layers, width 16, 32 pixels in patches of 8."""
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32,
        patch_size=8,
    )
    ViTModel(config).save_pretrained(folder)
    processor = {
        "do_rescale": True, "rescale_factor": 1 / 255, "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.5, 0.25, 0.2],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def audio_tower(folder: Path) -> Path:
    """Whisper: 2 encoder layers, width 16, 80 bands, 2 seconds."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    config = WhisperConfig(
        vocab_size=20, d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_source_positions=100,
        max_target_positions=8, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )
    WhisperModel(config).save_pretrained(folder)
    WhisperFeatureExtractor(chunk_length=2).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_towers(tmp_path_factory):
    """modality -> folder of a tiny tower."""
    pytest.importorskip("transformers")
    made: dict[str, Path] = {}

    def folder(modality: str) -> Path:
        if modality not in made:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                build = {"text": text_tower, "image": image_tower, "audio": audio_tower}[modality]
                made[modality] = build(tmp_path_factory.mktemp(f"{modality}-tower"))
        return made[modality]

    return folder
