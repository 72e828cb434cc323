"""LightGBM on concatenated features, absent parts NaN; the number of trees is chosen on the validation records."""

from __future__ import annotations

from contract import Costs, asked, finish

import numpy as np  # isort: skip

#: Many columns and few records: each tree sees a part of both. All else is the library's default.
OPTIONS = {"n_estimators": 1000, "colsample_bytree": 0.2, "subsample": 0.8, "subsample_freq": 1}


def main() -> None:
    given, costs = asked(__doc__), Costs()

    def load(name: str) -> tuple[np.ndarray, np.ndarray | None]:
        with np.load(given.features / f"{name}.npz") as file:
            blocks = [file[view] for view in file if view != "target"]
            return np.hstack(blocks), file["target"] if "target" in file else None

    def fit() -> object:
        import lightgbm

        (x, target), (x_valid, judged) = load("train"), load("valid")
        known = np.isin(judged, target)
        model = lightgbm.LGBMClassifier(**OPTIONS, random_state=given.seed, n_jobs=1, verbose=-1)
        stop = lightgbm.early_stopping(30, verbose=False)
        model.fit(x, target, eval_set=[(x_valid[known], judged[known])], eval_metric="multi_logloss", callbacks=[stop])
        return model

    model = costs.run("fit", fit)
    import lightgbm

    finish(
        given, costs, model.classes_, model.predict_proba, read=lambda name: load(name)[0],
        version=lightgbm.__version__, trees=int(model.best_iteration_ or 0), options=OPTIONS,
    )


if __name__ == "__main__":
    main()
