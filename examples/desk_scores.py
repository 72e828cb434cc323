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
from spoken import pace

from polysense.contracts import to_tensors
from polysense.metrics.texts import edits, normalised

Row = Mapping[str, Any]


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
        heard: what Whisper made of the calls of the first voice, which is heard in the test part only.
        trained_on: prompts that a training request asks for.
    """
    calls = [one for one in made if one["voice"] == made[0]["voice"]]
    meant = [normalised(one["words"], "english").split() for one in calls]
    said = [normalised(words, "english").split() for words in heard]
    wrong = [edits(a, b) / len(b) for a, b in zip(said, meant, strict=True)]
    print("\nWhat Whisper hears: word errors by words")
    print(f"  voice {made[0]['voice']:22}{bounds(wrong, _groups(calls), [len(one) for one in meant])}")
    _answers(desk.model, made, calls, heard)
    _prompts(desk, calls, heard, trained_on)
    _whole(desk, calls, heard)


def _groups(rows: Sequence[Row]) -> list[Any]:
    return [one["group"] for one in rows]


def _answers(model: Any, made: Sequence[Row], calls: Sequence[Row], heard: Sequence[str]) -> None:
    """Intent and mood from text, from sound, from both; mood also apart by what tells it, the words or the voice alone."""
    columns = [column for view in model.schema_.views for column in view.columns]
    listened = [
        one | {"words": words or None, "pace": pace(words, one["sound"])} for one, words in zip(calls, heard, strict=True)
    ]
    ways = {
        "the words as written": (calls, ("pace", "sound")), "sound: words as heard, pace": (listened, ()),
        "sound without its words": (listened, ("words",)), "both: words as written, pace": (calls, ()),
    }
    for voice in dict.fromkeys(one["voice"] for one in made if one["voice"] != calls[0]["voice"]):
        ways[f"both, by voice {voice}"] = [one for one in made if one["voice"] == voice], ()
        ways[f"sound without words, {voice}"] = ways[f"both, by voice {voice}"][0], ("words",)
    print("\nIntent and mood: accuracy, macro F1")
    for name, (rows, gone) in ways.items():
        for target, told in (("intent", ""), ("mood", ""), ("mood", "words"), ("mood", "voice")):
            chosen = [
                {key: None if key in gone else one[key] for key in (*columns, "intent", "mood", "group")}
                for one in rows if told in ("", one["told"])
            ]
            found = model.evaluate(chosen)["targets"][target]
            scores = [found["scores"][key] for key in ("accuracy", "macro_f1")]
            said = "   ".join(f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" for one in scores)
            most = found["baselines"]["majority"]["accuracy"]["value"]
            print(f"  {name:30}{f'{target} told by {told}' if told else target:20}{said}   most frequent {most:.3f}")


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
    apart = {}
    for name, scores in found.items():
        places = np.array([_first(s, np.array(f)) for s, f in zip(scores, fitting, strict=True)])
        for which, chosen in (("all", known | True), ("asked for in training", known), ("never asked for", ~known)):
            groups = [row["group"] for row, one in zip(rows, chosen, strict=True) if one]
            said = "   ".join(bounds(values[chosen], groups) for values in (places <= 1, places <= 5, 1 / places))
            print(f"  {name:28}{which:24}{chosen.sum():4}   {said}")
        apart[name] = np.stack([places <= 1, places <= 5, 1 / places])
    print("The same requests, Matcher less the other")
    for name in list(found)[3:]:
        for which, chosen in (("all", known | True), ("never asked for", ~known)):
            groups = [row["group"] for row, one in zip(rows, chosen, strict=True) if one]
            said = "   ".join(bounds(values[chosen], groups) for values in apart["Matcher"] - apart[name])
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


def _whole(desk: Any, calls: Sequence[Row], heard: Sequence[str]) -> None:
    """End to end: who gets the right answer, who a person, who a wrong answer; and what a call costs."""
    strangers = np.array([not one["answers"] for one in calls])
    print("\nEnd to end, shares of calls: answered rightly, passed to a person, answered wrongly")
    for name, words in (("the words as written", [one["words"] for one in calls]), ("the sound", heard)):
        sound = [one["sound"] if words is heard else None for one in calls]
        replies = desk.answer([{"words": w, "sound": s} for w, s in zip(words, sound, strict=True)])
        passed = np.array([reply.person for reply in replies])
        right = ~passed & np.array([fits(reply, one) for reply, one in zip(replies, calls, strict=True)])
        shares = "   ".join(bounds(one, _groups(calls)) for one in (right, passed, ~right & ~passed))
        print(f"  {name:28}{shares}   of {strangers.sum()} that no prompt answers {(passed & strangers).sum()} passed")
    for name, key in (("text", "words"), ("sound", "sound")):
        started = time.process_time()
        for one in calls[:10]:
            desk.answer([{key: one[key]}])
        print(f"  CPU seconds for a call by {name}: {(time.process_time() - started) / len(calls[:10]):.2f}")


def fits(reply: Any, call: Row) -> bool:
    """The first prompt of a reply is one of those that fit."""
    return bool(reply.hits) and reply.hits[0]["answer"] in call["answers"].split(";")
