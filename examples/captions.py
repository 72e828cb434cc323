"""Captions: what is to be seen in a picture, said in words.

    python examples/captions.py                        names of emoji from their pictures
    python examples/captions.py --set stamps           texts of the stamps of a drawing program
    python examples/captions.py --decoder transformer  another decoder

Each set is divided by groups of variants, so no picture of the test has a twin in training. What is written: the model, a
report, and a page that shows where the decoder looked before each word (looked.html).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scores import judged

from polysense import Model, demo
from polysense.data.records import read_table


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--set", choices=("emoji", "stamps"), default="emoji", dest="kind")
    parser.add_argument("--decoder", choices=("show-tell", "attend", "transformer"), default="attend")
    parser.add_argument("--target", default="english", help="column of the text: english or chinese")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("polysense-captions"), help="folder for tables and model")
    given = parser.parse_args(arguments)
    folder = given.out / given.kind
    if not (folder / "test.csv").is_file():
        print(demo.prepare(folder, kind=given.kind, progress=print).note)
    names = read_table(folder / "train.csv").names
    columns = {name: "ignore" for name in names if name not in ("picture", given.target, "group")}
    options = {"task.decoder": given.decoder, "train.epochs": given.epochs, "train.batch": 16}
    model = Model(given.target, task="caption", columns=columns, group="group", options=options, verbose=True)
    model.fit(folder / "train.csv", valid=folder / "valid.csv")
    judged(model, folder / "test.csv", given.out)
    test = read_table(folder / "test.csv")
    some = test.take(range(0, len(test), max(1, len(test) // 8)))
    beams, meants = model.tell(some, decoding="beam"), some.column(given.target)
    for said, beam, meant in zip(model.predict(some), beams, meants, strict=True):
        print(f"  meant {meant!r}, said {said!r}, by a beam search {beam!r}")
    if given.decoder != "show-tell":
        (given.out / "looked.html").write_text(model.attention_page(test), encoding="utf-8")


if __name__ == "__main__":
    main()
