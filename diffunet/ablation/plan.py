"""From what a user asks to sweeps whose every variant can be trained and predicted."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from diffunet.ablation.axes import Axis, combinations, parse_axes
from diffunet.ablation.cases import ScoredCases
from diffunet.ablation.presets import preset_names, presets_named
from diffunet.ablation.run import SCORES, Sweep
from diffunet.ablation.variants import Resolve, Variant, make_variants
from diffunet.errors import DiffunetError, PlansError, UsageError
from diffunet.inference.masks import sampling_of
from diffunet.jsonio import as_json, hash_of, read_object, remove_unfinished, write_json
from diffunet.locks import is_lock
from diffunet.methods import METHODS
from diffunet.needs import require_memory_to_train
from diffunet.plans import ResolvedPlans
from diffunet.plans.differences import differences
from diffunet.training.final_validation import VALIDATION_OPTIONS
from diffunet.training.fold_data import FoldData, open_fold

logger = logging.getLogger(__name__)

SWEEP_FILE = "sweep.json"
"""What all sweeps of a folder start from; it is written first."""

_ANOTHER = "what its sweeps start from is unknown: take another folder (--output)"

DEFAULT_NAME = "ablation"


@dataclass(frozen=True, kw_only=True)
class AskedSweep:
    """A sweep, before its plans are known.

    Attributes:
        method: that it is about; None for any.
        settings: of every variant.
    """

    name: str
    axes: tuple[Axis, ...]
    one_at_a_time: bool
    method: str | None = None
    settings: tuple[str, ...] = ()

    def sweep(
        self,
        folder: Path,
        *,
        base: ResolvedPlans,
        resolve: Resolve,
        fold: str,
        seeds: Sequence[int],
        cases: ScoredCases,
        has_own: bool,
    ) -> Sweep:
        """Return it with the plans of its variants.

        Raises:
            PlansError: all that is wrong with the values.
        """
        chosen = combinations(self.axes, one_at_a_time=self.one_at_a_time, has_own=has_own)
        return Sweep(
            folder=folder,
            name=self.name,
            axes=self.axes,
            one_at_a_time=self.one_at_a_time,
            variants=make_variants(chosen, self.axes, resolve=resolve, preset=self.settings),
            base=base,
            fold=fold,
            seeds=tuple(seeds),
            cases=cases,
        )


def sweeps_asked(
    over: Sequence[str], preset: str | None, *, one_at_a_time: bool, method: str | None
) -> list[AskedSweep]:
    """Return the sweeps that are asked for.

    Args:
        method: None for the preset's, or the plans' own.

    Raises:
        UsageError: none is, or both words and a preset are given, or something is wrong with them.
    """
    if bool(over) == (preset is not None):
        raise UsageError(
            "expected either fields to vary (--over diffusion.input_scale=1,0.3,0.1) or a preset "
            f"(--preset {' or '.join(preset_names())}), found "
            f"{'both' if over else 'neither'}"
        )
    if preset is None:
        axes = parse_axes(over)
        return [
            AskedSweep(name=DEFAULT_NAME, axes=axes, one_at_a_time=one_at_a_time, method=method)
        ]
    found = presets_named(preset)
    if not found:
        raise UsageError(f"--preset should be one of {', '.join(preset_names())}, got '{preset}'")
    for name, each in found.items():
        if method not in (None, each.method):
            raise UsageError(f"the sweep {name} is about -m {each.method}, got -m {method}")
    return [
        AskedSweep(
            name=name,
            axes=each.axes,
            one_at_a_time=one_at_a_time,
            method=each.method,
            settings=each.settings,
        )
        for name, each in found.items()
    ]


def check_sweep(sweep: Sweep, preprocessed: Path, *, device: torch.device) -> None:
    """Check that every variant can be trained on the data and on this machine, and predicted.

    Raises:
        PlansError: all that is wrong, by variant.
    """
    faults: dict[str, str] = {}
    opened: dict[str, FoldData] = {}
    for variant in sweep.variants:
        try:
            _check_variant(variant, sweep, preprocessed, device=device, opened=opened)
        except DiffunetError as fault:
            faults.setdefault(str(fault), f"{variant.name}: {fault}")
    if faults:
        raise PlansError("\n".join(faults.values()))


def _check_variant(
    variant: Variant,
    sweep: Sweep,
    preprocessed: Path,
    *,
    device: torch.device,
    opened: dict[str, FoldData],
) -> None:
    """Check one variant.

    Args:
        opened: data by how they were made; it grows.
    """
    plans = variant.training.plans
    configuration = plans.configuration
    if METHODS[plans.method].learns_from == "masks":
        sampling_of(variant.plans.configuration, VALIDATION_OPTIONS)
    require_memory_to_train(configuration, method=plans.method, device=device)
    key = hash_of(as_json([configuration.data_identifier, configuration.preprocessing]))
    if key not in opened:
        opened[key] = open_fold(plans, preprocessed, fold=sweep.fold, device=device)
    with torch.device("meta"):  # without weights: it takes neither memory nor time
        METHODS[plans.method].build_model(
            configuration,
            num_image_channels=opened[key].num_channels,
            labels=opened[key].labels,
        )


def open_folder(folder: Path, *, base: ResolvedPlans, fold: str, preprocessed: Path) -> None:
    """Make the folder of sweeps, or check that those in it start from the same.

    Raises:
        UsageError: it holds something else; the message names every difference.
    """
    for each in (folder, folder / SCORES):
        remove_unfinished(each)
    path = folder / SWEEP_FILE
    data = open_fold(base, preprocessed, fold=fold, device=torch.device("cpu")).content()
    plans = {name: value for name, value in as_json(base).items() if name != "reasons"}
    now = {"fold": fold, "plans": plans, "data": data}
    if path.is_file():
        changed = differences(read_object(path, UsageError, remedy=_ANOTHER), now)
        cases = [name for name in changed if name.startswith("data.")]
        shown = [
            f"{name.removeprefix('plans.configuration.')} was {old!r} and is {new!r}"
            for name, (old, new) in changed.items()
            if name not in cases
        ]
        if cases:
            shown.append(f"{len(cases)} preprocessed cases are not what they were")
        if shown:
            raise UsageError(
                f"'{folder}' holds sweeps that start from something else: {'; '.join(shown)}; "
                "take another folder (--output), or give the same settings again"
            )
        return
    others = [each.name for each in folder.iterdir() if not is_lock(each)]
    if others:
        raise UsageError(
            f"'{folder}': expected a folder that is new, is empty or holds a sweep, found "
            f"{', '.join(sorted(others)[:5])}; choose another one (--output)"
        )
    write_json(path, now)
