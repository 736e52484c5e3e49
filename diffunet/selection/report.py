"""What was chosen, in JSON, as a table with its caveats, and as commands to predict with."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffunet.evaluation.bootstrap import Interval, PairedDifference
from diffunet.evaluation.summary import without_nan
from diffunet.jsonio import as_json, write_json, write_text
from diffunet.postprocessing.plan import PostProcessing
from diffunet.selection.compare import Candidate, Comparison
from diffunet.selection.criterion import Criterion
from diffunet.selection.folds import CrossValidation

CHOICE_FILE = "best_configuration.json"
TABLE_FILE = "best_configuration.md"


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """The post-processing that was decided on the winner's validation cases.

    Attributes:
        file: holds `plan`.
    """

    plan: PostProcessing
    file: Path

    def command(self) -> list[str]:
        """Return the command that applies it; none where no step made the score better."""
        if not self.plan.keep_largest_of:
            return []
        words = ["diffunet_apply_postprocessing", "-i", "PREDICTIONS", "-o", "CLEANED"]
        return [shlex.join([*words, "-pp", str(self.file)])]

    def sentence(self) -> str:
        """Return what it does, and what that did to the score."""
        plan = self.plan
        if not plan.keep_largest_of:
            return "Keeping only the largest component of labels made no score better."
        steps = ", then of ".join(" and ".join(names) for names in plan.keep_largest_of)
        return (
            f"Post-processing keeps the largest component of {steps}: {plan.criterion} from "
            f"{plan.before.mean:.4f} to {plan.after.mean:.4f} on the same cases, so this is "
            "optimistic too."
        )


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The best candidate, and what it was compared with.

    Attributes:
        models: by name.
        left_out: why models, mixtures or post-processing were not tried, by name.
        num_undefined: cases that were left out, since some candidate has no score there.
        workspace: words that name it in a command; none for the usual one.
        cleaning: None where none could be decided.
    """

    models: Mapping[str, CrossValidation]
    criterion: Criterion
    comparison: Comparison
    left_out: Mapping[str, str]
    num_undefined: int
    workspace: tuple[str, ...] = ()
    cleaning: Cleaning | None = None

    @property
    def winner(self) -> Candidate:
        return self.comparison.winner

    @property
    def commands(self) -> list[str]:
        """The commands that predict with the winner, and clean its masks where that helped."""
        parts, outputs = self.winner.parts, ["PREDICTIONS"]
        if len(parts) > 1:
            outputs = [f"PREDICTIONS_{number}" for number, _ in enumerate(parts, start=1)]
        cleaning = [] if self.cleaning is None else self.cleaning.command()
        cleans_samples = self.cleaning is not None and self.cleaning.plan.decided_on.num_samples > 0
        has_samples = len(parts) > 1 or bool(cleaning and cleans_samples)
        lines = [
            self._predict(name, output, saves_samples=has_samples)
            for name, output in zip(parts, outputs, strict=True)
        ]
        if len(parts) > 1:
            lines.append(shlex.join(["diffunet_ensemble", "-i", *outputs, "-o", "PREDICTIONS"]))
        return [*lines, *cleaning]

    def _predict(self, name: str, output: str, *, saves_samples: bool) -> str:
        model = self.models[name]
        method, plans_name, configuration = name.split("__")
        words = ["diffunet_predict", "-i", "IMAGES", "-o", output]
        words += ["-d", model.model_folder.parent.name]
        words += ["-m", method, "-p", plans_name, "-c", configuration]
        words += ["-f", *(fold.fold for fold in model.folds)]
        if saves_samples and model.draws_samples:
            words.append("--save_samples")
        return shlex.join([*words, *self.workspace])

    def as_json(self) -> dict[str, Any]:
        """Return everything, for `best_configuration.json`."""
        found = self.comparison
        again = found.chosen_again
        content = {
            "best": self.winner.parts,
            "score": self.criterion.name,
            "is_lower_better": self.criterion.is_lower_better,
            "num_cases": len(found.cases),
            "num_patients": found.num_patients,
            "num_cases_without_score": self.num_undefined,
            "candidates": [
                {
                    "models": each.candidate.parts,
                    "score": asdict(each.score),
                    "difference_to_the_best": None if each.behind is None else asdict(each.behind),
                    "share_of_wins": each.share_of_wins,
                    "cases": dict(each.candidate.values),
                }
                for each in found.ranked
            ],
            "chosen_again": None
            if again is None
            else {**asdict(again), "optimism": again.optimism},
            "left_out": dict(self.left_out),
            "postprocessing": None if self.cleaning is None else str(self.cleaning.file),
            "commands": self.commands,
        }
        return as_json(without_nan(content))

    def as_markdown(self) -> str:
        """Return the table, what it is worth, and the commands."""
        found = self.comparison
        better = "0 is perfect, lower" if self.criterion.is_lower_better else "higher"
        rows = [
            f"# Best configuration: {self.winner.name}",
            "",
            f"{self.criterion.title} ({better} is better), mean over {len(found.cases)} validation "
            f"cases of {found.num_patients} patients, each predicted by the fold that did not see "
            "it; 95 % intervals over patients.",
            "",
            f"| candidate | {self.criterion.title} | difference to the best | chosen in |",
            "|---|---|---|---|",
            *(
                f"| {each.candidate.name} | {_interval(each.score)} | {_interval(each.behind)} | "
                f"{100 * each.share_of_wins:.0f} % of resamples |"
                for each in found.ranked
            ),
            "",
            *self._caveats(),
            "",
            "```bash",
            *self.commands,
            "```",
        ]
        if self.left_out:
            rows += ["", "Left out:", ""]
            rows += [f"- {name}: {' '.join(why.split())}" for name, why in self.left_out.items()]
        return "\n".join(rows) + "\n"

    def _caveats(self) -> list[str]:
        """Return what the winner's score is worth on other cases."""
        found = self.comparison
        again = found.chosen_again
        lines: list[str] = []
        if len(found.ranked) > 1:
            lines.append(
                f"The winner's {found.ranked[0].score.mean:.4f} is optimistic: these cases chose "
                f"it among {len(found.ranked)} candidates, and chance helped whichever won."
            )
        means = [each.score.mean for each in found.ranked]
        same = [each.candidate.name for each in found.ranked if each.score.mean == means[0]]
        if len(same) > 1:
            lines.append(
                f"These cases do not tell {len(same)} candidates apart ({', '.join(same)}): the "
                "first is named because it is first."
            )
        if again is None:
            lines.append("By how much, fewer than two patients cannot tell.")
        elif len(found.ranked) > 1:
            lines.append(
                f"Chosen again in resamples of the patients, the winner of each has on average "
                f"{again.on_chosen:.4f} on the patients that chose it, and {again.on_left_out:.4f} "
                f"on those left out ({again.optimism:+.4f}). So expect about "
                f"{again.on_left_out:.4f} of a choice like this on new patients. This corrects for "
                "the choice among these candidates alone, not for anything else that was decided "
                "by these cases."
            )
        if self.num_undefined:
            lines.append(
                f"{self.num_undefined} cases are left out, since a candidate has no score there."
            )
        if self.cleaning is not None:
            lines.append(self.cleaning.sentence())
        return lines

    def save(self, folder: Path) -> None:
        """Write `best_configuration.json` and `best_configuration.md`."""
        write_json(folder / CHOICE_FILE, self.as_json())
        write_text(folder / TABLE_FILE, self.as_markdown())


def _interval(found: Interval | PairedDifference | None) -> str:
    if found is None:
        return "-"
    mean = found.mean if isinstance(found, Interval) else found.difference
    if found.lower != found.lower:  # NaN: of one patient
        return f"{mean:.4f}"
    return f"{mean:.4f} [{found.lower:.4f}, {found.upper:.4f}]"
