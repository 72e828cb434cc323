"""Forty deliberate damages across the source, one after the other: do the tests notice?

    python bench/damage.py [WORD ...]                                  only those whose name holds one of the words
    python bench/damage.py --since COMMIT [--random 10] [--seed 1]     lines drawn out of those that are new since a commit

Each damage changes one place of a copy of the source and runs the tests of the files it belongs to. A damage
that no test notices is printed as MISSED. Exit code 1 where more than a tenth is missed, or where the
source no longer holds the text that was to be damaged. Lines that are drawn, and how each is damaged, are chosen by
the seed alone (bench/damage_draw.py); their tests are those that name the file or what it defines most often, and
with --all, where these notice nothing, all others.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from damage_draw import draw

HOME = Path(__file__).parents[1]
ALLOWED = 0.1  # share of the damages that may go unnoticed


class Damage(NamedTuple):
    """One change of one place.

    Attributes:
        name: what is broken, in words.
        file: below src/polysense.
        old, new: text and what it becomes; the first place counts.
        tests: names of the test files, without ``test_`` and ``.py``.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str


DAMAGES = (
    # layers, tokens, fusion
    Damage("weight on an absent view", "layers.py", "return torch.where(mask, weights, torch.zeros_like(weights))", "return weights", "layers fusion_laws"),
    Damage("masked slot read in pooling", "tokens.py", "return torch.where(self.mask[..., None], self.x, torch.zeros_like(self.x))", "return self.x * self.mask[..., None]", "tokens fusion_laws"),
    Damage("one view detached", "layers.py", "torch.stack([parts[view].pooled() for view in views], 1)", "torch.stack([parts[view].pooled().detach() if i == 0 else parts[view].pooled() for i, view in enumerate(views)], 1)", "fusion_laws"),
    Damage("late mean counts absent views", "fusion/late.py", "share_BV = mask_BV * self.weight_V.to(answers_BVC.dtype)", "share_BV = torch.ones_like(mask_BV) * self.weight_V.to(answers_BVC.dtype)", "fusion"),
    Damage("condition forgets the deviation", "layers.py", "z = (x - self.mean) * self.inverse", "z = x - self.mean", "layers"),
    # task, metrics
    Damage("class unseen in training counts as the first", "task/classify.py", "self._names.get(_name(v), -1)", "self._names.get(_name(v), 0)", "classify model"),
    Damage("balanced weights upside down", "task/classify.py", "self.counts.sum() / (len(self.counts) * self.counts.clip(1))", "self.counts.clip(1) * len(self.counts) / self.counts.sum()", "classify"),
    # network
    Damage("no prior where everything is absent", "network.py", "return torch.where(anything_B.reshape(-1, *[1] * (mean.dim() - 1)), mean, prior)", "return mean", "network"),
    Damage("view dropout hides the last view too", "network.py", "return torch.where(kept.any(-1, keepdim=True), kept, stays)", "return kept", "network"),
    Damage("masked pass sees everything", "network.py", "torch.cat([part.mask, part.mask & keep_BV[:, i, None]])", "torch.cat([part.mask, part.mask])", "network"),
    Damage("views' own heads learn from absent views", "network.py", "torch.where(parts[view].present, alone, torch.zeros_like(alone))", "alone", "network"),
    Damage("only the first member answers", "network.py", "mean = answers.mean(0)", "mean = answers[0]", "network"),
    Damage("tokens of a view land in other records", "network.py", "x.index_put((present_B,), tokens.x)", "x.index_put((present_B,), tokens.x.flip(0))", "network features model"),
    # learning
    Damage("a batch that is not finite is trained on", "learn/course.py", "bad_S = ~np.isfinite(loss_S)", "bad_S = np.isnan(loss_S) & False", "loop"),
    Damage("one norm for all members", "learn/course.py", "scale_M = (largest / (norm_M + 1e-6)).clamp_max(1.0)", "scale_M = (largest / (norm_M.norm() + 1e-6)).clamp_max(1.0).expand(len(norm_M))", "loop"),
    Damage("weight decay on biases", "network.py", '(matrices if self.members.ranks[name] > 1 and "empty" not in name else rest)', "matrices", "loop"),
    Damage("unreadable cell stays present", "data/reading.py", "        self._bad(row, 0, reason)\n        self.present[row] = False\n", "        self._bad(row, 0, reason)\n", "reading features model"),
    Damage("rivals of absent views see zeros as values", "learn/rivals.py", "out[present_N] = (np.asarray(block)[present_N] - self.mean) * self.scale", "out[:] = (np.asarray(block) - self.mean) * self.scale", "rivals"),
    Damage("the mixture never chooses the network", "learn/blend.py", "return Share(float(ALL[int(means[kind].argmin())]), kind)", "return Share(0.9, kind)", "blend model golden"),
    # data
    Damage("group ignored when the table is divided", "data/tables.py", "groups=None if groups is None else [groups[i] for i in rows]", "groups=None", "model"),
    Damage("validation records without target kept", "data/tables.py", "train_rows, valid_rows = rows, len(first.records) + tables[1].rows", "train_rows, valid_rows = rows, len(first.records) + np.arange(len(tables[1].records))", "model"),
    Damage("rows of test are trained on", "data/tables.py", "if marks[i] == part]", 'if marks[i] == part or (part == "train" and marks[i] == "test")]', "model"),
    Damage("a row's faults out of order", "data/reading.py", "sorted(self._faults.items(), key=lambda item: item[0])", "self._faults.items()", "reading"),
    Damage("NaN in a sound passes", "data/media.py", "    _check_finite(samples, rate)\n", "", "media"),
    Damage("a cached row is not checked", "data/cache.py", "zlib.crc32(head)", "0", "cache"),
    Damage("day and month exchanged", "data/values.py", "(second, first) if shown", "(first, second) if shown", "values"),
    Damage("one cell stands for a whole column", "data/records.py", "return [self.cell(name, i) for i in rows]", "return [self.cell(name, 0) for i in rows]", "records"),
    # unfinished fits, tuning, rows on disk
    Damage("the order of the records is not taken up again", "learn/course.py", "self._order = torch.tensor(state[\"order\"])", "pass", "resume"),
    Damage("a resumed fit takes any table", "learn/resume.py", "        if was == now:", "        if True:", "resume"),
    Damage("a worse tuned tower is kept", "learn/tune.py", "return self.loss < other.loss and self.subsets <= other.subsets", "return True", "tune"),
    Damage("rows on disk start one too early", "data/rows.py", "int(rows[start]) * size", "max(0, int(rows[start]) - 1) * size", "rows"),
    # report
    Damage("what a view adds has the wrong sign", "judge/detail.py", "(whole - rest).scores()", "(rest - whole).scores()", "evaluate"),
    Damage("the spectrogram upside down", "judge/spectrogram.py", "return np.clip(1 + (decibel_FT - decibel_FT.max()) / DECIBEL, 0, 1)", "return np.clip(1 + (decibel_FT - decibel_FT.max()) / DECIBEL, 0, 1)[::-1]", "gallery report"),
    # folders
    Damage("hash of a file not compared", "store.py", "if found != seal:", "if False:", "store"),
    Damage("nothing synced to disk", "store.py", "os.fsync(file.fileno())", "pass", "store"),
    # estimator and door
    Damage("two rows exchanged in prediction", "model.py", "answers = self._mixed(tokens, found.plain, found.present_NV)", "answers = self._mixed(tokens, found.plain, found.present_NV)\n            answers[:2] = answers[:2][::-1].copy()", "model promises cli"),
    Damage("ids in the wrong order in the answer file", "cli.py", "for value in answers.records.column(named, rows)]", "for value in answers.records.column(named, rows)[::-1]]", "cli"),
    Damage("a mistake of the user ends with 1", "errors.py", "    exit_code = 2", "    exit_code = 1", "cli registry"),
    Damage("an unknown option swallowed", "registry.py", "            if option not in known:", "            if False:", "fusion_laws registry"),
    Damage("a module that can run code when read", "talk.py", "import sys\n", "import sys\nimport pickle\n", "house"),
)


def notice(damage: Damage, copy: Path) -> tuple[str, str]:
    """What came of one damage: (caught, MISSED or GONE; first test that failed)."""
    path = copy / "src" / "polysense" / damage.file
    whole = path.read_text(encoding="utf-8")
    if damage.old not in whole:
        return "GONE", f"{damage.file} no longer holds: {damage.old}"
    path.write_text(whole.replace(damage.old, damage.new, 1), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    try:
        run = subprocess.run(
            [*command, *(f"tests/test_{name}.py" for name in damage.tests.split())], cwd=copy, env=environment,
            capture_output=True, text=True, timeout=900,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background ignores Ctrl-C
        )
    except subprocess.TimeoutExpired:
        return "caught", "the tests do not end"
    finally:
        path.write_text(whole, encoding="utf-8")
    first = next((line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))), "")
    return ("caught", first) if run.returncode in (1, 2) else ("MISSED", f"pytest ended with {run.returncode}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="only damages whose name holds one of these")
    parser.add_argument("--since", metavar="COMMIT", help="draw among the lines that are new since this commit")
    parser.add_argument("--random", type=int, default=10, help="how many to draw")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all", action="store_true", help="try all other tests where those of the file notice nothing")
    given = parser.parse_args()
    chosen = [(damage, "") for damage in DAMAGES if not given.words or any(word in damage.name for word in given.words)]
    if given.since:
        chosen = [
            (Damage(f"{one.file}:{one.line}  {one.was}  ->  {one.now}", one.file, one.old, one.new, one.tests[0]), one.tests[1])
            for one in draw(HOME, given.since, given.random, given.seed)
        ]
        print("\n".join(f"{number:>2} {damage.name}" for number, (damage, _) in enumerate(chosen, 1)), flush=True)
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("src", "tests", "docs", "examples", "bench"):
            if (HOME / name).is_dir():
                shutil.copytree(HOME / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "out"))
        for path in HOME.iterdir():
            if path.is_file():
                shutil.copy(path, copy / path.name)
        for number, (damage, others) in enumerate(chosen, 1):
            started = time.monotonic()
            word, first = notice(damage, copy)
            if word == "MISSED" and others and given.all:
                word, first = notice(damage._replace(tests=others), copy)
            found.append(word)
            print(f"{number:>2} {word}  {damage.name} | {first[:100]} ({time.monotonic() - started:.0f} s)", flush=True)
    caught, gone = found.count("caught"), found.count("GONE")
    print(f"{caught} of {len(found)} damages caught" + (f", {gone} places gone from the source" if gone else ""))
    return int(bool(gone) or len(found) - caught > ALLOWED * len(found))


if __name__ == "__main__":
    sys.exit(main())
