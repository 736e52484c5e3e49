"""The page of nnU-Net's words, read and run against the parsers."""

import re
from pathlib import Path

import pytest

from diffunet.cli import predict
from diffunet.cli.commands import PARSERS
from diffunet.cli.nnunet_words import ACCEPTED, REFUSED

PAGE = Path(__file__).parents[2] / "documentation" / "reference" / "nnunet-words.md"


def rows():
    """Yield (our command, the text before the first colon, the text after it) of the page."""
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        command = re.search(r"Here: `(\w+)`", section)
        assert command, section
        for entry in section.split("\n- ")[1:]:
            head, _, tail = " ".join(entry.split()).partition(": ")
            yield command[1], head, tail


WORKING = [
    (name, option)
    for name, head, tail in rows()
    if head == "work as there"
    for option in re.findall(r"`(\S+)`", tail)
]
UNCHANGING = [
    (name, head.split("`")[1], tail) for name, head, tail in rows() if "changes nothing" in head
]
ANSWERED = [
    (name, head.strip("`"), tail) for name, head, tail in rows() if re.fullmatch("`[^`]+`", head)
]


def test_the_page_has_rows_of_every_kind():
    assert len(WORKING) > 30
    assert {name: dict(row) for name, row in ACCEPTED.items()} == {
        name: {option: tail for each, option, tail in UNCHANGING if each == name}
        for name in ACCEPTED
    }
    assert {(name, option) for name, option, _ in ANSWERED} == {
        (name, option) for name, row in REFUSED.items() for option in row
    }


@pytest.mark.parametrize(("name", "option"), sorted(set(WORKING)))
def test_an_option_that_works_is_one_of_ours(name, option):
    assert option in PARSERS[name]()._option_string_actions


@pytest.mark.parametrize(("name", "option", "sentence"), sorted(set(ANSWERED)))
def test_an_option_of_nnunet_is_answered_with_one_sentence(name, option, sentence, capsys):
    with pytest.raises(SystemExit) as end:
        PARSERS[name]().parse_args([option, "x"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said == f"error: {option} is nnU-Net's: {sentence}\n"


@pytest.mark.parametrize(("name", "option", "reason"), sorted(set(UNCHANGING)))
def test_an_option_that_changes_nothing_is_taken_with_a_note(name, option, reason, caplog):
    caplog.set_level("INFO")
    parser = PARSERS[name]()
    words = ["-d", "1"] if "predict" not in name else ["-i", "a", "-o", "b"]
    assert parser.parse_args([*words, option]) == parser.parse_args(words)
    assert caplog.messages == [f"{option} changes nothing: {reason}"]


def test_no_word_of_nnunet_hides_an_option_of_ours():
    for name in REFUSED:
        known = PARSERS[name]()._option_string_actions
        assert not known.keys() & {*REFUSED[name], *ACCEPTED.get(name, {})}


@pytest.mark.parametrize("text", ["best", "checkpoint_best.pth"])
def test_a_checkpoint_may_be_named_as_nnunet_names_its_file(text):
    given = predict.parser().parse_args(["-i", "a", "-o", "b", "-chk", text])
    assert given.checkpoint == "best"
