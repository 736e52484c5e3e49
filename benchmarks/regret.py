"""How much better a rule's choice could be: regret of planned values against those around them.

    python benchmarks/regret.py crops RAW/Dataset001_LIDC RAW/Dataset011_LIDCCrops --edge 64
    diffunet_ablate 11 0 --one_at_a_time --seeds 0 1 2 --output SWEEP \
        --over diffusion.input_scale=0.08,0.2,1.25 diffusion.prediction=x_0,v,noise
    python benchmarks/regret.py table SWEEP/ablation.json [FILE ...]

`crops` writes a 2D dataset of one crop per image, at a place that the case's name alone decides.

`table` reads sweeps of `diffunet_ablate --one_at_a_time` and prints, for each field, what the
planned value costs. The best of several noisy means is too good by chance, so that the plain
difference to it is too large. Regret here is that to a value which is chosen on half of the
patients and seeds, and measured on the other half; it is below 0 where choosing does worse than the
plan. With one seed, the luck of a training is in both halves. Each draw takes other halves, and of
them patients with replacement: the interval of the draws says how sure the regret is.

Only PNG images with masks of several raters are cropped. Scores are those of the sweep: lower is
better, as with the unbiased GED.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diffunet.randomness import numpy_generator

NUM_DRAWS = 2000


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A field of the plans with the scores of each of its values; lower scores are better.

    Attributes:
        scores: (value, case, seed); the planned value comes first.
        patients: index of each case's patient.
    """

    name: str
    values: tuple[str, ...]
    scores: np.ndarray
    patients: np.ndarray

    def means(self) -> np.ndarray:
        return self.scores.mean(axis=(1, 2))

    def regrets(self, *, num_draws: int = NUM_DRAWS) -> np.ndarray:
        """Return the regret of each bootstrap draw, (draw,)."""
        generator = numpy_generator(0, "regret", self.name)
        num_patients, num_seeds = int(self.patients.max()) + 1, self.scores.shape[2]
        by_patient = np.stack(
            [self.scores[:, self.patients == each].mean(axis=1) for each in range(num_patients)]
        )  # (patient, value, seed)
        found = np.empty(num_draws)
        for draw in range(num_draws):
            halves = np.array_split(generator.permutation(num_patients), 2)
            seeds = np.array_split(generator.permutation(num_seeds), min(2, num_seeds))
            chosen_by, judged_by = (
                by_patient[generator.choice(half, len(half))][..., of_half].mean(axis=(0, 2))
                for half, of_half in ((halves[0], seeds[0]), (halves[1], seeds[-1]))
            )
            found[draw] = judged_by[0] - judged_by[chosen_by.argmin()]
        return found


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    steps = parser.add_subparsers(dest="step", required=True)
    crops = steps.add_parser("crops")
    crops.add_argument("source", type=Path)
    crops.add_argument("target", type=Path)
    crops.add_argument("--edge", type=int, default=64)
    crops.add_argument("--every", type=int, default=1, help="take each n-th case only")
    table = steps.add_parser("table")
    table.add_argument("sweeps", nargs="+", type=Path, metavar="FILE")
    given = parser.parse_args(words)
    if given.step == "crops":
        write_crops(given.source, given.target, edge=given.edge, every=given.every)
    else:
        print(table_of(given.sweeps))


def write_crops(source: Path, target: Path, *, edge: int, every: int) -> None:
    """Write a dataset of square crops of PNG images whose masks are files of raters."""
    description = json.loads((source / "dataset.json").read_text())
    chosen: set[str] = set()
    for part in ("Tr", "Ts"):
        images = sorted((source / f"images{part}").glob("*_0000.png"))[::every]
        for image in images:
            case = image.name.removesuffix("_0000.png")
            chosen.add(case)
            masks = sorted((source / f"labels{part}").glob(f"{case}_r[0-9]*.png"))
            for path in (image, *masks):
                place = target / path.parent.name / path.name
                place.parent.mkdir(parents=True, exist_ok=True)
                cropped(Image.open(path), case=case, edge=edge).save(place)
        if part == "Tr":
            description["numTraining"] = len(images)
    first, *lines = (source / "patients.csv").read_text().splitlines()
    kept = [line for line in lines if line.partition(",")[0] in chosen]
    (target / "patients.csv").write_text("\n".join([first, *kept]) + "\n")
    (target / "dataset.json").write_text(json.dumps(description, indent=2))


def cropped(image: Image.Image, *, case: str, edge: int) -> Image.Image:
    """Return a crop at a place that the case's name decides: the same of its image and masks."""
    generator = numpy_generator(0, "crop", case)
    left, top = (int(generator.integers(size - edge + 1)) for size in image.size)
    return image.crop((left, top, left + edge, top + edge))


def choices_of(outcome: dict[str, Any]) -> list[Choice]:
    """Return the fields that a sweep of one at a time has varied.

    Cases without a score somewhere are left out everywhere.
    """
    rows = [row for row in outcome["variants"] if len(row["runs"]) == len(outcome["seeds"])]
    own = next(row for row in rows if row["is_own"])
    scored = [run["cases"] for row in rows for run in row["runs"]]
    patients = {
        case: patient
        for case, patient in outcome["cases"]["patients"].items()
        if all(cases[case] is not None for cases in scored)
    }
    found: list[Choice] = []
    for axis in (axis["path"] for axis in outcome["axes"]):
        others = [row for row in rows if row["values"][axis] != own["values"][axis]]
        both = [own, *others]
        scores = [
            [[run["cases"][case] for run in row["runs"]] for case in patients] for row in both
        ]
        found.append(
            Choice(
                name=axis,
                values=tuple(str(row["values"][axis]) for row in both),
                scores=np.array(scores, float),
                patients=np.unique(list(patients.values()), return_inverse=True)[1],
            )
        )
    return found


def table_of(files: Sequence[Path]) -> str:
    """Return a table in Markdown, a line for each field of each sweep."""
    lines = [
        "| data | field | planned | score | others, best first | regret | % |",
        "|---|---|---|---|---|---|---|",
    ]
    for file in files:
        outcome = json.loads(file.read_text())
        if not (outcome["one_at_a_time"] and outcome["is_lower_better"]):
            raise SystemExit(f"{file}: expected a sweep of one field at a time, lower being better")
        for choice in choices_of(outcome):
            means, regrets = choice.means(), choice.regrets()
            lower, upper = np.percentile(regrets, (2.5, 97.5))
            order = 1 + np.argsort(means[1:])
            others = ", ".join(f"{choice.values[each]}: {means[each]:.3f}" for each in order)
            lines.append(
                f"| {outcome['dataset']} | `{choice.name}` | {choice.values[0]} | {means[0]:.3f} | "
                f"{others} | {regrets.mean():+.3f} [{lower:+.3f}, {upper:+.3f}] | "
                f"{100 * regrets.mean() / means[0]:+.0f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
