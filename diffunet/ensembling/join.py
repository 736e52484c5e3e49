"""Join the samples of several models into one folder of predictions: a mixture of them."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffunet import __version__
from diffunet.data.image_io import StoredMap, grid_difference
from diffunet.data.raw.case_files import listing
from diffunet.ensembling.allocation import allocate, chosen_samples, interleaved, largest_allocation
from diffunet.errors import UsageError
from diffunet.inference.output import OutputFolder
from diffunet.inference.written import (
    SourceOfMasks,
    WrittenCase,
    WrittenFolder,
    make_folder,
    read_masks,
    read_written,
    write_samples,
)
from diffunet.labels import LabelScheme
from diffunet.parallel import Progress, without_progress
from diffunet.workspace import ENSEMBLE_FILE

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EnsembleOptions:
    """How samples are joined.

    Attributes:
        weights: of each folder, above 0; None: all the same.
        num_samples: of the mixture; None: as many as the weights and the folders allow.
        seed: of the choice among the samples of a folder that gives only some.
        saves_probabilities: write CASE_probability as well.
    """

    weights: tuple[float, ...] | None = None
    num_samples: int | None = None
    seed: int = 0
    saves_probabilities: bool = False


@dataclass(frozen=True, kw_only=True)
class _Mixture:
    """Folders that fit together, and how many samples each gives."""

    folders: tuple[WrittenFolder, ...]
    counts: tuple[int, ...]
    options: EnsembleOptions

    def parts_of(self, case: str) -> list[tuple[int, int]]:
        """Return (place of the folder, number of its sample) of each sample of the mixture."""
        chosen = [
            chosen_samples(count, _available(folder), seed=self.options.seed, case=case, place=i)
            for i, (count, folder) in enumerate(zip(self.counts, self.folders, strict=True))
        ]
        return [(place, chosen[place][number]) for place, number in interleaved(self.counts)]

    def files_of(self, case: str) -> list[tuple[WrittenCase, StoredMap]]:
        """Return where each sample is stored of the mixture; a mask without samples is one."""
        found: list[tuple[WrittenCase, StoredMap]] = []
        for place, number in self.parts_of(case):
            written = self.folders[place].cases[case]
            found.append((written, written.masks[number if written.samples else 0]))
        return found

    def settings(self) -> dict[str, Any]:
        """Return what decides about the result."""
        return {
            "dataset": self.folders[0].settings.get("dataset"),
            "method": "ensemble",
            "models": [folder.settings for folder in self.folders],
            "weights": self.options.weights,
            "num_samples": self.counts,
            "seed": self.options.seed,
            "output": {
                "has_probabilities": self.options.saves_probabilities,
                "has_samples": True,
            },
            "versions": {"diffunet": __version__},
        }

    def write_case(self, case: str, output: OutputFolder) -> None:
        """Write all samples of a case, and what they have in common."""
        labels = self.folders[0].labels
        found, geometry = write_samples(
            output,
            case,
            read_masks(self.files_of(case), labels=labels),
            num_samples=sum(self.counts),
            labels=labels,
            has_probabilities=self.options.saves_probabilities,
        )
        content = {**found, "models_and_samples": self.parts_of(case)}
        output.write_record(case, content, geometry)


def join_folders(
    folders: Sequence[Path],
    output: Path,
    *,
    options: EnsembleOptions,
    progress: Progress = without_progress,
) -> Path:
    """Join folders of predictions, with their samples, into one, and return it.

    Samples are joined, never averaged. Run again with the same options, it goes on.

    Raises:
        UsageError: the folders do not fit together, or weights and numbers of samples do not.
        DatasetError: a `dataset.json` is not valid, or, at the end, cases could not be joined.
        InUseError, WriteError: the output cannot be written to.
    """
    _check_options(folders, options)
    read = tuple(read_written(folder) for folder in folders)
    _check_together(read)
    mixture = _Mixture(folders=read, counts=_counts_of(read, options), options=options)
    for folder, count in zip(read, mixture.counts, strict=True):
        of = f"of its {folder.num_samples}" if _available(folder) else "times its only mask"
        logger.info("'%s' gives %d %s samples of each case", folder.folder, count, of)
    numbers = [_available(folder) or 0 for folder in read]
    is_even = options.weights is None and options.num_samples is None
    if is_even and all(numbers) and len(set(numbers)) > 1:
        logger.info("to take all samples: -weights %s", " ".join(map(str, numbers)))
    source = SourceOfMasks(
        command="diffunet_ensemble",
        signature=ENSEMBLE_FILE,
        content={"folders": list(map(str, folders)), **mixture.settings()},
        dataset_content=read[0].dataset_content,
        labels=read[0].labels,
    )
    return make_folder(
        output,
        source=source,
        settings=mixture.settings(),
        inputs={case: [stored for _, stored in mixture.files_of(case)] for case in read[0].cases},
        write_case=mixture.write_case,
        progress=progress,
    )


def _available(folder: WrittenFolder) -> int | None:
    """Return how many samples there are; None for one mask, whether or not it is saved as one."""
    return (folder.num_samples or None) if folder.draws_samples else None


def _check_options(folders: Sequence[Path], options: EnsembleOptions) -> None:
    if len(folders) < 2 or len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError(
            f"expected at least two folders, each once, got {listing(list(map(str, folders)))}; a "
            "second copy of a sample is no second sample, and -weights weigh a folder"
        )
    if options.weights is None:
        return
    is_valid = all(0 < weight < math.inf for weight in options.weights)
    if len(options.weights) != len(folders) or not is_valid:
        raise UsageError(
            f"-weights: expected {len(folders)} numbers above 0, one for each folder, got "
            f"{', '.join(f'{weight:g}' for weight in options.weights)}"
        )


def _check_together(folders: Sequence[WrittenFolder]) -> None:
    """Check that folders are of the same cases and labels, and that samples were saved.

    Raises:
        UsageError: all that does not fit.
    """
    first, problems = folders[0], []
    for folder in folders:
        if not folder.num_samples and folder.draws_samples:
            problems.append(
                f"'{folder.folder}' holds no samples, but its model draws them, and masks that "
                "stand for many samples cannot be joined; predict again with --save_samples"
            )
        for name, expected, found in (
            ("labels", _in_words(first.labels), _in_words(folder.labels)),
            ("file_ending", first.file_ending, folder.file_ending),
        ):
            if found != expected:
                problems.append(
                    f"'{folder.folder}': expected the {name} of '{first.folder}', {expected}, "
                    f"found {found}; join predictions of one dataset"
                )
        problems += _different_cases(first, folder)
    if problems:
        raise UsageError("\n".join(problems))


def _in_words(labels: LabelScheme) -> str:
    """Return all that must be equal of labels: names, values, and what is ignored."""
    found: dict[str, object] = dict(zip(labels.names, map(list, labels.values), strict=True))
    if labels.class_order:
        found["regions_class_order"] = list(labels.class_order)
    if labels.ignore_value is not None:
        found["ignore"] = labels.ignore_value
    return str(found)


def _different_cases(first: WrittenFolder, folder: WrittenFolder) -> list[str]:
    problems = []
    for one, other in ((first, folder), (folder, first)):
        if missing := set(one.cases) - set(other.cases):
            problems.append(
                f"'{other.folder}': expected the cases of '{one.folder}', found none of "
                f"{len(missing)}: {listing(missing)}; predict them too, or remove them there"
            )
    for case in sorted(set(first.cases) & set(folder.cases)):
        expected, found = (each.cases[case].grid for each in (first, folder))
        if difference := grid_difference(found, expected, attributes=("shape", "spacing")):
            problems.append(
                f"case '{case}': expected the {difference.what} {difference.expected} of "
                f"'{first.folder}', found {difference.found} in '{folder.folder}'; predict both "
                "from the same images"
            )
    return problems


def _counts_of(folders: Sequence[WrittenFolder], options: EnsembleOptions) -> tuple[int, ...]:
    """Return how many samples each folder gives.

    Raises:
        UsageError: a folder has too few, or would give none.
    """
    available = [_available(folder) for folder in folders]
    weights = options.weights or (1.0,) * len(folders)
    if options.num_samples is not None:
        counts = allocate(weights, options.num_samples)
    elif options.weights is None:
        counts = (min(filter(None, available), default=1),) * len(folders)
    elif (found := largest_allocation(weights, available)) is not None:
        counts = found
    else:
        raise UsageError(
            "every folder holds one mask of each case, which may stand for any number of samples; "
            "say with --num_samples how many the weights share out"
        )
    for folder, number, count in zip(folders, available, counts, strict=True):
        if count == 0 or (number is not None and count > number):
            raise UsageError(
                f"'{folder.folder}': {sum(counts)} samples by the weights "
                f"{', '.join(f'{weight:g}' for weight in weights)} take {count} of its "
                f"{number or 1}; predict more samples, or choose other weights or --num_samples"
            )
    return counts
