"""What nnU-Net's commands and options are called here: the one table, for parsers and the page.

An option that means the same has the same name and stands in no sentence below. The parser of a
command answers the others (`Parser`), and `documentation/reference/nnunet-words.md` lists them all.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_TRAINER = (
    "there are no trainer classes: -m chooses the method, --epochs or --iterations the length, and "
    "--set any field of the plans"
)
_READER = (
    "there is one way to measure a dataset; what it chooses stands in the plans, where you can "
    "change it (--set in diffunet_train)"
)
_PLANNER = (
    "there is one planner: -gpu_memory_target sizes the network, and --set of diffunet_train "
    "changes any field, or takes a preset (--set network=p1)"
)
_PREPROCESSOR = (
    "there is one way to preprocess; spacing and normalisation stand in the plans, where you can "
    "change them before diffunet_preprocess"
)
_BAR = "a bar is only drawn in a terminal; leave the option out, or send it away with 2> FILE"
_IN_PROCESS = (
    "cases are read and written by the command itself, one after the other; leave the option out, "
    "and share the cases out with -num_parts and -part_id"
)
_ONE_BY_ONE = "cases are done one after the other; leave the option out"
_NO_PLANS = (
    "plans are not needed: how to read masks follows from dataset.json; leave the option out"
)
_NO_PICKLE = (
    "-pp names the postprocessing.json of diffunet_determine_postprocessing; a pickle is never "
    "read, since reading one runs what it holds"
)
_LABELS = "labels and the ignore label are those of dataset.json (-djfile)"

CHECKED = "the dataset is always checked (unless --no_check says otherwise)"
SHOWN = "all messages are always shown"

REFUSED: Mapping[str, Mapping[str, str]] = {
    "diffunet_convert_dataset": {
        "-i": "name the format first: diffunet_convert_dataset msd FOLDER",
        "-overwrite_id": "-d says the number, or the whole name, of the new dataset",
    },
    "diffunet_plan_and_preprocess": {
        "-fpe": _READER,
        "-npfp": "-np is the number of processes of every step",
        "-pl": _PLANNER,
        "-preprocessor_name": _PREPROCESSOR,
        "--no_pbar": _BAR,
    },
    "diffunet_extract_fingerprint": {"-fpe": _READER, "--no_pbar": _BAR},
    "diffunet_plan_experiment": {"-pl": _PLANNER, "-preprocessor_name": _PREPROCESSOR},
    "diffunet_preprocess": {"--no_pbar": _BAR},
    "diffunet_train": {
        "-tr": _TRAINER,
        "--npz": (
            "samples take the place of probabilities: --save_samples keeps those of the final "
            "validation, and diffunet_find_best_configuration joins them"
        ),
        "--val_best": (
            "--val validates the last weights; predict the validation cases by the best ones with "
            "diffunet_predict -chk best"
        ),
        "--disable_checkpointing": (
            "checkpoints are always written, at most every five minutes: --c and diffunet_predict "
            "need them; leave the option out"
        ),
    },
    "diffunet_predict": {
        "-tr": "there are no trainer classes: -m names the method of the model",
        "--disable_tta": (
            "mirrored inputs are averaged only where the model's plans say so "
            "(sampling.is_mirrored, off unless you set it; weak.is_mirrored); leave the option out"
        ),
        "-npp": _IN_PROCESS,
        "-nps": _IN_PROCESS,
        "-prev_stage_predictions": "there is no cascade: a configuration predicts by itself",
        "--not_on_device": (
            "results are always gathered in the memory of the machine, not of the GPU; leave the "
            "option out"
        ),
        "--disable_progress_bar": _BAR,
    },
    "diffunet_ensemble": {
        "-np": _ONE_BY_ONE,
        "--save_npz": (
            "all samples are written in any case; --save_probabilities writes the share of samples "
            "per voxel and label"
        ),
    },
    "diffunet_determine_postprocessing": {
        "-plans_json": _NO_PLANS,
        "--remove_postprocessed": (
            "nothing is written but the decision, so nothing is left over; leave the option out"
        ),
    },
    "diffunet_apply_postprocessing": {
        "-pp_pkl_file": _NO_PICKLE,
        "--pp_pkl_file": _NO_PICKLE,
        "-np": _ONE_BY_ONE,
        "-plans_json": _NO_PLANS,
        "-dataset_json": "the folder of predictions holds it; leave the option out",
    },
    "diffunet_export_model": {
        "-tr": "there are no trainer classes: -m names the method of the model",
        "--not_strict": "folds that are not trained are left out; leave the option out",
        "--exp_cv_preds": "an export names no patient, so it holds no predictions of cases",
    },
    "diffunet_accumulate_crossval_results": {
        "-tr": "there are no trainer classes: -m names the method of the model",
    },
    "diffunet_find_best_configuration": {
        "-tr": "there are no trainer classes: -m names the methods to compare",
        "-np": _ONE_BY_ONE,
        "--no_overwrite": "what was gathered from the folds before is always replaced",
    },
    "diffunet_evaluate": {
        "-pfile": "plans are not needed to evaluate: how to read images follows from dataset.json",
        "--chill": (
            "every case of the reference needs a prediction; for some cases alone, give a folder "
            "with their references"
        ),
        "-l": _LABELS,
        "-il": _LABELS,
    },
}
"""By command and option: what there is instead."""

ACCEPTED: Mapping[str, Mapping[str, str]] = {
    "diffunet_plan_and_preprocess": {
        "--verify_dataset_integrity": CHECKED,
        "--verbose": SHOWN,
    },
    "diffunet_extract_fingerprint": {
        "--verify_dataset_integrity": CHECKED,
        "--verbose": SHOWN,
    },
    "diffunet_preprocess": {"--verbose": SHOWN},
    "diffunet_predict": {"--verbose": SHOWN},
}
"""By command and option: why it changes nothing."""


@dataclass(frozen=True)
class Counterpart:
    """A command of nnU-Net: what does the same here, and its options.

    Attributes:
        command: ours; empty where there is none.
        options: all of nnU-Net's but those that are in `REFUSED` and `ACCEPTED` already: they work.
        sentence: what differs.
    """

    command: str
    options: tuple[str, ...] = ()
    sentence: str = ""


COUNTERPARTS: Mapping[str, Counterpart] = {
    "nnUNetv2_convert_MSD_dataset": Counterpart(
        "diffunet_convert_dataset", ("-np",), "the format comes first: msd FOLDER"
    ),
    "nnUNetv2_convert_old_nnUNet_dataset": Counterpart(
        "diffunet_convert_dataset", (), "nnunet_v1 FOLDER -d NAME; files are written anew"
    ),
    "nnUNetv2_plan_and_preprocess": Counterpart(
        "diffunet_plan_and_preprocess",
        (
            *("-d", "--no_pp", "--clean", "-c", "-np", "-gpu_memory_target"),
            *("-overwrite_target_spacing", "-overwrite_plans_name"),
        ),
        "-d takes names and paths too; -np takes one number, for all configurations",
    ),
    "nnUNetv2_extract_fingerprint": Counterpart(
        "diffunet_extract_fingerprint", ("-d", "-np", "--clean")
    ),
    "nnUNetv2_plan_experiment": Counterpart(
        "diffunet_plan_experiment",
        ("-d", "-gpu_memory_target", "-overwrite_target_spacing", "-overwrite_plans_name"),
    ),
    "nnUNetv2_preprocess": Counterpart(
        "diffunet_preprocess",
        ("-d", "-plans_name", "-c", "-np"),
        "-np takes one number, for all configurations",
    ),
    "nnUNetv2_move_plans_between_datasets": Counterpart(
        "diffunet_move_plans",
        ("-s", "-t", "-sp", "-tp"),
        "-sp may be left out; the target needs no fingerprint",
    ),
    "nnUNetv2_train": Counterpart(
        "diffunet_train",
        ("-p", "-pretrained_weights", "-num_gpus", "--c", "--val", "-device"),
        "DATASET CONFIGURATION FOLD stand as there, CONFIGURATION may be left out, and several "
        "folds are trained one after the other; --c and --val need no other option repeated",
    ),
    "nnUNetv2_predict": Counterpart(
        "diffunet_predict",
        (
            *("-i", "-o", "-d", "-c", "-p", "-f", "-step_size", "--save_probabilities"),
            *("--continue_prediction", "-chk", "-num_parts", "-part_id", "-device"),
        ),
        "-c, -p and -f may be left out; -m is the method, and --model names a folder or a zip file",
    ),
    "nnUNetv2_predict_from_modelfolder": Counterpart(
        "diffunet_predict", (), "the folder is named by --model, since -m is the method"
    ),
    "nnUNetv2_ensemble": Counterpart(
        "diffunet_ensemble",
        ("-i", "-o"),
        "samples are joined where nnU-Net averages probabilities, so predict with --save_samples "
        "instead of --save_probabilities; -weights and --num_samples say more",
    ),
    "nnUNetv2_determine_postprocessing": Counterpart(
        "diffunet_determine_postprocessing",
        ("-i", "-ref", "-dataset_json", "-np"),
        "-o names the file; with several raters the unbiased GED decides instead of Dice",
    ),
    "nnUNetv2_apply_postprocessing": Counterpart(
        "diffunet_apply_postprocessing",
        ("-i", "-o"),
        "samples are cleaned first, and the consensus is made anew from them",
    ),
    "nnUNetv2_export_model_to_zip": Counterpart(
        "diffunet_export_model",
        ("-d", "-o", "-c", "-p", "-f", "-chk"),
        "-c may be left out; --precision, --license and --note say more",
    ),
    "nnUNetv2_install_pretrained_model_from_zip": Counterpart(
        "diffunet_install_model", (), "the file is checked before anything is written"
    ),
    "nnUNetv2_accumulate_crossval_results": Counterpart(
        "diffunet_accumulate_crossval_results",
        ("-c", "-o", "-f", "-p"),
        "-c and -p may be left out; without -f all folds of splits_final.json are taken",
    ),
    "nnUNetv2_find_best_configuration": Counterpart(
        "diffunet_find_best_configuration",
        ("-p", "-c", "--disable_ensembling", "-f"),
        "without -p and -c all trained models are compared, and -m adds methods; with several "
        "raters the samples are compared, not the Dice of one mask",
    ),
    "nnUNetv2_evaluate_folder": Counterpart("diffunet_evaluate", ("-djfile", "-o", "-np")),
    "nnUNetv2_evaluate_simple": Counterpart("diffunet_evaluate", ("-o", "-np")),
}
"""By nnU-Net's command."""
