"""A raw dataset folder: its content, and every fault of its form."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from diffunet.data.raw.case_files import (
    CaseFiles,
    Findings,
    images_by_case,
    listing,
    nearest,
    split_rater,
    without_channel,
)
from diffunet.data.raw.dataset_json import DatasetJson, read_dataset_json, training_list_warnings
from diffunet.data.raw.file_table import cases_of_table
from diffunet.data.raw.gathered import gathered
from diffunet.data.raw.image_labels import ImageLabels, read_image_labels
from diffunet.data.raw.label_files import labels_by_case, other_names_problem, rater_problem
from diffunet.data.raw.spellings import as_named
from diffunet.data.raw.splits import Split, load_splits, make_splits
from diffunet.data.raw.tables import read_patients
from diffunet.errors import DatasetError
from diffunet.labels import LabelScheme
from diffunet.names import shared_names
from diffunet.workspace import (
    DATASET_FILE,
    IMAGES_FOLDER,
    LABELS_FOLDER,
    PATIENTS_FILE,
    SPLITS_FILE,
)

__all__ = ["CaseFiles", "RawDataset", "open_dataset", "scan_dataset"]

Result = TypeVar("Result")

_OLD_SPLITS_FILE = "splits_final.pkl"


@dataclass(frozen=True, kw_only=True)
class RawDataset:
    """A raw dataset whose form has no fault; no image file has been opened.

    Attributes:
        name: of the folder, such as Dataset001_LIDC.
        channel_names: in the order of the channels.
        file_ending: of images and labels, as dataset.json writes it.
        has_raters: the label maps are `CASE_r00.ext`, `CASE_r01.ext`, ...; otherwise `CASE.ext`,
            whose rater is called "r00".
        image_labels: None where dataset.json declares none.
        patients: the patient of every case; the case itself without `patients.csv`.
        training_cases, test_cases: sorted; test cases need no labels, and training cases need none
            where image-level labels are declared.
        content: all of dataset.json.
    """

    folder: Path
    name: str
    channel_names: tuple[str, ...]
    labels: LabelScheme
    file_ending: str
    has_raters: bool
    image_labels: ImageLabels | None
    patients: dict[str, str]
    training_cases: tuple[CaseFiles, ...]
    test_cases: tuple[CaseFiles, ...]
    content: dict[str, Any]

    @property
    def num_channels(self) -> int:
        return len(self.channel_names)

    def splits(self) -> tuple[Split, ...]:
        """Return the folds of `splits_final.json` beside dataset.json, or new ones by patient.

        Raises:
            DatasetError: what is wrong with the file.
        """
        cases = [files.case for files in self.training_cases]
        path = self.folder / SPLITS_FILE
        if path.is_file():
            return load_splits(path, cases=cases, patients=self.patients)
        labels = self.image_labels
        return make_splits(cases, self.patients, shown=None if labels is None else labels.shown)


def open_dataset(folder: Path) -> RawDataset:
    """Return the dataset in `folder`, without opening an image or label file.

    Raises:
        DatasetError: every fault in its form, at once.
    """
    findings = Findings()
    dataset = scan_dataset(folder, findings=findings)
    if dataset is None or findings.problems:
        raise DatasetError(findings.problems)
    return dataset


def scan_dataset(folder: Path, *, findings: Findings) -> RawDataset | None:
    """Return the sound part of the dataset in `folder`, and put its faults into `findings`.

    None where `dataset.json` is missing or faulty; nothing else can be judged then.
    """
    if not folder.is_dir():
        findings.problems.append(f"'{folder}': expected a dataset folder, found none; create it")
        return None
    if (folder / _OLD_SPLITS_FILE).is_file() and not (folder / SPLITS_FILE).is_file():
        findings.warnings.append(
            f"{_OLD_SPLITS_FILE}, of nnU-Net v1, is not read, since a pickle can run anything: for "
            f"its folds write {SPLITS_FILE}"
        )
    described = read_dataset_json(folder / DATASET_FILE, findings=findings)
    if described is None:
        return None
    if described.file_table is not None:
        training = cases_of_table(folder, described, findings=findings)
    else:
        training = _cases_of_folders(folder, "Tr", described, findings=findings)
    test = _cases_of_folders(folder, "Ts", described, findings=findings)
    _check_cases(training, test, described, findings=findings)
    findings.warnings.extend(training_list_warnings(described, len(training)))
    names = [files.case for files in training]
    others = [*(files.case for files in test), *sorted(findings.left_out.difference(names))]
    patients = _patients(folder, names, others, findings=findings)
    image_labels = _image_labels(folder, described, names, others, findings=findings)
    if names and (folder / SPLITS_FILE).is_file():
        cases = {*names, *findings.left_out}
        _collect(
            lambda: load_splits(folder / SPLITS_FILE, cases=cases, patients=patients),
            findings=findings,
        )
    return RawDataset(
        folder=folder.absolute(),
        name=folder.absolute().name,
        channel_names=described.channel_names,
        labels=described.labels,
        file_ending=described.file_ending,
        has_raters=described.has_raters,
        image_labels=image_labels,
        patients=patients,
        training_cases=training,
        test_cases=test,
        content=described.content,
    )


def _cases_of_folders(
    folder: Path, part: str, described: DatasetJson, *, findings: Findings
) -> tuple[CaseFiles, ...]:
    """Return the cases of imagesTr and labelsTr, or of imagesTs and labelsTs."""
    image_folder, label_folder = folder / f"images{part}", folder / f"labels{part}"
    if not image_folder.is_dir():
        if part == "Tr":
            findings.problems.append(
                f"'{folder}': expected the folder imagesTr, with the training images, found "
                f"{nearest(folder, IMAGES_FOLDER)}"
            )
        return ()
    images = images_by_case(
        image_folder, described.file_ending, len(described.channel_names), findings=findings
    )
    labels: dict[str, dict[str, Path]] = {}
    if label_folder.is_dir():
        labels = labels_by_case(
            label_folder,
            described.file_ending,
            has_raters=described.has_raters,
            findings=findings,
            cases=images,
        )
        _check_matching(images, labels, described, part, findings=findings)
    elif part == "Tr" and described.image_labels is None and images:
        findings.problems.append(
            f"'{folder}': expected the folder labelsTr, with the label maps of training cases, "
            f"found {nearest(folder, LABELS_FOLDER)}, or declare 'image_labels' in dataset.json"
        )
    return tuple(
        CaseFiles(case=case, images=files, labels=labels.get(case, {}))
        for case, files in images.items()
    )


def _check_matching(
    images: Collection[str],
    labels: Collection[str],
    described: DatasetJson,
    part: str,
    *,
    findings: Findings,
) -> None:
    """Report label maps without an image, and training images without a label map."""
    if not images and findings.problems:
        return  # what is wrong with the images comes first: no label map should be removed for it
    alone = set(labels) - set(images) - findings.left_out
    of_raters = {found[0] for name in alone if (found := split_rater(name)) and found[0] in images}
    if of_raters and not described.has_raters:
        findings.problems.append(
            f"labels{part}: expected one label map CASE{described.file_ending} per case, found "
            f'those of several raters for {listing(of_raters)}; add "raters": true to dataset.json'
        )
        return
    of_channels = {case for name in alone if (case := without_channel(name)) and case in images}
    if of_channels and of_channels.isdisjoint(labels):
        example, ending = min(of_channels), described.file_ending
        findings.problems.append(
            f"labels{part}: expected one label map CASE{ending} per case, found names with a "
            f"channel for {listing(of_channels)}; rename '{example}_0000{ending}' to "
            f"'{example}{ending}', and so on: only images have channels"
        )
        return
    if alone == set(labels) and not described.has_raters:
        problem = other_names_problem(
            alone, images, place=f"labels{part}", file_ending=described.file_ending
        )
        if problem:
            findings.problems.append(problem)
            return
    if alone and (meant := as_named(alone, set(images).difference(labels))):
        example, ending = min(meant), described.file_ending
        findings.left_out.update(meant.values())
        findings.problems.append(
            f"labels{part}: expected the names of the images, found {len(alone)} that are written "
            f"in another way: {listing(alone)}; rename '{example}{ending}' to "
            f"'{meant[example]}{ending}', and so on, or the images like that"
        )
    elif alone:
        findings.problems.append(
            f"labels{part}: expected an image in images{part} for each label map, found none for "
            f"{len(alone)}: {listing(alone)}; correct the names, or remove the label maps"
        )
    if part == "Tr" and described.image_labels is None:
        suffix = "_r00" if described.has_raters else ""
        without = sorted(set(images) - set(labels) - findings.left_out)
        ending = f"{suffix}{described.file_ending}"
        findings.problems.extend(
            gathered([(case, _no_label_map(case, ending)) for case in without])
        )


def _no_label_map(case: str, ending: str) -> str:
    return (
        f"case '{case}': expected the label map {case}{ending} in labelsTr, found none; add it "
        "(all background where nothing was seen) or remove the case"
    )


def _check_cases(
    training: tuple[CaseFiles, ...],
    test: tuple[CaseFiles, ...],
    described: DatasetJson,
    *,
    findings: Findings,
) -> None:
    both = {files.case for files in training} & {files.case for files in test}
    if both:
        findings.problems.append(
            f"imagesTs: expected cases that are not in imagesTr, found {len(both)} in both: "
            f"{listing(both)}; remove them from one of the two, or scores on them are worthless"
        )
    if of_raters := rater_problem((files.case, files.labels) for files in (*training, *test)):
        findings.problems.append(of_raters)
    names = [files.case for files in (*training, *test)]
    findings.warnings.extend(
        f"the cases {listing(group)} differ only in upper and lower case: on a disk that does not "
        "tell these apart (Windows, macOS), they share one file; rename them"
        for group in shared_names(names)
    )
    if findings.problems:
        return
    if not training:
        place = "imagesTr" if described.file_table is None else "'dataset' of dataset.json"
        findings.problems.append(
            f"{place}: expected training cases CASE_0000{described.file_ending}, found none; put "
            "the images there, and their label maps into labelsTr"
        )
    elif described.num_training not in (None, len(training)):
        findings.problems.append(
            f"dataset.json: expected {described.num_training} training cases ('numTraining'), "
            f"found {len(training)}; add the missing cases or correct the number"
        )


def _patients(
    folder: Path, training: list[str], others: list[str], *, findings: Findings
) -> dict[str, str]:
    """Return the patient of each case; the case itself without a table, or with a faulty one."""
    path = folder / PATIENTS_FILE
    patients = {case: case for case in (*training, *others)}
    if not training or not path.is_file():
        return patients
    read = _collect(
        lambda: read_patients(path, training_cases=training, test_cases=others), findings=findings
    )
    patients.update(read or {})
    both = {patients[case] for case in training} & {patients[case] for case in others}
    if both and not findings.problems:
        findings.warnings.append(
            f"{PATIENTS_FILE}: {len(both)} patients have training and test cases: {listing(both)}; "
            "scores on imagesTs will be too good"
        )
    return patients


def _image_labels(
    folder: Path,
    described: DatasetJson,
    training: list[str],
    others: list[str],
    *,
    findings: Findings,
) -> ImageLabels | None:
    name = described.image_labels
    if name is None or not training:
        return None
    return _collect(
        lambda: read_image_labels(
            folder / name,
            label_names=described.labels.names,
            training_cases=training,
            test_cases=others,
        ),
        findings=findings,
    )


def _collect(read: Callable[[], Result], *, findings: Findings) -> Result | None:
    """Return `read()`, or None with its faults in `findings`."""
    try:
        return read()
    except DatasetError as error:
        findings.problems.extend(error.problems)
        return None
