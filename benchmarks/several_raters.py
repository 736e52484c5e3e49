"""Train the planned method and P1's recipe, and compare them where several raters drew.

    python benchmarks/several_raters.py raw/Dataset001_LIDC --workspace lidc --minutes 9 \
        --iterations planned=12000 p1=9500 --batch_size 128 --learning_rate 0.0007

Everything is done by the public commands: plans and preprocessing, a training on all training
cases for each recipe, samples of every test case, scores, and a table of paired differences. The
same call goes on where an earlier one stopped. Iterations are chosen so that both recipes take the
same time: `gpu_speed.py` tells how fast each is.
"""

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from full_size import EXIT_INTERRUPTED, Record, run_stages
from full_size_stages import Stage
from stoppable_commands import Clock, StoppableCommands, only_call

from diffunet.cli.options import number_in
from diffunet.errors import DiffunetError
from diffunet.evaluation.bootstrap import Interval, bootstrap_means, paired_difference
from diffunet.jsonio import write_json, write_text
from diffunet.parallel import default_num_processes
from diffunet.ranges import Range

RECIPES: dict[str, tuple[str, ...]] = {"planned": (), "p1": ("p1",)}
SCORES = ("ged_fully_unbiased", "ged", "ged_4", "hm_iou", "D_max", "D_ss", "volume_coverage")


def stages_of(given: argparse.Namespace) -> list[Stage]:
    """Return all stages, in order."""
    dataset, folder = given.dataset.absolute(), given.workspace.absolute()
    prepare = Stage(
        name="prepare",
        command=lambda: [
            *_module("plan_and_preprocess", folder / "planned"),
            *("-d", str(dataset), "-c", "2d", "-np", str(given.num_processes)),
        ],
        result=folder / "planned" / "preprocessed" / dataset.name / "diffunet_plans.json",
    )
    recipes = [stage for name in given.recipes for stage in _recipe(given, name, dataset, folder)]
    return [prepare, *recipes]


def _recipe(given: argparse.Namespace, name: str, dataset: Path, folder: Path) -> list[Stage]:
    own, output = folder / name, folder / f"predictions_{name}"
    model = "diffusion__diffunet_plans__2d"
    settings = [*RECIPES[name], *given.settings]

    def train() -> list[str]:
        if not (own / "preprocessed").exists():
            own.mkdir(parents=True, exist_ok=True)
            (own / "preprocessed").symlink_to(folder / "planned" / "preprocessed")
        return [
            *_module("train", own),
            *(dataset.name, "all", "-c", "2d", "-m", "diffusion", "--c", "-device", given.device),
            *("--iterations", str(given.iterations[name])),
            *("--batch_size", str(given.batch_size), "--lr", f"{given.learning_rate:g}"),
            *("-np", str(given.num_processes)),
            *(["--set", *settings] if settings else []),
        ]

    return [
        Stage(
            name=f"train_{name}",
            command=train,
            result=own / "results" / dataset.name / model / "fold_all" / "checkpoint_final.pth",
        ),
        Stage(
            name=f"predict_{name}",
            command=lambda: [
                *(sys.executable, str(Path(__file__).with_name("in_parts.py")), str(given.parts)),
                *("-i", str(dataset / "imagesTs"), "-o", str(output), "-d", dataset.name),
                *("--workspace", str(own), "-c", "2d", "-f", "all", "--save_samples"),
                *("--continue_prediction", "-device", given.device),
                *("--num_samples", str(given.num_samples)),
            ],
            result=output / "predictions.json",
        ),
        Stage(
            name=f"evaluate_{name}",
            command=lambda: [
                *(sys.executable, "-m", "diffunet.cli.evaluate", str(dataset / "labelsTs")),
                *(str(output), "-np", str(given.num_processes)),
            ],
            result=output / "summary.json",
        ),
    ]


def _module(name: str, workspace: Path) -> list[str]:
    return [sys.executable, "-m", f"diffunet.cli.{name}", "--workspace", str(workspace)]


def table(summaries: dict[str, Path]) -> tuple[str, dict[str, Any]]:
    """Return the scores of each recipe and the paired differences, as Markdown and as numbers."""
    cases = {
        name: json.loads(path.read_text(encoding="utf-8"))["metric_per_case"]
        for name, path in summaries.items()
    }
    patients = [case["patient"] for case in next(iter(cases.values()))]
    values = {
        name: {score: [_mean_over_labels(case, score) for case in rows] for score in SCORES}
        for name, rows in cases.items()
    }
    lines = ["| | " + " | ".join(SCORES) + " |", "|---|" + "---|" * len(SCORES)]
    numbers: dict[str, Any] = {}
    for name, scores in values.items():
        columns = bootstrap_means(_columns(scores), patients, num_draws=2000, seed=0)
        numbers[name] = dict(zip(SCORES, columns, strict=True))
        lines.append(f"| {name} | " + " | ".join(_text(each) for each in columns) + " |")
    if len(values) == 2:
        first, second = values
        differences = {
            score: paired_difference(values[first][score], values[second][score], patients)
            for score in SCORES
        }
        numbers["difference"] = differences
        texts = [
            f"{each.difference:+.3f} [{each.lower:+.3f}, {each.upper:+.3f}]"
            for each in differences.values()
        ]
        lines.append(f"| {first} - {second} | " + " | ".join(texts) + " |")
    lines += ["", f"{len(patients)} cases of {len(set(patients))} patients."]
    return "\n".join(lines) + "\n", numbers


def _columns(scores: dict[str, list[float]]) -> Any:
    import numpy as np

    return np.array([scores[score] for score in SCORES], np.float64).T


def _mean_over_labels(case: dict[str, Any], score: str) -> float:
    found = [block.get(score) for block in case["distribution"].values()]
    known = [float(value) for value in found if value is not None]
    return sum(known) / len(known) if known else float("nan")


def _without_nan(numbers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the numbers for JSON, which knows no NaN: None where a score is undefined."""
    return {
        name: {
            score: {
                key: None if value != value else value
                for key, value in dataclasses.asdict(each).items()
            }
            for score, each in scores.items()
        }
        for name, scores in numbers.items()
    }


def _text(interval: Interval) -> str:
    return f"{interval.mean:.3f} [{interval.lower:.3f}, {interval.upper:.3f}]"


def _iterations(texts: Sequence[str]) -> dict[str, int]:
    return {name: int(number) for name, number in (text.split("=") for text in texts)}


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Do what is left; returns an exit code as `full_size.py` has them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("dataset", type=Path, help="raw folder with several raters, imagesTs and labelsTs")
    add("--workspace", type=Path, required=True, metavar="DIR", help="all that is made goes here")
    add("--minutes", type=float, metavar="M", help="stop before so many have passed")
    add("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    add("--iterations", nargs="+", required=True, metavar="RECIPE=N")
    add("--batch_size", type=number_in(Range(1, 2**16)), default=128)
    add("--learning_rate", type=float, default=7e-4)
    add("--num_samples", type=number_in(Range(1, 1000)), default=16)
    add("--parts", type=number_in(Range(1, 64)), default=12, help="processes that predict at once")
    add("--set", dest="settings", nargs="+", default=[], metavar="PATH=VALUE", help="of both")
    add("--device", default="auto")
    add(
        "-np", dest="num_processes", type=number_in(Range(0, 1024)), default=default_num_processes()
    )
    given = parser.parse_args(arguments)
    given.iterations = _iterations(given.iterations)
    clock, folder = Clock(given.minutes), given.workspace.absolute()
    fixed = {
        name: getattr(given, name)
        for name in ("iterations", "batch_size", "learning_rate", "num_samples", "settings")
    }
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with only_call(folder / "several_raters.lock") as lock:
            record = Record(folder / "several_raters.json", fixed)
            run = StoppableCommands(clock=clock, logs=folder / "logs", lock=lock)
            code = run_stages(stages_of(given), record, run=run, clock=clock)
            if code == 0:
                summaries = {
                    name: folder / f"predictions_{name}" / "summary.json" for name in given.recipes
                }
                text, numbers = table(summaries)
                write_text(folder / "table.md", text)
                write_json(folder / "table.json", _without_nan(numbers))
                print(text)
            return code
    except DiffunetError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        print("interrupted; the same call goes on", file=sys.stderr)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    raise SystemExit(main())
