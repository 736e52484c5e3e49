"""Make the table of weak supervision of a tagged dataset, from raw images, on a machine with a GPU.

    python benchmarks/full_size.py raw/Dataset003_LGG --workspace full_size --minutes 55

Plans, preprocesses, trains, predicts, makes pseudo-masks, trains a student and makes two tables
(presence decided by the classifiers, and given), all by the public commands. The same call goes on
where an earlier one stopped; `full_size.json` of the workspace tells time and commands by stage.
"""

import argparse
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

from full_size_stages import PREPARE, Request, Stage, check_dataset, stages_of, write_test_tags
from stoppable_commands import SECONDS_TO_STOP, Clock, StoppableCommands, only_call

from diffunet.cli.options import number_in, number_of
from diffunet.data.raw.dataset import open_dataset
from diffunet.errors import DiffunetError, UsageError
from diffunet.inference.output import setting_differences
from diffunet.jsonio import as_json, read_json, write_json
from diffunet.parallel import default_num_processes
from diffunet.plans import SPACING_MM, TrainingPlan
from diffunet.ranges import Range

EXIT_OUT_OF_TIME = os.EX_TEMPFAIL
EXIT_INTERRUPTED = 130
_FEWEST_MINUTES = 1.0

RunCommand = Callable[[str, list[str]], bool]
"""From a stage's name and its command line to whether it is done; False: time is over."""


@final
class Record:
    """`full_size.json`: the arguments of a workspace, and its stages with time and commands.

    Raises:
        UsageError: the workspace was begun with other arguments.
    """

    def __init__(self, path: Path, arguments: dict[str, Any]):
        self._path = path
        self._content: dict[str, Any] = {"arguments": as_json(arguments), "stages": {}}
        if not path.is_file():
            write_json(path, self._content)
            return
        found = read_json(path, UsageError)
        changes = setting_differences(found["arguments"], self._content["arguments"])
        if changes:
            raise UsageError(
                f"'{path.parent}' was begun with other arguments ({'; '.join(changes)}); call "
                "again with those, or choose another --workspace"
            )
        self._content = found

    def is_whole(self, stage: Stage) -> bool:
        """Whether a stage has ended well, and its result is still there."""
        return self._of(stage.name)["is_whole"] and stage.result.is_file()

    def add(self, name: str, command: list[str], *, seconds: float, is_whole: bool) -> None:
        """Note that a stage was worked at."""
        known = self._of(name)
        text = shlex.join(command)
        self._content["stages"][name] = {
            "is_whole": is_whole,
            "seconds": round(known["seconds"] + seconds, 1),
            "num_calls": known["num_calls"] + 1,
            "commands": known["commands"] + ([] if text in known["commands"] else [text]),
        }
        write_json(self._path, self._content)

    def _of(self, name: str) -> dict[str, Any]:
        new = {"is_whole": False, "seconds": 0.0, "num_calls": 0, "commands": []}
        return self._content["stages"].get(name, new)


def run_stages(stages: Sequence[Stage], record: Record, *, run: RunCommand, clock: Clock) -> int:
    """Do what is not whole, in order; returns 0, or EXIT_OUT_OF_TIME.

    Raises:
        DiffunetError: a stage failed.
        KeyboardInterrupt: it was stopped.
    """
    whole = [stage.name for stage in stages if record.is_whole(stage)]
    if whole:
        clock.say(f"whole already: {', '.join(whole)}")
    for number, stage in enumerate(stages, start=1):
        if record.is_whole(stage):
            continue
        is_done = False
        if clock.seconds_left > SECONDS_TO_STOP:
            command = stage.command()
            clock.say(f"{stage.name} ({number} of {len(stages)}): begins")
            begin = time.monotonic()
            try:
                is_done = run(stage.name, command)
            finally:
                seconds = time.monotonic() - begin
                record.add(stage.name, command, seconds=seconds, is_whole=is_done)
        if not is_done:
            clock.say(f"{stage.name}: no time left; the same call goes on")
            return EXIT_OUT_OF_TIME
        if not record.is_whole(stage):
            raise DiffunetError(f"{stage.name}: expected it to make '{stage.result}', found none")
        clock.say(f"{stage.name}: whole")
    return 0


def stages_until(stages: Sequence[Stage], last: str | None) -> Sequence[Stage]:
    """Return the stages up to one of them; all of them for None.

    Raises:
        UsageError: there is none of that name.
    """
    names = [stage.name for stage in stages]
    if last is not None and last not in names:
        raise UsageError(f"--stages: expected one of {', '.join(names)}; found '{last}'")
    return stages if last is None else stages[: names.index(last) + 1]


def make_table(request: Request, *, clock: Clock, last: str | None) -> int:
    """Do the stages up to `last` as far as time allows; returns an exit code.

    Raises:
        DiffunetError: something is missing, was changed, or failed.
    """
    stages = stages_until(stages_of(request), last)
    dataset = open_dataset(request.dataset)
    with only_call(request.workspace / "full_size.lock") as lock:
        record = Record(request.workspace / "full_size.json", request.fixed)
        is_prepared = stages[0].name == PREPARE and record.is_whole(stages[0])
        table = check_dataset(dataset, is_prepared=is_prepared)
        write_test_tags(request.test_tags, dataset, table)
        run = StoppableCommands(clock=clock, logs=request.workspace / "logs", lock=lock)
        return run_stages(stages, record, run=run, clock=clock)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _minutes(text: str) -> float:
    if not float(text) > _FEWEST_MINUTES - 1e-9:
        raise argparse.ArgumentTypeError(f"expected at least {_FEWEST_MINUTES:g}, got {text}")
    return float(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"exit codes: 0 when all stages are whole, {EXIT_OUT_OF_TIME} (EX_TEMPFAIL) when "
        "time ran out: call again; 1 or 2 after an error; 130 when interrupted.",
    )
    add = parser.add_argument
    add("dataset", type=Path, metavar="DATASET", help="folder of the raw dataset, DatasetXXX_NAME")
    add("--workspace", type=Path, required=True, metavar="DIR", help="all that is made goes here")
    add(
        "--minutes",
        type=_minutes,
        metavar="M",
        help="stop before so many have passed (at least 1), in the middle of a training too; the "
        "end of a training (final validation, choice of settings) and a table are not divided: M "
        "has to be longer than these take",
    )
    add("--stages", metavar="LAST", help="go no further than this stage, such as prepare")
    add(
        "--iterations",
        type=number_of(TrainingPlan, "num_iterations"),
        metavar="N",
        help="of every training; without it, the plans'",
    )
    add(
        "--student_iterations",
        type=number_of(TrainingPlan, "num_iterations"),
        metavar="N",
        help="without it, as --iterations",
    )
    add(
        "--spacing",
        type=number_in(SPACING_MM, is_whole=False),
        nargs="+",
        metavar="MM",
        help="train at this voxel size",
    )
    add(
        "--batch_size",
        type=number_of(TrainingPlan, "batch_size"),
        metavar="N",
        help="of every training; without it, the plans'",
    )
    add(
        "--learning_rate",
        type=number_of(TrainingPlan, "learning_rate"),
        help="of every training; without it, the plans'",
    )
    add(
        "--set",
        dest="settings",
        nargs="+",
        action="extend",
        default=[],
        metavar="PATH=VALUE",
        help="of every training; the student, which has no plan of that part, takes no weak.*",
    )
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add(
        "-np",
        dest="num_processes",
        type=number_in(Range(0, 1024)),
        default=default_num_processes(),
        metavar="N",
        help="worker processes; 0: everything in the process of a command",
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Make the table; returns an exit code."""
    given = _parser().parse_args(arguments)
    clock = Clock(given.minutes)
    request = Request(
        dataset=given.dataset.absolute(),
        workspace=given.workspace.absolute(),
        iterations=given.iterations,
        student_iterations=given.student_iterations,
        spacing=None if given.spacing is None else tuple(given.spacing),
        batch_size=given.batch_size,
        learning_rate=given.learning_rate,
        settings=tuple(given.settings),
        device=given.device,
        num_processes=given.num_processes,
    )
    # a shell's background jobs ignore SIGINT, and so would the commands
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return make_table(request, clock=clock, last=given.stages)
    except DiffunetError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        print("interrupted; the same call goes on", file=sys.stderr)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    raise SystemExit(main())
