"""Unpacks the file of a model, after everything in it has been checked."""

import contextlib
import dataclasses
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from diffunet.errors import CheckpointError, InUseError, WorkspaceError, WriteError, explain
from diffunet.inference.model import TrainedModel, load_model, trained_folds
from diffunet.locks import in_use
from diffunet.names import require_name
from diffunet.sharing.archive import ModelArchive
from diffunet.sharing.shipped import SHIPPED_MODELS, find_model

logger = logging.getLogger(__name__)

_CHECKPOINT = "final"  # under which every exported checkpoint stands
_TEMPORARY = "diffunet_model_"
_SECONDS_UNTIL_LOCKED = 60.0  # whoever makes a temporary folder holds it from then on


def install_model(path: Path, results: Path, *, dataset_name: str | None) -> Path:
    """Unpack the file of a model into `results`, and return the model's folder.

    Names, sizes, checksums and plans are compared, and the weights of every fold loaded, before the
    folder appears; nothing in the file is run. What is refused leaves nothing behind.

    Args:
        path: a zip file that `export_model` wrote, which may come from anyone, or the name of a
            shipped model.
        results: of the workspace.
        dataset_name: instead of the one that the file says.

    Raises:
        CheckpointError: it is no such file, or it is damaged or was changed.
        WorkspaceError: the model is there already, or the name is none that a folder can have.
        InUseError: another command installs it.
        WriteError: the disk is full, or refuses.
    """
    with ModelArchive.open(find_model(path)) as archive:
        manifest = archive.manifest
        name = manifest.dataset if dataset_name is None else dataset_name
        target = results / require_name(name, where="dataset", error=WorkspaceError)
        target /= manifest.folder_name
        archive.check_content()
        with _unfinished_folder(target) as unfinished:
            if os.path.lexists(target):
                raise WorkspaceError(
                    f"'{target}' is there already; move it away, or install the model under "
                    "another name (-d)"
                )
            _unpack(archive, unfinished)
            _load_each_fold(unfinished, manifest.folds, where=path)
            unfinished.rename(target)
    return target


@contextlib.contextmanager
def opened_model(path: Path) -> Iterator[Path]:
    """Yield the folder of a model: `path` itself, or for a zip file one that lasts as long.

    Args:
        path: or the name of a shipped model.

    Raises:
        CheckpointError: there is nothing, or a zip file that is no exported model.
        WriteError: the disk is full, or refuses.
    """
    path = find_model(path)
    if not path.exists():
        raise CheckpointError(
            f"there is no model '{path}': expected the folder or the zip file of one, or the name "
            f"of one that comes with diffunet ({', '.join(SHIPPED_MODELS)})"
        )
    if not path.is_file():
        yield path
        return
    with ModelArchive.open(path) as archive, _temporary_folder() as folder:
        archive.check_content()
        unpacked = folder / archive.manifest.folder_name
        _unpack(archive, unpacked)
        yield unpacked


@contextlib.contextmanager
def opened_weights(path: Path | None, *, fold: str) -> Iterator[Path | None]:
    """Yield the checkpoint that `path` means: a checkpoint itself, or one of a model.

    Of a model's folder or zip file it is the final one of the same fold, or else of the first. A
    fold that starts from the same fold of its dataset has not seen its validation cases.

    Raises:
        CheckpointError: it is no such file or folder, or holds no final checkpoint.
        WriteError: a zip file cannot be unpacked.
    """
    path = None if path is None else find_model(path)
    if path is None or not (path.is_dir() or path.suffix.lower() == ".zip"):
        yield path
        return
    with opened_model(path) as folder:
        names = trained_folds(folder, None, checkpoint=_CHECKPOINT)
        chosen = fold if fold in names else names[0]
        logger.info("starting from fold_%s of '%s' (folds: %s)", chosen, path, ", ".join(names))
        with _told_of(path, folder):
            yield folder / f"fold_{chosen}" / f"checkpoint_{_CHECKPOINT}.pth"


def load_opened_model(
    path: Path, *, folds: Sequence[int | str] | None, checkpoint: str, device: torch.device
) -> TrainedModel:
    """Load a model from its folder or from its zip file.

    Raises:
        CheckpointError: a file is missing, damaged or does not fit.
        WriteError: a zip file cannot be unpacked.
    """
    with opened_model(path) as folder, _told_of(path, folder):
        model = load_model(folder, folds=folds, checkpoint=checkpoint, device=device)
    return dataclasses.replace(model, folder=path)


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Yield a folder that is removed at the end, as are those that killed processes left."""
    with tempfile.TemporaryDirectory(prefix=_TEMPORARY) as name, in_use(folder := Path(name)):
        ours = folder.stat()
        for other in folder.parent.glob(f"{_TEMPORARY}*"):
            with contextlib.suppress(OSError, InUseError):
                found = other.lstat()
                is_old = ours.st_mtime - found.st_mtime > _SECONDS_UNTIL_LOCKED
                if is_old and stat.S_ISDIR(found.st_mode) and found.st_uid == ours.st_uid:
                    with in_use(other):
                        shutil.rmtree(other)
        yield folder


def _unpack(archive: ModelArchive, folder: Path) -> None:
    try:
        free = shutil.disk_usage(folder.parent).free
        if free < archive.num_bytes:
            raise WriteError(
                f"'{folder.parent}': the model needs {archive.num_bytes / 1e6:.0f} MB, found "
                f"{free / 1e6:.0f} MB free; make room, or choose another disk (--workspace, or "
                "the environment variable TMPDIR for a file that is not installed)"
            )
        archive.extract(folder)
    except OSError as failure:
        raise WriteError(explain(failure)) from failure


def _load_each_fold(folder: Path, folds: Sequence[str], *, where: Path) -> None:
    """Check that the weights fit the plans; one fold at a time, so that memory stays small."""
    for fold in folds:
        with _told_of(where, folder):
            load_model(folder, folds=[fold], checkpoint=_CHECKPOINT, device=torch.device("cpu"))


@contextlib.contextmanager
def _told_of(path: Path, folder: Path) -> Iterator[None]:
    """Name what the user gave, and not the folder into which it was unpacked, in an error."""
    try:
        yield
    except CheckpointError as mistake:
        raise CheckpointError(str(mistake).replace(str(folder), str(path))) from None


@contextlib.contextmanager
def _unfinished_folder(target: Path) -> Iterator[Path]:
    """Yield a new path beside `target`, which nobody else installs meanwhile.

    What it holds at the end is removed, as is what a killed command left there.
    """
    unfinished = target.with_name(f".unfinished-{target.name}")
    try:
        with in_use(target.parent, part=target.name, goes_with=lambda _: True):
            shutil.rmtree(unfinished, ignore_errors=True)
            try:
                yield unfinished
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as failure:
        raise WriteError(explain(failure)) from failure
