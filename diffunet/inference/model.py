"""A trained model's folder: its plans, its labels, and the averaged weights of its folds."""

import dataclasses
import hashlib
import logging
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffunet.checkpoint import load_checkpoint, load_weights, weights_of
from diffunet.data.raw.dataset_json import file_ending_problems
from diffunet.errors import CheckpointError, DiffunetError
from diffunet.jsonio import read_object
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.names import is_fold
from diffunet.needs import require_memory_for_weights
from diffunet.networks.memory_order import channels_last
from diffunet.plans import ConfigurationPlan, ResolvedPlans
from diffunet.workspace import DATASET_FILE, RESOLVED_PLANS_FILE, VALIDATION_SUMMARY

AVERAGED_WEIGHTS = "weights"
"""Key of a checkpoint under which the weights for prediction stand."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Model:
    """What decides about a prediction, whether in training or read from files.

    Attributes:
        plans: of the first fold.
        networks: one per fold, in evaluation mode: what the method's `build_model` makes.
    """

    plans: ResolvedPlans
    labels: LabelScheme
    networks: tuple[nn.Module, ...]

    @property
    def method(self) -> str:
        return self.plans.method

    @property
    def configuration(self) -> ConfigurationPlan:
        return self.plans.configuration

    @property
    def dimensions(self) -> int:
        """Of the images: 2, or 3 for volumes, whatever the patch."""
        return len(self.plans.transpose_forward)


@dataclass(frozen=True, kw_only=True)
class TrainedModel(Model):
    """A model with what its folder says about it.

    Attributes:
        dataset_content: of `dataset.json`.
        folds: names such as "0" or "all", in the order in which they draw samples.
        checkpoint: "final", "best" or "latest".
    """

    folder: Path
    dataset_content: dict[str, Any]
    folds: tuple[str, ...]
    checkpoint: str

    @property
    def weights(self) -> tuple[str, ...]:
        """Twelve hexadecimal digits per fold that tell its weights from any others (SHA-256)."""
        return tuple(_digest(network) for network in self.networks)

    @property
    def num_channels(self) -> int:
        return len(self.configuration.preprocessing.normalization)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """As `dataset.json` names them; numbers where it names none."""
        names = self.dataset_content.get("channel_names", {})
        return tuple(str(names.get(str(i), i)) for i in range(self.num_channels))

    @property
    def file_ending(self) -> str:
        return str(self.dataset_content["file_ending"])

    def sign(self, folder: Path) -> None:
        """Write the plans into a folder of predictions, by which it is known as one."""
        self.plans.save(folder / RESOLVED_PLANS_FILE)


def load_model(
    folder: Path,
    *,
    folds: Sequence[int | str] | None,
    checkpoint: str,
    device: torch.device,
) -> TrainedModel:
    """Read a model folder.

    Args:
        folder: holds `dataset.json` and `fold_0`, `fold_1`, ... or `fold_all`.
        folds: None for all that have the checkpoint; "all" only where there is no other.
        checkpoint: "final", "best" or "latest".

    Raises:
        CheckpointError: a file is missing, damaged or does not fit; the message says what is there.
    """
    names = trained_folds(folder, folds, checkpoint=checkpoint)
    content = model_dataset(folder)
    plans = model_plans(folder, names)
    _warn_of_unfinished(folder, names, plans)
    return TrainedModel(
        folder=folder,
        plans=plans,
        dataset_content=content,
        labels=LabelScheme.from_dataset_json(content),
        folds=names,
        checkpoint=checkpoint,
        networks=tuple(
            _load_network(
                _checkpoint_path(folder, name, checkpoint),
                plans,
                LabelScheme.from_dataset_json(content),
                device,
            )
            for name in names
        ),
    )


def model_dataset(folder: Path) -> dict[str, Any]:
    """Return the `dataset.json` of a model folder, with what prediction needs of it.

    Raises:
        CheckpointError, DatasetError: it is missing or damaged.
    """
    path = folder / DATASET_FILE
    content = read_object(path, CheckpointError)
    LabelScheme.from_dataset_json(content)
    if "file_ending" not in content:
        raise CheckpointError(f"'{path}': the key 'file_ending' is missing")
    if problems := file_ending_problems(content["file_ending"]):
        raise CheckpointError(f"'{folder}': {problems[0]}")
    if not isinstance(content.get("channel_names", {}), dict):
        raise CheckpointError(f"'{path}': 'channel_names' should be an object")
    return content


def joined_model(models: Sequence[TrainedModel]) -> TrainedModel:
    """Return one model of the folds of several, of one folder and checkpoint, in their order.

    Raises:
        CheckpointError: their plans do not fit together.
    """
    folds = tuple(fold for model in models for fold in model.folds)
    return dataclasses.replace(
        models[0],
        plans=model_plans(models[0].folder, folds),
        folds=folds,
        networks=tuple(network for model in models for network in model.networks),
    )


def trained_folds(
    folder: Path, folds: Sequence[int | str] | None, *, checkpoint: str
) -> tuple[str, ...]:
    """Return the names of `folds`; of None all that have the checkpoint, "all" only if alone.

    Raises:
        CheckpointError: `folder` is no model folder, or there is no checkpoint of one of them.
    """
    _require_folder(folder)
    names = sorted(path.name.removeprefix("fold_") for path in folder.glob("fold_*"))
    found = [name for name in names if is_fold(name)]
    trained = [name for name in found if _checkpoint_path(folder, name, checkpoint).is_file()]
    if folds is None:
        numbered = [name for name in trained if name != "all"]
        wanted = sorted(numbered, key=lambda name: (len(name), name)) or trained
        if len(wanted) < len(trained):
            logger.info("fold_all is there too and is not used; -f all takes it alone")
        if copies := [f"fold_{name}" for name in names if name not in found]:
            logger.info("not used, since no fold has such a name: %s", _listing(copies))
    else:
        wanted = [str(name) for name in folds]
    missing = [f"fold_{name}" for name in wanted if name not in trained]
    if missing or not wanted:
        there = [f"fold_{name} ({_listing(_checkpoints_in(folder, name))})" for name in found]
        raise CheckpointError(
            f"'{folder}': expected checkpoint_{checkpoint}.pth in "
            f"{_listing(missing) if missing else 'at least one fold'}, found {_listing(there)}; "
            "train it, or choose other folds (-f) or another checkpoint (-chk)"
        )
    return tuple(wanted)


def _require_folder(folder: Path) -> None:
    if folder.is_file():
        raise CheckpointError(f"'{folder}' is a file, expected the folder of a trained model")
    if not folder.is_dir():
        raise CheckpointError(f"the model folder '{folder}' does not exist; train first")
    if not (folder / DATASET_FILE).is_file():
        raise CheckpointError(
            f"'{folder}' is no model folder: expected {DATASET_FILE} and fold_... in it, found "
            f"{_listing([path.name for path in folder.iterdir()])}; give the folder "
            "METHOD__PLANS__CONFIGURATION, as the training wrote it, with all its files"
        )


def model_plans(folder: Path, folds: Sequence[str]) -> ResolvedPlans:
    """Return the first fold's plans; all fields that the weights depend on must agree in all folds.

    Choices for prediction from image-level labels may differ: those of the first fold count that
    could choose, since some of its validation images showed a label.
    """
    loaded = {
        name: ResolvedPlans.load(folder / f"fold_{name}" / RESOLVED_PLANS_FILE) for name in folds
    }
    chosen = next((name for name in folds if _could_choose(folder, name)), folds[0])
    first = loaded.pop(chosen)
    for name, other in loaded.items():
        for field in METHODS[first.method].weight_fields:
            ours, theirs = map(operator.attrgetter(f"configuration.{field}"), (first, other))
            if ours != theirs:
                raise CheckpointError(
                    f"'{folder}': '{field}' of fold_{name} differs from that of fold_{chosen} "
                    f"({_first_difference(ours, theirs)}); predict with one of them (-f)"
                )
        if _chooses_settings(first) and first.configuration.weak != other.configuration.weak:
            logger.warning(
                "'%s': fold_%s chose other settings of weak supervision than fold_%s (%s); the "
                "maps of all folds are made with those of fold_%s",
                folder.name,  # the rest may be that of an unpacked zip file
                name,
                chosen,
                _first_difference(first.configuration.weak, other.configuration.weak),
                chosen,
            )
    return first


def _could_choose(folder: Path, fold: str) -> bool:
    """Whether a fold chose settings of maps and masks from image-level labels."""
    path = folder / f"fold_{fold}" / VALIDATION_SUMMARY
    try:
        return bool(read_object(path).get("erasure_gains"))
    except DiffunetError:
        return False


def _warn_of_unfinished(folder: Path, folds: Sequence[str], plans: ResolvedPlans) -> None:
    """Warn if settings of weak supervision were not chosen; the fold "all" never chooses them."""
    if not _chooses_settings(plans):
        return
    for name in folds:
        if name != "all" and not (folder / f"fold_{name}" / VALIDATION_SUMMARY).is_file():
            logger.warning(
                "'%s': fold_%s has not finished its training: validation has not chosen noise "
                "level, guidance and the rule from map to mask, so the plans' values are used; "
                "continue with diffunet_train --c",
                folder.name,
                name,
            )


def _chooses_settings(plans: ResolvedPlans) -> bool:
    """Whether a training ends with choices of how masks are made."""
    return METHODS[plans.method].learns_from == "image_labels"


def _first_difference(ours: Any, theirs: Any) -> str:
    if dataclasses.is_dataclass(ours):
        names = [field.name for field in dataclasses.fields(ours)]
        name = next(name for name in names if getattr(ours, name) != getattr(theirs, name))
        return f"{name}: {getattr(theirs, name)} and {getattr(ours, name)}"
    return f"{theirs} and {ours}"


def _digest(network: nn.Module) -> str:
    found = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:12]


def _load_network(
    path: Path, plans: ResolvedPlans, labels: LabelScheme, device: torch.device
) -> nn.Module:
    require_memory_for_weights(plans.configuration, method=plans.method)
    content = load_checkpoint(path, "cpu")
    weights = weights_of(content, AVERAGED_WEIGHTS, where=path)
    configuration = plans.configuration
    network = METHODS[plans.method].build_model(
        configuration,
        num_image_channels=len(configuration.preprocessing.normalization),
        labels=labels,
    )
    load_weights(network, weights, where=str(path))
    network.eval().requires_grad_(False)
    # 1.1 to 1.3 times faster on a CPU, in 2D and 3D
    return channels_last(network.to(device), dimensions=configuration.dimensions)


def data_of_fold(folder: Path, fold: str, *, checkpoint: str) -> tuple[str, ...]:
    """Return the cases that a fold was trained on, then those that it was validated on.

    Empty where its checkpoint, of another program's making, does not tell.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    content = load_checkpoint(_checkpoint_path(folder, fold, checkpoint), "cpu")
    data = content.get("data")
    return tuple(data) if isinstance(data, dict) else ()


def _checkpoint_path(folder: Path, fold: str, checkpoint: str) -> Path:
    return folder / f"fold_{fold}" / f"checkpoint_{checkpoint}.pth"


def _checkpoints_in(folder: Path, fold: str) -> list[str]:
    return [path.name for path in (folder / f"fold_{fold}").glob("checkpoint_*.pth")]


def _listing(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)) or "none"
