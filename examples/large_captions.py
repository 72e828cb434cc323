"""A language model writes about a record: picture and numbers of a stamp -> its English text.

    python examples/large_captions.py                          with gemma3-270m (pip install 'polysense[gemma,lora]')
    python examples/large_captions.py --model FOLDER_OR_HUB_ID  with another causal language model
    python examples/large_captions.py --data FOLDER             FOLDER as polysense demo made it

A bridge learns to turn what was seen into soft words before the language model, which stays as it is; then low-rank
factors in it learn too, and are kept only where validation gains. Few records and few passes, so that it ends today: on one
core of an ordinary machine count with ten minutes for gemma3-270m.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sources import stamps

from polysense import Model
from polysense.data.records import read_table
from polysense.judge.evaluate import as_text

#: Of the other columns the text is not to be written from.
LEFT_OUT = ("chinese", "speech", "sound", "label")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("polysense-demo"), help="folder of the demo's tables")
    parser.add_argument("--model", default="gemma3-270m", help="name, folder or hub id of a causal language model")
    parser.add_argument("--records", type=int, default=240, help="training records; a fifth validate")
    parser.add_argument("--epochs", type=int, default=5, help="passes for the bridge")
    parser.add_argument("--rank", type=int, default=8, help="of low-rank factors; 0 trains the bridge alone")
    parser.add_argument("--download", action="store_true", help="a hub id may be downloaded")
    parser.add_argument("--out", type=Path, default=Path("polysense-large-captions"), help="folder for the model")
    given = parser.parse_args(arguments)
    data = stamps(given.data)
    train, test = (read_table(data / f"{part}.csv") for part in ("train", "test"))
    model = Model(
        "english", task="caption", group="group", columns=dict.fromkeys(LEFT_OUT, "ignore"), download=given.download,
        verbose=True, options={
            "task.decoder": "language", "task.model": given.model, "task.prompt": "A picture of", "task.lora": given.rank,
            "task.longest": 16, "fusion.positions": False, "train.epochs": given.epochs, "tune.epochs": 3, "tune.batch": 16,
        },
    )
    model.fit(train.take(range(min(given.records, len(train)))))
    model.save(given.out)
    some = test.take(range(min(60, len(test))))
    print(as_text(model.evaluate(some)))
    print("\nwritten" + " " * 33 + "was meant")
    for said, meant in zip(model.predict(some)[:12], some.column("english")[:12], strict=True):
        print(f"{said[:38]:40}{meant}")
    print(f"\nthe model: {given.out}, {sum(path.stat().st_size for path in given.out.rglob('*.safetensors')) / 1e6:.1f} MB; "
          "it names the language model and does not hold it")


if __name__ == "__main__":
    main()
