"""The model card: what it says, that the Hub can read it, and that no name of a user breaks it."""

from __future__ import annotations

import copy
import json
import re

import pytest
import yaml

from polysense import Model, load
from polysense.judge.card import card, limits
from small import model, records

NASTY = "a|b <script>alert(1)</script> `x` *y* [z](u)\n---\n# head ```"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A fitted model's folder."""
    folder = tmp_path_factory.mktemp("cards") / "weather"
    model("text_zh table").fit(records(60, views="text_zh table", missing=0.4)).save(folder)
    return folder


@pytest.fixture
def facts(saved):
    """The top of model.json, to change at will."""
    return json.loads((saved / "model.json").read_text(encoding="utf-8"))["model"]


def header(text: str) -> dict:
    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)[1])


def test_save_writes_the_card_and_a_changed_or_removed_card_damages_nothing(saved, facts):
    text = (saved / "README.md").read_text(encoding="utf-8")
    assert text == card(facts, "weather")
    (saved / "README.md").write_text("mine")
    load(saved)
    (saved / "README.md").unlink()
    load(saved)
    (saved / "README.md").write_text(text, encoding="utf-8")


def test_the_header_is_in_the_hubs_form(facts):
    head = header(card(facts, "weather"))
    assert head["library_name"] == "polysense" and head["language"] == ["zh"]
    assert head["tags"] == ["polysense", "multimodal", "text", "tabular"] and "pipeline_tag" not in head
    (index,) = head["model-index"]
    (result,) = index["results"]
    assert index["name"] == "weather" and result["dataset"]["split"] == "validation"
    accuracy = facts["valid"]["scores"]["accuracy"]
    assert result["metrics"][0]["value"] == pytest.approx(accuracy["value"], abs=1e-4)
    assert f"[{accuracy['low']:.3f}, {accuracy['high']:.3f}]" in result["metrics"][0]["name"]


def test_the_hubs_own_reader_takes_it(saved):
    hub = pytest.importorskip("huggingface_hub")
    read = hub.ModelCard.load(saved / "README.md")
    assert read.data.library_name == "polysense" and read.data.model_name == "weather"
    assert {result.metric_type for result in read.data.eval_results} >= {"accuracy", "f1"}
    again = hub.ModelCardData(**header(str(read)))
    assert again.to_dict() == read.data.to_dict()


def test_one_modality_gets_its_pipeline(facts):
    facts["schema"]["columns"] = [c for c in facts["schema"]["columns"] if c["kind"] == "text"]
    assert header(card(facts))["pipeline_tag"] == "text-classification"
    assert "multimodal" not in header(card(facts))["tags"]


def test_it_says_what_is_in_the_facts(facts):
    text = card(facts, "weather")
    assert "one of 3 classes: rain, snow, sun" in text
    assert f"{facts['data']['train']} records for training, {facts['data']['valid']} for validation" in text
    assert "| text\\_zh | text\\_zh (text) | text.plain |" in text
    assert f"logistic regressions on the views that are present give {facts['regressions']['weight']:.0%}" in text
    for name, kind, _ in facts["data"]["columns"]:
        assert f"| {name.replace('_', chr(92) + '_')} | {kind} | {facts['data']['empty'].get(name, '-')} |" in text
    assert sum(facts["counts"]) == facts["data"]["train"]
    recipe = yaml.safe_load(re.search(r"```yaml\n(.*?)\n```", text, re.DOTALL)[1])
    assert recipe == {key: value for key, value in facts["recipe"].items() if value not in (None, {})}
    for label in ("this model", "the most frequent class", "plain concatenation"):
        assert re.search(rf"\| {label}.* \| 0\.\d+ \[", text), label


def test_the_recipe_in_the_card_makes_the_same_settings(facts):
    recipe = yaml.safe_load(re.search(r"```yaml\n(.*?)\n```", card(facts), re.DOTALL)[1])
    assert Model(**recipe).get_params()["options"] == facts["recipe"]["options"]


def said(facts: dict) -> str:
    return "\n".join(limits(facts))


def test_limits_are_read_off_the_facts(facts):
    assert "It has learned from 48 records" in said(facts)
    facts["data"]["absent"] = {"text_zh": 45, "table": 18}
    assert "text\\_zh is missing in 75% of the records: what the model makes of it rests on 15 records" in said(facts)
    assert "table is missing" not in said(facts)
    assert "No group column was named" in said(facts)
    assert "towers" not in said(facts) and "could not be read" not in said(facts)
    big = copy.deepcopy(facts)
    big["data"] |= {"train": 5000, "absent": {"text_zh": 0}, "bad_cells": [{"column": "text_zh"}]}
    big["counts"] = [2000, 2996, 4]
    big["valid"]["groups"] = 7
    big["recipe"]["group"] = "who"
    text = said(big)
    assert "It has learned from" not in text and "is missing in" not in text
    assert "Fewer than 10 training records stand behind sun (4)" in text
    assert "7 groups (equal values of 'who')" in text and "1 cell of the tables could not be read (policy: mask)" in text


def test_a_model_that_is_behind_its_baselines_says_so(facts):
    facts["valid"]["baselines"]["concat_logistic"]["accuracy"]["value"] = 1.0
    facts["valid"]["baselines"]["majority"]["accuracy"]["value"] = 0.0
    facts["valid"]["baselines"]["best_single"]["accuracy"]["value"] = 0.0
    facts["valid"]["scores"]["accuracy"]["value"] = 0.5
    facts["valid"]["scores"]["ece"]["value"] = 0.21
    assert "no more accurate than plain concatenation (logistic regression)." in said(facts)
    assert "off by 0.21 on average" in said(facts)


def test_without_validation_records_nothing_is_claimed(facts):
    facts["valid"], facts["data"]["valid"] = None, 0
    text = card(facts)
    assert "There were no validation records." in text and "model-index" not in text
    assert "nothing is known of how well it answers" in text


def test_no_name_of_a_user_breaks_the_card(facts):
    """Whatever columns, classes, tables and the model are called: the header parses, tables keep their cells, no HTML."""
    plain = card(facts, "weather")
    facts["classes"][0] = facts["recipe"]["target"] = facts["made"]["source"] = NASTY
    for column, listed in zip(facts["schema"]["columns"], facts["data"]["columns"], strict=False):
        if column["name"] == "text_zh":
            column["name"] = NASTY
        if listed[0] == "text_zh":
            listed[0] = NASTY
    facts["recipe"]["encoders"] = {NASTY if v == "text_zh" else v: e for v, e in facts["recipe"]["encoders"].items()}
    facts["data"]["absent"][NASTY] = facts["data"]["absent"].pop("text_zh")
    facts["data"]["empty"][NASTY] = facts["data"]["empty"].pop("text_zh")
    facts["data"]["notes"] = [NASTY]
    text = card(facts, NASTY)
    assert header(text)["model-index"][0]["results"][0]["task"]["name"] == " ".join(NASTY.split())
    prose = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", text[text.index("\n---\n", 4):], flags=re.DOTALL | re.MULTILINE)
    assert "<script>" not in prose
    cells = lambda page: [len(re.split(r"(?<!\\)\|", line)) for line in page.splitlines() if line.startswith("|")]  # noqa: E731
    assert cells(prose) == cells(plain)
    assert len(re.findall(r"^# ", prose, re.MULTILINE)) == 1
