"""From the arguments of the API's functions to the objects that they work with."""

import glob
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffunet.data.raw.dataset import RawDataset
from diffunet.data.raw.dataset_json import file_ending_problems
from diffunet.errors import DatasetError, DiffunetError, UsageError, WorkspaceError
from diffunet.jsonio import read_json
from diffunet.labels import LabelScheme
from diffunet.methods import SaliencyMethod, method_of_saliency
from diffunet.names import require_name
from diffunet.parallel import default_num_processes
from diffunet.plans import GPU_MEMORY_GB, SPACING_MM, Plans
from diffunet.plans.edits import PLANNED_SUFFIX
from diffunet.workspace import (
    DATASET_FILE,
    DEFAULT_PLANS_NAME,
    FINGERPRINT_FILE,
    PATIENTS_FILE,
    SPLITS_FILE,
    STATE_FILE,
    Workspace,
)

if TYPE_CHECKING:
    import torch

    from diffunet.data.raw.splits import Split
    from diffunet.evaluation.scored_files import ScoredFolders
    from diffunet.inference.compute import Compute, Precision

logger = logging.getLogger(__name__)

_PLANS_KEYS = frozenset({"plans_name", "configurations", "recommended_configuration"})
"""Keys that only our plans have, among all files that lie beside them."""

Dataset = int | str | Path
"""A dataset's number, its name or its path."""


def check_planning(gpu_memory_gb: float, target_spacing_mm: Sequence[float] | None) -> None:
    """Check what a user asks of the planner.

    Raises:
        UsageError: a number out of its range.
    """
    given = [("gpu_memory_gb", gpu_memory_gb, GPU_MEMORY_GB)]
    given += [("target_spacing_mm", size, SPACING_MM) for size in target_spacing_mm or ()]
    for name, value, limits in given:
        if value not in limits:
            raise UsageError(f"{name} should be {limits}, got {value}")


def device_of(name: str) -> "torch.device":
    """Return the device that "auto" means here; any other name as it is.

    Raises:
        UsageError: there is no such device.
    """
    from diffunet.inference.compute import device_of as found

    return found(name)


def compute_of(device: str, *, precision: "Precision" = "float32") -> "Compute":
    """Return where networks run, and in what.

    Raises:
        UsageError: there is no such device.
    """
    from diffunet.inference.compute import Compute

    return Compute(device=device_of(device), precision=precision)


def workspace_of(given: Workspace | Path | None) -> Workspace:
    """Return a workspace; of None what a command takes that is not told one.

    Raises:
        WorkspaceError: an environment variable of a folder is not valid.
    """
    if isinstance(given, Workspace):
        return given
    return Workspace.resolve(folder=given, environment=os.environ, current_folder=Path.cwd())


def processes_of(given: int | None) -> int:
    """Return a number of processes; of None one that suits this machine."""
    return default_num_processes() if given is None else given


def plans_of(folder: Path, plans_name: str) -> Plans:
    """Return the plans of a preprocessed dataset.

    Raises:
        WorkspaceError: there are none of this name, or no file can have it.
    """
    name = require_name(plans_name, where="-p", error=WorkspaceError)
    path = folder / f"{name}.json"
    if not path.is_file():
        files = [p for p in folder.glob("*lans*.json") if not p.name.endswith(PLANNED_SUFFIX)]
        found = ", ".join(sorted(p.stem for p in files)) or "none"
        raise WorkspaceError(
            f"there are no plans '{plans_name}' in '{folder}' (found: {found}); run "
            f"diffunet_plan_and_preprocess -d {folder.name} first"
        )
    return Plans.load(path)


def labels_of(folder: Path) -> LabelScheme:
    """Return the labels of a preprocessed dataset.

    Raises:
        WorkspaceError: `dataset.json` is missing or damaged.
        DatasetError: its labels are not valid.
    """
    return LabelScheme.from_dataset_json(read_json(folder / DATASET_FILE, WorkspaceError))


def new_plans_path(folder: Path, plans_name: str, *, option: str = "-overwrite_plans_name") -> Path:
    """Return where new plans are to be written; other plans of this name are replaced.

    Args:
        option: by which the user gives the name, for messages.

    Raises:
        UsageError: no file can have the name, or a file of that name is not a plans file.
    """
    name = require_name(plans_name, where=option, error=UsageError)
    path = folder / f"{name}.json"
    kept = (DATASET_FILE, FINGERPRINT_FILE, SPLITS_FILE, STATE_FILE)
    is_kept = path.name.casefold() in kept
    if is_kept or (name != DEFAULT_PLANS_NAME and path.exists() and not _holds_plans(path)):
        raise UsageError(
            f"{option} {name}: expected a name for plans, found that of '{path}', "
            "which holds something other than plans and would be lost; choose another name"
        )
    return path


def new_summary_path(path: Path) -> Path:
    """Return where a summary of scores is to be written; an earlier one is replaced.

    Raises:
        UsageError: there is something else, such as a summary of another program.
    """
    if not path.exists():
        return path
    try:
        content = read_json(path)
    except DiffunetError:
        content = None
    if not isinstance(content, dict) or "distribution" not in content:
        raise UsageError(
            f"'{path}' exists and is not a summary of diffunet_evaluate; name another file "
            "for the summary (-o)"
        )
    return path


def _holds_plans(path: Path) -> bool:
    try:
        content = read_json(path)
    except DiffunetError:
        return False
    return isinstance(content, dict) and content.keys() >= _PLANS_KEYS


def splits_of(place: Workspace, raw: RawDataset) -> "Sequence[Split]":
    """Return the splits that models of a dataset are trained with."""
    from diffunet.data.raw.splits import load_splits

    path = place.preprocessed / raw.name / SPLITS_FILE
    if not path.is_file():
        return raw.splits()
    cases = [files.case for files in raw.training_cases]
    return load_splits(
        path,
        cases=cases,
        patients=raw.patients,
        remedy=f"'{raw.folder}' has changed since it was planned; put the cases back, or plan "
        "again (diffunet_plan_and_preprocess)",
    )


def model_folder_of(
    workspace: Workspace | Path | None,
    dataset: Dataset | None,
    method: str | None,
    plans_name: str,
    configuration: str | None,
    *,
    saliency: SaliencyMethod | None = None,
    model: Path | str | None = None,
) -> Path:
    """Return the folder of a trained model.

    What is not given is as the plans recommend; or, where that is not trained but exactly one model
    is that has what is given, as that one has it.

    Args:
        saliency: without a method, that of a model which makes it.
        model: the folder itself, a model's zip file, or the name of one that comes with diffunet;
            instead of `dataset`.

    Raises:
        UsageError: both a model and a dataset are given, or neither.
        WorkspaceError: there is none.
    """
    if (model is None) == (dataset is None):
        raise UsageError("give either a model (--model) or a dataset (-d)")
    if model is not None:
        return Path(model)
    if method is None and saliency is not None:
        method = method_of_saliency(saliency)
    place = workspace_of(workspace)
    name = place.dataset_name(str(dataset))
    results, given = place.results / name, (method, plans_name, configuration)
    if method is None or configuration is None:
        if not (place.preprocessed / name).is_dir() and results.is_dir():
            return _installed_folder(results, *given)
        plans = plans_of(place.preprocessed / name, plans_name)
        method = method or plans.method
        configuration = configuration or plans.recommended_configuration
    folder = place.model_folder(name, method=method, plans=plans_name, configuration=configuration)
    if not folder.is_dir():
        _, trained = _models_like(results, *given)
        if len(trained) == 1:
            logger.info("'%s' is not trained; taking the only model, '%s'", folder.name, trained[0])
            return trained[0]
        found = sorted(path.parent.name for path in results.glob(f"*/{DATASET_FILE}"))
        raise WorkspaceError(
            f"there is no trained model '{folder}'; found in '{results}': "
            f"{', '.join(found) or 'nothing'}. Train with diffunet_train {name} 0"
        )
    return folder


def _installed_folder(
    results: Path, method: str | None, plans_name: str, configuration: str | None
) -> Path:
    """Return the only model of a dataset that was not planned here, so that no plans choose one.

    Raises:
        WorkspaceError: none, or several, have what is given.
    """
    pattern, found = _models_like(results, method, plans_name, configuration)
    if len(found) != 1:
        there = ", ".join(sorted(path.name for path in results.iterdir())) or "nothing"
        raise WorkspaceError(
            f"'{results}': expected one model like '{pattern}', found {len(found)} (there is: "
            f"{there}); choose one with -m, -p and -c"
        )
    return found[0]


def _models_like(
    results: Path, method: str | None, plans_name: str, configuration: str | None
) -> tuple[str, list[Path]]:
    """Return the pattern of the folders that have what is given, and those that there are."""
    pattern = f"{method or '*'}__{glob.escape(plans_name)}__{configuration or '*'}"
    return pattern, sorted(path for path in results.glob(pattern) if path.is_dir())


def dataset_content_of(given: Path | None, prediction: Path, reference: Path) -> Mapping[str, Any]:
    """Return the `dataset.json` that says what a folder of masks holds.

    Args:
        given: None for the one in `prediction`, or else beside `reference`.

    Raises:
        UsageError: there is none.
        DatasetError: it lacks its file ending.
    """
    candidates = [given] if given else [prediction / DATASET_FILE, reference.parent / DATASET_FILE]
    path = next((each for each in candidates if each.is_file()), None)
    if path is None:
        places = " nor ".join(f"'{each}'" for each in candidates)
        raise UsageError(f"found no {places}; say with -djfile which dataset.json holds the labels")
    content = read_json(path, DatasetError)
    if not isinstance(content, dict) or not isinstance(content.get("file_ending"), str):
        raise DatasetError(f"'{path}': the key 'file_ending' is missing; add it, e.g. \".nii.gz\"")
    if problems := file_ending_problems(content["file_ending"]):
        raise DatasetError(f"'{path}': {problems[0]}")
    return content


def scored_folders_of(
    reference: Path,
    prediction: Path,
    *,
    dataset_json: Path | None = None,
    patients_csv: Path | None = None,
    rater: str | None = None,
) -> "ScoredFolders":
    """Return two folders that are to be scored, with what `dataset.json` says of them.

    Args:
        dataset_json: None for the one in `prediction`, or else beside `reference`.
        patients_csv: None for the one beside `reference`, if there is one.
        rater: name or number of the one whose masks alone count; None for all.

    Raises:
        UsageError: the folders are swapped or one, or there is no `dataset.json`.
        DatasetError: one of the two files is not valid.
    """
    from diffunet.data.raw.case_files import rater_name
    from diffunet.evaluation.scored_files import ScoredFolders, check_order

    check_order(reference, prediction)
    content = dataset_content_of(dataset_json, prediction, reference)
    patients = patients_csv or reference.parent / PATIENTS_FILE
    return ScoredFolders(
        reference=reference,
        prediction=prediction,
        labels=LabelScheme.from_dataset_json(content),
        file_ending=content["file_ending"],
        has_raters=bool(content.get("raters", False)),
        rater=None if rater is None else rater_name(rater),
        patients=patients_of(patients) if patients.is_file() else {},
    )


def patients_of(path: Path) -> dict[str, str]:
    """Return the patient of each case that a table of patients names."""
    from diffunet.data.raw.tables import read_rows

    return {row["case"]: row["patient"] for _, row in read_rows(path, columns=("case", "patient"))}
