"""The index beside FAISS itself: time and recall of a search over 100,000 vectors, and a million on disk in bounded memory.

    python bench/index.py [--rows 100000] [--width 64 256] [--million 64 256] [--kills 50] [--out FILE] [--page]

Vectors are made as embeddings of real things lie: a few thousand clusters of very unequal size whose centres cluster again,
and within a cluster a spread that few directions carry (the i-th has the share 1/i). On uniform noise, where all
neighbours are equally far, the recall of a graph says nothing. Queries are further draws, none of them in the index.
Ours and FAISS are asked in turn, in pairs, with the same graph parameters, in one process and on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import common
import numpy as np

K, EFFORT, CHUNK = 10, 64, 50_000
GROUPS, CLUSTERS = 40, 2_000


class Made:
    """Vectors in clusters; the i-th block is the same in every process.

    Args:
        width: D.
    """

    def __init__(self, width: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.width, self.seed = width, seed
        self.shape = 1 / np.sqrt(np.arange(1, width + 1))  # standard deviation of each direction: a variance of 1/i
        group = rng.normal(size=(GROUPS, width)) * self.shape
        self.centre = group[rng.integers(GROUPS, size=CLUSTERS)] + 0.7 * rng.normal(size=(CLUSTERS, width)) * self.shape
        self.turn = np.linalg.qr(rng.normal(size=(CLUSTERS // 100, width, width)))[0]  # each cluster spreads its own way
        self.share = 1 / np.arange(1, CLUSTERS + 1)
        self.share /= self.share.sum()

    def block(self, number: int, rows: int) -> np.ndarray:
        """(rows, D) float32 of length one."""
        rng = np.random.default_rng([self.seed, number])
        which = rng.choice(CLUSTERS, rows, p=self.share)
        near = 0.5 * rng.normal(size=(rows, self.width)) * self.shape
        for turn in range(len(self.turn)):
            mine = which % len(self.turn) == turn
            near[mine] = near[mine] @ self.turn[turn]
        x = self.centre[which] + near
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    def blocks(self, rows: int) -> Iterator[tuple[int, np.ndarray]]:
        for number, start in enumerate(range(0, rows, CHUNK)):
            yield start, self.block(number, min(CHUNK, rows - start))

    def queries(self, count: int) -> np.ndarray:
        return self.block(1 << 20, count)


def build(place: Path, made: Made, rows: int) -> Any:
    """An index of ours, with its graph; half a hundred thousand rows at a time, as a user would add them."""
    from polysense.data.index import Index

    index = Index.create(place, made.width)
    for start, part in made.blocks(rows):
        index.add([f"item {start + i}" for i in range(len(part))], part, [{"at": start + i} for i in range(len(part))])
    return index


# --- beside FAISS ----------------------------------------------------------------------------------


def pairs(ours: Callable[[Any], Any], theirs: Callable[[Any], Any], asked: list[Any], runs: int) -> dict[str, Any]:
    """Milliseconds of both, asked in turn; the ratio of medians with a 95 % interval over runs."""
    for query in asked[:3]:
        ours(query), theirs(query)
    mine, other = np.zeros((runs, len(asked))), np.zeros((runs, len(asked)))
    for run in range(runs):
        for i, query in enumerate(asked):
            for call, times in ((ours, mine), (theirs, other)) if (run + i) % 2 else ((theirs, other), (ours, mine)):
                started = time.perf_counter()
                call(query)
                times[run, i] = 1000 * (time.perf_counter() - started)
    ratio_R = np.median(mine, 1) / np.median(other, 1)
    from scipy.stats import t

    half = t.ppf(0.975, runs - 1) * ratio_R.std(ddof=1) / np.sqrt(runs)
    return {
        "ours": [float(np.percentile(mine, p)) for p in (50, 95)], "faiss": [float(np.percentile(other, p)) for p in (50, 95)],
        "ratio": [float(ratio_R.mean()), float(ratio_R.mean() - half), float(ratio_R.mean() + half)], "runs": runs,
        "calls": len(asked),
    }


def recall(found: np.ndarray, right: np.ndarray) -> list[float]:
    """Share of the K nearest that were found, with a 95 % bootstrap interval over queries."""
    share_Q = np.array([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), right.tolist(), strict=True)])
    draws = np.random.default_rng(0).choice(share_Q, (1000, len(share_Q))).mean(1)
    return [float(share_Q.mean()), *np.percentile(draws, [2.5, 97.5]).tolist()]


def beside(width: int, rows: int, runs: int) -> list[dict[str, Any]]:
    """Exact and by the graph, one query and a hundred, ours beside FAISS."""
    import faiss

    from polysense.data import index as module

    faiss.omp_set_num_threads(1)
    made = Made(width)
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        index = build(Path(folder) / "i", made, rows)
        common.say(f"width {width}: ours built in {time.perf_counter() - started:.0f} s")
        vectors, queries = np.concatenate([part for _, part in made.blocks(rows)]), made.queries(1000)
        flat, graph = faiss.IndexFlatIP(width), faiss.IndexHNSWFlat(width, module.LINKS, faiss.METRIC_INNER_PRODUCT)
        flat.add(vectors)
        graph.hnsw.efConstruction = module.BUILD
        started = time.perf_counter()
        graph.add(vectors)
        common.say(f"width {width}: FAISS built in {time.perf_counter() - started:.0f} s")
        how = faiss.SearchParametersHNSW(efSearch=EFFORT)
        right = flat.search(queries, K)[1]
        found = []
        for kind, exact, asked in (("exact", True, (60, 10)), ("graph", None, (400, 20))):
            def theirs(x: np.ndarray, k: int, exact: bool | None = exact) -> Any:
                x = x.copy()  # FAISS has no cosine: who calls it brings the queries to length one, as ours does
                faiss.normalize_L2(x)
                return flat.search(x, k) if exact else graph.search(x, k, params=how)

            once = [queries[i : i + 1] for i in range(asked[0])]
            hundred = [queries[(100 * i) % 1000 :][:100] for i in range(asked[1])]
            rows_ours = np.stack(index.search(queries, K, exact=exact, effort=EFFORT).rows)
            found.append({
                "width": width, "rows": rows, "kind": kind,
                "recall": {"ours": recall(rows_ours, right), "faiss": recall(theirs(queries, K)[1], right)},
                **{
                    name: pairs(
                        lambda x, exact=exact: index.search(x, K, exact=exact, effort=EFFORT),
                        lambda x, theirs=theirs: theirs(x, K), part, runs,
                    )
                    for name, part in (("one", once), ("hundred", hundred))
                },
            })
            common.say(json.dumps(found[-1]))
    return found


# --- a million on disk -----------------------------------------------------------------------------


def million(width: int, rows: int = 1_000_000) -> dict[str, Any]:
    """Build in one process, search in another; the largest memory of each."""
    with TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        place = Path(folder) / "i"
        me = [sys.executable, Path(__file__), "--width", width, "--rows", rows]
        made = common.spend([*me, "--build-at", place])
        size = sum(file.stat().st_size for file in place.iterdir())
        common.say(f"a million of width {width}: {made}")
        answers = Path(folder) / "answers.json"
        asked = common.spend([*me, "--search-at", place, "--out", answers])
        found = json.loads(answers.read_text())
    return {
        "width": width, "rows": rows, "build s": made.wall, "build CPU s": made.cpu, "build MB": made.peak,
        "disk MB": size / 1e6, "search MB": asked.peak, **found,
    }


def search_at(place: Path, width: int, rows: int, out: Path) -> None:
    """In a process of its own: open the index, search by the graph and exactly."""
    from polysense.data.index import Index

    started = time.perf_counter()
    index, queries = Index(place), Made(width).queries(1000)
    index.search(queries[:1], K)
    opened = time.perf_counter() - started
    times = []
    for i in range(1000):
        started = time.perf_counter()
        index.search(queries[i : i + 1], K, effort=EFFORT)
        times.append(1000 * (time.perf_counter() - started))
    by_graph = np.stack(index.search(queries[:200], K, effort=EFFORT).rows)
    more = np.stack(index.search(queries[:200], K, effort=4 * EFFORT).rows)
    started = time.perf_counter()
    right = np.stack(index.search(queries[:200], K, exact=True).rows)
    facts = {
        "open s": opened, "ms": np.percentile(times, [50, 95]).tolist(), "recall": recall(by_graph, right),
        "recall at four times the effort": recall(more, right), "exact, 200 queries, s": time.perf_counter() - started,
    }
    assert len(index) == rows
    out.write_text(json.dumps(facts))


# --- killed while adding -----------------------------------------------------------------------------

CHILD = """
import sys, numpy as np
from polysense.data.index import Index
index = Index(sys.argv[1], exact=200)
rng = np.random.default_rng(int(sys.argv[2]))
for i in range(10**6):
    index.add([f"{sys.argv[2]} {i} {j}" for j in range(20)], rng.normal(size=(20, 16)))
    print(i, flush=True)
"""


def kills(times: int) -> dict[str, int]:
    """SIGKILL at random moments of adding; the index must open, hold whole batches only, and find what it holds."""
    import random
    import signal
    import subprocess

    from polysense.data.index import Index

    random.seed(0)
    bad = 0
    with TemporaryDirectory() as folder:
        place = Path(folder) / "i"
        Index.create(place, 16)
        for run in range(times):
            child = subprocess.Popen([sys.executable, "-c", CHILD, place, str(run)], stdout=subprocess.PIPE, text=True)
            child.stdout.readline()
            time.sleep(random.random() * 0.4)
            child.send_signal(signal.SIGKILL)
            last = max([0, *map(int, child.stdout.read().split())])
            child.wait()
            index = Index(place, exact=200)
            mine = sum(name.startswith(f"{run} ") for name in index.ids)
            rng = np.random.default_rng(run)
            first = rng.normal(size=(20, 16))
            right = index.search(first, 1, effort=200).ids == [[f"{run} 0 {j}"] for j in range(20)]
            bad += mine % 20 != 0 or mine // 20 not in (last + 1, last + 2) or not right
        return {"kills": times, "not as they should be": bad, "rows at the end": len(index)}


# --- the page ------------------------------------------------------------------------------------------


def table(found: dict[str, Any], zh: bool = False) -> list[str]:
    """The figures as lines of Markdown."""
    words = {
        "exact": ("exact", "精确"), "graph": ("graph (HNSW)", "图（HNSW）"), "one": ("one query", "单条查询"),
        "hundred": ("100 queries", "100 条查询"),
    }
    say = {key: both[zh] for key, both in words.items()}
    head = (
        "| vectors | search | asked | ours, ms: p50 / p95 | FAISS, ms: p50 / p95 | ratio of p50 [95 %] "
        "| recall@10 ours / FAISS |",
        "| 向量 | 检索方式 | 查询 | 本库毫秒：p50 / p95 | FAISS 毫秒：p50 / p95 | p50 之比 [95 %] "
        "| recall@10 本库 / FAISS |",
    )[zh]
    lines = [head, "|---|---|---|---|---|---|---|"]
    for one in found["beside"]:
        for name in ("one", "hundred"):
            at = one[name]
            lines.append(
                f"| {one['rows']:,} x {one['width']} | {say[one['kind']]} | {say[name]} "
                f"| {at['ours'][0]:.3g} / {at['ours'][1]:.3g} | {at['faiss'][0]:.3g} / {at['faiss'][1]:.3g} "
                f"| {at['ratio'][0]:.2f} [{at['ratio'][1]:.2f}, {at['ratio'][2]:.2f}] "
                f"| {one['recall']['ours'][0]:.3f} / {one['recall']['faiss'][0]:.3f} |"
            )
    if found["million"]:
        lines += ["", (
            "| vectors | build | its memory | on disk | open | search: memory | one query, ms: p50 / p95 | recall@10, "
            "effort 64 | effort 256 |",
            "| 向量 | 建索引 | 建索引内存 | 磁盘 | 打开 | 检索内存 | 单条查询毫秒：p50 / p95 "
            "| recall@10，effort 64 | effort 256 |",
        )[zh], "|---|---|---|---|---|---|---|---|---|"]
    for one in found["million"]:
        lines.append(
            f"| {one['rows']:,} x {one['width']} | {one['build s']:.0f} s "
            f"| {one['build MB'] / 1000:.2f} GB "
            f"| {one['disk MB'] / 1000:.2f} GB | {one['open s']:.1f} s | {one['search MB'] / 1000:.2f} GB "
            f"| {one['ms'][0]:.2g} / {one['ms'][1]:.2g} | "
            "{:.3f} [{:.3f}, {:.3f}] ".format(*one["recall"]) +
            f"| {one['recall at four times the effort'][0]:.3f} |"
        )
    kills, machine = found["kills"], found["machine"]
    if kills:
        lines += ["", (
            f"Killed while adding: {kills['kills']} times; {kills['not as they should be']} of them left anything but whole "
            "batches.",
            f"写入时被杀死：{kills['kills']} 次，其中 {kills['not as they should be']} 次留下了不完整的批次。",
        )[zh]]
    runs = found["beside"][0]["one"]["runs"] if found["beside"] else 0
    lines += ["", (
        f"{machine['cpu']}, one thread, load {machine['load of the last minute']}; {runs} runs of interleaved pairs, "
        "intervals over runs.",
        f"{machine['cpu']}，单线程，负载 {machine['load of the last minute']}；"
        f"成对交替测量 {runs} 轮，区间取自各轮。",
    )[zh]]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python bench/index.py", description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, nargs="*", default=[64, 256])
    parser.add_argument("--million", type=int, nargs="*", default=[64, 256], help="widths of a million vectors on disk")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--out", type=Path, default=common.OUT / "index.json")
    parser.add_argument("--page", action="store_true", help="write the tables into docs/index.md and docs/zh/index.md")
    parser.add_argument("--build-at", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--search-at", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.build_at:
        build(given.build_at, Made(given.width[0]), given.rows)
        return
    if given.search_at:
        search_at(given.search_at, given.width[0], given.rows, given.out)
        return
    found: dict[str, Any] = {"machine": common.machine(), "beside": [], "kills": {}, "million": []}
    given.out.parent.mkdir(exist_ok=True)
    for width in given.width:
        found["beside"] += beside(width, given.rows, given.runs)
        given.out.write_text(json.dumps(found, indent=1))
    found["kills"] = kills(given.kills) if given.kills else {}
    for width in given.million:
        found["million"].append(million(width))
        given.out.write_text(json.dumps(found, indent=1))
    print("\n".join(table(found)))
    if given.page:
        for page, zh in ((Path("docs/index.md"), False), (Path("docs/zh/index.md"), True)):
            common.between(page, "index.py", table(found, zh))


if __name__ == "__main__":
    main()
