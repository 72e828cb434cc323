"""Writes docs/reference from the shelves: every entry with its source, equation, options, cost, and when it wins.

    python docs/make.py            writes the pages
    python docs/make.py --check    says which are stale, and fails

What stands on a page is what the docstring of the entry says; only the Chinese names stand here.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from polysense.registry import Option, Registry, encoders, fusions, modalities, options_of, tasks

PLACE = Path(__file__).parent / "reference"

#: Shelf -> heading in both languages, and what it is.
SHELVES: dict[str, tuple[Registry, str, str]] = {
    "modalities": (modalities, "Modalities · 模态", "How the values of a view become numbers. 一个视图的值怎样变成数。"),
    "encoders": (
        encoders, "Encoders · 编码器",
        "Prepared numbers of one view become tokens: `--encoder VIEW=NAME`, options by `--set VIEW.OPTION=VALUE`. "
        "把一个视图的数变成表示。",
    ),
    "fusions": (
        fusions, "Fusions · 融合",
        "Tokens of all views become those of the record: `--fusion NAME`, options by `--set fusion.OPTION=VALUE`. "
        "把各视图的表示合为一个。",
    ),
    "tasks": (
        tasks, "Tasks · 任务",
        "Targets, head, loss, answer, scores: `--task NAME`, options by `--set task.OPTION=VALUE`. "
        "目标、输出层、损失、答案、评分。",
    ),
}

#: Entry -> its usual Chinese name.
CHINESE = {
    "audio": "声音", "image": "图像", "table": "表格", "text": "文本", "series": "时间序列",
    "audio.cnn": "卷积网络", "audio.rnn": "循环网络", "audio.crnn": "卷积循环网络", "audio.transformer": "Transformer",
    "audio.plain": "MFCC 与对数梅尔统计量", "audio.pretrained": "预训练声音网络",
    "image.cnn": "卷积网络", "image.vgg": "VGG", "image.resnet18": "残差网络 18 层", "image.resnet50": "残差网络 50 层",
    "image.crnn": "卷积循环网络", "image.vit": "视觉 Transformer", "image.mixer": "MLP-Mixer",
    "image.plain": "颜色直方图与缩略图",
    "image.pretrained": "预训练图像网络",
    "series.plain": "统计量", "series.tcn": "时间卷积网络", "series.rnn": "循环网络", "series.transformer": "分块 Transformer",
    "table.mlp": "标准化、独热与多层感知机", "table.tokens": "特征 Transformer",
    "text.bag": "词向量加权平均", "text.cnn": "文本卷积网络", "text.rnn": "循环网络", "text.transformer": "Transformer",
    "text.plain": "TF-IDF 与潜在语义", "text.pretrained": "预训练语言网络",
    "concat": "拼接", "sum": "加权和", "max": "逐位最大",
    "attention": "注意力加权", "gated": "门控", "bilinear": "双线性", "tensor": "张量融合",
    "low-rank": "低秩张量融合", "film": "特征线性调制", "cross": "交叉注意力", "bottleneck": "瓶颈注意力",
    "mult": "两两交叉注意力",
    "tokens": "逐位并列",
    "transformer": "Transformer", "experts": "混合专家", "serial": "串行融合", "mean": "决策平均", "convex": "凸组合决策",
    "product": "专家乘积", "stacked": "堆叠",
    "classify": "单标签分类", "regress": "回归", "multilabel": "多标签分类", "multitask": "多任务学习（多个目标）",
    "caption": "描述（写出文字）", "transcribe": "转写（写下所说）",
}
#: Settings of learning, beside the shelves.
SETTINGS = {
    "train": "Training · 训练", "tune": "Tuning of towers · 微调", "auto": "Trying encoders · 试选编码器",
    "match": "Matching · 匹配", "recommend": "Recommendation · 推荐",
}


class Parts(NamedTuple):
    """A docstring in the parts that a page shows."""

    summary: str
    body: list[str]
    wins: str
    costs: str
    shapes: str


def parts_of(text: str) -> Parts:
    """The parts of an entry's docstring.

    >>> parts_of("One line.\\n\\nA 2020, eq. 1.\\nWins often. Costs D\\nnumbers.\\n\\nArgs:\\n    x: y\\n\\nforward: a -> b")
    Parts(summary='One line.', body=['A 2020, eq. 1.'], wins='Often.', costs='D numbers.', shapes='a -> b')
    """
    head = re.split(r"^(?:Args|Attributes|Raises|Returns|forward)\b.*:|^>>> ", text, maxsplit=1, flags=re.MULTILINE)[0]
    summary, *paragraphs = [" ".join(part.split()) for part in head.strip().split("\n\n")]
    found = {"Wins": "", "Costs": ""}
    body = []
    for paragraph in paragraphs:
        pieces = re.split(r"(?:(?<=[.;)] )|^)(?=(?:Wins|Costs)\b)", paragraph)
        for piece in filter(None, map(str.strip, pieces)):
            first = piece.split()[0].rstrip(":,")
            if first in found:
                said = piece.removeprefix(piece.split()[0]).strip()
                found[first] = f"{found[first]} {said[:1].upper()}{said[1:]}".strip()
            else:
                body.append(piece)
    shapes = re.search(r"^forward: (.*(?:\n[ \t]+.*|\n(?=[a-z{(]).*)*)", text, re.MULTILINE)
    return Parts(summary, body, found["Wins"], found["Costs"], " ".join(shapes.group(1).split()) if shapes else "")


def entry(name: str, cls: type, options: Mapping[str, Option]) -> Iterator[str]:
    """The lines of one entry."""
    parts = parts_of(inspect.getdoc(cls) or "")
    yield f"## {name} · {CHINESE[name]}\n"
    yield f"{parts.summary}\n"
    yield from (f"{_plain(paragraph)}\n" for paragraph in parts.body)
    for heading, said in (("When it wins · 适用", parts.wins), ("Cost · 开销", parts.costs)):
        if said:
            yield f"**{heading}.** {_plain(said)}\n"
    if parts.shapes:
        yield f"**Shapes · 形状.** `{parts.shapes}`\n"
    if options:
        yield from table(options)


def table(options: Mapping[str, Option], prefix: str = "") -> Iterator[str]:
    """Options as a table."""
    yield "| option · 选项 | default · 默认 | |\n| --- | --- | --- |"
    for option in options.values():
        default = "none" if option.default is None else repr(option.default)
        yield f"| `{prefix}{option.name}` | `{default}` | {_cell(option.help)} |"
    yield ""


def pages() -> dict[str, str]:
    """{name of the file: its text}."""
    made = {}
    for shelf, (registry, heading, about) in SHELVES.items():
        names = [name for name in registry if registry[name].__module__.startswith("polysense.")]
        lines = [f"# {heading}\n", f"{about}\n", "| | | |\n| --- | --- | --- |"]
        lines += [f"| [{name}](#{_anchor(name)}) | {CHINESE[name]} | {_cell(registry.about(name).summary)} |" for name in names]
        lines.append("")
        for name in names:
            lines += entry(name, registry[name], registry.about(name).options)
        made[f"{shelf}.md"] = _page(lines)
    made["learning.md"] = _page(_learning())
    made["towers.md"] = _page(_towers())
    made["README.md"] = _page(_contents())
    return made


def _contents() -> Iterator[str]:
    yield "# Reference · 参考\n"
    yield "Written by `make docs` from the code; not edited by hand. 由 `make docs` 从代码生成。\n"
    for shelf, (registry, heading, _) in SHELVES.items():
        yield f"* [{heading}]({shelf}.md): {', '.join(f'`{name}`' for name in registry)}"
    yield "* [Learning · 学习](learning.md): every `train.`, `tune.`, `auto.`, `match.` and `recommend.` option"
    yield "* [Towers · 预训练网络](towers.md)"


def _learning() -> Iterator[str]:
    from polysense.learn.plan import SETTINGS as HOLDERS
    from polysense.learn.recommending import Recommending

    yield "# Learning · 学习\n"
    yield "Options by `--set KEY=VALUE`. 用 `--set KEY=VALUE` 设置。\n"
    for section, holder in {**HOLDERS, "recommend": Recommending}.items():
        yield f"## {SETTINGS[section]}\n"
        parts = parts_of(inspect.getdoc(holder) or "")
        yield f"{parts.summary}\n"
        yield from (f"{_plain(paragraph)}\n" for paragraph in parts.body)
        yield from table(options_of(holder), f"{section}.")


def _towers() -> Iterator[str]:
    from polysense.modality.towers import TOWERS

    yield "# Towers · 预训练网络\n"
    yield "In the order in which they are preferred as defaults; other folders and hub ids work too. 按默认优先顺序排列。\n"
    yield "| name · 名称 | reads · 读取 | languages · 语言 | from · 来源 | width · 宽度 | licence · 许可 | |"
    yield "| --- " * 7 + "|"
    for tower in TOWERS:
        cells = (
            f"`{tower.name}`", tower.modality, ", ".join(tower.languages), f"`{tower.source}`", str(tower.width),
            tower.licence, _cell(tower.summary),
        )
        yield f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Docstring text as Markdown: double backticks become single ones; a lone star or bar is no markup."""
    return text.replace("``", "`").replace("*", "\\*").replace("_", "\\_") if "`" not in text else text.replace("``", "`")


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _anchor(name: str) -> str:
    """The anchor that Markdown gives a heading of ``entry``."""
    heading = f"{name} · {CHINESE[name]}".lower()
    return re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")


def _page(lines: Iterator[str] | list[str]) -> str:
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def stale() -> list[str]:
    """Pages that are not what the code says now."""
    made = pages()
    there = {path.name for path in PLACE.glob("*.md")}
    wrong = [name for name, text in made.items() if name not in there or (PLACE / name).read_text(encoding="utf-8") != text]
    return sorted({*wrong, *(there - made.keys())})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is stale")
    if parser.parse_args().check:
        sys.exit(f"stale: {', '.join(wrong)}; run: make docs" if (wrong := stale()) else None)
    PLACE.mkdir(exist_ok=True)
    for path in PLACE.glob("*.md"):
        path.unlink()
    for name, text in pages().items():
        (PLACE / name).write_text(text, encoding="utf-8")
    print(f"{len(pages())} pages in {PLACE.name}/")


if __name__ == "__main__":
    main()
