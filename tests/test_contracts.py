"""The contracts carry more than classification: a captioner and a matcher from public parts only."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from polysense import Task, Tokens, Trunk, as_records, demo, encoders, fusions
from polysense.contracts import to_tensors
from polysense.data.reading import read_cells
from polysense.data.schema import guess
from polysense.layers import Condition
from polysense.network import Encoders, Network

SPOKEN = {"rain": "wet grey clouds", "snow": "cold white flakes", "sun": "warm bright sky"}


def made_up(n: int, seed: int = 0):
    """({view: cells}, labels) of records whose pictures and words always tell the truth and are always there."""
    records = [r for r in demo.made_up(n, seed, missing=0)]
    table = as_records(records)
    return read_cells(table, guess(table, exclude=["label"])), [record["label"] for record in records]


# a captioner --------------------------------------------------------------------------------------


class Decoder(nn.Module):
    """LSTM over words that looks at the fused positions at every step. (B, T, D), (B, L) -> (B, L, W)"""

    def __init__(self, dim: int, words: int) -> None:
        super().__init__()
        self.word, self.cell = nn.Embedding(words, dim), nn.LSTMCell(2 * dim, dim)
        self.ask, self.out = nn.Linear(dim, dim), nn.Linear(dim, words)

    def step(self, fused: Tokens, word_B, state):
        h, c = state or (fused.pooled(), fused.pooled())
        scores_BT = torch.einsum("btd,bd->bt", fused.clean(), self.ask(h)).masked_fill(~fused.mask, -1e9)
        seen_BD = torch.einsum("btd,bt->bd", fused.clean(), scores_BT.softmax(1))
        h, c = self.cell(torch.cat([self.word(word_B), seen_BD], 1), (h, c))
        return self.out(h), (h, c)


class Caption(Task):
    """Words of a caption, one after the other: taught with the true word before, answered greedily."""

    name, needs_positions, averages, late = "caption", True, False, False
    END, LENGTH = 0, 4

    def fit(self, values) -> None:
        self.words = ["", *sorted({word for value in values for word in value.split()})]

    def encode(self, values):
        rows = [[self.words.index(word) for word in value.split()] for value in values]
        return {"words": np.array([row + [self.END] * (self.LENGTH - len(row)) for row in rows])}

    def head(self, dim: int) -> nn.Module:
        return Decoder(dim, len(self.words))

    def loss(self, head, fused, targets):
        before_BL, state, losses = targets["words"].roll(1, 1), None, []
        before_BL[:, 0] = self.END
        for i in range(self.LENGTH):
            scores, state = head.step(fused, before_BL[:, i], state)
            losses.append(cross_entropy(scores, targets["words"][:, i], reduction="none"))
        return torch.stack(losses, 1).sum(1)

    def answer(self, head, fused):
        word_B, state, said = torch.full((len(fused.x),), self.END), None, []
        for _ in range(self.LENGTH):
            scores, state = head.step(fused, word_B, state)
            said.append(word_B := scores.argmax(1))
        return torch.stack(said, 1)

    def prior(self):
        return np.zeros(self.LENGTH, np.int64)

    def decode(self, answers):
        return [" ".join(self.words[i] for i in row if i) for row in answers]


def test_a_captioner_learns():
    """Pictures show the true weather in 8 of 10 records; new ones get the right three words far above a third."""
    torch.manual_seed(0)
    task, cnn = Caption(), encoders.make("image.cnn", widths=[8, 16], pixels=16, augment=False)
    cells, labels = made_up(90)
    cnn.fit(cells["picture"].values(range(8)))
    task.fit([SPOKEN[label] for label in labels])
    network = Network(
        Encoders({"picture": cnn}, {}), lambda v, d: fusions.make("transformer", v, d, positions=True, depth=1),
        task, dim=16, drop=0, auxiliary=0, dropout=0.0, input_dropout=0.0,
    )
    assert network.members.count == 1, "answers that are words are not averaged"

    def batch(part, count):
        return {"picture": {**to_tensors(cnn.prepare(part["picture"].values())), "present": torch.ones(count) > 0}}

    ready, targets = batch(cells, 90), to_tensors(task.encode([SPOKEN[label] for label in labels]))
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(40):
        optimiser.zero_grad()
        network(ready, targets).mean().backward()
        optimiser.step()
    network.eval()
    fresh, truth = made_up(60, seed=1)
    with torch.no_grad():
        said = task.decode(network.answers(network.encode(batch(fresh, 60))).numpy())
    assert set(said) <= set(SPOKEN.values())
    right = np.mean([words == SPOKEN[label] for words, label in zip(said, truth, strict=True)])
    assert right > 0.6, right


# a matcher ------------------------------------------------------------------------------------------


class Matcher(nn.Module):
    """Two trunks in one space; InfoNCE (van den Oord et al. 2018, arXiv:1807.03748, eq. 4) in both directions."""

    def __init__(self, query: dict[str, int], item: dict[str, int], dim: int = 32) -> None:
        super().__init__()
        self.sides = nn.ModuleList(
            Trunk(widths, fusions.make("concat", sorted(widths), dim, dropout=0.0), dim, dropout=0.0, input_dropout=0.0)
            for widths in (query, item)
        )
        self.scale = nn.Parameter(torch.tensor(2.0))

    def scores(self, query: dict[str, Tokens], item: dict[str, Tokens]) -> torch.Tensor:
        """(B, B) likeness of every query to every item."""
        q_BD, i_BD = (normalize(side(x).pooled(), dim=1) for side, x in zip(self.sides, (query, item), strict=True))
        return self.scale.exp() * q_BD @ i_BD.T

    def loss(self, query, item) -> torch.Tensor:
        scores, own = self.scores(query, item), torch.arange(len(next(iter(query.values())).x))
        return cross_entropy(scores, own) + cross_entropy(scores.T, own)


def tokens_of(cells, name: str) -> Tokens:
    """Conditioned plain features of a view, as frozen encoders give them."""
    encoder = encoders.make({"image": "image.plain", "text": "text.plain", "audio": "audio.plain"}[cells.view.modality])
    values = [value for value in cells.values() if value is not None]
    encoder.fit(values)
    x = torch.zeros(cells.n, encoder.dim)
    with torch.no_grad():
        x[torch.as_tensor(cells.present)] = encoder(to_tensors(encoder.prepare(values))).pooled()
    return Tokens.single(Condition().fit(x)(x), torch.as_tensor(cells.present))


def test_a_matcher_learns():
    """60 pairs, picture and text against Chinese text and sound: of those it has seen nearly all are found again."""
    torch.manual_seed(0)
    table = as_records(demo.made_up(60, missing=0.05))
    cells = read_cells(table, guess(table, exclude=["label"]))
    query = {view: tokens_of(cells[view], view) for view in ("picture", "text")}
    item = {view: tokens_of(cells[view], view) for view in ("text_zh", "sound")}
    matcher = Matcher(*({view: part.x.shape[-1] for view, part in side.items()} for side in (query, item)))
    with torch.no_grad():
        before = recall(matcher.eval().scores(query, item))
    optimiser = torch.optim.Adam(matcher.train().parameters(), 3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        matcher.loss(query, item).backward()
        optimiser.step()
    with torch.no_grad():
        after = recall(matcher.eval().scores(query, item))
        alone = matcher.scores(*({view: Tokens(p.x[:5], p.mask[:5]) for view, p in side.items()} for side in (query, item)))
        torch.testing.assert_close(alone, matcher.scores(query, item)[:5, :5], atol=1e-4, rtol=1e-4)
    assert before < 0.1 and after > 0.8, (before, after)


def recall(scores: torch.Tensor) -> float:
    """recall@1: share of queries whose own item comes first; chance is 1 / 60."""
    return (scores.argmax(1) == torch.arange(len(scores))).float().mean().item()
