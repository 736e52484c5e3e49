"""A sweep done and told: its work, and the files with what it found."""

import logging
from typing import Any

from diffunet.ablation.outcome import outcome_of
from diffunet.ablation.plot import plot_outcome
from diffunet.ablation.run import Sweep, SweepRun, Train
from diffunet.ablation.table import as_csv, as_markdown
from diffunet.figures.files import warning_only
from diffunet.inference.compute import Compute
from diffunet.jsonio import write_json, write_text
from diffunet.parallel import Progress

logger = logging.getLogger(__name__)


def run_and_write(
    sweep: Sweep, *, train: Train, compute: Compute, saves_samples: bool, progress: Progress
) -> dict[str, Any]:
    """Do what is left of a sweep, and write its results whenever a seed is done.

    Returns:
        What the JSON file holds.
    """
    run = SweepRun(
        sweep=sweep,
        train=train,
        compute=compute,
        saves_samples=saves_samples,
        progress=progress,
    )
    run.run(after_seed=lambda: _write(run))
    outcome = _write(run)
    if any(row["runs"] for row in outcome["variants"]):
        png = sweep.folder / f"{sweep.name}.png"
        with warning_only(png):
            plot_outcome(outcome, png)
    table = sweep.folder / f"{sweep.name}.md"
    logger.info("%swrote '%s' and its like", table.read_text(encoding="utf-8"), table)
    return outcome


def _write(run: SweepRun) -> dict[str, Any]:
    outcome = outcome_of(run)
    stem = run.sweep.folder / run.sweep.name
    write_text(stem.with_name(f"{stem.name}.csv"), as_csv(outcome))
    write_text(stem.with_name(f"{stem.name}.md"), as_markdown(outcome))
    write_json(stem.with_name(f"{stem.name}.json"), outcome)
    return outcome
