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


_CDM = ("weak.default_saliency=cdm",)

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
        "p1_bias": SweepPreset(
            method="diffusion",
            settings=("diffusion.loss_weighting=sigmoid",),
            axes=(_axis("diffusion.loss_weighting_bias", -6, -4, -2, 0, 2),),
        ),
        "p1_schedule": SweepPreset(
            method="diffusion", axes=(_axis("diffusion.schedule", *SCHEDULES),)
        ),
        "p1_steps": SweepPreset(
            method="diffusion",
            axes=(
                _axis("sampling.num_steps", 2, 3, 4, 5, 10, 20, 50, 100),
                _axis("sampling.sampler", *SAMPLERS),
            ),
        ),
    },
    # the paper on image-level labels: Q, R and tau of CDM, s of CG-CDM; all of one training
    "p2": {
        "p2_q": SweepPreset(
            method="cdm",
            settings=_CDM,
            axes=(_axis("weak.cdm.log_snr", 3, 2, 1, 0, -1, -2, -3),),
        ),
        "p2_r": SweepPreset(
            method="cdm",
            settings=_CDM,
            axes=(_axis("weak.cdm.num_steps", 1, 2, 5, 10, 20, 50),),
        ),
        "p2_tau": SweepPreset(
            method="cdm",
            settings=_CDM,
            axes=(_axis("weak.cdm.tau", 0, 0.25, 0.5, 0.75, 0.95),),
        ),
        "p2_s": SweepPreset(
            method="cdm",
            settings=("weak.default_saliency=cg_cdm",),
            axes=(_axis("weak.cg_cdm.guidance_scale", 0, 0.3, 1, 3, 10, 30),),
        ),
    },
}
"""The sweeps of each paper."""


def presets_named(name: str) -> dict[str, SweepPreset]:
    """Return the sweeps of a paper, or the one of that name; none where there is no such name."""
    every = {each: preset for of_paper in PRESETS.values() for each, preset in of_paper.items()}
    return dict(PRESETS.get(name, {name: every[name]} if name in every else {}))


def preset_names() -> list[str]:
    """Return all names, papers and their sweeps."""
    return [name for paper, sweeps in PRESETS.items() for name in (paper, *sweeps)]
