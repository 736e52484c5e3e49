"""Writes a trained model into one file, without what tells of single patients."""

import contextlib
import hashlib
import json
import logging
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from diffunet import __version__
from diffunet.checkpoint import checkpoint_bytes, load_checkpoint, weights_of
from diffunet.errors import CheckpointError, UsageError, WriteError, explain
from diffunet.inference.model import AVERAGED_WEIGHTS, model_dataset, model_plans, trained_folds
from diffunet.jsonio import as_json, atomic_file, read_object, remove_unfinished_file
from diffunet.locks import in_use
from diffunet.plans import ResolvedPlans
from diffunet.sharing.archive import (
    CHECKPOINT_FILE,
    MANIFEST_FILE,
    Checkpoint,
    Manifest,
    MemberFile,
    StoredPrecision,
    as_manifest_json,
)
from diffunet.workspace import (
    DATASET_FILE,
    FINGERPRINT_FILE,
    RESOLVED_PLANS_FILE,
    VALIDATION_SUMMARY,
)

logger = logging.getLogger(__name__)

_DATASET_KEYS = (
    *("name", "description", "reference", "license", "licence", "release", "numTraining"),
    *("channel_names", "labels", "regions_class_order", "file_ending", "raters", "image_labels"),
    "overwrite_image_reader_writer",
)
"""Of `dataset.json`. Whatever else it holds may name patients and folders, as `dataset` does."""

_SUMMARY_LEFT_OUT = "metric_per_case"
_CHECKPOINT_KEYS = (AVERAGED_WEIGHTS, "plans", "fold", "seed", "iteration", "versions")
_DATE = (1980, 1, 1, 0, 0, 0)  # the same model makes the same file, whenever it is exported


def export_model(
    model_folder: Path,
    output: Path,
    *,
    folds: Sequence[int | str] | None,
    checkpoint: Checkpoint,
    precision: StoredPrecision,
    license: str | None,
    note: str,
) -> Manifest:
    """Write the averaged weights of a model, its plans and its scores into one zip file.

    Left out is what names patients: cases in scores, in checkpoints and in `dataset.json`.

    Args:
        output: ends in `.zip`; replaced only once the new file is whole.
        folds: None for those that prediction would take.
        precision: of the stored weights: "bfloat16" halves the file, and rounds each weight to 8
            bits.
        license: None for what `dataset.json` says.

    Raises:
        UsageError: `output` is no name of a zip file.
        CheckpointError: a file of the model is missing or damaged.
        InUseError: another command writes this file.
        WriteError: the disk is full, or refuses.
    """
    if output.suffix.lower() != ".zip":
        raise UsageError(f"-o {output}: expected the name of a file that ends in .zip")
    names = trained_folds(model_folder, folds, checkpoint=checkpoint)
    plans = model_plans(model_folder, names)
    content = model_dataset(model_folder)
    if license is None:
        license = str(content.get("license", content.get("licence", "")))
    if not license:
        logger.warning(
            "'%s' says no licence, and none was given: whoever gets this model does not know what "
            "is allowed; say it with --license",
            model_folder / DATASET_FILE,
        )
    with _alone(output), atomic_file(output) as file, _Writer(file) as writer:
        writer.add_json(DATASET_FILE, {k: content[k] for k in _DATASET_KEYS if k in content})
        if (model_folder / FINGERPRINT_FILE).is_file():
            fingerprint = read_object(model_folder / FINGERPRINT_FILE, CheckpointError)
            writer.add_json(FINGERPRINT_FILE, {**fingerprint, "warnings": []})
        for name in names:
            _add_fold(writer, model_folder / f"fold_{name}", checkpoint, precision=precision)
        manifest = Manifest(
            dataset=plans.dataset_name,
            method=plans.method,
            plans_name=plans.plans_name,
            configuration=plans.configuration_name,
            folds=names,
            checkpoint=checkpoint,
            precision=precision,
            license=license,
            note=note,
            diffunet_version=__version__,
            files=writer.files,
        )
        writer.add_json(MANIFEST_FILE, as_manifest_json(as_json(manifest)))
    return manifest


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Let nobody else write this file meanwhile, and remove what killed commands left of it."""
    try:
        with in_use(output.parent, part=output.name, goes_with=lambda _: True):
            remove_unfinished_file(output)
            yield
    except OSError as failure:
        raise WriteError(explain(failure)) from failure


def _add_fold(
    writer: "_Writer", folder: Path, checkpoint: str, *, precision: StoredPrecision
) -> None:
    name = folder.name
    plans = ResolvedPlans.load(folder / RESOLVED_PLANS_FILE)
    writer.add_json(f"{name}/{RESOLVED_PLANS_FILE}", as_json(plans))
    if (folder / VALIDATION_SUMMARY).is_file():
        summary = read_object(folder / VALIDATION_SUMMARY, CheckpointError)
        summary.pop(_SUMMARY_LEFT_OUT, None)
        writer.add_json(f"{name}/{VALIDATION_SUMMARY.as_posix()}", summary)
    path = folder / f"checkpoint_{checkpoint}.pth"
    content = load_checkpoint(path, "cpu")
    weights = weights_of(content, AVERAGED_WEIGHTS, where=path)
    dtype = getattr(torch, precision)
    kept = {key: content[key] for key in _CHECKPOINT_KEYS if key in content}
    kept[AVERAGED_WEIGHTS] = {
        key: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for key, tensor in weights.items()
    }
    writer.add(f"{name}/{CHECKPOINT_FILE}", checkpoint_bytes({**kept, "training": None}))


class _Writer(contextlib.AbstractContextManager["_Writer"]):
    """A zip file that is written member by member, and what was written to it."""

    def __init__(self, file: Any):
        self.files: dict[str, MemberFile] = {}
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def add_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Add a JSON file."""
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        self.add(name, text.encode("utf-8"))

    def add(self, name: str, content: bytes) -> None:
        """Add a file."""
        entry = zipfile.ZipInfo(name, date_time=_DATE)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o644 << 16
        self._zip.writestr(entry, content)
        self.files[name] = MemberFile(
            num_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
        )
