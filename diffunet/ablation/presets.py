"""Sweeps that redraw figures of the papers, by name."""

from collections.abc import Mapping
from dataclasses import dataclass

from diffunet.ablation.axes import Axis
from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.diffusion.samplers import SAMPLERS
from diffunet.diffusion.schedules import SCHEDULES
from diffunet.diffusion.weighting import WEIGHTINGS


@dataclass(frozen=True, kw_only=True)
class SweepPreset:
    """What a sweep varies.

    Attributes:
        method: that it is about.
        settings: of every variant.
    """

    method: str
    axes: tuple[Axis, ...]
    settings: tuple[str, ...] = ()


def _axis(path: str, *values: object) -> Axis:
    return Axis(path=path, values=tuple(map(str, values)))


PRESETS: Mapping[str, Mapping[str, SweepPreset]] = {
    # Christensen et al. 2025, arXiv:2504.05977
    "p1": {
        "p1_input_scale": SweepPreset(
            method="diffusion",
            axes=(_axis("diffusion.input_scale", 1, 0.6, 0.3, 0.2, 0.1, 0.06, 0.03),),
        ),
        "p1_prediction": SweepPreset(
            method="diffusion",
            axes=(
                _axis("diffusion.prediction", *PREDICTIONS),
                _axis("diffusion.loss_weighting", *WEIGHTINGS),
            ),
        ),
        "p1_schedule": SweepPreset(
            method="diffusion", axes=(_axis("diffusion.schedule", *SCHEDULES),)
        ),
        "p1_steps": SweepPreset(
            method="diffusion",
            axes=(
                _axis("sampling.num_steps", 2, 3, 5, 10, 20, 50, 100),
                _axis("sampling.sampler", *SAMPLERS),
            ),
        ),
    },
}
"""The sub-sweeps of each paper."""


def presets_named(name: str) -> dict[str, SweepPreset]:
    """Return the sweeps of a paper, or the one of that name; none where there is no such name."""
    every = {each: preset for of_paper in PRESETS.values() for each, preset in of_paper.items()}
    return dict(PRESETS.get(name, {name: every[name]} if name in every else {}))


def preset_names() -> list[str]:
    """Return all names, papers and their sweeps."""
    return [name for paper, sweeps in PRESETS.items() for name in (paper, *sweeps)]
