"""`diffunet_ablate`: vary fields of the plans, and compare."""

import argparse

from diffunet.ablation.presets import preset_names
from diffunet.cli.command import command_of, new_parser, progress_bar, resolve_workspace
from diffunet.cli.options import (
    add_chosen_plans,
    add_dataset,
    add_device,
    add_flag,
    add_num_processes,
    add_number,
    add_path,
    add_workspace,
    number_in,
)
from diffunet.cli.plan_fields import add_plan_fields, add_sampling_fields, take_settings
from diffunet.methods import METHODS
from diffunet.ranges import Range


def parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_ablate`."""
    made = new_parser(
        "Vary fields of the plans: train, predict and score each variant on the same validation "
        "cases, and compare them in a table and a picture. Variants that differ in prediction "
        "alone share one training. Run again, the command goes on; with more values or seeds, it "
        "does what is new. A variant that fails is noted, and the others go on.",
        epilog="examples:\n"
        "  diffunet_ablate 1 0 --over diffusion.input_scale=1,0.3,0.1,0.03 --output sweep\n"
        "  diffunet_ablate 1 0 --over sampling.num_steps=2,5,10 sampling.sampler=ddpm,ddim "
        "--output sweep\n"
        "  diffunet_ablate 1 0 --over network.channels=[16,32,64],[32,64,128] --seeds 0 1 2 "
        "--iterations 5000 --output widths\n"
        "  diffunet_ablate 1 0 --preset p1 --output p1",
        command="diffunet_ablate",
    )
    add_dataset(made)
    made.add_argument(
        "fold",
        metavar="FOLD",
        nargs="?",
        default="0",
        help="whose training cases train, and whose validation cases are scored",
    )
    _add_variants(made)
    add_path(
        made,
        "--output",
        "a folder that is new, is empty or holds sweeps that start from the same plans",
        required=True,
    )
    made.add_argument(
        "--cases",
        choices=["validation", "test"],
        default="validation",
        help="what is scored; by scores of the test cases nothing may be chosen",
    )
    add_number(
        made,
        "--num_cases",
        number_in(Range(1, 10**6)),
        "scored cases, spread over patients; without it, as many as in a final validation",
    )
    add_flag(
        made,
        "--save_samples",
        "keep the masks of all variants too, in FOLDER/predictions",
        dest="saves_samples",
    )
    add_chosen_plans(made, choices=list(METHODS))
    add_plan_fields(made)
    add_sampling_fields(made)
    add_device(made)
    add_workspace(made)
    add_num_processes(made)
    return made


@command_of(parser)
def main(given: argparse.Namespace) -> None:
    """Run `diffunet_ablate`."""
    from diffunet import api

    given.settings = take_settings(given)
    given.workspace = resolve_workspace(given.workspace)
    api.ablate(**vars(given), progress=progress_bar)


def _add_variants(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("variants: either --over or --preset")
    group.add_argument(
        "--over",
        action="extend",
        nargs="+",
        default=[],
        metavar="PATH=VALUES",
        help="a field of the plans and its values, as in JSON, with commas between; several fields "
        "give all combinations of their values. A group takes names of presets (network=p1,monai)",
    )
    group.add_argument(
        "--preset",
        choices=preset_names(),
        metavar="NAME",
        help="sweeps that redraw the figures of a paper, or one of them: "
        f"{', '.join(preset_names())}",
    )
    add_flag(
        group,
        "--one_at_a_time",
        "vary each field alone, around the plans, instead of all combinations",
    )
    add_flag(
        group,
        "--without_own",
        "leave out the plans' own values, unless --over has them; differences are then to the "
        "first variant",
        value=False,
        dest="has_own",
    )
    add_number(
        group,
        "--seeds",
        number_in(Range(0, 2**63 - 1)),
        "of trainings; every variant is trained with each",
        nargs="+",
        default=[0],
        metavar="SEED",
    )


if __name__ == "__main__":
    raise SystemExit(main())
