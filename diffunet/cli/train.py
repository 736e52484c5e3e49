"""`diffunet_train`: train folds."""

import argparse
import os
import sys
from collections.abc import Sequence

from diffunet.cli.command import command, new_parser, progress_bar, resolve_workspace
from diffunet.cli.options import (
    add_chosen_plans,
    add_dataset,
    add_device,
    add_flag,
    add_no_report,
    add_num_processes,
    add_number,
    add_path,
    add_seed,
    add_workspace,
    number_in,
)
from diffunet.cli.plan_fields import add_plan_fields, take_settings
from diffunet.cli.ranks import is_launched, num_ranks_of, require_devices, train_in_processes
from diffunet.errors import UsageError
from diffunet.methods import METHODS
from diffunet.names import is_number
from diffunet.plans.presets import PRESETS, SIZES
from diffunet.ranges import Range
from diffunet.training.loggers import LOGGERS, NO_LOGGER


def parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_train`."""
    made = new_parser(
        "Train folds of a preprocessed dataset, one after the other. After a kill or an "
        "interruption, --c continues to exactly the weights of an unbroken run, with the settings "
        "that it began with. Of several folds, those that are finished are skipped.",
        epilog="examples:\n  diffunet_train 1 0\n  diffunet_train 1 0 --preset laptop\n"
        "  diffunet_train 1 0 1 2 3 4 --c\n"
        "  diffunet_train 1 3d_fullres all_folds\n"
        "  diffunet_train LIDC all --set diffusion.input_scale=0.3\n"
        "  torchrun --nproc_per_node 4 -m diffunet.cli.train 1 0",
        command="diffunet_train",
    )
    add_dataset(made)
    made.add_argument(
        "folds",
        metavar="FOLD",
        nargs="+",
        help="0, 1, ..., several of them, all_folds (all of these), or all (one training on every "
        "case); nnU-Net's configuration may stand before it",
    )
    add_chosen_plans(made, choices=list(METHODS))
    add_flag(
        made,
        "--c",
        "continue a training with all that it began with; with --iterations, to more of them",
        dest="continues",
    )
    add_flag(made, "--val", "run only the final validation", dest="only_validates")
    add_flag(
        made,
        "--all_cases",
        "validate on every case instead of at most 100",
        dest="validates_all_cases",
    )
    add_flag(
        made,
        "--save_samples",
        "also write the samples of the final validation, validation/samples/CASE_s00.ext, ...",
        dest="saves_samples",
    )
    made.add_argument(
        "--preset",
        choices=[*SIZES, *PRESETS],
        help="size of the training, or another preset of --set; without it, laptop where there is "
        "no GPU and nothing is said of size or length, and else default: "
        + "; ".join(f"{name}: {meaning}" for name, meaning in SIZES.items()),
    )
    add_plan_fields(made)
    add_seed(made, "seed of all random draws; without it, 0", default=None)
    add_path(
        made,
        "-pretrained_weights",
        "what to start from: a checkpoint, or the folder or zip file of a model, of which each "
        "fold takes its own, or else the first",
        metavar="FILE",
    )
    add_device(made)
    add_number(
        made,
        "-num_gpus",
        number_in(Range(1, 1024)),
        "GPUs of this machine to train on together; with -device cpu: processes",
        default=1,
    )
    add_flag(
        made,
        "--compile",
        "use torch.compile: takes about a minute, then training is faster",
        dest="compiles",
    )
    made.add_argument(
        "--logger",
        dest="loggers",
        nargs="+",
        choices=[*LOGGERS, NO_LOGGER],
        help="send the records of metrics.jsonl there too (pip install 'diffunet[NAME]'); a "
        "training that goes on keeps its loggers, but for none",
    )
    add_no_report(made, "the folder of each fold")
    add_workspace(made)
    add_num_processes(made)
    return made


@command
def main(arguments: list[str] | None = None) -> None:
    """Run `diffunet_train`."""
    given = parser().parse_args(arguments)
    from diffunet import api  # after -h and mistakes, which need none of it

    configuration, folds = where_of(given.folds, given.configuration)
    is_rank = is_launched(given.num_gpus, os.environ)
    num_ranks = num_ranks_of(os.environ) if is_rank else given.num_gpus
    if num_ranks > 1:
        if len(folds) > 1 or folds[0] == "all_folds":
            raise UsageError(
                "several processes (-num_gpus, torchrun) train one fold at a time; give one fold"
            )
        require_devices(num_ranks, given.device)
        if not is_rank:
            given_words = sys.argv[1:] if arguments is None else arguments
            train_in_processes(num_ranks, "diffunet.cli.train", given_words)
            return
    api.train(
        given.dataset,
        folds if len(folds) > 1 else folds[0],
        workspace=resolve_workspace(given.workspace),
        configuration=configuration,
        method=given.method,
        plans_name=given.plans_name,
        preset=given.preset,
        settings=take_settings(given),
        seed=given.seed,
        continues=given.continues,
        only_validates=given.only_validates,
        validates_all_cases=given.validates_all_cases,
        saves_samples=given.saves_samples,
        pretrained_weights=given.pretrained_weights,
        device=given.device,
        compiles=given.compiles,
        loggers=given.loggers,
        num_processes=given.num_processes,
        writes_report=given.writes_report and (not is_rank or os.environ.get("RANK") == "0"),
        progress=progress_bar,
    )


def where_of(words: Sequence[str], configuration: str | None) -> tuple[str | None, list[str]]:
    """Return the configuration and the folds of `[CONFIGURATION] FOLD...`, as nnU-Net has them.

    Raises:
        UsageError: the configuration is given twice, or there is no fold.
    """
    folds = list(words)
    if not (is_number(folds[0]) or folds[0] in ("all", "all_folds")) and len(folds) > 1:
        named = folds.pop(0)
        if configuration not in (None, named):
            raise UsageError(
                f"expected one configuration, found '{named}' before the fold and -c "
                f"{configuration}; give one of them"
            )
        configuration = named
    return configuration, folds


if __name__ == "__main__":
    raise SystemExit(main())
