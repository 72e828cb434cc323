"""Mean of word embeddings, ResNet-18 and an LSTM over MFCC: text, picture and sound, concatenated, weighted, by attention.

    python examples/articles/three_views.py [--data FOLDER] [--epochs N]

To watch for in such code: what is fused must be the features before the class layer, each brought to one width, not
three vectors of 1,000 ImageNet scores; a weighted sum needs weights that add to one (here alpha + beta + gamma = 1,
learned); and a record without sound needs a mask, not a row of zeros that looks like silence.
"""

from __future__ import annotations

from recipe import begin, default, run

ENCODERS = {"english": "text.bag", "picture": "image.resnet18", "speech": "audio.rnn"}
OPTIONS = {
    "english.weighted": False, "english.split": "word", "picture.width": 16, "picture.pixels": 32,
    "speech.cell": "lstm", "speech.both": False, "speech.input": "mfcc", "speech.deltas": 1, "speech.width": 64,
}


def main(arguments: list[str] | None = None) -> None:
    given = begin(__doc__, arguments)
    for fusion, words in (("concat", "concatenated"), ("sum", "weighted sum"), ("attention", "attention weights")):
        run(f"mean embedding, ResNet-18, LSTM: {words}", given, ENCODERS, fusion, **OPTIONS)
    default(given, "english", "picture", "speech")


if __name__ == "__main__":
    main()
