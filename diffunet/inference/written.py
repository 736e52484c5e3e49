"""Folders of predictions that are made of other such folders: read, checked, and written anew.

`diffunet_ensemble` and `diffunet_apply_postprocessing` differ in which masks they write.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.data.file_state import FileState
from diffunet.data.image_io import ImageGeometry, StoredMap
from diffunet.data.prediction_records import (
    PredictionRecord,
    read_records,
    setting_differences,
)
from diffunet.data.prediction_samples import is_sample, samples_of
from diffunet.data.raw.case_files import CaseFiles, listing
from diffunet.data.raw.dataset_json import file_ending_problems
from diffunet.errors import DatasetError, DiffunetError, UsageError
from diffunet.evaluation.checked_reader import CheckedReader
from diffunet.inference.fuse import Votes, disagreements_of, volumes_of
from diffunet.inference.output import PREDICTIONS_FILE, OutputFolder
from diffunet.inference.place import check_output_folder
from diffunet.inference.problems import kept_problems
from diffunet.jsonio import as_json, read_object, write_json
from diffunet.labels import LabelScheme
from diffunet.locks import in_use
from diffunet.methods import METHODS
from diffunet.parallel import Progress
from diffunet.workspace import DATASET_FILE

WriteCase = Callable[[str, OutputFolder], None]
"""Writes the masks and the record of a case."""


@dataclass(frozen=True, kw_only=True)
class WrittenCase:
    """A predicted case.

    Attributes:
        mask: its consensus, or its only mask.
        samples: in their order; empty where the mask is the only answer.
    """

    case: str
    mask: Path
    samples: tuple[StoredMap, ...]
    record: PredictionRecord

    @property
    def masks(self) -> tuple[StoredMap, ...]:
        """The samples, or else the only mask."""
        return self.samples or (StoredMap(path=self.mask),)

    @property
    def grid(self) -> ImageGeometry:
        """Shape and spacing, as far as the record tells them."""
        shape, spacing_mm = (self.record.content.get(name, ()) for name in ("shape", "spacing_mm"))
        return ImageGeometry(shape=tuple(shape), spacing_mm=tuple(spacing_mm))

    def state_of(self, path: Path) -> FileState | None:
        """Return what a file was when it was written; a mask may be corrected, a sample not."""
        if path == self.mask:
            return None
        return (self.record.files or {}).get(f"{path.parent.name}/{path.name}")


@dataclass(frozen=True, kw_only=True)
class WrittenFolder:
    """A folder of whole predictions of one choice of settings.

    Attributes:
        num_samples: of each case; 0 where each has one mask alone.
    """

    folder: Path
    dataset_content: dict[str, Any]
    labels: LabelScheme
    settings: dict[str, Any]
    cases: Mapping[str, WrittenCase]
    num_samples: int

    @property
    def file_ending(self) -> str:
        return str(self.dataset_content["file_ending"])

    @property
    def draws_samples(self) -> bool:
        """Whether its masks were made of samples, whether these were saved or not."""
        method = METHODS.get(str(self.settings.get("method")))
        return method is None or "num_samples" in method.options


@dataclass(frozen=True, kw_only=True)
class SourceOfMasks:
    """A command that makes masks of masks; see `MaskSource`.

    Attributes:
        command: its name.
        signature: name of the file that signs its folders.
        content: of that file.
    """

    command: str
    signature: str
    content: Any
    dataset_content: dict[str, Any]
    labels: LabelScheme

    @property
    def file_ending(self) -> str:
        return str(self.dataset_content["file_ending"])

    def sign(self, folder: Path) -> None:
        """Write the signature."""
        write_json(folder / self.signature, self.content)


def read_written(folder: Path) -> WrittenFolder:
    """Read what a folder of predictions says about itself, and check that it is whole.

    Raises:
        UsageError: it is no folder of predictions, or its prediction did not end.
        DatasetError: its `dataset.json` is not valid.
    """
    if folder.is_file():
        raise UsageError(f"'{folder}' is a file; give the folder that diffunet_predict wrote")
    records = read_records(folder)
    if not records or not (folder / DATASET_FILE).is_file():
        raise UsageError(
            f"'{folder}': expected a folder that diffunet_predict wrote, with {DATASET_FILE} and "
            "records/CASE.json of each case, found none; predict into it first"
        )
    _require_ended(folder, records)
    content = read_object(folder / DATASET_FILE, DatasetError)
    if problems := file_ending_problems(content.get("file_ending")):
        raise DatasetError(f"'{folder}': {problems[0]}")
    cases = {case: _case_of(folder, case, record, content) for case, record in records.items()}
    numbers = {case: len(each.samples) for case, each in cases.items()}
    if len(set(numbers.values())) > 1:
        fewest = min(numbers.values())
        raise UsageError(
            f"'{folder}': expected {max(numbers.values())} samples of each case, found {fewest} of "
            f"{listing([case for case, number in numbers.items() if number == fewest])}; predict "
            "them again"
        )
    return WrittenFolder(
        folder=folder,
        dataset_content=content,
        labels=LabelScheme.from_dataset_json(content),
        settings=next(iter(records.values())).settings,
        cases=cases,
        num_samples=next(iter(numbers.values())),
    )


def read_masks(
    files: Iterable[tuple[WrittenCase, StoredMap]], *, labels: LabelScheme
) -> Iterator[tuple[np.ndarray, ImageGeometry]]:
    """Yield the boolean masks (label, *spatial) of label maps of one case, and their geometry.

    Raises:
        DatasetError: one cannot be read, has another grid than the first, or has changed since
            it was drawn.
    """
    like, reader = None, CheckedReader(labels)
    for written, stored in files:
        problems: list[str] = []
        found = reader.read(
            stored,
            case=written.case,
            like=like,
            written=written.state_of(stored.path),
            problems=problems,
        )
        if problems or found is None:
            raise DatasetError(problems)
        label_map, geometry = found
        like = like or (stored.path, geometry)
        yield labels.masks(label_map), geometry


def make_folder(
    output_folder: Path,
    *,
    source: SourceOfMasks,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Sequence[StoredMap]],
    write_case: WriteCase,
    progress: Progress,
) -> Path:
    """Write a folder of predictions that is made of others, and return it.

    Cases that are there already, whole and of the same settings and files, stay as they are.

    Args:
        inputs: by case the label maps that it is made of.

    Raises:
        UsageError: the output holds other files, other cases, or cases of other settings.
        DatasetError: all that is wrong with the cases that could not be made, at the end.
        InUseError: another command writes into the folder.
    """
    output = OutputFolder(output_folder, model=source, settings=as_json(dict(settings)))
    files = [
        CaseFiles(case=case, images=tuple(dict.fromkeys(each.path for each in stored)))
        for case, stored in sorted(inputs.items())
    ]
    folders = {path.parent for each in files for path in each.images}
    if any(output_folder.resolve() in (path.resolve() / "x").parents for path in folders):
        raise UsageError(f"the output '{output_folder}' is or holds an input; choose another")
    check_output_folder(files, output_folder, signature=source.signature, command=source.command)
    problems: list[str] = []
    with in_use(output_folder):
        _refuse_others(output_folder, inputs, as_json(dict(settings)))
        output.check_names(list(inputs))
        whole = output.whole_cases(files)
        to_make = [each for each in files if each.case not in whole]
        output.begin(is_alone=True)
        output.require_writable([each.case for each in to_make])
        output.clear([each.case for each in to_make])
        for each in progress(to_make, len(to_make), "writing"):
            with kept_problems(problems, case=each.case):
                output.begin_case(each)
                write_case(each.case, output)
        output.gather()
    if problems:
        raise DatasetError(problems)
    return output_folder


def write_samples(
    output: OutputFolder,
    case: str,
    samples: Iterable[tuple[np.ndarray, ImageGeometry]],
    *,
    num_samples: int,
    labels: LabelScheme,
    has_probabilities: bool,
) -> tuple[dict[str, Any], ImageGeometry]:
    """Write samples and what they have in common; return what a record says of them.

    Args:
        samples: boolean masks (label, *spatial), all of the geometry of the first, at least one.

    Returns:
        `volumes` and `disagreement` by label, and the geometry.
    """
    votes, first = None, None
    num_voxels: dict[int, list[int]] = {}
    for number, (masks, geometry) in enumerate(samples):
        first = first or geometry
        votes = votes or Votes.none_of(
            masks.shape, num_samples=num_samples, is_exclusive=not labels.is_regions
        )
        votes.add(masks)
        num_voxels[number] = [int(np.count_nonzero(mask)) for mask in masks]
        output.write_sample(case, number, masks, first)
    if votes is None or first is None:
        raise ValueError(f"case '{case}': there are no samples")
    output.write_maps(case, votes, first, has_probabilities=has_probabilities)
    volumes = volumes_of(num_voxels, names=labels.names, geometry=first)
    content = {
        "volumes": {name: asdict(volume) for name, volume in volumes.items()},
        "disagreement": disagreements_of(votes, volumes),
    }
    return content, first


def _require_ended(folder: Path, records: Mapping[str, PredictionRecord]) -> None:
    """Check that all cases of the folder are whole, and of one choice of settings."""
    first = next(iter(records.values()))
    for case, record in records.items():
        if names := setting_differences(first.settings, record.settings):
            raise UsageError(
                f"'{folder}': case '{case}' has other settings than '{next(iter(records))}' "
                f"({'; '.join(names)}); predict all cases with one choice of settings"
            )
    try:
        gathered = read_object(folder / PREDICTIONS_FILE).get("cases")
    except DiffunetError:
        gathered = None
    missing = set(gathered if isinstance(gathered, dict) else {}) ^ set(records)
    if missing:
        raise UsageError(
            f"'{folder}': what wrote it did not end: {PREDICTIONS_FILE} and records/ do not both "
            f"hold {listing(missing)}; run that command again (diffunet_predict with "
            "--continue_prediction)"
        )


def _case_of(
    folder: Path, case: str, record: PredictionRecord, content: Mapping[str, Any]
) -> WrittenCase:
    mask = folder / f"{case}{content['file_ending']}"
    files = [mask, *(folder / name for name in record.files or {} if is_sample(name))]
    missing = [path.name for path in files if not path.is_file()]
    if record.files is None or missing:
        raise UsageError(
            f"'{folder}': case '{case}' is not whole ({listing(missing or ['its list of files'])} "
            "missing); predict it again (diffunet_predict --continue_prediction)"
        )
    return WrittenCase(
        case=case, mask=mask, samples=samples_of(folder, record.files), record=record
    )


def _refuse_others(folder: Path, cases: Collection[str], settings: Mapping[str, Any]) -> None:
    """Check that a folder holds no other cases, and none of other settings."""
    records = read_records(folder)
    if others := set(records) - set(cases):
        raise UsageError(
            f"'{folder}': expected cases of the input, found also {listing(others)}; choose "
            "another folder, or remove this one"
        )
    for case, record in records.items():
        if names := setting_differences(record.settings, settings):
            shown = "; ".join(f"{name:.200}" for name in names)
            raise UsageError(
                f"'{folder}': case '{case}' was made with other settings ({shown}); choose another "
                "folder, or remove this one"
            )
