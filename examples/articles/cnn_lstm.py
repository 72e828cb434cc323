"""Convolutions of 32 and 64 channels, their positions read by an LSTM, then a dense layer: pictures -> class.

    python examples/articles/cnn_lstm.py [--data FOLDER] [--epochs N]

To watch for in such code: the map (B, C, H, W) must become (B, H W, C) before the LSTM; a bare reshape mixes channels
with places, runs without complaint, and learns less.
"""

from __future__ import annotations

from recipe import begin, default, run


def main(arguments: list[str] | None = None) -> None:
    given = begin(__doc__, arguments)
    for cell in ("lstm", "gru", "tanh"):
        run(f"conv(32, 64) -> {cell} -> dense", given, {"picture": "image.crnn"},
            **{"picture.widths": [32, 64], "picture.cell": cell, "picture.both": False})
    default(given, "picture")


if __name__ == "__main__":
    main()
