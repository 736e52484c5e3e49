"""Commands and the Python API have the same options, with the same defaults."""

import inspect
from typing import Any

import pytest

from diffunet import api
from diffunet.arguments import processes_of
from diffunet.cli.commands import PARSERS

WITHOUT_FUNCTION = {"diffunet_demo": "it runs the commands one after the other"}

RENAMED = {
    "datasets": "dataset",  # a command takes several; the function is called for each
    "folds": "fold",  # of a training: the word of the command holds the configuration too
}

_OF_PLANS = "a short word for a field of the plans, which the function takes among its settings"
ONLY_OF_COMMANDS = {
    "diffunet_train": {
        **dict.fromkeys(("iterations", "batch_size", "lr", "epochs"), _OF_PLANS),
        "num_gpus": "starts the command again in processes of its own",
    },
    "diffunet_ablate": dict.fromkeys(
        ("iterations", "batch_size", "lr", "epochs", "num_samples", "num_steps", "sampler"),
        _OF_PLANS,
    ),
}
ONLY_OF_FUNCTIONS = {
    "diffunet_train": {"validates": "sweeps put the final validation off; --val makes up for it"},
}
OTHER_DEFAULTS = {
    "diffunet_train": {"writes_report": "a page is for people who wait for a command"},
    "diffunet_predict": {"writes_report": "a page is for people who wait for a command"},
    "diffunet_apply_postprocessing": {"file": "the command knows where it usually lies"},
}

COMMANDS = sorted(set(PARSERS) - set(WITHOUT_FUNCTION))


def _options(command: str) -> dict[str, Any]:
    """Return the options of a command by the argument that they are called after."""
    actions = [each for each in PARSERS[command]()._actions if each.dest not in ("help", "version")]
    is_training = command == "diffunet_train"
    return {
        RENAMED[each.dest]
        if each.dest == "datasets" or (is_training and each.dest == "folds")
        else each.dest: each
        for each in actions
    }


def _arguments(command: str) -> dict[str, inspect.Parameter]:
    function = getattr(api, command.removeprefix("diffunet_"))
    return {
        name: each
        for name, each in inspect.signature(function).parameters.items()
        if name != "progress"
    }


def _plain(name: str, value: Any) -> Any:
    """Return a default without what a command line cannot say: a tuple, or a number as such."""
    if name == "num_processes":
        return processes_of(value)
    if name == "fold":
        return str(value)
    return tuple(value) if isinstance(value, list) else value


def test_every_command_has_a_function():
    assert set(COMMANDS) <= {f"diffunet_{name}" for name in api.__all__}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_the_argument_of_the_api_that_it_is_called_after(command):
    options, arguments = set(_options(command)), set(_arguments(command))
    assert options - arguments == set(ONLY_OF_COMMANDS.get(command, {}))
    assert arguments - options == set(ONLY_OF_FUNCTIONS.get(command, {}))


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_has_the_default_of_its_argument(command):
    options, arguments = _options(command), _arguments(command)
    none = inspect.Parameter.empty
    differing = {}
    for name in sorted(set(options) & set(arguments)):
        option, argument = options[name], arguments[name]
        one = none if option.required else _plain(name, option.default)
        other = none if argument.default is none else _plain(name, argument.default)
        if one is not other and one != other:
            differing[name] = (one, other)
    assert set(differing) == set(OTHER_DEFAULTS.get(command, {})), differing
