"""The parser of all commands: options as they are written in full, mistakes as one sentence."""

import argparse
import difflib
import logging
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

logger = logging.getLogger(__name__)

EXIT_USER_MISTAKE = 2

_OPTION = re.compile(r"--?[^-\W\d]\S*")
"""What is meant as an option: not a negative number, and not a text of several words."""

_LONG_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
"""What word processors, messengers and web pages write for a hyphen."""


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults that are informative, wraps prose, and keeps the lines of examples.

    It names an option's value once, after all of its names, as Python 3.13 does, so that every
    Python shows the same help.
    """

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {value}"

    def _get_help_string(self, action: argparse.Action) -> str | None:
        is_plain = action.nargs == 0 or action.default is False or action.default in (None, [])
        return action.help if is_plain else super()._get_help_string(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        is_example = "\n" in text
        return super()._fill_text(text if is_example else textwrap.fill(text, width), width, indent)


class Parser(argparse.ArgumentParser):
    """A parser that guesses nothing: `--iter` is not `--iterations`, `-pfile` is not `-p file`.

    argparse alone takes both; without abbreviations it still takes the second.

    Attributes:
        refused: options of nnU-Net, each with a sentence that names ours.
        accepted: options of nnU-Net that change nothing, each with the reason.
    """

    refused: Mapping[str, str] = MappingProxyType({})
    accepted: Mapping[str, str] = MappingProxyType({})

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride] (overloads there)
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Parse, once every option is one that there is."""
        words = self._known_words(sys.argv[1:] if args is None else list(args))
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> Any:
        """End with one message, without the usage, which would bury it."""
        _, is_unrecognized, words = message.partition("unrecognized arguments: ")
        if is_unrecognized and any(Path(word).exists() for word in words.split()):
            message += (
                "; an option takes one value: where a pattern such as *.png stood for several "
                "files, name the folder that holds them"
            )
        self.exit(EXIT_USER_MISTAKE, f"error: {message}\n")

    def _known_words(self, words: Sequence[str]) -> list[str]:
        """Return the words without options of nnU-Net that change nothing."""
        end = words.index("--") if "--" in words else len(words)
        if sentences := list(self._sentences_about_dashes(words[:end])):
            self.error("\n".join(sentences))
        options = [word for word in words[:end] if _OPTION.fullmatch(word)]
        names = dict.fromkeys(word.partition("=")[0] for word in options)
        known = {*self._option_string_actions, *self.accepted}
        if unknown := [name for name in names if name not in known]:
            self.error("\n".join(map(self._sentence_about, unknown)))
        for name in (name for name in names if name in self.accepted):
            logger.info("%s changes nothing: %s", name, self.accepted[name])
        return [word for word in words[:end] if word not in self.accepted] + [*words[end:]]

    def _sentences_about_dashes(self, words: Sequence[str]) -> Iterator[str]:
        """Yield what is wrong with options that do not begin with hyphens, though they look so."""
        for word in words:
            name = word.lstrip(f"-{_LONG_DASHES}")
            dashes = word[: len(word) - len(name)]
            if not dashes.strip("-"):
                continue
            meant = [f"{hyphens}{name}" for hyphens in ("-", "--")]
            known = [each for each in meant if each.partition("=")[0] in self._known]
            if known:
                yield (
                    f"'{word}' begins with a long dash, as word processors and web pages write it; "
                    f"type '{known[0]}', with hyphens"
                )

    @property
    def _known(self) -> set[str]:
        return {*self._option_string_actions, *self.accepted, *self.refused}

    def _sentence_about(self, option: str) -> str:
        if option in self.refused:
            return f"{option} is nnU-Net's: {self.refused[option]}"
        known = self._option_string_actions
        short, rest = option[:2], option[2:]
        if len(short) == 2 and short in known and known[short].nargs != 0:
            guess = f"; did you mean '{short} {rest}'?"
        else:
            near = difflib.get_close_matches(option, known, n=1)
            guess = f"; did you mean '{near[0]}'?" if near else ""
        return f"there is no option '{option}'{guess or ';'} {self.prog} -h lists all"
