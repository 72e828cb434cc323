"""What padding costs: 1,000 texts of 3 to 128 tokens, one by one, in batches of table order, and in batches of like length.

    python bench/bucketing.py [--texts N]

A text tower (text.pretrained, MiniLM), asked as a fit asks it (`frozen`: hashing, sorting, cache and all) against
plain loops over the same encoder; then text.transformer in training, whose batches of 64 stay as they were drawn
and are asked in groups of like length inside, against the same blocks over the padded batch. All in one process, in
turn, several times; the figure is the smallest CPU time of each way. The answers must agree to 1e-5.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import DATA, Line, machine, say, show, write

#: What batches by length are to gain over batches in table order.
BAR = 2.0
TEXTS, LONGEST, TABLE_BATCH, TIMES = 1_000, 128, 32, 3


def made_up(count: int, seed: int = 0) -> list[str]:
    """Texts of common words, 3 to 128 tokens with those that begin and end a text; log-uniform lengths."""
    import numpy as np

    from polysense.writing import STOP_WORDS

    rng = np.random.default_rng(seed)
    words = sorted(word for word in STOP_WORDS["english"] if "'" not in word)
    lengths = np.exp(rng.uniform(np.log(3), np.log(LONGEST), count)).round().astype(int) - 2
    return [" ".join(rng.choice(words, size)) for size in lengths.clip(1)]


def in_turn(ways: dict[str, Callable[[], object]], times: int = TIMES) -> tuple[dict[str, float], dict[str, object]]:
    """The smallest CPU seconds of each way, and what it gave."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    gave: dict[str, object] = {}
    for _ in range(times):
        for name, way in ways.items():
            begun = time.process_time()
            gave[name] = way()
            spent[name].append(time.process_time() - begun)
    return {name: min(seconds) for name, seconds in spent.items()}, gave


def tower(count: int) -> list[Line]:
    """MiniLM: one by one, in table order, by length."""
    import numpy as np
    import torch

    from polysense.contracts import to_tensors
    from polysense.data.cache import Cache
    from polysense.data.reading import read_cells
    from polysense.data.records import as_records
    from polysense.data.schema import guess
    from polysense.learn.features import frozen
    from polysense.registry import encoders

    texts = made_up(count)
    encoder = encoders.make("text.pretrained")
    encoder.fit(texts)
    encoder.eval()
    records = as_records([{"text": text} for text in texts])
    schema = guess(records, declared={"text": "text"})

    def loop(size: int) -> np.ndarray:
        with torch.inference_mode():
            parts = [texts[start : start + size] for start in range(0, count, size)]
            return np.concatenate([encoder(to_tensors(encoder.prepare(part))).x[:, 0].numpy() for part in parts])

    def ours() -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            return np.asarray(frozen(encoder, read_cells(records, schema)["text"], Cache(folder))[np.arange(count)])

    loop(TABLE_BATCH)  # the tower opens
    spent, gave = in_turn({"one by one": lambda: loop(1), "table order": lambda: loop(TABLE_BATCH), "by length": ours})
    return told("text.pretrained (MiniLM)", spent, gave, count)


def scratch(count: int) -> list[Line]:
    """text.transformer, forward and backward, in shuffled batches of 64."""
    import numpy as np
    import torch

    from polysense.contracts import to_tensors
    from polysense.layers import positions
    from polysense.modality.text_net import TextTransformer
    from polysense.tokens import Tokens

    texts = made_up(count)
    torch.manual_seed(0)
    encoder = TextTransformer(dropout=0.0)
    encoder.fit(texts)
    encoder.train()

    def loop(size: int, grouped: bool) -> np.ndarray:
        made = []
        for start in range(0, count, size):
            batch = to_tensors(encoder.prepare(texts[start : start + size]))
            if grouped:
                x_BD = encoder(batch).pooled()
            else:
                _, mask_BT, x_BTD = encoder.look_up(batch)
                x_BTD = x_BTD * encoder.dim**0.5 + positions(*x_BTD.shape[1:])
                x_BD = Tokens(encoder.norm(encoder._attend(x_BTD, mask_BT)), mask_BT).pooled()
            encoder.zero_grad()
            x_BD.square().sum().backward()
            made.append(x_BD.detach().numpy())
        return np.concatenate(made)

    spent, gave = in_turn({
        "one by one": lambda: loop(1, False), "table order": lambda: loop(64, False), "by length": lambda: loop(64, True),
    })
    return told("text.transformer, training", spent, gave, count)


def told(what: str, spent: dict[str, float], gave: dict[str, object], count: int) -> list[Line]:
    """Each way in CPU ms a text, the gain beside its bar, and how far the answers differ."""
    import numpy as np

    apart = max(float(np.abs(gave["one by one"] - gave[name]).max()) for name in ("table order", "by length"))
    parts = ", ".join(f"{name} {1000 * seconds / count:.2f}" for name, seconds in spent.items())
    gain = spent["table order"] / spent["by length"]
    write(f"bucketing-{what.split()[0].strip(',')}", {"texts": count, "seconds": spent, "apart": apart})
    return [
        Line(f"{what}: CPU ms a text", parts),
        Line(f"{what}: by length, times as fast as in table order", f"{gain:.2f}", f"at least {BAR:.2f}", gain >= BAR),
        Line(f"{what}: by length, times as fast as one by one", f"{spent['one by one'] / spent['by length']:.2f}"),
        Line.at_most(f"{what}: largest difference of the answers", apart, 1e-5, "{:.1e}"),
    ]


def run(data: Path = DATA, count: int = TEXTS) -> list[Line]:
    """Both; ``data`` is not read."""
    return [*tower(count), *scratch(count)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=TEXTS)
    lines = run(count=parser.parse_args().texts)
    say(", ".join(f"{name} {value}" for name, value in machine().items()))
    show(f"Texts of mixed length, the smallest of {TIMES} runs", lines)
