"""Writes the reference pages that follow from the code: plan fields, commands, nnU-Net's words.

`python -m diffunet.cli.reference documentation/reference`; a test says when a page is stale.
"""

import argparse
import dataclasses
import inspect
import re
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from diffunet import plans
from diffunet.backbones import BACKBONES
from diffunet.cli.nnunet_words import ACCEPTED, COUNTERPARTS, REFUSED, Counterpart
from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.diffusion.samplers import SAMPLERS
from diffunet.diffusion.schedules import DDPM_GRIDS, SCHEDULES
from diffunet.diffusion.weighting import WEIGHTINGS
from diffunet.jsonio import write_text
from diffunet.plans.presets import PRESETS, SIZES
from diffunet.ranges import choices_in, ranges_in
from diffunet.workspace import RESOLVED_PLANS_FILE

_MADE_FROM = "<!-- Made from the code by `make documentation`; edit the code, not this page. -->\n"

_ABOUT_PLANS = """ `diffunet_plan_and_preprocess` writes `diffunet_plans.json` into the preprocessed
dataset. Edit any value, or change it for one run with `--set path.to.field=value`; such paths are
relative to the configuration, as in `--set diffusion.input_scale=0.3`. The name of a
[preset](#names) sets a group (`--set network=p1`), or the whole preset (`--set p1`); a field that
you set by itself is kept. The defaults below hold where no rule chooses; the block `reasons` of the
file says in words why a value was chosen. An unknown key, a wrong type, a number out of its range
or an impossible combination is refused, with the path of the field.
"""

_ABOUT_WORDS = """For those who come from nnU-Net: its commands, what they are called here, and its
options. Datasets are read unchanged ([dataset format](dataset-format.md)). Folders are those of
`--workspace`, or of the variables `diffunet_raw`, `diffunet_preprocessed` and `diffunet_results`;
nnU-Net's own folders are never written into. An option that is not there is answered with the
sentence below, and exit code 2.
"""

LINE_LENGTH = 120

PLAN_CLASSES: tuple[tuple[str, type], ...] = (
    ("the file itself", plans.Plans),
    (RESOLVED_PLANS_FILE, plans.ResolvedPlans),
    ("configurations.NAME", plans.ConfigurationPlan),
    ("preprocessing", plans.PreprocessingPlan),
    ("preprocessing.normalization[CHANNEL]", plans.NormalizationPlan),
    ("crop", plans.CropPlan),
    ("augmentation", plans.AugmentationPlan),
    ("network", plans.NetworkPlan),
    ("diffusion", plans.DiffusionPlan),
    ("sampling", plans.SamplingPlan),
    ("training", plans.TrainingPlan),
    ("weak", plans.WeakPlan),
    ("weak.diffusion", plans.ImageDiffusionPlan),
    ("weak.cdm`, `weak.cg_cdm", plans.TrajectoryPlan),
    ("weak.cg_diff", plans.EncodingPlan),
    ("weak.cam", plans.CamPlan),
    ("weak.masks.SALIENCY", plans.MaskPlan),
)


NAMES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("schedule", {**SCHEDULES, **DDPM_GRIDS}),
    ("prediction", PREDICTIONS),
    ("loss_weighting", WEIGHTINGS),
    ("sampler", SAMPLERS),
    ("conditioning", BACKBONES),
    ("preset", PRESETS),
)


def plans_page() -> str:
    """Return the page of all plan fields, in Markdown."""
    parts = ["# Plans: every field\n", _MADE_FROM, _wrapped(_ABOUT_PLANS), ""]
    parts += [_plan_section(where, cls) for where, cls in PLAN_CLASSES]
    parts.append("## Names\n")
    parts += [_name_entry(field, *item) for field, names in NAMES for item in names.items()]
    parts += [_entry(f'`size` `"{name}"`', meaning) for name, meaning in SIZES.items()]
    return "\n".join(parts) + "\n"


def commands_page(parsers: "dict[str, Callable[[], argparse.ArgumentParser]]") -> str:
    """Return the page with the help text of every command, in Markdown."""
    parts = ["# Commands\n", _MADE_FROM]
    for name, make_parser in parsers.items():
        parser = make_parser()
        parser.prog = name
        parts.append(f"## {name}\n\n```text\n{_help_of(parser)}```\n")
    return "\n".join(parts)


def words_page() -> str:
    """Return the page of nnU-Net's commands and options, in Markdown."""
    parts = ["# nnU-Net's words\n", _MADE_FROM, _wrapped(_ABOUT_WORDS), ""]
    parts += [_words_section(*item) for item in COUNTERPARTS.items()]
    return "\n".join(parts)


def main() -> None:
    """Write the pages into the folder that the command line names."""
    from diffunet.cli.commands import PARSERS

    folder = Path(sys.argv[1])
    write_text(folder / "plans.md", plans_page())
    write_text(folder / "commands.md", commands_page(PARSERS))
    write_text(folder / "nnunet-words.md", words_page())


def _help_of(parser: argparse.ArgumentParser) -> str:
    width = 96
    original = parser.formatter_class
    parser.formatter_class = lambda prog: original(prog, width=width)  # type: ignore[assignment]
    return parser.format_help()


def _words_section(name: str, counterpart: Counterpart) -> str:
    ours = f"`{counterpart.command}`" if counterpart.command else "nothing of the kind"
    note = f"; {counterpart.sentence}" if counterpart.sentence else ""
    entries = [f"## {name}\n", _wrapped(f"Here: {ours}{note}."), ""]
    if counterpart.options:
        options = ", ".join(f"`{each}`" for each in counterpart.options)
        entries.append(_wrapped(f"- work as there: {options}", indent="  "))
    for option, reason in ACCEPTED.get(counterpart.command, {}).items():
        entries.append(_wrapped(f"- `{option}` changes nothing: {reason}", indent="  "))
    for option, sentence in REFUSED.get(counterpart.command, {}).items():
        entries.append(_entry(f"`{option}`", sentence))
    return "\n".join(entries).rstrip() + "\n"


def _plan_section(where: str, cls: type) -> str:
    summary, _ = _split_docstring(inspect.getdoc(cls) or "")
    meanings = _meanings_of(cls)
    entries = [f"## `{where}`\n", f"{_wrapped(summary)}\n"]
    hints = typing.get_type_hints(cls)
    ranged = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        kind = _type_text(hints[field.name], ranged[field.name])
        facts = "; ".join(filter(None, [kind, _range_text(ranged[field.name]), _default(field)]))
        entries.append(_entry(f"`{field.name}` ({facts})", meanings.get(field.name, "")))
    return "\n".join(entries) + "\n"


def _name_entry(field: str, name: str, member: Any) -> str:
    meaning = (inspect.getdoc(member) or "").split("\n\n")[0].removeprefix("Return ")
    return _entry(f'`{field}` `"{name}"`', meaning)


def _entry(term: str, meaning: str) -> str:
    return _wrapped(f"- {term}: {meaning}", indent="  ")


def _wrapped(text: str, *, indent: str = "") -> str:
    """Return `text` in lines of a page; text between backquotes stays on one line."""
    whole = re.sub(r"`[^`]*`", lambda code: code[0].replace(" ", "\0"), " ".join(text.split()))
    return textwrap.fill(
        whole, LINE_LENGTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    ).replace("\0", " ")


def _split_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return the first sentence(s), and the meaning of each attribute (several may share one)."""
    head, _, attributes = text.partition("Attributes:\n")
    meanings: dict[str, str] = {}
    for names, meaning in _entries(textwrap.dedent(attributes)):
        for name in names.split(","):
            meanings[name.strip()] = meaning
    return " ".join(head.split()), meanings


def _meanings_of(cls: type) -> dict[str, str]:
    """Return the meaning of each attribute; a class overrides those that it extends."""
    meanings: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        meanings |= _split_docstring(inspect.cleandoc(each.__doc__ or ""))[1]
    return meanings


def _entries(text: str) -> Iterator[tuple[str, str]]:
    for entry in re.split(r"\n(?=\S)", text.strip()):
        names, _, meaning = entry.partition(":")
        yield names, " ".join(meaning.split())


def _type_text(hint: Any, ranged: Any) -> str:
    if choices := choices_in(ranged):
        return " or ".join(f"`{choice!r}`".replace("'", '"') for choice in choices)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = " | ".join(
            re.sub("NoneType", "None", each.__name__) for each in typing.get_args(hint)
        )
    text = getattr(hint, "__name__", "") if isinstance(hint, type) else ""
    if typing.get_args(hint) or not text:
        text = re.sub(r"\b(?:\w+\.)+(?=\w)", "", str(hint))
    return f"`{text}`"


def _range_text(hint: Any) -> str:
    """Return how many entries a field has, and between what its numbers lie."""
    return ", each ".join(dict.fromkeys(map(str, ranges_in(hint))))


def _default(field: "dataclasses.Field[Any]") -> str:
    if dataclasses.is_dataclass(field.default) and not isinstance(field.default, type):
        return _default_block(field.default)
    if field.default is not dataclasses.MISSING:
        return f"default `{field.default!r}`".replace("'", '"')
    return "no default" if field.default_factory is dataclasses.MISSING else "default empty"


def _default_block(block: Any) -> str:
    """Return how a block differs from the defaults of its own section."""
    usual = type(block)()
    values = {each.name: getattr(block, each.name) for each in dataclasses.fields(block)}
    changed = [
        f"`{name}` `{value!r}`" for name, value in values.items() if value != getattr(usual, name)
    ]
    return f"default as below, but {', '.join(changed)}" if changed else "default as below"


if __name__ == "__main__":
    main()
