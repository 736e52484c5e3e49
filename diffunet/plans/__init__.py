"""All choices for a dataset: the one place of every parameter's name and default.

`diffunet_plans.json` holds a `Plans`. A run narrows it to one configuration and one method
(`Plans.resolve`), applies `--set`, and keeps the result as `plans.resolved.json`.
"""

from diffunet.plans.data import (
    SPACING_MM,
    AugmentationPlan,
    CropPlan,
    NormalizationPlan,
    PreprocessingPlan,
)
from diffunet.plans.model import DiffusionPlan, NetworkPlan, NoisePlan, SamplingPlan, TrainingPlan
from diffunet.plans.plans import (
    FORMAT_VERSION,
    GPU_MEMORY_GB,
    ConfigurationPlan,
    Plans,
    ResolvedPlans,
)
from diffunet.plans.weak import (
    CamPlan,
    CamSaliency,
    DiffusionSaliency,
    EncodingPlan,
    ImageDiffusionPlan,
    MaskPlan,
    SaliencyMethod,
    TrajectoryPlan,
    WeakPlan,
    cam_plan_of,
)

__all__ = [
    "FORMAT_VERSION",
    "GPU_MEMORY_GB",
    "SPACING_MM",
    "AugmentationPlan",
    "CamPlan",
    "CamSaliency",
    "ConfigurationPlan",
    "CropPlan",
    "DiffusionPlan",
    "DiffusionSaliency",
    "EncodingPlan",
    "ImageDiffusionPlan",
    "MaskPlan",
    "NetworkPlan",
    "NoisePlan",
    "NormalizationPlan",
    "Plans",
    "PreprocessingPlan",
    "ResolvedPlans",
    "SaliencyMethod",
    "SamplingPlan",
    "TrainingPlan",
    "TrajectoryPlan",
    "WeakPlan",
    "cam_plan_of",
]
