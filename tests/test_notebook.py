"""What notebooks show: a model before and after fit, and answers; safe in light and dark, whatever the names are."""

from __future__ import annotations

import re

import pytest

from polysense import Model
from small import model, records

NASTY = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def fitted():
    """A model whose target and a class carry HTML."""
    rows = [{NASTY if k == "label" else k: "<b>snow" if v == "snow" else v for k, v in row.items()} for row in records(60)]
    return model(target=NASTY).fit(rows)


def sound(html: str) -> None:
    """One closed box; nothing of the user's as HTML; no fixed colour, no style sheet, nothing fetched."""
    assert html.startswith("<div style=") and html.endswith("</div>")
    for tag in ("div", "table", "tr", "td", "th", "span"):
        assert len(re.findall(f"<{tag}[ >]", html)) == html.count(f"</{tag}>"), tag
    assert set(re.findall(r"<(\w+)", html)) <= {"div", "table", "tr", "td", "th", "span", "br"}
    assert not re.search(r"#[0-9a-f]{3,6}|url\(|http|class=|id=|@", html)
    assert set(re.findall(r"(?:color|background):([^;\"]+)", html)) <= {"inherit", "transparent", "currentColor"}


def test_a_model_before_fit_shows_what_it_was_told():
    html = Model("label", fusion="attention", columns={"<i>x": "number"})._repr_html_()
    sound(html)
    assert "not fitted yet" in html and "attention" in html and "&lt;i&gt;x" in html and "seed" not in html
    assert "every setting at its default" in Model()._repr_html_()


def test_a_fitted_model_shows_what_it_predicts_and_how_well(fitted):
    html = fitted._repr_html_()
    sound(html)
    assert "Model of &lt;script&gt;" in html and "one of 3 classes: &lt;b&gt;snow, rain, sun" in html
    assert "text ← text.plain" in html and "table ← table.mlp" in html and "48 for training, 12 for validation" in html
    for name, scores in (("this model", fitted.valid_["scores"]), ("most frequent class", fitted.valid_["baselines"]["majority"])):
        assert re.search(rf"{name}</td><td[^>]*>{scores['accuracy']['value']:.3f}<", html), name
    bundle = fitted._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/html"] == html and bundle["text/plain"] == repr(fitted), "notebooks ask for this one first"


def test_answers_show_the_first_ten(fitted):
    rows = records(14, seed=3)
    answers = fitted.answers([*rows, {"text": None}])
    html = answers._repr_html_()
    sound(html)
    assert "15 answers" in html and "and 5 more" in html and html.count("<tr>") == 11
    for said, share in zip(fitted.task_decode(answers.probabilities)[:10], answers.probabilities.max(1)[:10], strict=True):
        assert f"{share:.2f}" in html and said.replace("<", "&lt;").replace(">", "&gt;") in html
    assert "nothing: the shares in training" in fitted.answers([{}])._repr_html_()
    assert "0 answers" in fitted.answers(rows)._repr_html_().replace("14 answers", "0 answers")
