"""The Python API: each function does what the command of the same name does.

A dataset is named by its number, its name or its path. Where no workspace is given, it is that of a
command: the folders of `diffunet_raw`, `diffunet_preprocessed` and `diffunet_results`, where these
variables are set, or else `./diffunet_workspace`. A path may be text, a number one of numpy, and a
single value may stand for a list of one. Progress is shown by whatever `progress` does, `tqdm` for
example; by default nothing.
"""

from diffunet.api.ablation import ablate
from diffunet.api.combining import apply_postprocessing, determine_postprocessing, ensemble
from diffunet.api.conversion import convert_dataset
from diffunet.api.examples import example_dataset
from diffunet.api.models import predict, pseudo_label, train
from diffunet.api.moved_plans import move_plans
from diffunet.api.preparation import (
    extract_fingerprint,
    plan_and_preprocess,
    plan_experiment,
    preprocess,
    verify_dataset,
)
from diffunet.api.reports import report
from diffunet.api.scores import evaluate
from diffunet.api.selection import accumulate_crossval_results, find_best_configuration
from diffunet.api.sharing import export_model, install_model, model_info

__all__ = [
    "ablate",
    "accumulate_crossval_results",
    "apply_postprocessing",
    "convert_dataset",
    "determine_postprocessing",
    "ensemble",
    "evaluate",
    "example_dataset",
    "export_model",
    "extract_fingerprint",
    "find_best_configuration",
    "install_model",
    "model_info",
    "move_plans",
    "plan_and_preprocess",
    "plan_experiment",
    "predict",
    "preprocess",
    "pseudo_label",
    "report",
    "train",
    "verify_dataset",
]
