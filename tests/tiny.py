"""Tiny towers with random weights, built from their configs and saved as folders: one for each family."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

LETTERS = "abcdefghijklmnopqrstuvwxyz红色的公交车été"
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def tokenizer(folder: Path) -> int:
    """Words and letters between [CLS] and [SEP]; how many there are."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "bus", "car", *sorted(set(LETTERS))]
    words += [f"##{letter}" for letter in sorted(set(LETTERS))]
    vocabulary = {word: i for i, word in enumerate(words)}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.save(str(folder / "tokenizer.json"))
    return len(words)


def text_tower(folder: Path) -> Path:
    """BERT: 2 layers, width 16, a vocabulary of letters."""
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(vocab_size=tokenizer(folder), max_position_embeddings=32, **SMALL)).save_pretrained(folder)
    return folder


def sentences(folder: Path) -> Path:
    """XLM-R as a sentence tower: a prefix, mean pooling, positions that count from 2."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

    config = XLMRobertaConfig(vocab_size=tokenizer(folder), max_position_embeddings=34, pad_token_id=1, **SMALL)
    XLMRobertaModel(config).save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    prompts = {"prompts": {"query": "red: ", "passage": "bus: "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return folder


def modernbert(folder: Path) -> Path:
    """ModernBERT: a layer that looks far, one that looks 2 to each side."""
    from transformers import ModernBertConfig, ModernBertModel

    config = ModernBertConfig(
        vocab_size=tokenizer(folder), max_position_embeddings=64, local_attention=4, global_attn_every_n_layers=2,
        pad_token_id=0, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3, **SMALL,
    )
    ModernBertModel(config).save_pretrained(folder)
    return folder


def normal(folder: Path) -> None:
    """How pixels become numbers."""
    processor = {
        "do_rescale": True, "rescale_factor": 1 / 255, "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.5, 0.25, 0.2],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def image_tower(folder: Path) -> Path:
    """ViT: 2 layers, width 16, 32 pixels in patches of 8."""
    from transformers import ViTConfig, ViTModel

    ViTModel(ViTConfig(image_size=32, patch_size=8, **SMALL)).save_pretrained(folder)
    normal(folder)
    return folder


def resnet(folder: Path) -> Path:
    """ResNet as it is shared: with the classes it was trained on, and statistics in its batch norms."""
    from transformers import ResNetConfig, ResNetForImageClassification

    module = ResNetForImageClassification(ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12], depths=[1, 2], layer_type="basic", num_labels=3,
    ))
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    module.save_pretrained(folder)
    normal(folder)
    return folder


def convnext(folder: Path) -> Path:
    """ConvNeXt: two stages of one block."""
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(hidden_sizes=[8, 12], depths=[1, 2], num_stages=2, num_labels=3, layer_scale_init_value=1.0)
    ConvNextForImageClassification(config).save_pretrained(folder)
    normal(folder)
    return folder


def dinov2(folder: Path) -> Path:
    """DINOv2: made for 28 pixels in patches of 7."""
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=28, patch_size=7
    )
    Dinov2Model(config).save_pretrained(folder)
    normal(folder)
    return folder


def clip(folder: Path) -> Path:
    """Both halves of CLIP, of different widths, and a shared space of 12."""
    from transformers import CLIPConfig, CLIPModel

    text = {**SMALL, "vocab_size": tokenizer(folder), "max_position_embeddings": 20,
            "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    vision = {**SMALL, "hidden_size": 24, "image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).save_pretrained(folder)
    normal(folder)
    return folder


def siglip(folder: Path) -> Path:
    """Both halves of SigLIP; texts are filled to 20 tokens with number 1."""
    from transformers import SiglipConfig, SiglipModel

    text = {**SMALL, "vocab_size": tokenizer(folder), "max_position_embeddings": 20,
            "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 1}
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    normal(folder)
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


def writer(folder: Path) -> Path:
    """Whisper with both halves and a tokenizer of bytes: English and Chinese, 2 seconds, 24 tokens of text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    special = ["endoftext", "startoftranscript", "en", "zh", "translate", "transcribe", "startofprev", "nospeech", "notimestamps", "0.00"]
    signs = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(f"<|{name}|>" for name in special)]
    made = Tokenizer(models.BPE({sign: i for i, sign in enumerate(signs)}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens(signs[256:])
    made.save(str(folder / "tokenizer.json"))
    network = WhisperForConditionalGeneration(WhisperConfig(
        vocab_size=len(signs), d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_source_positions=100, max_target_positions=48,
        pad_token_id=256, bos_token_id=256, eos_token_id=256, decoder_start_token_id=257, init_std=0.5,
        suppress_tokens=None, begin_suppress_tokens=None,
    ))
    network.generation_config.is_multilingual = True
    with torch.no_grad():  # the end of a text has a vector, as in the real ones, though it also fills batches
        network.model.decoder.embed_tokens.weight[256].normal_(0, 0.5)
    network.save_pretrained(folder)
    WhisperFeatureExtractor(chunk_length=2).save_pretrained(folder)
    return folder


def wav2vec2(folder: Path, norm: str = "group") -> Path:
    """Wav2Vec2 with the usual convolutions, 8 channels wide; its chances in training stand at their defaults."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    config = Wav2Vec2Config(
        vocab_size=8, conv_dim=(8,) * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer", **SMALL,
    )
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer").save_pretrained(folder)
    return folder


def wav2vec2_layer(folder: Path) -> Path:
    """Wav2Vec2 with layer norms, whose sounds share a batch by a mask."""
    return wav2vec2(folder, "layer")


def ast(folder: Path) -> Path:
    """AST: one second in 100 frames of 32 bands, patches of 16 every 10."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    config = ASTConfig(max_length=100, num_mel_bins=32, num_labels=3, **SMALL)
    ASTForAudioClassification(config).save_pretrained(folder)
    ASTFeatureExtractor(max_length=100, num_mel_bins=32, mean=-4.0, std=3.0).save_pretrained(folder)
    return folder


def clap(folder: Path) -> Path:
    """CLAP: one second in 101 frames of 64 bands, a shared space of 12; both halves are saved."""
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

    audio = {
        "spec_size": 64, "num_mel_bins": 16, "patch_size": 4, "patch_stride": [4, 4], "window_size": 4,
        "hidden_size": 16, "patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 1],
        "projection_dim": 12,
    }
    text = {**SMALL, "vocab_size": 20, "max_position_embeddings": 16, "projection_dim": 12}
    module = ClapModel(ClapConfig(audio_config=audio, text_config=text, projection_dim=12))
    module.audio_model.audio_encoder.batch_norm.running_mean.normal_(-20)
    module.save_pretrained(folder)
    extractor = ClapFeatureExtractor(feature_size=16, max_length_s=1, truncation="rand_trunc", frequency_min=50)
    extractor.save_pretrained(folder)
    return folder


BUILDERS = {
    "text": text_tower, "sentences": sentences, "modernbert": modernbert, "clip": clip, "siglip": siglip,
    "image": image_tower, "resnet": resnet, "convnext": convnext, "dinov2": dinov2,
    "audio": audio_tower, "wav2vec2": wav2vec2, "wav2vec2-layer": wav2vec2_layer, "ast": ast, "clap": clap, "writer": writer,
}


@pytest.fixture(scope="session")
def tiny_towers(tmp_path_factory):
    """Name of a builder (or a modality, for its usual one) -> folder of a tiny tower, made once."""
    pytest.importorskip("transformers")
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                made[name] = BUILDERS[name](tmp_path_factory.mktemp(f"{name}-tower"))
        return made[name]

    return folder
