"""What the input scale means: when during denoising it is decided whether a region is there."""

import math
import re
from collections.abc import Mapping
from typing import Any

from diffunet.planning.sampling import CERTAIN, SEEN
from diffunet.plans import ConfigurationPlan
from diffunet.report.charts import Band, Chart, Series, number

_NUM_TIMES = 199
_LIMITS = (0.05, 100.0)
_SIZE = re.compile(r"N = ([0-9][0-9.e+]*)")


def noise_chart(plan: ConfigurationPlan, reasons: Mapping[str, Any]) -> tuple[Chart | None, str]:
    """Return how well a region of N voxels is seen over time, and what to look for.

    d' = 2 sqrt(N SNR) is how far apart "there" and "not there" are, in standard deviations, for who
    looks at the noised mask alone. The decision falls while 1 < d' < 4.
    """
    import torch

    from diffunet.build import build_schedule
    from diffunet.diffusion.sampling import sampling_times

    if plan.weak is not None:
        return None, ""
    scale = plan.diffusion.input_scale
    size = _decision_size(reasons) or scale**-2
    times = torch.linspace(0.005, 0.995, _NUM_TIMES, dtype=torch.float64)
    schedule = build_schedule(plan.diffusion)
    visible = 2 * math.sqrt(size) * (schedule.log_snr(times) / 2).exp()
    curve = list(zip(times.tolist(), visible.tolist(), strict=True))
    steps = sampling_times(plan.sampling.num_steps, plan.sampling.step_spacing, schedule)
    at_steps = 2 * math.sqrt(size) * (schedule.log_snr(torch.tensor(steps).double()) / 2).exp()
    points = [
        (t, d)
        for t, d in zip(steps, at_steps.tolist(), strict=True)
        if _LIMITS[0] <= d <= _LIMITS[1]
    ]
    unscaled = [(t, d / scale) for t, d in curve]
    open_times = [t for t, d in curve if SEEN < d < CERTAIN]
    bands = [Band(name="1 < d' < 4", axis="y", lower=SEEN, upper=CERTAIN)]
    if open_times:
        bands.append(Band(name="", axis="x", lower=min(open_times), upper=max(open_times)))
    share = len(open_times) / _NUM_TIMES
    inside = sum(SEEN < d < CERTAIN for _, d in points)
    chart = Chart(
        title=f"When a region of {number(size)} voxels is decided",
        x_label="time t (0: clean mask, 1: noise)",
        y_label="visibility d'",
        series=(
            Series(name=f"b = {scale:g}", points=tuple(curve)),
            *(
                [Series(name="b = 1, unscaled", points=tuple(unscaled), look="dashed", colour=4)]
                if scale != 1
                else []
            ),
            Series(name="sampling steps", points=tuple(points), look="points", colour=1),
        ),
        bands=tuple(bands),
        is_log=True,
        x_limits=(0.0, 1.0),
        y_limits=_LIMITS,
    )
    note = (
        f"In the shaded window a region of N = {number(size)} voxels becomes visible in the noise, "
        f"and whether a mask holds it is decided. With b = {scale:g}, {share:.0%} of the times and "
        f"{inside} of {plan.sampling.num_steps} sampling steps lie in it."
    )
    return chart, note


def _decision_size(reasons: Mapping[str, Any]) -> float | None:
    """Return N as the planner's sentence has it, the last one if there are several."""
    diffusion = reasons.get("diffusion")
    text = diffusion.get("input_scale") if isinstance(diffusion, Mapping) else diffusion
    found = _SIZE.findall(text) if isinstance(text, str) else []
    try:
        return float(found[-1].rstrip(".")) if found else None
    except ValueError:
        return None
