"""Text as people write it: cleaning, words of any script, stop words, Chinese words. B texts, T tokens."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache

import numpy as np

from .errors import need

#: Characters of one cell that are read; a 10 MB cell would fill the memory with n-grams.
LONGEST = 20_000

# Control characters, lone surrogates, private use, and format characters except the joiners that
# Persian and Indian scripts need (U+200C, U+200D).
_JUNK = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\ue000-\uf8ff]"
)
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Other scripts written without spaces: their "words" are whole sentences, so characters carry them.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff"
# Marks that belong to a word though Python counts them among punctuation: accents, points, and the
# vowel signs of the Indian scripts (their digits and letters are words already; the danda is none).
_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u065f\u0900-\u0963\u0966-\u0dff\u200c\u200d"
#: A word of a script that parts its words.
WORD = re.compile(rf"[^\W{_UNSPACED}{_HAN}]+(?:[{_MARKS}]+[^\W{_UNSPACED}{_HAN}]*)*")
_CONTRACTED = rf"{WORD.pattern}(?:['’]{WORD.pattern})*"
_TOKEN = re.compile(rf"{_CONTRACTED}|[{_HAN}]+|\S")
_RUN = re.compile(rf"[{_HAN}]+")


def clean(text: str, longest: int = LONGEST) -> str:
    """Text in normal form NFKC, without control characters, white space as single blanks.

    Args:
        longest: characters kept.

    >>> clean(" ﬁne\\x00\\u200b  ｄａｙ\\n")
    'fine day'
    """
    text = text[: 2 * longest]
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(_JUNK.sub("", text).split())[:longest]


def parts(text: str, whole: bool = False) -> list[str]:
    """Words, marks, and the characters of scripts without spaces.

    Args:
        whole: a run of Chinese characters is one word, because the words stand apart (``chinese_words``).

    >>> parts("Don't stop: 红色的 bus!"), parts("红色 的", whole=True)
    (["Don't", 'stop', ':', '红', '色', '的', 'bus', '!'], ['红色', '的'])
    """
    found = _TOKEN.findall(text)
    if whole:
        return found
    return [part for token in found for part in (token if _RUN.match(token) else (token,))]


def without(text: str, words: Collection[str], whole: bool = False) -> str:
    """Text without some words, which are what ``parts`` takes for words.

    Args:
        words: in lower case, as the text is.

    >>> without("the red bus isn't the blue one", {"the", "one"}), without("红色的 bus", {"的"})
    ("red bus isn't blue", '红色 bus')
    """
    def kept(match: re.Match[str]) -> str:
        token = match[0].replace("’", "'")
        if not whole and _RUN.match(token):
            return "".join(letter for letter in token if letter not in words)
        return "" if token in words else match[0]

    return " ".join(_TOKEN.sub(kept, text).split())


def chinese_words(text: str) -> str:
    """Text with blanks around every Chinese word, found by jieba (dictionary and hidden Markov model).

    Raises:
        MissingExtra: jieba is not installed.
    """
    return " ".join(_RUN.sub(lambda match: f" {' '.join(_cutter()(match[0]))} ", text).split())


@lru_cache
def _cutter() -> Callable[[str], Sequence[str]]:
    """jieba with its own dictionary. Its cache file, which any user of the machine may write, is left alone."""
    jieba = need("jieba", "chinese")
    tokenizer = jieba.Tokenizer()
    tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
    tokenizer.initialized = True
    return tokenizer.lcut


def padded(ids: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    """Lists of ids as one array (B, T) with a mask.

    >>> padded([[5, 6], [7]])["ids"].tolist()
    [[5, 6], [7, 0]]
    """
    out = np.zeros((len(ids), max(map(len, ids), default=1)), np.int64)
    mask = np.zeros(out.shape, bool)
    for i, row in enumerate(ids):
        out[i, : len(row)] = row
        mask[i, : len(row)] = True
    return {"ids": out, "mask": mask}


#: Words that say little by themselves. Words of negation and degree (not, never, very, 不, 没) are not
#: among them: they turn and weigh what is said. Other lists leave them out and lose sentiment by it
#: (Nothman et al. 2018, aclanthology W18-2502, on the lists of well-known packages).
STOP_WORDS = {
    "english": frozenset("""
        a about above after again all also am an and any are as at be because been before being below between
        both by can could did do does doing down during each either for from further had has have having he her
        here hers herself him himself his how i if in into is it its itself just may me might my myself of off on
        once one or other our ours ourselves out over own same shall she should so some such than that the their
        theirs them themselves then there these they this those through to under until up upon us was we were what
        when where which while who whom whose why will with would you your yours yourself yourselves
        i'm i've i'll i'd you're you've you'll you'd he's he'll he'd she's she'll she'd it's it'll we're we've
        we'll we'd they're they've they'll they'd that's there's here's what's where's who's let's
    """.split()),
    "chinese": frozenset("""
        的 地 得 了 着 过 是 在 和 与 及 或 而 且 也 就 都 又 还 再 把 被 让 使 给 对 对于 关于 从 向 往 到 由 于 以 为 为了
        因 因为 所以 但 但是 然而 虽然 如果 若 则 那么 这 那 这个 那个 这些 那些 这样 那样 这里 那里 哪 哪个 哪些 哪里 什么
        怎么 怎样 如何 谁 我 你 您 他 她 它 我们 你们 他们 她们 它们 咱们 自己 其 其中 之 所 者 等 等等 一 一个 一些 一种 个
        有 并 并且 以及 吗 呢 吧 啊 呀 嘛 哦 哈 里 上 中 下 时 时候 会 能 可以 要 将 已 已经 正在 只 只是 同 跟 比 按 按照 通过
    """.split()),
}
