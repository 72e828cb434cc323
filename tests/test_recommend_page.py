"""The recommender's report: its words in both languages, its figures, what it shows of users, nothing from outside."""

import re
import string
from html.parser import HTMLParser
from pathlib import Path

import pytest

from polysense.errors import BadOption
from polysense.judge import recommend_page
from polysense.judge.recommend_page import WORDS, html


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.text += data


def score(value, spread=0.02):
    return {"value": value, "low": value - spread, "high": value + spread}


def part(users=40, items=9, **ndcg):
    def scores(value):
        rates = {name: score(value + 0.1) for name in ("hit_at_1", "hit_at_5", "hit_at_10")}
        cover = {"value": 0.75, "low": None, "high": None}
        return {"ndcg_at_10": score(value), **rates, "mrr": score(value - 0.05), "coverage": cover}

    first, rest = ndcg.pop("recommender"), ndcg
    return {
        "users": users, "items": items, "scores": scores(first), "baselines": {name: scores(value) for name, value in rest.items()},
        "differences": {name: score(first - value) | {"p": 0.25} for name, value in rest.items()},
    }


def evaluation(**more):
    both = {"recommender": 0.5, "network": 0.4, "popularity": 0.2, "item_knn": 0.3, "factors": 0.3, "content_knn": 0.25}
    return part(**both) | {"known_items": part(**both), "new_items": part(31, 3, **both)} | more


USERS = [
    {"user": "<b>eve</b>", "value": 0.631, "history": [{"id": "i1", "text": "red & blue"}],
     "recommended": [{"id": "i2", "image_jpeg_bytes": b"\xff\xd8\xff", "hit": True}, {"id": "i3", "hit": False}],
     "taken": [{"id": "i2", "hit": True}]},
    {"user": "new", "value": 0.0, "history": [], "recommended": [{"id": "i1", "hit": False}], "taken": [{"id": "i3", "hit": False}]},
]
MADE = {
    "interactions": 1234, "users": 40, "known items": 6, "all items": 9, "source": "a<b.csv", "items": "shop.csv", "seed": 0,
    "date": "2025-01-01", "cpu_seconds": 3.1, "versions": {"torch": "2"},
}
MORE = {
    "users": USERS, "made": MADE, "encoders": {"photo": "image.cnn"}, "shares": {"known": {"network": 0.75, "factors": 0.25}},
    "history": [{"epoch": 1, "loss": 2.0, "valid_ndcg_at_10": 0.1}, {"epoch": 2, "loss": 1.0, "valid_ndcg_at_10": 0.2}],
}


def test_the_languages_have_the_same_words_with_the_same_places_and_all_are_used():
    def places(text):
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert WORDS["en"].keys() == WORDS["zh"].keys()
    for key, text in WORDS["en"].items():
        assert places(text) == places(WORDS["zh"][key]), key
    assert {key for key in WORDS["en"] if WORDS["en"][key] == WORDS["zh"][key]} == {"ndcg_at_10", "axis", "served"}
    source = Path(recommend_page.__file__).read_text(encoding="utf-8")
    rest = source[source.index("class _Page") :]
    measures = {"recommender", "popularity", "item_knn", "factors", "content_knn", "hit_at_1", "hit_at_5"}
    built = {"about_known", "about_new", "for_known", "for_new", "known_items", "new_items", "s_users"}
    unused = [
        key for key in WORDS["en"]
        if f'"{key}"' not in rest and f"'{key}'" not in rest and key not in measures | built | set(recommend_page.TILES)
        and not key.startswith("s_")
    ]
    assert not unused
    with pytest.raises(BadOption, match="speaks no 'fr'"):
        html(evaluation(), lang="fr")


@pytest.mark.parametrize("lang", WORDS)
def test_sections_figures_and_users_stand_on_the_page(lang):
    text = html(evaluation(), lang=lang, source="later.csv", **MORE)
    seen = Page(text)
    sections = ["all_items", "known_items", "new_items", "users", "shares", "learning", "made"]
    assert [value[1:] for name, value in seen.attributes if name == "href"] == sections * 2
    assert "later.csv" in seen.text and "0.500" in seen.text and "+0.200" in seen.text and "75" in seen.text and "1,234" in seen.text
    assert "<b>eve</b>" in seen.text and "<b>eve" not in text and "a<b.csv" in seen.text and "red & blue" in seen.text
    assert [value for name, value in seen.attributes if name == "class"].count("hit") == 2
    assert WORDS[lang]["nobody"] in seen.text
    assert not {"script", "link", "iframe", "object", "form"} & set(seen.tags)
    assert all(value.startswith("data:") for name, value in seen.attributes if name == "src")
    assert not re.search(r"https?://|//[a-z]|url\(|@import", text) and "default-src 'none'" in text
    assert (WORDS[lang]["no_items"] in seen.text) is False
    assert WORDS[lang]["no_items"] in Page(html(evaluation(), lang=lang, pictured=False, **MORE)).text


def test_the_sentence_claims_no_more_than_the_intervals():
    """The strongest plain one is item-kNN at .30; the network is no plain one."""
    found = evaluation()
    for apart, word in ((score(0.2), "ahead of"), (score(0.01), "level with"), (score(-0.2), "behind")):
        found["differences"]["item_knn"] = apart | {"p": 0.5}
        assert f"it is {word} item-kNN" in Page(html(found)).text
    assert "Too few" not in html(found) and "Too few" in html(evaluation(users=3))
    empty = {"users": 0, "items": 9, "scores": None, "baselines": {}, "differences": {}, "known_items": None, "new_items": None}
    assert WORDS["en"]["nothing"] in html(empty)
    lone = evaluation(new_items=part(0, 3, recommender=0.5) | {"users": 0})
    assert "New items only" not in html(lone) and "Known items only" not in html(lone)


def test_differences_have_an_axis_of_their_own():
    """p, which stands beside a difference, must not stretch it."""
    assert "+0.25" in html(evaluation()) and "+0.5<" not in html(evaluation())
