import itertools

import numpy as np
import pytest

from diffunet.ablation.plot import plot_outcome
from diffunet.ablation.table import as_csv, as_markdown

SCALES = {"diffusion.input_scale": [0.03, 0.1, 0.3, 1.0]}
STEPS = {"sampling.num_steps": [2, 4, 6]}
SAMPLERS = {"sampling.sampler": ["ddpm", "ddim", "dpm_solver_2m"]}
PREDICTIONS = {"diffusion.prediction": ["x_0", "noise", "v"]}
WIDTHS = {"network.channels": [[16, 32], [32, 64]]}
KINDS = {
    "numbers over decades": [SCALES],
    "few numbers": [STEPS],
    "numbers and words": [STEPS, SAMPLERS],
    "words": [SAMPLERS],
    "words and words": [PREDICTIONS, SAMPLERS],
    "three fields": [SCALES, SAMPLERS, WIDTHS],
    "lists": [WIDTHS],
    "what a training chooses": [{"weak.cdm.log_snr": ["as its training chooses", -1, 0, 1]}],
    "a group": [{"network": ["as planned", "p1", "monai"]}],
}


def outcome_of(*axes, seeds=(0, 1, 2), one_at_a_time=False, trivial=(0.9, 0.35), has_own=True):
    """Return what a sweep over `axes` might have found; the first variant is the own one."""
    paths = [path for axis in axes for path in axis]
    values = [axis[path] for axis, path in zip(axes, paths, strict=True)]
    chosen = list(itertools.product(*values))
    if one_at_a_time:
        first = chosen[0]
        differing = lambda each: sum(a != b for a, b in zip(each, first, strict=True))  # noqa: E731
        chosen = [each for each in chosen if differing(each) <= 1]
    generator = np.random.default_rng(0)
    return {
        "sweep": "ablation",
        "dataset": "Dataset001_Discs",
        "method": "diffusion",
        "configuration": "2d",
        "fold": "0",
        "cases": {"kind": "validation", "num_cases": 30, "num_patients": 12},
        "score": "ged_fully_unbiased",
        "title": "unbiased GED of the samples",
        "is_lower_better": True,
        "seeds": list(seeds),
        "one_at_a_time": one_at_a_time,
        "axes": [
            {"path": path, "name": path.rpartition(".")[2], "values": each}
            for path, each in zip(paths, values, strict=True)
        ],
        "compared_with": "as planned",
        "trivial_answers": dict(zip(("always_empty", "oracle_majority"), trivial, strict=False)),
        "variants": [
            _row(dict(zip(paths, each, strict=True)), number, seeds, generator, has_own=has_own)
            for number, each in enumerate(chosen)
        ],
    }


def _row(values, number, seeds, generator, *, has_own):
    scores = 0.1 + 0.02 * (number % 5) + 0.02 * generator.normal(size=len(seeds))
    mean = float(scores.mean())
    return {
        "name": ", ".join(f"{path.rpartition('.')[2]}={value}" for path, value in values.items()),
        "values": values,
        "is_own": has_own and number == 0,
        "score": {"mean": mean, "lower": mean - 0.03, "upper": mean + 0.04},
        "difference": {"mean": 0.01, "lower": -0.01, "upper": 0.03},
        "scores": {"ged": 0.3, "D_ss": 0.5, "D_yy": None, "volume_coverage": 0.9, "Dice": 0.8},
        "floor": None,
        "num_samples": 16,
        "training_minutes": 3.0,
        "ms_per_sample": 12.0,
        "peak_gib": None,
        "runs": [
            {"seed": seed, "model": "m", "score": float(score), "cases": {}}
            for seed, score in zip(seeds, scores, strict=True)
        ],
        "failures": {},
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_sweep_has_a_picture_and_a_table(tmp_path, kind):
    outcome = outcome_of(*KINDS[kind])
    plot_outcome(outcome, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert as_csv(outcome).count("\n") == len(outcome["variants"]) + 1
    assert as_markdown(outcome).count("\n| ") == len(outcome["variants"]) + 1


def test_one_at_a_time_makes_a_panel_for_each_field(tmp_path):
    plot_outcome(outcome_of(SCALES, SAMPLERS, one_at_a_time=True), tmp_path / "two.png")
    plot_outcome(outcome_of(SCALES), tmp_path / "one.png")
    sizes = [_size(tmp_path / f"{name}.png") for name in ("one", "two")]
    assert sizes[1][0] == pytest.approx(2 * sizes[0][0], abs=2)


def test_a_variant_without_a_score_is_left_out_of_the_picture(tmp_path):
    outcome = outcome_of(SCALES)
    missing = dict.fromkeys(("mean", "lower", "upper"))
    outcome["variants"][1] |= {"score": missing, "difference": missing, "runs": []}
    outcome["variants"][1]["failures"] = {"0": "it diverged"}
    plot_outcome(outcome, tmp_path / "a.png")
    assert "Failed: input_scale=0.1, seed 0: it diverged" in as_markdown(outcome)
    assert "seed 0: it diverged" in as_csv(outcome)


def _size(png):
    from PIL import Image

    with Image.open(png) as image:
        return image.size
