"""diffunet: the distribution of masks that experts would draw.

The Python API, loaded when it is first used: `import diffunet` costs next to nothing.

    diffunet.plan_and_preprocess("Dataset001_LIDC")
    diffunet.train("Dataset001_LIDC", 0)
    diffunet.predict("images", "predictions", dataset="Dataset001_LIDC")
    diffunet.evaluate("labels", "predictions")
    diffunet.Predictor.from_folder("results/...").predict(array, spacing_mm)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffunet.api import (
        ablate,
        evaluate,
        export_model,
        install_model,
        model_info,
        plan_and_preprocess,
        predict,
        pseudo_label,
        train,
    )
    from diffunet.api.predictor import Predictor
    from diffunet.api.weak_predictor import WeakPredictor

__version__ = "0.2.0"

__all__ = [
    "Predictor",
    "WeakPredictor",
    "__version__",
    "ablate",
    "evaluate",
    "export_model",
    "install_model",
    "model_info",
    "plan_and_preprocess",
    "predict",
    "pseudo_label",
    "train",
]

_HOMES = {
    "Predictor": "diffunet.api.predictor",
    "WeakPredictor": "diffunet.api.weak_predictor",
    "ablate": "diffunet.api",
    "evaluate": "diffunet.api",
    "export_model": "diffunet.api",
    "install_model": "diffunet.api",
    "model_info": "diffunet.api",
    "plan_and_preprocess": "diffunet.api",
    "predict": "diffunet.api",
    "pseudo_label": "diffunet.api",
    "train": "diffunet.api",
}


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'diffunet' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
