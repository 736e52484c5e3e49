import argparse
import errno
import itertools
import math
import os
import re
import subprocess
import sys

import pytest

from diffunet import __version__, limits
from diffunet.cli.command import command, progress_bar
from diffunet.cli.commands import PARSERS
from diffunet.cli.options import number_in, number_of
from diffunet.errors import DatasetError
from diffunet.plans import SamplingPlan
from diffunet.ranges import Range


def test_a_user_mistake_is_one_message_and_exit_code_2(capsys):
    @command
    def main(arguments):
        raise DatasetError(["case 'a': bad", "case 'b': bad"])

    assert main() == 2
    captured = capsys.readouterr()
    assert captured.err == "error: case 'a': bad\ncase 'b': bad\n"


def test_a_folder_that_was_removed_under_the_command_is_told(tmp_path, monkeypatch, capsys):
    @command
    def main(arguments):
        pytest.fail("work began")

    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main() == 2
    assert "error: the current folder is gone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "fragments"),
    [
        (errno.ENOSPC, ("'mask.png': the disk is full", "free some space")),
        (errno.EACCES, ("'mask.png': no permission", "chmod")),
        (errno.EROFS, ("'mask.png': the disk is read-only", "another folder")),
        (errno.EIO, ("'mask.png': Input/output error", "check the disk")),
    ],
)
def test_what_the_system_refuses_is_one_message_and_exit_code_2(capsys, number, fragments):
    @command
    def main(arguments):
        raise OSError(number, os.strerror(number), "mask.png")

    assert main() == 2
    said = capsys.readouterr().err
    assert all(fragment in said for fragment in fragments)
    assert said.count("\n") == 1


def test_too_little_memory_is_one_message_and_exit_code_2(capsys):
    @command
    def main(arguments):
        raise RuntimeError("can't allocate memory:\nyou tried to allocate 8 bytes")

    assert main() == 2
    said = capsys.readouterr().err
    assert said.startswith("error: there is not enough memory (can't allocate memory: you tried")
    assert said.count("\n") == 1


def test_a_fault_of_ours_keeps_its_traceback():
    @command
    def main(arguments):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()


def test_an_interruption_says_with_which_option_what_was_done_is_kept(capsys):
    @command
    def main(arguments):
        raise KeyboardInterrupt

    assert main() == 130
    said = capsys.readouterr().err
    assert "run the command again to continue" in said
    assert re.findall(r"--\w+", said) == ["--c", "--continue_prediction", "--continue"]


def test_success_is_exit_code_0():
    assert command(lambda arguments: None)() == 0


@pytest.mark.parametrize("text", ["-1", "11", "2.5", "1e9", "nan", "inf", "x", "", "9" * 5000])
def test_what_is_no_number_of_the_range_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected a whole number from 0 to 10, "):
        number_in(Range(0, 10))(text)


def test_a_number_of_the_range_is_parsed():
    assert number_in(Range(0, 10))("3") == 3
    assert number_of(SamplingPlan, "num_steps")("3") == 3
    assert number_of(SamplingPlan, "tile_step_size")("0.25") == 0.25


def flags_of_numbers():
    for name, make_parser in PARSERS.items():
        for action in make_parser()._actions:
            if getattr(action.type, "__qualname__", "").startswith("number_in"):
                yield pytest.param(action, id=f"{name} {action.option_strings[0]}")


@pytest.mark.parametrize("action", flags_of_numbers())
def test_every_flag_that_takes_a_number_refuses_absurd_ones(action):
    for text in ("nan", "inf", "-inf", "-1", "1e999", "1000000000000000000000", "many"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected a .*number"):
            action.type(text)


def test_short_work_is_silent_without_a_terminal(capsys, caplog):
    caplog.set_level("INFO")
    assert list(progress_bar([1, 2], 2, "work")) == [1, 2]
    assert capsys.readouterr().err == ""
    assert not caplog.messages


def test_long_work_says_every_minute_how_long_it_takes_without_a_terminal(monkeypatch, caplog):
    caplog.set_level("INFO")
    clock = itertools.count(0, 25)  # seconds: one look at the beginning, and one before each item
    monkeypatch.setattr("diffunet.cli.command.time.monotonic", lambda: float(next(clock)))
    assert list(progress_bar(range(8), 8, "work")) == list(range(8))
    assert caplog.messages == ["work: 2 of 8, 03:45 left", "work: 5 of 8, 01:30 left"]


@pytest.mark.parametrize("name", PARSERS)
def test_help_tells_no_default_where_there_is_none(name):
    text = " ".join(PARSERS[name]().format_help().split())
    assert "default: None" not in text
    assert "default: []" not in text
    assert "default: False" not in text
    assert "default: True" not in text
    defaults = [action.default for action in PARSERS[name]()._actions]
    told = [
        each
        for each in defaults
        if each not in (None, [], argparse.SUPPRESS) and not isinstance(each, bool)
    ]
    assert ("(default: " in text) == bool(told)


@pytest.mark.parametrize("name", PARSERS)
def test_every_command_tells_its_version(name, capsys):
    with pytest.raises(SystemExit) as end:
        PARSERS[name]().parse_args(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"diffunet {__version__}\n"


@pytest.mark.parametrize("name", PARSERS)
def test_help_fills_prose_and_keeps_the_lines_of_examples(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    parser = PARSERS[name]()
    description = parser.format_help().split("\n\n")[1]
    assert " ".join(description.split()) == parser.description
    assert max(map(len, description.splitlines())) <= 80
    assert (parser.epilog or "") in parser.format_help()


def test_importing_diffunet_is_quick_and_loads_nothing_heavy():
    code = (
        "import time, sys; start = time.perf_counter(); import diffunet; "
        "took = time.perf_counter() - start; "
        "heavy = {'torch', 'numpy', 'SimpleITK', 'nibabel', 'matplotlib'} & set(sys.modules); "
        "print(took, heavy); sys.exit(bool(heavy) or took > 0.2)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("given", "expected"), [(None, ("PASSIVE", "10000")), ("ACTIVE", ("ACTIVE", "None"))]
)
def test_threads_of_a_command_wait_asleep_unless_the_user_says_otherwise(given, expected):
    """OpenMP reads the variable once: torch must not be there yet."""
    code = (
        "import os, sys; from diffunet.cli import train; from diffunet.cli.command import command; "
        "main = command(lambda _: print(os.environ['OMP_WAIT_POLICY'], "
        "os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)); "
        "sys.exit(main())"
    )
    environment = {
        name: each
        for name, each in os.environ.items()
        if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == [*expected, "False"], done.stderr


@pytest.mark.parametrize(
    ("limit", "given", "expected"), [(1.0, None, "1"), (1.0, "3", "3"), (math.inf, None, None)]
)
def test_a_command_has_no_more_threads_than_its_container_has_cores(
    monkeypatch, limit, given, expected
):
    found = []
    monkeypatch.setattr("diffunet.cli.command.core_limit", lambda: limit)
    monkeypatch.setattr("diffunet.parallel.core_limit", lambda: limit)
    monkeypatch.setenv("OMP_NUM_THREADS", given or "")
    if given is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    assert command(lambda _: found.append(os.environ.get("OMP_NUM_THREADS")))() == 0
    assert found == [expected]


def test_the_options_that_commands_share_load_no_plans():
    code = "import sys, diffunet.cli.options; sys.exit('diffunet.plans' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    import diffunet

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = diffunet.nonsense


def test_the_limit_on_images_is_what_the_environment_says(monkeypatch, capsys):
    seen = []

    @command
    def main(arguments):
        seen.append(limits.max_image_bytes())

    before = limits.max_image_bytes()
    try:
        monkeypatch.setenv(limits.VARIABLE, "0.5")
        assert main() == 0
        assert seen == [2**29]
        monkeypatch.setenv(limits.VARIABLE, "much")
        assert main() == 2
        assert f"the environment variable {limits.VARIABLE}" in capsys.readouterr().err
    finally:
        limits.set_max_image_bytes(before)


def test_an_option_without_effect_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        PARSERS["diffunet_plan_experiment"]().parse_args(["-d", "1", "-np", "4"])
    assert end.value.code == 2
    assert "there is no option '-np'" in capsys.readouterr().err


def test_a_path_that_is_no_text_is_told_before_work_begins(capsys):
    @command
    def main(arguments):
        pytest.fail("work began")

    assert main(["-o", "gr\udcc3\udcb6sse"]) == 2
    assert "error: 'gr\\udcc3\\udcb6sse': it is not written in UTF-8" in capsys.readouterr().err


def test_the_end_of_a_line_for_windows_is_told(monkeypatch, tmp_path, capsys):
    @command
    def main(arguments):
        pytest.fail("work began")

    assert main(["1", "0\r"]) == 2
    assert r"'0\r' ends with a carriage return" in capsys.readouterr().err
    monkeypatch.setenv("diffunet_raw", f"{tmp_path}\r")
    assert main(["1", "0"]) == 2
    assert "dos2unix" in capsys.readouterr().err


def test_a_path_that_does_end_like_that_is_taken(tmp_path):
    @command
    def main(arguments):
        pass

    (tmp_path / "a\r").touch()
    assert main([str(tmp_path / "a\r")]) == 0
