"""The one table of commands, for the reference page and the tests; `setup.py` installs them."""

import argparse
from collections.abc import Callable

from diffunet.cli import (
    ablate,
    convert,
    demo,
    ensemble,
    evaluate,
    example_dataset,
    plan_and_preprocess,
    postprocess,
    predict,
    pseudo_label,
    report,
    selection,
    share,
    train,
)

PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "diffunet_convert_dataset": convert.parser,
    "diffunet_example_dataset": example_dataset.parser,
    "diffunet_plan_and_preprocess": plan_and_preprocess.parser,
    "diffunet_verify_dataset": plan_and_preprocess.verify_parser,
    "diffunet_extract_fingerprint": plan_and_preprocess.fingerprint_parser,
    "diffunet_plan_experiment": plan_and_preprocess.plan_parser,
    "diffunet_preprocess": plan_and_preprocess.preprocess_parser,
    "diffunet_move_plans": plan_and_preprocess.move_parser,
    "diffunet_train": train.parser,
    "diffunet_predict": predict.parser,
    "diffunet_pseudo_label": pseudo_label.parser,
    "diffunet_evaluate": evaluate.parser,
    "diffunet_ensemble": ensemble.parser,
    "diffunet_accumulate_crossval_results": selection.accumulate_parser,
    "diffunet_determine_postprocessing": postprocess.determine_parser,
    "diffunet_apply_postprocessing": postprocess.apply_parser,
    "diffunet_find_best_configuration": selection.best_parser,
    "diffunet_ablate": ablate.parser,
    "diffunet_report": report.parser,
    "diffunet_demo": demo.parser,
    "diffunet_export_model": share.export_parser,
    "diffunet_install_model": share.install_parser,
    "diffunet_model_info": share.info_parser,
}
