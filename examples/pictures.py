"""Image recognition: handwritten digits in class folders, learned from scratch, each network beside the plain baseline.

    python examples/pictures.py                  600 digits to learn from, half as many to judge; image.cnn
    python examples/pictures.py --encoders       every network from scratch, with CPU seconds
    python examples/pictures.py --stamps FOLDER  drawings and photographs by a pretrained tower and from scratch:
                                                 what transfer learning is worth (FOLDER as polysense demo makes it;
                                                 made where it is not there, 161 MB by apt-get download)

The digits come with scikit-learn (Alpaydin and Kaynak 1998, 8 x 8 pixels, CC BY 4.0): nothing is downloaded for them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scores import compared, judged
from sources import stamps

from polysense import Model

#: Encoder -> options that fit pictures of 8 x 8 pixels; a mirrored digit is no digit.
DIGITS = {
    "image.plain": {},
    "image.cnn": {"widths": [32, 64], "pixels": 16, "flip": False},
    "image.vgg": {"depth": 11, "width": 16, "pixels": 32, "flip": False},
    "image.resnet18": {"width": 16, "pixels": 16, "stem": 3, "flip": False},
    "image.crnn": {"widths": [32, 64], "pixels": 16, "flip": False},
    "image.vit": {"pixels": 16, "flip": False},
}
STAMPS = {"image.pretrained": {}, "image.plain": {}, "image.cnn": {}, "image.resnet18": {"width": 16}}
#: The stamps' columns that are no picture.
OTHERS = ("english", "chinese", "speech", "sound", "width", "height", "aspect", "alpha")


def folders(place: Path, learn: int) -> tuple[Path, Path]:
    """Two class folders: a folder of PNG files for each digit, whose name is the label."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for part, rows in (("train", range(learn)), ("test", range(learn, learn + learn // 2))):
        for i in rows:
            file = place / part / str(digits.target[i]) / f"{i:04}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((digits.images[i] * 255 / 16).astype("uint8")).save(file)
    return place / "train", place / "test"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--encoders", action="store_true", help="compare the encoders")
    parser.add_argument("--learn", type=int, default=600, metavar="N", help="digits to learn from, at most 1198")
    parser.add_argument("--stamps", type=Path, metavar="FOLDER", help="the demo's drawings and photographs instead")
    parser.add_argument("--out", type=Path, default=Path("polysense-pictures"), help="folder for pictures and model")
    given = parser.parse_args(arguments)
    if given.stamps:
        train, test = stamps(given.stamps) / "train.csv", given.stamps / "test.csv"
        return compared(STAMPS, ["picture"], train, test, "label", columns=dict.fromkeys(OTHERS, "ignore"), group="group")
    train, test = folders(given.out, given.learn)
    if given.encoders:
        return compared(DIGITS, ["image"], train, test, "label")
    options = {f"image.{key}": value for key, value in DIGITS["image.cnn"].items()}
    judged(Model("label", encoders={"image": "image.cnn"}, options=options, verbose=True).fit(train), test, given.out)


if __name__ == "__main__":
    main()
