"""How the customer-service example is judged: words, intent, mood, the fitting prompt, and all of it end to end.

Intervals are 95 %, from 1,000 bootstrap draws of whole groups of related requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from polysense.contracts import to_tensors
from polysense.metrics.texts import edits, normalised

Row = Mapping[str, Any]
INFINITE = float("inf")


def bounds(values: Any, groups: Sequence[Any], weights: Any = None) -> str:
    """A mean with its interval; ``weights`` make it a quotient of sums, such as errors by words.

    >>> bounds([1, 1, 1], ["a", "b", "c"])
    '1.000 [1.000, 1.000]'
    """
    values = np.asarray(values, float)
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    unit = np.unique(groups, return_inverse=True)[1]
    top, bottom = np.bincount(unit, values * weights), np.bincount(unit, weights)
    drawn = np.random.default_rng(0).integers(0, len(top), (1000, len(top)))
    low, high = np.percentile(top[drawn].sum(1) / bottom[drawn].sum(1), (2.5, 97.5))
    return f"{top.sum() / bottom.sum():.3f} [{low:.3f}, {high:.3f}]"


def judged(desk: Any, made: Sequence[Row], heard: Sequence[str], trained_on: set[str]) -> None:
    """Print every figure of the test part.

    Args:
        made: test calls, each request by each voice.
        heard: what Whisper made of each.
        trained_on: prompts that a training request asks for.
    """
    voices = list(dict.fromkeys(one["voice"] for one in made))
    of = {voice: [i for i, one in enumerate(made) if one["voice"] == voice] for voice in voices}
    print("\nWhat Whisper hears, word errors by words")
    for voice in voices:
        rows = [made[i] for i in of[voice]]
        meant = [normalised(one["words"], "english").split() for one in rows]
        said = [normalised(heard[i], "english").split() for i in of[voice]]
        wrong = [edits(a, b) / len(b) for a, b in zip(said, meant, strict=True)]
        print(f"  {voice:30}{bounds(wrong, _groups(rows), [len(one) for one in meant])}")
    _answers(desk.model, made, heard, of)
    first = [made[i] for i in of[voices[0]]]
    _prompts(desk, first, [heard[i] for i in of[voices[0]]], trained_on)
    _whole(desk, made, heard, of)


def _groups(rows: Sequence[Row]) -> list[Any]:
    return [one["group"] for one in rows]


def _answers(model: Any, made: Sequence[Row], heard: Sequence[str], of: Mapping[str, Sequence[int]]) -> None:
    """Intent and mood from text, from sound, from both."""
    from spoken import pace

    voices, columns = list(of), [column for view in model.schema_.views for column in view.columns]
    listened = [
        one | {"words": words or None, "pace": pace(words, one["sound"])} for one, words in zip(made, heard, strict=True)
    ]

    def lacking(rows: Sequence[Row], *gone: str) -> list[Row]:
        return [{key: None if key in gone else one[key] for key in (*columns, "intent", "mood", "group")} for one in rows]

    ways = [("the words as written", voices[0], lacking(made, "pace", "sound"))]
    for voice in voices:
        ways += [
            (f"voice {voice}, words as heard", voice, lacking(listened)),
            (f"voice {voice} and the words as written", voice, lacking(made)),
            (f"voice {voice}, no words", voice, lacking(listened, "words")),
        ]
    print("\nIntent and mood: accuracy, macro F1")
    for name, voice, rows in ways:
        for target in ("intent", "mood"):
            for told in ("", "words", "voice") if target == "mood" else ("",):
                chosen = [rows[i] for i in of[voice] if not told or made[i]["told"] == told]
                found = model.evaluate(chosen)["targets"][target]
                scores = [found["scores"][key] for key in ("accuracy", "macro_f1")]
                said = "   ".join(f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" for one in scores)
                most = found["baselines"]["majority"]["accuracy"]["value"]
                which = f"{target}{f' told by {told}' if told else ''}"
                print(f"  {name:38}{which:22}{said}   most frequent {most:.3f}")


def _prompts(desk: Any, rows: Sequence[Row], heard: Sequence[str], trained_on: set[str]) -> None:
    """The fitting prompt among all, of requests that have one; each request once."""
    kept = [i for i, one in enumerate(rows) if one["answers"]]
    rows, heard = [rows[i] for i in kept], [heard[i] for i in kept]
    words = [one["words"] for one in rows]
    fitting = [[one["answer"] in row["answers"].split(";") for one in desk.prompts] for row in rows]
    known = np.array([bool(trained_on & set(row["answers"].split(";"))) for row in rows])
    flat = np.full((len(rows), len(desk.model.classes_[0])), 1 / len(desk.model.classes_[0]))

    def by_desk(said: Sequence[str]) -> np.ndarray:
        return desk.rank(said, desk.model.predict_proba([{"words": one or None, "pace": None} for one in said])[0])[1]

    plain = _plain(desk)
    found = {
        "Matcher with the intent": by_desk(words), "the same, words as heard": by_desk(heard),
        "Matcher": desk.rank(words, flat)[1], "cosine of the frozen tower": plain(words), "TF-IDF": _tfidf(desk, words),
        "chance": np.random.default_rng(0).random((len(rows), len(desk.prompts))),
    }
    print(f"\nThe fitting prompt among {len(desk.prompts)}: recall@1, recall@5, mean reciprocal rank")
    for name, scores in found.items():
        places = np.array([_first(s, np.array(f)) for s, f in zip(scores, fitting, strict=True)])
        for which, chosen in (("all", known | True), ("asked for in training", known), ("never asked for", ~known)):
            groups = [row["group"] for row, one in zip(rows, chosen, strict=True) if one]
            said = "   ".join(bounds(values[chosen], groups) for values in (places <= 1, places <= 5, 1 / places))
            print(f"  {name:28}{which:24}{chosen.sum():4}   {said}")


def _first(scores: np.ndarray, fitting: np.ndarray) -> int:
    """Place of the best prompt that fits; whoever scores alike stands before it."""
    return int((scores[~fitting] >= scores[fitting].max()).sum()) + 1


def _plain(desk: Any) -> Callable[[Sequence[str]], np.ndarray]:
    """Cosines of the text tower as it is."""
    encoder = desk.matcher.network_.encoders.encoders["request"].eval()

    def vectors(texts: Sequence[str]) -> np.ndarray:
        with torch.inference_mode():
            made = encoder(to_tensors(encoder.prepare(list(texts)))).pooled().numpy()
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    return lambda texts: vectors(texts) @ vectors([one["prompt"] for one in desk.prompts]).T


def _tfidf(desk: Any, texts: Sequence[str]) -> np.ndarray:
    weigher = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit([one["prompt"] for one in desk.prompts])
    return (weigher.transform(texts) @ weigher.transform([one["prompt"] for one in desk.prompts]).T).toarray()


def _whole(desk: Any, made: Sequence[Row], heard: Sequence[str], of: Mapping[str, Sequence[int]]) -> None:
    """End to end: who gets the right answer, who a person, who a wrong answer; and what a call costs."""
    from customer_service import place

    print("\nEnd to end, shares of calls: answered rightly, passed to a person, answered wrongly")
    for voice, rows in of.items():
        calls = [made[i] for i in rows]
        ways = {f"voice {voice}": [heard[i] for i in rows], **({} if voice != next(iter(of)) else {
            "the words as written": [one["words"] for one in calls]})}
        for name, words in ways.items():
            sound = [None] * len(calls) if name.startswith("the") else [one["sound"] for one in calls]
            replies = desk.answer([{"words": w, "sound": s} for w, s in zip(words, sound, strict=True)])
            passed = np.array([reply.person for reply in replies])
            right = ~passed & np.array([place(reply, one) == 1 for reply, one in zip(replies, calls, strict=True)])
            shares = "   ".join(bounds(one, _groups(calls)) for one in (right, passed, ~right & ~passed))
            strangers = np.array([not one["answers"] for one in calls])
            print(f"  {name:28}{shares}   of {strangers.sum()} that no prompt answers {(passed & strangers).sum()} passed")
    some = [one for one in made if one["voice"] == next(iter(of))][:20]
    for name, keys in (("text", ("words",)), ("sound", ("sound",))):
        started = time.process_time()
        for one in some:
            desk.answer([{key: one[key] for key in keys}])
        print(f"  CPU seconds for a call by {name}: {(time.process_time() - started) / len(some):.2f}")
