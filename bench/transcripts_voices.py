"""English speech of five synthetic voices written down: Whisper tiny.en as it is, and models of your own beside it.

    apt-get install flite festival festvox-kallpc16k
    python bench/transcripts_voices.py [--texts 60] [--tune VOICE] [--model FOLDER ...]        some 5 CPU minutes

The texts are requests of the customer-service example, a draw, the same for every voice. --tune fits low-rank
factors (the defaults) to other requests in one voice and judges them on the same sounds of that voice and one more; so is a
folder of `fit --task transcribe`. Differences are paired, and then Whisper as it is has one beam of transformers too. Flite's
and festival's voices are made from recordings of real speakers, without noise and with odd
stress; real callers are harder or easier. Intervals: bootstrap over texts.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import csv
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from common import machine, say

HERE = Path(__file__).resolve().parent
REQUESTS = HERE.parent / "examples" / "customer_service.csv"
#: Voice -> what is run with a file to write and a file that holds the text.
VOICES: dict[str, Callable[[Path, Path], list[str]]] = {
    **{
        f"flite {name}": lambda sound, text, name=name: ["flite", "-voice", name, "-f", str(text), "-o", str(sound)]
        for name in ("slt", "rms", "awb", "kal16")
    },
    "festival kal_diphone": lambda sound, text: ["text2wave", str(text), "-o", str(sound)],
}


def spoken(texts: list[str], folder: Path, voices: Sequence[str]) -> dict[str, list[Path]]:
    """{voice: a sound of each text}.

    Raises:
        SystemExit: a synthesiser is not there.
    """
    missing = [name for name in ("flite", "text2wave") if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"{' and '.join(missing)} cannot be found; run: apt-get install flite festival festvox-kallpc16k")
    found: dict[str, list[Path]] = {}
    for voice in voices:
        place = folder / voice.replace(" ", "-")
        place.mkdir(parents=True)
        for i, text in enumerate(texts):
            written = folder / "text.txt"
            written.write_text(text + "\n", encoding="utf-8")
            subprocess.run(VOICES[voice](place / f"{i:03d}.wav", written), check=True, capture_output=True)
        found[voice] = sorted(place.glob("*.wav"))
    return found


def tuned(voice: str, texts: list[str], folder: Path) -> Path:
    """A Whisper whose decoder has learned from requests in one voice; a fifth of them validate."""
    from polysense import Model

    sounds = spoken(texts, folder / "learned", [voice])[voice]
    records = [{"sound": str(sound), "text": text} for sound, text in zip(sounds, texts, strict=True)]
    model = Model("text", task="transcribe", options={"task.model": "whisper-tiny-en"}, verbose=True)
    model.fit(records).save(folder / f"tuned on {voice}")
    return folder / f"tuned on {voice}"


def main() -> None:
    """Speak, listen, print the table."""
    from polysense.metrics import Resamples
    from polysense.metrics.texts import TRANSCRIPT, Texts
    from polysense.transcripts import transcribe

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--model", type=Path, action="append", default=[], help="folder of fit --task transcribe")
    parser.add_argument("--tune", choices=list(VOICES), help="a voice to tune Whisper to")
    parser.add_argument("--learn", type=int, default=120, help="requests to tune by")
    given = parser.parse_args()
    with REQUESTS.open(encoding="utf-8", newline="") as file:
        every = sorted({row["text"] for row in csv.DictReader(file)})
    random = np.random.default_rng(0)
    order = random.permutation(len(every))
    texts = [every[i] for i in sorted(order[: given.texts])]
    ruler, draws = Texts(TRANSCRIPT, "english"), Resamples(len(texts), samples=1000)
    meant = ruler.targets([(text,) for text in texts])
    writers = {"whisper-tiny-en": "Whisper tiny.en as it is", **{str(folder): folder.name for folder in given.model}}
    lines = ["| voice | written down by | WER | CER | WER minus as it is | CPU s a sound |", "| --- " * 6 + "|"]
    voices = [given.tune, next(voice for voice in VOICES if voice != given.tune)] if given.tune else list(VOICES)
    how = {"engine": "torch", "beams": 1} if given.tune or given.model else {}
    with tempfile.TemporaryDirectory() as place:
        if given.tune:
            more = [every[i] for i in order[given.texts : given.texts + given.learn]]
            writers |= {str(model): model.name for model in [tuned(given.tune, more, Path(place))]}
        for voice, sounds in spoken(texts, Path(place), voices).items():
            first = None
            for model, name in writers.items():
                begun = time.process_time()
                asked = transcribe(sounds, model=model, **(how if first is None else {}))
                said = np.array([found.text for found in asked], object)
                cost = (time.process_time() - begun) / len(sounds)
                mine = ruler.judge(said, meant, draws)
                first = first or mine
                score, told = mine.scores(), ""
                if mine is not first:
                    told = "{value:+.3f} [{low:+.3f}, {high:+.3f}]".format(**(mine - first).scores()["wer"])
                lines.append(f"| {voice} | {name} | " + " | ".join(
                    "{value:.3f} [{low:.3f}, {high:.3f}]".format(**score[measure]) for measure in ("wer", "cer")
                ) + f" | {told} | {cost:.1f} |")
                say(lines[-1] + " e.g. " + "; ".join(said[:2]))
    on = machine()
    print("\n".join([*lines, "", f"{given.texts} texts, compared by Whisper's English rules; {on['cpu']}, one thread, load "
                     f"{on['load of the last minute']}."]))


if __name__ == "__main__":
    main()
