"""VGG-16 for the picture and an LSTM for the text, fused early, in the middle, and late.

    python examples/articles/vgg_lstm.py [--data FOLDER] [--epochs N]

Early: alpha x + beta y, alpha + beta = 1, fixed or learned. Middle: [x; y]. Late: gamma p(x) + delta p(y), gamma +
delta = 1, fixed or fitted on answers out of fold. VGG-16 has its 13 convolutions, each with an eighth of its channels
(picture.width=64 gives all): 15 million weights are many for some hundred pictures.

To watch for in such code: a softmax before a cross entropy that takes a softmax itself trains, slowly and to worse
answers; late weights chosen on training answers go to the view that overfits most.
"""

from __future__ import annotations

from recipe import begin, default, run

ENCODERS = {"picture": "image.vgg", "english": "text.rnn"}
OPTIONS = {"picture.depth": 16, "picture.width": 8, "picture.pixels": 32, "english.cell": "lstm", "english.both": False}
FUSIONS = (
    ("early, .5 x + .5 y", "sum", {"fusion.weights": "picture=0.5,english=0.5"}),
    ("early, alpha x + beta y learned", "sum", {}),
    ("middle, [x; y]", "concat", {}),
    ("late, .4 p(x) + .6 p(y)", "mean", {"fusion.weights": "picture=0.4,english=0.6"}),
    ("late, gamma p(x) + delta p(y) fitted", "convex", {}),
)


def main(arguments: list[str] | None = None) -> None:
    given = begin(__doc__, arguments)
    for words, fusion, own in FUSIONS:
        run(f"VGG-16 + LSTM: {words}", given, ENCODERS, fusion, **OPTIONS, **own)
    default(given, "picture", "english")


if __name__ == "__main__":
    main()
