"""A dataset's plans as a whole: its configurations, the file, and the plans of one run."""

import dataclasses
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from diffunet.backbones import BACKBONES
from diffunet.errors import PlansError
from diffunet.jsonio import read_json, write_json
from diffunet.methods import METHODS
from diffunet.names import require_name
from diffunet.plans.data import AugmentationPlan, CropPlan, PreprocessingPlan
from diffunet.plans.model import (
    DiffusionPlan,
    NetworkPlan,
    SamplingPlan,
    TrainingPlan,
    require_stages,
)
from diffunet.plans.presets import Size
from diffunet.plans.settings import apply_settings, paths_noted_as_set, with_settings_noted
from diffunet.plans.weak import WeakPlan
from diffunet.ranges import Length, OneOf, Range, check_ranges
from diffunet.records import record_from_json
from diffunet.workspace import DEFAULT_PLANS_NAME

FORMAT_VERSION = 1
RESOLVED_FORMAT_VERSION = 2

GPU_MEMORY_GB = Range(0.1, 10_000)
"""The memory that the planner may be given for a training step."""

MOST_ATTENTION_POSITIONS = 2**16
"""Of a feature map with attention; its work grows with the square, to minutes for one patch."""

MethodName = Annotated[str, OneOf(METHODS)]
AxisOrder = Annotated[tuple[Annotated[int, Range(0, 2)], ...], Length(2, 3)]


@dataclass(frozen=True, kw_only=True)
class ConfigurationPlan:
    """One way to train on a dataset.

    Attributes:
        dimensions: 2 or 3, of a patch.
        data_identifier: folder of the preprocessed cases; configurations with equal preprocessing
            may share one.
        median_shape: of the training cases at `preprocessing.spacing_mm`; information only.
        patch_size: voxels per axis.
        preprocessing, crop, augmentation, network, diffusion, sampling, training: see below.
        weak: of "cdm" and "classifier"; None where the dataset declares no image-level labels.
    """

    dimensions: Literal[2, 3]
    data_identifier: str
    median_shape: Annotated[tuple[Annotated[int, Range(1, 10**6)], ...], Length(1, 3)]
    patch_size: Annotated[tuple[Annotated[int, Range(1, 2**16)], ...], Length(2, 3)]
    preprocessing: PreprocessingPlan
    crop: CropPlan
    augmentation: AugmentationPlan
    network: NetworkPlan
    diffusion: DiffusionPlan
    sampling: SamplingPlan
    training: TrainingPlan
    weak: WeakPlan | None = None

    def __post_init__(self) -> None:
        check_ranges(self)
        require_name(self.data_identifier, where="data_identifier", error=ValueError)
        if len(self.patch_size) != self.dimensions:
            raise ValueError(
                f"patch_size should have {self.dimensions} values, got {list(self.patch_size)}"
            )
        if len(self.preprocessing.spacing_mm) != self.dimensions:
            raise ValueError(
                f"preprocessing.spacing_mm should have {self.dimensions} values, "
                f"got {list(self.preprocessing.spacing_mm)}"
            )
        if BACKBONES[self.network.conditioning].has_image_encoder:
            try:
                require_stages(self.network, "image_channels")
            except ValueError as cause:
                raise ValueError(f"network.{cause}") from None
        if any(axis >= self.dimensions for axis in self.augmentation.mirror_axes):
            raise ValueError(
                f"augmentation.mirror_axes should be below {self.dimensions}, the number of axes, "
                f"got {list(self.augmentation.mirror_axes)}"
            )
        self._check_network("network", self.network)
        if self.weak is not None:
            self._check_network("weak.network", self.weak.network)

    def _check_network(self, name: str, network: NetworkPlan) -> None:
        if network.dimensions != self.dimensions:
            raise ValueError(
                f"{name}.strides and {name}.kernel_sizes should have {self.dimensions} values per "
                f"stage, one per axis, got {network.dimensions}"
            )
        positions = math.prod(self.patch_size)
        for stage, stride in enumerate(network.strides):
            positions //= math.prod(stride)
            if network.has_attention[stage] and positions > MOST_ATTENTION_POSITIONS:
                raise ValueError(
                    f"{name}.has_attention[{stage}] would compare {positions} positions with each "
                    f"other, at most {MOST_ATTENTION_POSITIONS} are possible; switch it off, or "
                    "make patch_size smaller"
                )
        widths = [network.channels[-1], *network.image_channels[-1:]]
        if positions == 1 and min(widths) <= network.num_groups:
            raise ValueError(
                f"{name} has {min(widths)} channels at its coarsest stage, which is one voxel of a "
                f"patch of {list(self.patch_size)}, and {network.num_groups} groups to normalise: "
                f"a group would be a single number; make patch_size larger, {name}.num_groups "
                "smaller, or take fewer strides"
            )
        divisors = [math.prod(strides) for strides in zip(*network.strides, strict=True)]
        fits = [-(-edge // of) * of for edge, of in zip(self.patch_size, divisors, strict=True)]
        for axis, divisor in enumerate(divisors):
            if self.patch_size[axis] % divisor:
                raise ValueError(
                    f"patch_size[{axis}] = {self.patch_size[axis]} should be a multiple of "
                    f"{divisor}, the product of {name}.strides along that axis; the next one that "
                    f"fits is patch_size=[{','.join(map(str, fits))}]"
                )


@dataclass(frozen=True, kw_only=True)
class Plans:
    """All choices for a dataset, with the reasons.

    Attributes:
        format_version: of the file.
        dataset_name: DatasetXXX_NAME.
        plans_name: of the file without `.json`; part of the name of a results folder.
        method: what `diffunet_train` trains unless `-m` says otherwise.
        recommended_configuration: what `diffunet_train` trains unless `-c` says otherwise.
        configurations: by name ("2d", "3d_fullres", or a user's own).
        transpose_forward: order of a volume's axes in training, as indices of file axes.
        orientations: of the training volumes, such as "LPS" (to where x, y and z of the file rise);
            other orientations are predicted with a warning. Empty if the files state none.
        reasons: the same keys as the rest of the file, with a sentence for each chosen value.
    """

    format_version: Annotated[int, Range(0, 1000)] = FORMAT_VERSION
    dataset_name: str
    plans_name: str = DEFAULT_PLANS_NAME
    method: MethodName
    recommended_configuration: str
    transpose_forward: AxisOrder
    orientations: tuple[str, ...] = ()
    configurations: dict[str, ConfigurationPlan]
    reasons: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_ranges(self)
        _check_version(self.format_version, FORMAT_VERSION, remedy="plan again")
        require_name(self.dataset_name, where="dataset_name", error=ValueError)
        require_name(self.plans_name, where="plans_name", error=ValueError)
        for name in self.configurations:
            require_name(name, where="configurations", error=ValueError)
        if self.recommended_configuration not in self.configurations:
            raise ValueError(
                f"recommended_configuration '{self.recommended_configuration}' is not one of "
                f"{sorted(self.configurations)}"
            )
        noted = self.reasons.get("configurations", {})
        if not isinstance(noted, dict) or not all(isinstance(v, dict) for v in noted.values()):
            raise ValueError("reasons.configurations should be an object of objects, by name")
        _check_axis_order(self.transpose_forward)

    @classmethod
    def load(cls, path: Path) -> "Plans":
        """Read a plans file.

        Raises:
            PlansError: missing, not JSON, an unknown or missing key, a wrong type, or an
                inconsistency; with the full path of the field.
        """
        content = read_json(path, PlansError)
        _refuse_newer(content, FORMAT_VERSION, where=path.name)
        return record_from_json(cls, content, where=path.name, error=PlansError)

    def save(self, path: Path) -> None:
        """Write the plans as JSON, atomically."""
        write_json(path, self)

    def configuration(self, name: str) -> ConfigurationPlan:
        """Return one configuration.

        Raises:
            PlansError: there is none of that name.
        """
        if name not in self.configurations:
            raise PlansError(
                f"the plans have no configuration '{name}'; they have "
                f"{', '.join(self.configurations)}"
            )
        return self.configurations[name]

    def resolve(
        self,
        configuration: str | None = None,
        *,
        method: str | None = None,
        settings: Sequence[str] = (),
        edited: Collection[str] = (),
    ) -> "ResolvedPlans":
        """Return plans of one configuration and method, with `settings` applied.

        Args:
            configuration: None for the recommended one.
            method: None for the plans' own.
            settings: "path.to.field=value" each, relative to the configuration; values as in JSON,
                a bare word is a string. Or a preset's name: "network=p1", "p1".
            edited: paths in the configuration of fields that the user changed in the file.

        Raises:
            PlansError: an unknown configuration, method, field or preset, or a value that does not
                fit.
        """
        name = configuration or self.recommended_configuration
        content = dataclasses.asdict(self.configuration(name))
        values = apply_settings(content, settings)
        where = f"plans with --set: configurations.{name}" if settings else f"configurations.{name}"
        content = {
            "dataset_name": self.dataset_name,
            "plans_name": self.plans_name,
            "method": method or self.method,
            "configuration_name": name,
            "configuration": dataclasses.asdict(
                record_from_json(ConfigurationPlan, content, where=where, error=PlansError)
            ),
            "transpose_forward": self.transpose_forward,
            "orientations": self.orientations,
            "set_by_user": tuple(sorted({*edited, *values})),
            "reasons": with_settings_noted(
                self.reasons.get("configurations", {}).get(name, {}), values
            ),
        }
        return record_from_json(ResolvedPlans, content, where="plans", error=PlansError)


@dataclass(frozen=True, kw_only=True)
class ResolvedPlans:
    """The plans of one run: one configuration and one method, with what the user set.

    A training keeps them as `plans.resolved.json`, and prediction obeys that file.

    Attributes:
        format_version: of the file.
        dataset_name: DatasetXXX_NAME.
        plans_name: of the dataset's plans.
        method: what is trained.
        configuration_name: of `configuration` in the dataset's plans.
        size: of the training; "default" is as planned.
        configuration: all chosen values.
        transpose_forward, orientations: as in `Plans`.
        set_by_user: paths in the configuration of fields that the user chose, with `--set` or in
            the dataset's plans file; no later choice overwrites them.
        reasons: the same keys as `configuration`, with a sentence for each chosen value; and "size"
            where that was chosen.
    """

    format_version: Annotated[int, Range(0, 1000)] = RESOLVED_FORMAT_VERSION
    dataset_name: str
    plans_name: str
    method: MethodName
    configuration_name: str
    size: Size = "default"
    configuration: ConfigurationPlan
    transpose_forward: AxisOrder
    orientations: tuple[str, ...] = ()
    set_by_user: tuple[str, ...] = ()
    reasons: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_ranges(self)
        _check_version(self.format_version, RESOLVED_FORMAT_VERSION, remedy="train anew")
        for name in ("dataset_name", "plans_name", "configuration_name"):
            require_name(getattr(self, name), where=name, error=ValueError)
        _check_axis_order(self.transpose_forward)

    @classmethod
    def load(cls, path: Path) -> "ResolvedPlans":
        """Read the plans of a run, of this version or the first.

        Raises:
            PlansError: as of `Plans.load`.
        """
        if not path.exists():
            raise PlansError(
                f"'{path}' does not exist; copy the whole folder of the fold again, or write the "
                "file from its checkpoint where its dataset is preprocessed: diffunet_train "
                "DATASET FOLD --val"
            )
        return cls.from_json(read_json(path, PlansError), where=path.name)

    @classmethod
    def from_json(cls, content: Any, *, where: str) -> "ResolvedPlans":
        """Build them from what `save` wrote; see `load`."""
        if isinstance(content, dict) and "configurations" in content:
            return _of_first_version(content, where=where)
        _refuse_newer(content, RESOLVED_FORMAT_VERSION, where=where)
        return record_from_json(cls, content, where=where, error=PlansError)

    def save(self, path: Path) -> None:
        """Write the plans as JSON, atomically."""
        write_json(path, self)

    def with_settings(self, settings: Sequence[str]) -> "ResolvedPlans":
        """Return these plans with `settings` applied, as `Plans.resolve` does.

        Raises:
            PlansError: an unknown field or preset, or a value that does not fit.
        """
        content = dataclasses.asdict(self)
        values = apply_settings(content["configuration"], settings)
        content["set_by_user"] = tuple(sorted({*self.set_by_user, *values}))
        content["reasons"] = with_settings_noted(self.reasons, values)
        return record_from_json(ResolvedPlans, content, where="plans with --set", error=PlansError)

    def is_set_by_user(self, path: str) -> bool:
        """Whether the user chose a field, or a group that it is in."""
        return any(f"{path}.".startswith(f"{each}.") for each in self.set_by_user)


def _of_first_version(content: dict[str, Any], *, where: str) -> ResolvedPlans:
    """Return the plans of a run of version 0.1, which had the form of a dataset's plans.

    There only the reasons say what the user set.
    """
    plans = record_from_json(Plans, content, where=where, error=PlansError)
    if len(plans.configurations) != 1:
        raise PlansError(
            f"{where}: expected the plans of a run, of one configuration, found "
            f"{len(plans.configurations)}"
        )
    reasons = plans.reasons.get("configurations", {}).get(plans.recommended_configuration, {})
    return plans.resolve(edited=paths_noted_as_set(reasons))


def _refuse_newer(content: Any, known: int, *, where: str) -> None:
    """Check that no later version wrote plans: their fields may be other ones.

    Raises:
        PlansError: one did.
    """
    found = content.get("format_version") if isinstance(content, dict) else None
    if isinstance(found, int) and found > known:
        raise PlansError(
            f"{where}: format_version should be at most {known}, got {found}: a newer diffunet "
            "wrote it; update the one here"
        )


def _check_version(found: int, known: int, *, remedy: str) -> None:
    if found != known:
        raise ValueError(f"format_version should be {known}, got {found}; {remedy}")


def _check_axis_order(order: tuple[int, ...]) -> None:
    if sorted(order) != list(range(len(order))):
        raise ValueError(f"transpose_forward should be a permutation, got {order}")
