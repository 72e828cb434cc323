"""Why a column is of its kind and why a cell could not be read, in the report's language.

The data layer says both in English, once, where it finds them, and JSON keeps that sentence. Here stand the sentences
in other languages, each under its English one. A place is ``{name}``; ``{name:d}`` is a number, ``{name:q}`` stands in
quotation marks, ``{name:w}`` is one word, ``{name:r}`` is itself a sentence or a phrase of this table.
"""

from __future__ import annotations

import re
import string
from functools import cache

_PLACES = {"": ".+?", "d": r"[\d,.]+", "q": r"'.*?'|\".*?\"", "w": r"\S+", "r": ".+?"}

REASONS: dict[str, dict[str, str]] = {"zh": {
    # kinds of columns
    "declared": "由用户指定",
    "every cell is empty": "所有单元格都为空",
    "every value is {value}": "所有值都是 {value}",
    "{n:d} of {all:d} values are lists of numbers": "{all} 个值中 {n} 个是数字列表",
    "{n:d} of {all:d} values end in {endings:w}": "{all} 个值中 {n} 个以 {endings} 结尾",
    "{n:d} of {all:d} values are {kind:w} files by their first bytes": "{all} 个值中 {n} 个按开头的字节是 {kind} 文件",
    "{n:d} of {all:d} values end in {endings:w} or are {kind:w} files by their first bytes":
        "{all} 个值中 {n} 个以 {endings} 结尾，或按开头的字节是 {kind} 文件",
    "{reason:r}; {n:d} channel": "{reason}；{n} 个通道",
    "{reason:r}; {n:d} channels": "{reason}；{n} 个通道",
    "{reason:r}; {n:d} channel ({names})": "{reason}；{n} 个通道（{names}）",
    "{reason:r}; {n:d} channels ({names})": "{reason}；{n} 个通道（{names}）",
    "{reason:r}, part of view {view:q}": "{reason}，属于视图 {view}",
    "looks like {kind:w} ({reason:r}), which is not read yet": "看似 {kind}（{reason}），目前还不能读取",
    "bytes of no known format": "格式未知的字节",
    "nested values": "嵌套的值",
    "name and {n:d} distinct values": "从列名和 {n} 个互不相同的值看是编号",
    "an id by name, but only {n:d} of {all:d} values differ": "列名像编号，但 {all} 个值中只有 {n} 个互不相同",
    "true/false": "只有 true/false 两种值",
    **{f"{yes}/{no}": f"只有 {yes}/{no} 两种值" for yes, no in (
        ("yes", "no"), ("y", "n"), ("t", "f"), ("on", "off"), ("1", "0"), ("1.0", "0.0"), ("是", "否"), ("有", "无"),
        ("真", "假"), ("ja", "nein"), ("oui", "non"), ("sí", "no"))},
    "dates": "日期", "ISO dates": "ISO 格式的日期", "dates written as eight digits": "写成八位数字的日期",
    "{n:d} of {all:d} values are {what:r}": "{all} 个值中 {n} 个是{what}",
    "{reason:r}, read as day/month/year": "{reason}，按 日/月/年 读",
    "{reason:r}, read as month/day/year": "{reason}，按 月/日/年 读",
    "it counts the rows": "它只是行的序号",
    "{n:d} of {all:d} values are numbers": "{all} 个值中 {n} 个是数值",
    "{n:d} distinct values in {all:d} rows": "{all} 行中有 {n} 个不同的值",
    "{n:d} characters on average": "平均 {n} 个字",
    "{n:d} words on average": "平均 {n} 个词",
    # what was done
    "masked": "视为缺失", "dropped": "去掉该记录", "error": "中止", "left out": "不采用",
    # tables and targets
    "{value} is not a number": "{value} 不是数值",
    "{value} is not a number; a decimal comma is written {point}": "{value} 不是数值；小数要写成 {point}",
    "{value} is infinite": "{value} 是无穷大",
    "{value} is not the name of a category": "{value} 不是类别的名称",
    "{value} is neither yes nor no": "{value} 既不是“是”也不是“否”",
    "{value} is not a date": "{value} 不是日期",
    "{value} is not a date (write it as 2024-12-31 or 2024-12-31 23:59)":
        "{value} 不是日期（请写成 2024-12-31 或 2024-12-31 23:59）",
    "{value} is not text": "{value} 不是文本",
    "is {value}; a target of words is text": "是 {value}；文字的目标列应是文本",
    "is {value}; a target is one word or number per record": "是 {value}；每条记录的目标是一个词或一个数",
    "{value} is not one number; name several columns (--target a,b) for several numbers":
        "{value} 不是一个数；要预测几个数，请写几个列名（--target a,b）",
    "{value} begins as a list in JSON and is none": "{value} 开头像 JSON 列表，其实不是",
    "{value} holds something other than words": "{value} 中有不是词的内容",
    # files
    "{file:q}: {reason:r}": "{file}：{reason}",
    "picture {k:d} of {all:d}: {reason:r}": "{all} 张图片中的第 {k} 张：{reason}",
    "sound {k:d} of {all:d}: {reason:r}": "{all} 段声音中的第 {k} 段：{reason}",
    "{n:d} bytes, more than the {most:d} allowed": "{n} 字节，超过允许的 {most}",
    "{value} is neither a path nor the bytes of {what:r}": "{value} 既不是路径，也不是{what}的字节",
    "{value} is a URL: a URL is never fetched; download the file and write its path":
        "{value} 是网址：网址从不下载；请先下载文件，再写它的路径",
    "is a folder, not a file": "是文件夹，不是文件",
    "is not a regular file": "不是普通文件",
    "no such file": "没有这个文件",
    "no such file in {folder}": "{folder} 中没有这个文件",
    'no such file; several files in one cell are written ["a", "b"]': '没有这个文件；一个单元格里的几个文件要写成 ["a", "b"]',
    'no such file in {folder}; several files in one cell are written ["a", "b"]':
        '{folder} 中没有这个文件；一个单元格里的几个文件要写成 ["a", "b"]',
    "cannot be opened ({why})": "无法打开（{why}）",
    "is not a path": "不是路径",
    "the file is empty": "文件为空",
    "is {what:r}, not one of {known}": "是{what}，不属于 {known}",
    "a picture": "图片", "a sound": "声音", "a film": "影片", "a series": "时间序列", "an array of numbers": "数字数组",
    "a PDF file": "PDF 文件", "an EPS file": "EPS 文件", "a FITS file": "FITS 文件", "a ZIP file": "ZIP 文件",
    "a Photoshop file": "Photoshop 文件", "an SVG, XML or HTML page": "SVG、XML 或 HTML 页面",
    "of an unknown format": "未知的格式",
    "a {kind:w} file": "{kind} 文件",
    "declares {width:d} x {height:d} pixels, more than the {most:d} allowed":
        "声明为 {width} x {height} 像素，超过允许的 {most}",
    "declares more than the {most:d} pixels allowed": "声明的像素超过允许的 {most}",
    "cannot be decoded as {kind} ({why})": "无法作为 {kind} 解码（{why}）",
    "holds floating point pixels of unknown range; convert it to 8 or 16 bits": "含范围未知的浮点像素；请转换为 8 位或 16 位",
    "holds no sound (0 samples)": "没有声音（0 个采样点）",
    "is cut short: {declared:d} s declared, {found:d} s there": "文件不完整：声明 {declared} 秒，实有 {found} 秒",
    "is cut short: {declared:d} bytes declared, {found:d} there": "文件不完整：声明 {declared} 字节，实有 {found} 字节",
    "is too short ({n:d} samples)": "太短（{n} 个采样点）",
    "holds samples as large as {value}, where a sound keeps to 1": "采样值大到 {value}，而声音不超过 1",
    "unpacks to more than the {most:d} bytes allowed": "解压后超过允许的 {most} 字节",
    "is longer than the {most:d} seconds allowed": "超过允许的 {most} 秒",
    "NaN at sample {i:d} ({seconds:d} s), {n:d} such samples in all":
        "第 {i} 个采样点（{seconds} 秒）是 NaN，共 {n} 个这样的采样点",
    "infinity at sample {i:d} ({seconds:d} s), {n:d} such samples in all":
        "第 {i} 个采样点（{seconds} 秒）是无穷大，共 {n} 个这样的采样点",
    "holds no sound (the header is there, the samples are not)": "没有声音（有文件头，没有采样点）",
    "is cut short: the header is there, the sound is not": "文件不完整：有文件头，没有声音",
    "is cut short: the file ends in the middle of a page": "文件不完整：在一页的中间结束",
    # series
    "{n:d} letters, more than the {most:d} allowed": "{n} 个字符，超过允许的 {most}",
    "{value} is no JSON list of numbers ({why})": "{value} 不是 JSON 数字列表（{why}）",
    "{value} is no list of numbers": "{value} 不是数字列表",
    "is {what:r}, neither a .npy file nor a .csv file of numbers": "是{what}，既不是 .npy 文件，也不是数字的 .csv 文件",
    "channel {name:q} holds {value}, not a list of numbers": "通道 {name} 中是 {value}，不是数字列表",
    "channel {name:q} holds lists of lists; a channel is one list of numbers":
        "通道 {name} 中是列表的列表；一个通道是一个数字列表",
    "its channels differ in length: {lengths}": "各通道长度不同：{lengths}",
    "holds no channel": "没有通道",
    "holds time and no channel": "只有时间，没有通道",
    "sample {i:d} holds {n:d} numbers, the first one {width:d} numbers": "第 {i} 个采样点有 {n} 个数，第一个有 {width} 个",
    "sample {i:d} holds {value}, the first one {width:d} numbers": "第 {i} 个采样点是 {value}，第一个有 {width} 个数",
    "holds {value}, which is not a number": "含 {value}，不是数值",
    "cannot be read as .npy ({why})": "无法作为 .npy 读取（{why}）",
    "holds Python objects, which could run code when read; save an array of numbers":
        "含 Python 对象，读取时可能运行代码；请保存为数字数组",
    "holds {kind} values, not real numbers": "含 {kind} 值，不是实数",
    "declares {n:d} numbers, more than the {most:d} allowed": "声明 {n} 个数，超过允许的 {most}",
    "declares {n:d} bytes of numbers and holds {there:d}": "声明 {n} 字节的数，实有 {there} 字节",
    "holds no samples": "没有采样点",
    "has {n:d} axes; a series has samples, or samples and channels": "有 {n} 个轴；时间序列只有采样点一轴，或采样点和通道两轴",
    "line {line:d}: {n:d} values, where the first line has {width:d}": "第 {line} 行：{n} 个值，而第一行有 {width} 个",
    "line {line:d}: {reason:r}": "第 {line} 行：{reason}", "line {line:d}: {why}": "第 {line} 行：{why}",
    "holds more than the {most:d} numbers allowed": "数字超过允许的 {most} 个",
    "its header names a channel twice: {names}": "表头中有重名的通道：{names}",
    "holds {n:d} samples of {channels:d} channels, more than the {most:d} numbers or {limit:d} channels allowed":
        "{n} 个采样点、{channels} 个通道，超过允许的 {most} 个数或 {limit} 个通道",
    "infinity in channel {name} at sample {i:d}": "通道 {name} 的第 {i} 个采样点是无穷大",
    "every sample is missing": "所有采样点都缺失",
    "has no time at sample {i:d}": "第 {i} 个采样点没有时间",
    "its time goes back at sample {i:d}": "时间在第 {i} 个采样点倒退",
    "has {n:d} channel, where training had {count:d}": "有 {n} 个通道，而训练时有 {count} 个",
    "has {n:d} channels, where training had {count:d}": "有 {n} 个通道，而训练时有 {count} 个",
    "has the channel {name:q}, which training did not have ({names})": "有训练时没有的通道 {name}（训练时有 {names}）",
}}


def translated(reason: str, language: str) -> str | None:
    """A reason in another language; None where the table has no such sentence.

    >>> translated("'a.png': no such file in /data", "zh")
    "'a.png'：/data 中没有这个文件"
    >>> translated("3 of 4 values are numbers", "zh"), translated("quite new", "zh")
    ('4 个值中 3 个是数值', None)
    """
    for pattern, nested, form in _patterns(language):
        match = pattern.fullmatch(reason)
        if match is None:
            continue
        values = match.groupdict()
        inner = {name: translated(values[name], language) for name in nested}
        if None not in inner.values():
            return form.format(**values | inner)
    return None


@cache
def _patterns(language: str) -> list[tuple[re.Pattern[str], list[str], str]]:
    """(the English sentence with groups at its places, places that are sentences, the other one): the strictest first."""
    found = []
    for english, form in REASONS.get(language, {}).items():
        parts = list(string.Formatter().parse(english))
        pattern = "".join(re.escape(text) + (f"(?P<{name}>{_PLACES[spec]})" if name else "") for text, name, spec, _ in parts)
        nested = [name for _, name, spec, _ in parts if name and spec == "r"]
        loose = not parts[0][0] and parts[0][2] in ("", "r"), -sum(len(text) for text, *_ in parts)
        found.append((loose, re.compile(pattern, re.DOTALL), nested, form))
    return [tuple(rest) for _, *rest in sorted(found, key=lambda one: one[0])]
