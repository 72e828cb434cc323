"""Convolutions of 32, 64 and 128 channels for the picture, a two-way LSTM for the text, side by side.

    python examples/articles/cnn_bilstm.py [--data FOLDER] [--epochs N]

To watch for in such code: with padded texts the last position of an LSTM is padding for every text but the longest;
the state to take is the one at the last real word, and for the backward direction the one at the first.
"""

from __future__ import annotations

from recipe import begin, default, run

CNN = {"picture.widths": [32, 64, 128]}
BILSTM = {"english.cell": "lstm", "english.both": True, "english.pool": "last"}


def main(arguments: list[str] | None = None) -> None:
    given = begin(__doc__, arguments)
    run("CNN(32, 64, 128) alone", given, {"picture": "image.cnn"}, **CNN)
    run("BiLSTM alone", given, {"english": "text.rnn"}, **BILSTM)
    run("CNN(32, 64, 128) + BiLSTM", given, {"picture": "image.cnn", "english": "text.rnn"}, **CNN, **BILSTM)
    default(given, "picture", "english")


if __name__ == "__main__":
    main()
