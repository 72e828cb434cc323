"""talk: remarks and bars go to stderr, or nowhere."""

from __future__ import annotations

from polysense.talk import Talk


def test_loud_talk_goes_to_stderr_only(capsys):
    talk = Talk()
    talk.say("a remark that is never folded " * 10)
    with talk.bar("work", 3) as advance:
        for step in range(3):
            advance(1, f"step {step}")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["a remark that is never folded " * 10, "work: 3 done, step 2"]


def test_quiet_talk_says_nothing(capsys):
    talk = Talk(loud=False)
    talk.say("x")
    with talk.bar("work", 3) as advance:
        advance(2)
    assert capsys.readouterr() == ("", "")
