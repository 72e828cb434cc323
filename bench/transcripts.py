"""Speech written down: Whisper as it is, and models trained on half of 563 prompts; the tables of docs/transcripts.md.

    python bench/transcripts.py                      everything, some 40 CPU minutes; kept in bench/out/transcripts
    python bench/transcripts.py --only tiny,letters  some of the rows
    python bench/transcripts.py --print              the tables of what there is
    python bench/transcripts.py --only whole         Whisper over all prompts, both halves
    python bench/transcripts.py --only long          a sound of ten minutes: errors, CPU seconds, peak of memory

The prompts are Asterisk's (Debian, CC BY-SA 3.0): ONE speaker, 8 kHz, words of one trade. Equal texts stay on one side.
Settings of trained models are chosen on a fifth of the training half. Intervals: bootstrap over groups of equal texts.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import platform
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "examples"))
OUT = HERE / "out" / "transcripts"

#: Row -> (what it is, how it is asked).
AS_IT_IS = {
    "tiny": ("Whisper tiny.en, faster-whisper, 5 beams", ("whisper-tiny-en", "faster", 5)),
    "tiny-1": ("Whisper tiny.en, faster-whisper, 1 beam", ("whisper-tiny-en", "faster", 1)),
    "tiny-torch": ("Whisper tiny.en, transformers, 5 beams", ("whisper-tiny-en", "torch", 5)),
    "base": ("Whisper base, faster-whisper, 5 beams", ("whisper-base", "faster", 5)),
}
#: CTC on the encoder of Whisper.
LETTERS = {"sound.seconds": 30, "sound.hop": 26.0, "sound.once": True, "train.epochs": 40, "train.dim": 256}
TRAINED = {
    "letters": ("CTC on the frozen encoder of Whisper tiny.en", {
        "encoders": {"sound": "audio.pretrained:whisper-tiny-en"},
        "options": LETTERS,
    }),
    "scratch": ("CTC on audio.rnn from scratch", {
        "encoders": {"sound": "audio.rnn"},
        "options": {"sound.seconds": 30, "sound.hop": 26.0, "sound.once": True, "sound.merge": 2, "train.epochs": 40},
    }),
}
#: Whisper through ``fit``: its decoder tuned, or nothing; the encoder under CTC.
TUNED = {
    "as-it-is": ("Whisper tiny.en through fit, as it is, 1 beam", {"task.model": "whisper-tiny-en", "task.tune": "none"}, None),
    "lora": ("Whisper tiny.en, decoder tuned by LoRA", {"task.model": "whisper-tiny-en", "task.tune": "lora"}, None),
    "decoder": ("Whisper tiny.en, decoder tuned whole", {"task.model": "whisper-tiny-en", "task.tune": "decoder"}, None),
    "both": ("Whisper tiny.en, decoder by LoRA, then encoder", {
        "task.model": "whisper-tiny-en", "task.tune": "lora", "tune.epochs": 3,
    }, "sound"),
    "letters-frozen": ("CTC on the frozen encoder, the same records", LETTERS, None),
    "letters-tuned": ("CTC, encoder of Whisper tiny.en tuned", {**LETTERS, "tune.epochs": 2}, "sound"),
}
#: Rows whose difference is told: what, beside what.
PAIRS = (
    ("lora", "as-it-is"), ("decoder", "as-it-is"), ("both", "as-it-is"), ("letters-tuned", "letters-frozen"),
    ("tiny-torch", "tiny"),
)
#: Weights of n-grams that validation chooses from; 0 with one beam is the best path.
GRAMS = (0.0, 0.3, 0.6)


def halves(folder: Path) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Rows of training (a fifth of their texts marked valid) and of test; groups of equal texts whole."""
    from sources import prompts

    rows, random = prompts(folder), np.random.default_rng(0)
    groups = sorted({row["group"] for row in rows}, key=int)
    random.shuffle(groups)
    ours = set(groups[: len(groups) // 2])
    mine = sorted(ours, key=int)
    random.shuffle(mine)
    valid = set(mine[: len(mine) // 5])
    train = [{**row, "part": "valid" if row["group"] in valid else "train"} for row in rows if row["group"] in ours]
    return train, [row for row in rows if row["group"] not in ours]


def key_of(row: dict[str, str]) -> str:
    """Folder and name of a sound: names alone occur twice."""
    return "/".join(Path(row["sound"]).with_suffix("").parts[-2:])


def as_it_is(name: str, rows: list[dict[str, str]]) -> None:
    """Ask a Whisper for every test sound that it was not asked for before; the file is written after each tenth."""
    from polysense.transcripts import heard, opened

    tower, how, beams = AS_IT_IS[name][1]
    place = OUT / f"{name}.json"
    known = json.loads(place.read_text()) if place.is_file() else {}
    made = opened(tower, language="en", beams=beams, how=how)
    for i, row in enumerate(rows):
        if (key := key_of(row)) not in known:
            begun = time.process_time()
            found = heard(made, row["sound"])
            known[key] = {"said": found.text, "cpu": time.process_time() - begun, "seconds": found.seconds}
        if i % 10 == 0 or i + 1 == len(rows):
            place.write_text(json.dumps(known, indent=0))


def trained(name: str, train: list[dict[str, str]], test: list[dict[str, str]]) -> None:
    """Fit on the training half, choose the n-grams' weight on its fifth, answer the test half."""
    import torch

    from polysense import Model

    torch.set_num_threads(1)
    begun = time.process_time()
    model = Model("text", task="transcribe", columns={"group": "ignore"}, split="part", verbose=True, **TRAINED[name][1])
    model.fit(train)
    cost = time.process_time() - begun
    valid = [row for row in train if row["part"] == "valid"]
    tried = {}
    for weight in GRAMS:
        _search(model.task_, train, weight)
        found = model.evaluate([{"sound": row["sound"], "text": row["text"]} for row in valid])
        tried[weight] = found["scores"]["wer"]["value"]
    best = min(tried, key=lambda weight: (tried[weight], weight))
    answers = {}
    for label, weight in (("best path", 0.0), ("chosen", best)):
        _search(model.task_, train, weight)
        answers[label] = _answers(model, test)
    facts = {"fit_cpu": cost, "valid": {str(weight): wer for weight, wer in tried.items()}, "grams": best, "answers": answers}
    if name == "letters":
        nearest = model.evaluate([{"sound": row["sound"], "text": row["text"]} for row in test])["baselines"]
        facts["baselines"] = {key: value for key, value in nearest.items() if isinstance(value, dict)}
    (OUT / f"{name}.json").write_text(json.dumps(facts, indent=0))


def tuned(name: str, train: list[dict[str, str]], test: list[dict[str, str]]) -> None:
    """Fit with Whisper's own weights in motion, answer the test half; what validation refuses comes out as it went in."""
    import torch

    from polysense import Model

    torch.set_num_threads(1)
    what, options, tune = TUNED[name]
    encoders = {} if "task.model" in options else {"sound": "audio.pretrained:whisper-tiny-en"}
    made = {"task": "transcribe", "columns": {"group": "ignore"}, "split": "part", "verbose": True, "encoders": encoders}
    begun = time.process_time()
    model = Model("text", tune=tune, options=options, **made).fit(train)
    cost = time.process_time() - begun
    model.save(OUT / f"model-{name}")
    facts = {"records": len(train), "fit_cpu": cost, "answers": {"best path": _answers(model, test)}}
    facts |= {key: model.made_[key] for key in ("deepened", "tuned") if key in model.made_}
    (OUT / f"{name}.json").write_text(json.dumps(facts, indent=0))
    print(what, {key: facts[key]["kept"] for key in ("deepened", "tuned") if key in facts}, flush=True)


def _answers(model: Any, test: list[dict[str, str]]) -> dict[str, dict[str, Any]]:
    """{sound: what is said in it, and the mean CPU seconds}."""
    begun = time.process_time()
    said = model.predict([{"sound": row["sound"]} for row in test]).tolist()
    each = (time.process_time() - begun) / len(test)
    return {key_of(row): {"said": text, "cpu": each} for row, text in zip(test, said, strict=True)}


def _search(task: Any, train: list[dict[str, str]], weight: float) -> None:
    """Best path for 0, else a beam search with n-grams of the training texts."""
    from polysense.metrics.texts import normalised
    from polysense.task.transcribe_ctc import Prior

    task.beams, task.grams = (1, 0.0) if not weight else (16, weight)
    texts = [task._ids(normalised(row["text"], task.normalise)) for row in train if row["part"] == "train"]
    task._counted = Prior(task.order, len(task.pieces)).fit(texts) if weight else None


def lines(train: list[dict[str, str]], test: list[dict[str, str]]) -> str:
    """The table in Markdown."""
    from polysense.metrics import Resamples
    from polysense.metrics.texts import TRANSCRIPT, Texts

    spoken = {key_of(row): row for row in test}
    found = [
        "| | records | WER | CER | word for word | WER, numbers alike | CPU s a second of sound |",
        "|---|---|---|---|---|---|---|",
    ]

    def line(what: str, said: dict[str, dict[str, Any]]) -> None:
        keys = [key for key in spoken if key in said]
        if not keys:
            return
        groups = [spoken[key]["group"] for key in keys]
        answers, targets = [said[key]["said"] for key in keys], [(spoken[key]["text"],) for key in keys]
        scores = Texts(TRANSCRIPT).judge(answers, targets, Resamples(len(keys), groups=groups)).scores()
        english = Texts(TRANSCRIPT, "english").judge(answers, targets, Resamples(len(keys), samples=2)).values["wer"]
        texts = [f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]" for one in (scores[name] for name in TRANSCRIPT)]
        cpu = sum(said[key].get("cpu", 0.0) for key in keys) / sum(seconds(spoken[key]["sound"]) for key in keys)
        found.append(f"| {what} | {len(keys)} | {' | '.join(texts)} | {english:.3f} | {f'{cpu:.2f}' if cpu else ''} |")

    groups_of = {key: row["group"] for key, row in spoken.items()}
    common = Counter(row["text"] for row in train).most_common(1)[0][0]
    for name, (what, _) in AS_IT_IS.items():
        if (OUT / f"{name}.json").is_file():
            line(what, json.loads((OUT / f"{name}.json").read_text()))
    more = []
    for name, (what, _) in TRAINED.items():
        if (OUT / f"{name}.json").is_file():
            facts = json.loads((OUT / f"{name}.json").read_text())
            line(f"{what}, best path", facts["answers"]["best path"])
            if facts["grams"]:
                line(f"{what}, 16 beams, n-grams {facts['grams']}", facts["answers"]["chosen"])
            tried = ", ".join(f"{weight}: {wer:.3f}" for weight, wer in facts["valid"].items())
            more.append(f"{what}: fit in {facts['fit_cpu']:.0f} CPU s; validation WER by weight of the n-grams {tried}")
            for key, one in facts.get("baselines", {}).items():
                wer = one["wer"]
                more.append(f"baseline {key}: WER {wer['value']:.3f} [{wer['low']:.3f}, {wer['high']:.3f}]")
    for name, (what, _, _) in TUNED.items():
        if (OUT / f"{name}.json").is_file():
            facts = json.loads((OUT / f"{name}.json").read_text())
            line(what, facts["answers"]["best path"])
            more.append(f"{what}: {facts['records']} training records, fit in {facts['fit_cpu']:.0f} CPU s; {_kept(facts)}")
    more += _differences(spoken, groups_of)
    line("most frequent text of the training half", {key: {"said": common} for key in spoken})
    machine = f"{platform.processor() or platform.machine()}, one thread, Python {platform.python_version()}"
    return "\n".join([*found, "", *more, machine])


def _kept(facts: dict[str, Any]) -> str:
    """What validation said of each training."""
    said = []
    if "deepened" in facts:
        one = facts["deepened"]
        losses = " ".join(f"{epoch['valid_loss']:.3f}" for epoch in one["epochs"])
        said.append(
            f"decoder: {one['kept']} kept, {one['parameters']:,} parameters, validation loss {one['first']:.3f}, by epoch "
            f"{losses}, of the answers {one['answers']}, {one['cpu_seconds']} CPU s"
        )
    if "tuned" in facts:
        one = facts["tuned"]
        losses = " ".join(f"{epoch['loss']:.3f}" for epoch in one["epochs"])
        said.append(
            f"encoder: {one['kept']} kept, validation {one['frozen']['loss']:.3f}, by epoch {losses}, "
            f"{one['cpu_seconds']} CPU s"
        )
    return "; ".join(said) or "nothing trained"


def _said(name: str) -> dict[str, dict[str, Any]]:
    """{sound: answer} of a row; empty where it was not measured."""
    place = OUT / f"{name}.json"
    facts = json.loads(place.read_text()) if place.is_file() else {}
    return facts["answers"]["best path"] if "answers" in facts else facts


def _differences(spoken: dict[str, dict[str, str]], groups: dict[str, str]) -> list[str]:
    """Paired differences of WER over the sounds that both rows answered, with 95 % intervals over groups of equal texts."""
    from polysense.metrics import Resamples
    from polysense.metrics.texts import TRANSCRIPT, Texts

    found = []
    for one, other in PAIRS:
        ours, theirs = _said(one), _said(other)
        keys = [key for key in spoken if key in ours and key in theirs]
        if not keys:
            continue
        targets = [(spoken[key]["text"],) for key in keys]
        resamples = Resamples(len(keys), groups=[groups[key] for key in keys])
        a, b = (
            Texts(TRANSCRIPT).judge([side[key]["said"] for key in keys], targets, resamples) for side in (ours, theirs)
        )
        low, high = np.nanpercentile(a.draws["wer"] - b.draws["wer"], [2.5, 97.5])
        apart = a.values["wer"] - b.values["wer"]
        found.append(f"{one} minus {other}: WER {apart:+.3f} [{low:+.3f}, {high:+.3f}] on {len(keys)}")
    return found


def whole(rows: list[dict[str, str]]) -> str:
    """Whisper tiny.en over all prompts."""
    from polysense.metrics import Resamples
    from polysense.metrics.texts import TRANSCRIPT, Texts

    as_it_is("tiny", rows)
    known = json.loads((OUT / "tiny.json").read_text())
    keys = {key_of(row): row for row in rows}
    scores = Texts(TRANSCRIPT).judge(
        [known[key]["said"] for key in keys], [(row["text"],) for row in keys.values()],
        Resamples(len(keys), groups=[row["group"] for row in keys.values()]),
    ).scores()
    wer = scores["wer"]
    return f"Whisper tiny.en over {len(keys)} prompts: WER {wer['value']:.3f} [{wer['low']:.3f}, {wer['high']:.3f}]"


def long(rows: list[dict[str, str]], minutes: float = 10.0) -> str:
    """One sound of many prompts with 0.4 s between them, written down by Whisper tiny.en."""
    import resource

    from polysense.data.media import decode_audio, fetch
    from polysense.metrics.texts import Texts
    from polysense.transcripts import heard, opened

    random, waves, texts, length = np.random.default_rng(2), [], [], 0
    for i in random.permutation(len(rows)):
        wave = decode_audio(fetch(rows[i]["sound"], "audio").data)
        waves += [wave, np.zeros(6_400, np.float32)]
        texts.append(rows[i]["text"])
        length += len(wave) + 6_400
        if length >= minutes * 60 * 16_000:
            break
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    made = opened("whisper-tiny-en", language="en", beams=5)
    ready = time.process_time() - begun
    found = heard(made, np.concatenate(waves))
    cost, after = time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wer = float(Texts(("wer",)).losses(np.array([found.text], object), [(" ".join(texts),)])[0])
    return (
        f"{length / 960_000:.1f} minutes of {len(texts)} prompts: WER {wer:.3f}, {len(found.words)} words in "
        f"{len(found.subtitles().split(chr(10) * 2))} subtitles, {cost:.0f} CPU s ({ready:.0f} of them to open), peak memory "
        f"{after / 1024:.0f} MB ({before / 1024:.0f} before)"
    )


def seconds(file: str) -> float:
    """Length of a sound."""
    import soundfile

    return soundfile.info(file).duration


def main() -> None:
    """Measure what is asked for and print the table."""
    rows = [*AS_IT_IS, *TRAINED, *TUNED, "whole", "long"]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=HERE / "out" / "prompts", help="where the packages lie")
    parser.add_argument("--only", default="", help="rows, with commas: " + ", ".join(rows))
    parser.add_argument("--first", type=int, default=0, help="of the test sounds, so many drawn at random for Whisper")
    parser.add_argument("--draw", type=int, default=0, help="of the training rows, so many drawn for tuning Whisper")
    parser.add_argument("--print", action="store_true", help="measure nothing, print the table")
    given = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    train, test = halves(given.folder)
    names = given.only.split(",") if given.only else [*AS_IT_IS, *TRAINED, *TUNED]
    some = test
    if given.first:
        some = [test[i] for i in np.random.default_rng(1).permutation(len(test))[: given.first]]
    drawn = train
    if given.draw:
        drawn = [train[i] for i in np.random.default_rng(1).permutation(len(train))[: given.draw]]
    for name in [] if given.print else names:
        if name in AS_IT_IS:
            as_it_is(name, some)
        elif name in TUNED:
            tuned(name, drawn, some)
        elif name in ("whole", "long"):
            print(whole(train + test) if name == "whole" else long(test), flush=True)
        else:
            trained(name, train, test)
    print(lines(train, test))


if __name__ == "__main__":
    main()
