from pathlib import Path

import pytest

from diffunet.cli import evaluate, predict
from diffunet.cli.command import new_parser
from diffunet.cli.commands import PARSERS


def refusal(parser, words, capsys):
    with pytest.raises(SystemExit) as end:
        parser.parse_args(words)
    assert end.value.code == 2
    return capsys.readouterr().err


def long_options(name):
    for action in PARSERS[name]()._actions:
        yield from (each for each in action.option_strings if len(each) > 3)


@pytest.mark.parametrize("name", PARSERS)
def test_an_abbreviated_option_is_refused_and_named(name, capsys):
    for option in long_options(name):
        said = refusal(PARSERS[name](), [option[:-1]], capsys)
        assert said.startswith(f"error: there is no option '{option[:-1]}'"), said


@pytest.mark.parametrize("name", PARSERS)
def test_a_value_is_not_read_out_of_a_misspelled_option(name, capsys):
    for action in PARSERS[name]()._actions:
        for short in (each for each in action.option_strings if len(each) == 2):
            said = refusal(PARSERS[name](), [f"{short}file", "x"], capsys)
            assert said.startswith(f"error: there is no option '{short}file'"), said


def test_a_misspelled_option_is_answered_with_the_nearest(capsys):
    said = refusal(PARSERS["diffunet_train"](), ["1", "0", "--iteration", "5"], capsys)
    assert "did you mean '--iterations'?" in said
    said = refusal(PARSERS["diffunet_train"](), ["1", "0", "-pmine"], capsys)
    assert "did you mean '-p mine'?" in said


def test_an_option_that_is_like_no_other_is_answered_with_the_help(capsys):
    said = refusal(PARSERS["diffunet_train"](), ["1", "0", "--xyzzy"], capsys)
    assert said.startswith("error: there is no option '--xyzzy'; ")
    assert said.endswith(" -h lists all\n")


def test_all_unknown_options_are_named_at_once(capsys):
    said = refusal(PARSERS["diffunet_train"](), ["1", "0", "--abc", "-qrs"], capsys)
    assert said.count("there is no option") == 2


def test_a_mistake_is_a_message_without_the_usage(capsys):
    said = refusal(PARSERS["diffunet_train"](), ["1", "0", "--iterations", "many"], capsys)
    assert said.startswith("error: argument --iterations: expected a whole number")
    assert said.count("\n") == 1


def test_negative_numbers_texts_and_what_follows_two_dashes_are_no_options():
    parser = new_parser("")
    parser.add_argument("words", nargs="+")
    given = parser.parse_args(["-1", "-.5", "-two words", "-", "--", "-x"])
    assert given.words == ["-1", "-.5", "-two words", "-", "-x"]


def test_the_home_folder_is_no_folder_of_that_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    given = predict.parser().parse_args(["-i", "~/in", "-o=~", "--workspace=~/w"])
    assert (given.input, given.output) == (tmp_path / "in", tmp_path)
    assert given.workspace == tmp_path / "w"
    given = evaluate.parser().parse_args(["~/labels", "a~b"])
    assert (given.reference, given.prediction) == (tmp_path / "labels", Path("a~b"))


def test_a_value_may_follow_an_equals_sign():
    assert PARSERS["diffunet_train"]().parse_args(["1", "0", "--iterations=5"]).iterations == 5


@pytest.mark.parametrize(
    ("word", "meant"),
    [("\u2013d", "-d"), ("\u2014num_samples", "--num_samples"), ("\u2212\u2212seed=3", "--seed=3")],
)
def test_a_long_dash_in_place_of_hyphens_is_told(word, meant, capsys):
    words = [word] if "=" in word else [word, "1"]
    said = refusal(PARSERS["diffunet_predict"](), ["-i", "a", "-o", "b", *words], capsys)
    assert said.startswith(f"error: '{word}' begins with a long dash")
    assert f"type '{meant}', with hyphens" in said


def test_a_name_that_begins_with_a_long_dash_is_a_value(capsys):
    words = ["-i", "\u2013folder", "-o", "\u2014"]
    assert PARSERS["diffunet_predict"]().parse_args(words).input == Path("\u2013folder")


def test_files_of_a_pattern_that_the_shell_replaced_are_told(tmp_path, capsys):
    images = [str(tmp_path / f"{name}_0000.png") for name in "abc"]
    for image in images:
        Path(image).touch()
    said = refusal(PARSERS["diffunet_predict"](), ["-i", *images, "-o", "x"], capsys)
    assert "name the folder that holds them" in said
    assert "c_0000.png" in said
