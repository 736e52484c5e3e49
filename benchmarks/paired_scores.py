"""Two evaluations of the same cases beside each other, paired, with intervals over patients.

    python benchmarks/paired_scores.py store OUT.json OURS=PREDICTIONS/summary.json P1=...
    python benchmarks/paired_scores.py table OUT.json
    python benchmarks/paired_scores.py plot OUT.json OUT.png

`store` keeps of two files of `diffunet_evaluate` (with `--patients` where cases have patients) the
scores of each case, the mean over its labels. `table` prints their means and the difference of the
first and the second with its 95 % bootstrap interval over patients, as Markdown. `plot` draws each
case at the scores of both. Scores are compared in cases where both have them.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.evaluation.bootstrap import paired_difference
from diffunet.jsonio import write_text

SCORES = {
    "ged_fully_unbiased": "unbiased GED",
    "ged_16": "GED16",
    "hm_iou": "HM-IoU",
    "D_max": "D_max",
    "D_ss": "D_ss",
    "D_yy": "D_yy",
    "volume_coverage": "volumes inside the interval",
    "volume_crps": "CRPS of the volume",
}


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    storing = commands.add_parser("store")
    storing.add_argument("out", type=Path)
    storing.add_argument("summaries", nargs=2, metavar="NAME=SUMMARY")
    commands.add_parser("table").add_argument("stored", type=Path)
    plotting = commands.add_parser("plot")
    plotting.add_argument("stored", type=Path)
    plotting.add_argument("out", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "store":
        content = stored(dict(each.split("=", 1) for each in arguments.summaries))
        write_text(arguments.out, json.dumps(content, separators=(",", ":")) + "\n")
        return
    content = json.loads(arguments.stored.read_text(encoding="utf-8"))
    if arguments.command == "table":
        print(table(content))
    else:
        plot(content, arguments.out)


def stored(summaries: dict[str, str]) -> dict[str, Any]:
    """Return the scores of the cases of two summaries, in one order, by names of these.

    Raises:
        ValueError: they are not of the same cases, or not of the same patients.
    """
    cases = {
        name: {case["case"]: case for case in json.loads(Path(path).read_text())["metric_per_case"]}
        for name, path in summaries.items()
    }
    first, second = cases.values()
    if first.keys() != second.keys():
        raise ValueError(f"{list(summaries)} should be of the same cases, but differ")
    patients = {case: each["patient"] for case, each in first.items()}
    if patients != {case: each["patient"] for case, each in second.items()}:
        raise ValueError(f"{list(summaries)} name other patients of the same cases")
    scores = {
        name: {score: [_score(of[case], score) for case in patients] for score in SCORES}
        for name, of in cases.items()
    }
    return {"cases": list(patients), "patients": list(patients.values()), "scores": scores}


def _score(case: dict[str, Any], score: str) -> float | None:
    """Return the mean over labels, to four digits; None where no label has the score."""
    found = [label.get(score) for label in case["distribution"].values()]
    known = [value for value in found if value is not None and np.isfinite(value)]
    return round(float(np.mean(known)), 4) if known else None


def table(content: dict[str, Any]) -> str:
    """Return the means, and the difference of the first and the second, in Markdown."""
    first, second = content["scores"]
    lines = [f"| | {first} | {second} | difference |", "|---|---|---|---|"]
    for score, title in SCORES.items():
        pairs, patients = _pairs(content, score)
        if not len(pairs):
            continue
        difference = paired_difference(pairs[:, 0], pairs[:, 1], patients)
        interval = f"[{difference.lower:.3f}, {difference.upper:.3f}]"
        means = " | ".join(f"{mean:.3f}" for mean in pairs.mean(axis=0))
        lines.append(f"| {title} | {means} | {difference.difference:+.3f} {interval} |")
    patients = content["patients"]
    return "\n".join([*lines, "", f"{len(patients)} cases of {len(set(patients))} patients"])


def plot(content: dict[str, Any], out: Path) -> None:
    """Draw each case at the unbiased GEDs of both, and how both are distributed."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    score = "ged_fully_unbiased"
    first, second = content["scores"]
    pairs, _ = _pairs(content, score)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
    limits = (pairs.min() - 0.05, pairs.max() + 0.05)
    left.plot(limits, limits, color="0.6", linewidth=1)
    left.scatter(pairs[:, 1], pairs[:, 0], s=10, alpha=0.5, color="tab:blue", linewidths=0)
    share = float((pairs[:, 0] < pairs[:, 1]).mean())
    left.set(xlim=limits, ylim=limits, xlabel=second, ylabel=first, aspect="equal")
    left.set_title(f"unbiased GED of each case; below the line: {share:.0%}", fontsize=10)
    for column, (name, colour) in enumerate(((first, "tab:blue"), (second, "tab:orange"))):
        values = np.sort(pairs[:, column])
        right.step(values, np.arange(1, len(values) + 1) / len(values), color=colour, label=name)
        right.axvline(values.mean(), color=colour, linestyle=":", linewidth=1)
    right.set(xlabel="unbiased GED (0 is perfect)", ylabel="share of cases at most so far off")
    right.set_title("all cases; dotted: means", fontsize=10)
    right.legend(frameon=False)
    figure.savefig(out, dpi=130)


def _pairs(content: dict[str, Any], score: str) -> tuple[np.ndarray, list[str]]:
    """Return (case, 2) scores and the patients of the cases that both have."""
    first, second = (scores[score] for scores in content["scores"].values())
    known = [
        (a, b, patient)
        for a, b, patient in zip(first, second, content["patients"], strict=True)
        if a is not None and b is not None
    ]
    pairs = np.array([(a, b) for a, b, _ in known], float).reshape(-1, 2)
    return pairs, [patient for _, _, patient in known]


if __name__ == "__main__":
    main()
