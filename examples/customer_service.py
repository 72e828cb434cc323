"""A telephone desk: a caller's words or voice -> words, intent, mood, and the recorded prompt that answers.

    python examples/customer_service.py                                  make the calls, train, judge the test part
    python examples/customer_service.py --text "I forgot my password"    answer a caller who writes
    python examples/customer_service.py --audio call.wav                 answer a caller who speaks
    python examples/customer_service.py --sound audio.plain              let the model hear the sound itself, too

The answers are 98 prompts of the telephone system Asterisk (Debian, CC BY-SA 3.0), read aloud by one speaker. The requests are
380 of our own, in customer_service.csv; callers' voices are flite's, their moods made by pace and pitch. Whisper writes down
what is said (extra packaged-whisper). Packages come by apt-get download, no root.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from desk_scores import judged
from sources import table
from spoken import Flite, pace, prompts

from polysense import Matcher, Model
from polysense.errors import PolysenseError
from polysense.transcripts import heard, opened

REQUESTS = Path(__file__).with_suffix(".csv")
#: Who speaks the calls of each part. In the test part first a voice that is heard nowhere else, then one of training.
SPEAKERS = {"train": ("kal", "rms"), "valid": ("slt",), "test": ("awb", "kal")}
#: No prompt answers these; a person does.
OTHER = "other"
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5)
Row = dict[str, Any]


# Calls and prompts ---------------------------------------------------------------------------


def requests(path: Path = REQUESTS) -> list[Row]:
    """text, intent, mood, told (by words, or by voice alone), answers (prompts that fit), group and part of each request."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def names(answers: str) -> list[str]:
    return [name for name in answers.split(";") if name]


def calls(asked: Sequence[Row], folder: Path, flite: Flite) -> list[Row]:
    """Each request as its part's voices speak it."""
    made = []
    for number, one in enumerate(asked):
        for voice in SPEAKERS[one["part"]]:
            sound = flite.say(one["text"], voice, one["mood"], folder / voice / f"{number:03d}.wav").resolve()
            made.append({"words": one["text"], "pace": pace(one["text"], sound), "sound": str(sound), **one, "voice": voice})
    return made


def catalogue(asked: Sequence[Row], folder: Path) -> list[Row]:
    """The prompts that answer any request, each with the intent of most of those requests."""
    votes: dict[str, Counter] = {}
    for one in asked:
        for name in names(one["answers"]):
            votes.setdefault(name, Counter())[one["intent"]] += 1
    return [one | {"intent": votes[one["answer"]].most_common(1)[0][0]} for one in prompts(folder, sorted(votes))]


# Learning ------------------------------------------------------------------------------------


def learned_moods(made: Sequence[Row], answers: Sequence[Row], sound: str | None) -> Model:
    """Intent and mood, two targets of one model: from the words, the pace, and if wanted the sound itself.

    The prompts teach intents, too; they have no mood.
    """
    columns = {"words": "text", "pace": "number", **({"sound": "audio"} if sound else {})}
    used = [*columns, "intent", "mood", "group"]
    rows = {part: [{key: one[key] for key in used} for one in made if one["part"] == part] for part in ("train", "valid")}
    for one in answers:
        rows["train"].append(dict.fromkeys(used) | {"words": one["prompt"], "intent": one["intent"], "group": one["answer"]})
    encoders = {"sound": sound} if sound else None
    model = Model(["intent", "mood"], group="group", columns=columns, encoders=encoders, verbose=True)
    return model.fit(rows["train"], valid=rows["valid"])


def learned_matches(asked: Sequence[Row], answers: Sequence[Row]) -> Matcher:
    """Requests and their prompts in one space. Each prompt asks for itself, too, so that none is unknown."""
    words = {one["answer"]: one["prompt"] for one in answers}
    rows: dict[str, list[Row]] = {"train": [], "valid": [], "test": []}
    for one in asked:
        for name in names(one["answers"])[:1]:  # all that share a prompt count as right for each other: one each
            rows[one["part"]].append({"request": one["text"], "prompt": words[name], "group": one["group"]})
    rows["train"] += [{"request": one["prompt"], "prompt": one["prompt"], "group": one["answer"]} for one in answers]
    matcher = Matcher("request", "prompt", columns={"request": "text", "prompt": "text"}, group="group", verbose=True)
    return matcher.fit(rows["train"], valid=rows["valid"])


# Answering -----------------------------------------------------------------------------------


@dataclass
class Reply:
    """What the desk says to one call.

    Attributes:
        words: as written, or as heard.
        intent, mood: {name: probability}, the likeliest first.
        hits: prompts with their ``score``, the best first.
        person: nothing fits well enough; a person takes over.
    """

    words: str
    intent: dict[str, float]
    mood: dict[str, float]
    hits: list[Row] = field(default_factory=list)
    person: bool = True

    def __str__(self) -> str:
        lines = [f"words   {self.words or '(none)'}"]
        for noun, found in (("intent", self.intent), ("mood", self.mood)):
            lines.append(f"{noun:7} " + ", ".join(f"{name} {p:.2f}" for name, p in list(found.items())[:3]))
        if self.person:
            lines.append("answer  none fits well enough: a person takes over" + self._hurry())
        for place, hit in enumerate(self.hits[:3]):
            noun = "answer " if place == 0 and not self.person else "or     "
            lines.append(f"{noun} {hit['score']:.2f}  {hit['prompt']}  [{hit['answer']}]")
            if place == 0 and not self.person:
                lines.append(f"sound   {hit['spoken']}")
        return "\n".join(lines)

    def _hurry(self) -> str:
        return "" if next(iter(self.mood)) == "calm" else f", soon: the caller is {next(iter(self.mood))}"


class Desk:
    """What answers calls: the model, the matcher with the prompts, and two numbers chosen on validation.

    Args:
        weight: of the probability of a prompt's intent beside its cosine.
        threshold: score under which a person takes over.
    """

    def __init__(
        self, model: Model, matcher: Matcher, prompts: Sequence[Row], *, weight: float = 0.0, threshold: float = -1.0,
        whisper: str | None = None,
    ) -> None:
        self.model, self.matcher, self.prompts, self.whisper = model, matcher, list(prompts), whisper
        self.weight, self.threshold, self.engine = weight, threshold, None
        self.vectors = matcher.embed([{"prompt": one["prompt"]} for one in self.prompts], "item")

    def hear(self, sounds: Sequence[str]) -> list[str]:
        """What is said in sound files."""
        if sounds and self.engine is None:
            self.engine = opened(self.whisper, language="en")
        return [heard(self.engine, sound).text for sound in sounds]

    def answer(self, asked: Sequence[Mapping[str, Any]]) -> list[Reply]:
        """Replies to calls of which ``words``, ``sound`` or both are given; the same alone as together."""
        written = [one.get("words") for one in asked]
        silent = [i for i, words in enumerate(written) if not words and asked[i].get("sound")]
        for i, words in zip(silent, self.hear([asked[i]["sound"] for i in silent]), strict=True):
            written[i] = words
        views = {view.name for view in self.model.schema_.views}
        records = [
            {"words": words or None, "pace": pace(words, one.get("sound")),
             **({"sound": one.get("sound")} if "sound" in views else {})}
            for words, one in zip(written, asked, strict=True)
        ]
        intent, mood = self.model.predict_proba(records)
        order, scores = self.rank(written, intent)
        first, second = self.model.classes_
        return [
            Reply(
                words or "", _likeliest(first, intent[i]), _likeliest(second, mood[i]),
                hits=[self.prompts[k] | {"score": float(scores[i, k])} for k in order[i]] if words else [],
                person=not words or scores[i, order[i, 0]] < self.threshold,
            )
            for i, words in enumerate(written)
        ]

    def rank(self, words: Sequence[str | None], intent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, K) prompts, the best first, and their scores; ``intent`` (N, C) are its probabilities."""
        place = {name: i for i, name in enumerate(self.model.classes_[0])}
        asked = self.matcher.embed([{"request": one or None} for one in words], "query")
        scores = asked @ self.vectors.T + self.weight * intent[:, [place[one["intent"]] for one in self.prompts]]
        return np.argsort(-scores, axis=1, kind="stable"), scores

    def choose(self, made: Sequence[Row], said: Sequence[str]) -> None:
        """Weight and threshold, on calls that nothing was learned from: the best mean reciprocal rank, the most right answers.

        A wrong answer costs what a right one brings; passing a caller on costs nothing, and is right where no prompt fits.
        """
        best = -1.0
        for weight in WEIGHTS:
            desk = Desk(self.model, self.matcher, self.prompts, weight=weight)
            replies = desk.answer([one | {"words": words} for one, words in zip(made, said, strict=True)])
            places = [place(reply, one) for reply, one in zip(replies, made, strict=True) if one["answers"]]
            if (mrr := float(np.mean(1 / np.array(places)))) > best:
                best, self.weight, chosen = mrr, weight, replies
        tops = np.array([reply.hits[0]["score"] if reply.hits else -1.0 for reply in chosen])
        right = np.array([bool(one["answers"]) and place(reply, one) == 1 for reply, one in zip(chosen, made, strict=True)])
        gains = {top: float((2 * right[tops >= top] - 1.0).sum()) for top in np.unique(tops)}
        self.threshold = float(max(gains, key=gains.get))


def _likeliest(classes: Sequence[str], p: np.ndarray) -> dict[str, float]:
    return {str(classes[i]): float(p[i]) for i in np.argsort(-p, kind="stable")}


def place(reply: Reply, call: Mapping[str, Any]) -> float:
    """Place of the first prompt that fits; infinite where the desk has none."""
    fitting = names(call["answers"])
    return next((i for i, hit in enumerate(reply.hits, 1) if hit["answer"] in fitting), float("inf"))


# The whole -----------------------------------------------------------------------------------


def heard_once(desk: Desk, made: Sequence[Row], path: Path) -> list[str]:
    """What Whisper hears in each call, kept in a file beside the calls."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    new = [one["sound"] for one in made if one["sound"] not in known]
    for start in range(0, len(new), 20):  # what was heard is kept if the rest is cut short
        print(f"listening to call {start + 1} of {len(new)} ...", flush=True)
        some = new[start : start + 20]
        known |= dict(zip(some, desk.hear(some), strict=True))
        path.write_text(json.dumps(known, indent=0), encoding="utf-8")
    return [known[one["sound"]] for one in made]


def learned(asked: Sequence[Row], answers: Sequence[Row], given: argparse.Namespace) -> tuple[Desk, list[Row]]:
    """The desk, learned and kept in the folder, with the test calls."""
    made = calls(asked, given.out / "calls", Flite(given.out / "packages"))
    table(given.out / "calls.csv", made)
    table(given.out / "prompts.csv", answers)
    model, matcher = learned_moods(made, answers, given.sound), learned_matches(asked, answers)
    desk = Desk(model, matcher, answers, whisper=given.whisper)
    valid = [one for one in made if one["part"] == "valid"]
    desk.choose(valid, heard_once(desk, valid, given.out / "heard.json"))
    model.save(given.out / "model")
    matcher.save(given.out / "matcher")
    chosen = {"weight": desk.weight, "threshold": desk.threshold, "whisper": given.whisper}
    (given.out / "desk.json").write_text(json.dumps(chosen), encoding="utf-8")
    print(f"a prompt's intent weighs {desk.weight}; under a score of {desk.threshold:.2f} a person takes over")
    return desk, [one for one in made if one["part"] == "test"]


def kept(folder: Path, answers: Sequence[Row]) -> Desk:
    """The desk that was learned before."""
    chosen = json.loads((folder / "desk.json").read_text(encoding="utf-8"))
    return Desk(Model.load(folder / "model"), Matcher.load(folder / "matcher"), answers, **chosen)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", help="what a caller writes")
    parser.add_argument("--audio", type=Path, metavar="FILE", help="what a caller says: wav, flac, ogg, mp3")
    parser.add_argument("--table", action="store_true", help="judge the whole test part (done after learning anyway)")
    parser.add_argument("--sound", metavar="ENCODER", help="let the model hear the sound itself, such as audio.plain")
    parser.add_argument("--whisper", metavar="NAME", help="a Whisper (polysense list towers); else the first on this machine")
    parser.add_argument("--requests", type=Path, default=REQUESTS, help="table of requests")
    parser.add_argument("--out", type=Path, default=Path("polysense-desk"), help="folder for packages, calls and models")
    given = parser.parse_args(arguments)
    if given.audio and not given.audio.is_file():
        raise SystemExit(f"there is no file {given.audio}; --audio takes a sound file")
    asked = requests(given.requests)
    answers = catalogue(asked, given.out / "packages")
    try:
        fresh = given.sound or not (given.out / "desk.json").is_file()
        desk, test = learned(asked, answers, given) if fresh else (kept(given.out, answers), [])
        if given.text or given.audio:
            print(*desk.answer([{"words": given.text, "sound": given.audio and str(given.audio)}]), sep="\n")
        if given.table or fresh and not (given.text or given.audio):
            test = test or [one for one in calls(asked, given.out / "calls", Flite(given.out / "packages"))
                            if one["part"] == "test"]
            trained_on = {name for one in asked if one["part"] == "train" for name in names(one["answers"])}
            first = [one for one in test if one["voice"] == SPEAKERS["test"][0]]
            judged(desk, test, heard_once(desk, first, given.out / "heard.json"), trained_on)
    except PolysenseError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
