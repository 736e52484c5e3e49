"""`diffunet_predict`: draw segmentations."""

import argparse

from diffunet.cli.command import command_of, new_parser, progress_bar, resolve_workspace
from diffunet.cli.options import (
    add_device,
    add_flag,
    add_model,
    add_no_report,
    add_number,
    add_parts,
    add_path,
    add_saliency,
    add_saves_probabilities,
    add_seed,
    add_workspace,
    number_in,
    number_of,
)
from diffunet.inference.options import ONE_FILE, REL_AREA
from diffunet.plans import SamplingPlan
from diffunet.ranges import choices_of


def parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_predict`."""
    made = new_parser(
        "Draw segmentations for images, and write their consensus (CASE.ext), uncertainty and "
        "volumes (predictions.json), and on request probabilities and every sample. Models "
        "trained from image-level labels make one mask per image, and write the saliency map "
        "that it comes from (CASE_saliency.ext).",
        epilog="examples:\n  diffunet_predict -i imagesTs -o predictions -d 1 --save_samples\n"
        "  diffunet_predict -i scan_0000.nii.gz -o mask.nii.gz --model FOLDER\n"
        "  diffunet_predict -i imagesTs -o predictions -d 3 --saliency cg_cdm",
        command="diffunet_predict",
    )
    add_path(
        made,
        "-i",
        "folder with CASE_0000.ext files (of photographs also NAME.jpg), or one image file",
        dest="input",
        required=True,
        metavar="INPUT",
    )
    add_path(
        made,
        "-o",
        "a folder that is new, is empty or holds predictions; or, if -i is a file, a file "
        "that does not exist yet",
        dest="output",
        required=True,
        metavar="OUTPUT",
    )
    add_model(
        made,
        metavar="FOLDER_OR_ZIP",
        model="folder of a trained model, the zip file of diffunet_export_model, or lidc_nodules, "
        "the model that comes with diffunet",
        method="without it, the one that makes --saliency, or the method of the plans",
    )
    _add_sampling(made)
    _add_saliency(made)
    _add_outputs(made)
    add_parts(made)
    add_device(made)
    made.add_argument(
        "--precision",
        default="float32",
        choices=["float32", "bfloat16", "float16"],
        help=(
            "precision of the networks: float32 is exact, the others are faster on a GPU, and "
            "bfloat16 on a CPU with AMX; models trained from image-level labels take float32 only"
        ),
    )
    add_workspace(made)
    return made


@command_of(parser)
def main(given: argparse.Namespace) -> None:
    """Run `diffunet_predict`."""
    from diffunet import api

    if given.model is None:
        given.workspace = resolve_workspace(given.workspace)
    api.predict(**vars(given), progress=progress_bar)


def _add_sampling(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("sampling; without a value, the plans decide")
    add_number(
        group,
        "--num_samples",
        number_of(SamplingPlan, "num_samples"),
        "samples per case, over all folds together",
    )
    add_number(group, "--num_steps", number_of(SamplingPlan, "num_steps"), "denoising steps")
    group.add_argument("--sampler", choices=choices_of(SamplingPlan, "sampler"))
    group.add_argument(
        "--rater",
        help="draw as this rater would: his number or name in the files of labels, such as 2 or "
        "r02; of a model trained with diffusion.conditions_on_rater (default: as all together)",
    )
    add_number(
        group,
        "-step_size",
        number_of(SamplingPlan, "tile_step_size"),
        "distance of neighbouring tiles, in tiles",
        dest="tile_step_size",
        metavar="TILES",
    )
    add_number(
        group,
        "--rel_area",
        number_in(REL_AREA, is_whole=False),
        "P1's post-processing, a trick of the metric: samples of at most this share of the case's "
        "largest become empty, which lowers the GED, since two empty masks have IoU 1; P1 "
        "takes 0.5; off without it",
        metavar="SHARE",
    )
    add_seed(group, "the same seed draws the same samples")


def _add_saliency(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("models trained from image-level labels (-m cdm, classifier)")
    add_saliency(
        group,
        "map to make masks from: the first three need a model of cdm, the others one of "
        "classifier; without it, the plans decide",
    )
    add_path(
        group,
        "--image_labels",
        "table of what the images show, with the columns of image_labels.csv; decides "
        "instead of the classifier for its cases and slices",
        metavar="FILE",
    )


def _add_outputs(made: argparse.ArgumentParser) -> None:
    add_saves_probabilities(made)
    made.add_argument(
        "--save_samples",
        dest="saves_samples",
        nargs="?",
        const=True,
        default=False,
        choices=[ONE_FILE],
        help="samples/CASE_s00.ext, ...; with one_file all samples of a case in one, for a viewer "
        "with a slider: samples/CASE_samples.nii.gz of a volume, CASE_samples.tif of an image",
    )
    add_flag(
        made,
        "--continue_prediction",
        "keep finished cases whose images have not changed",
        dest="continues",
    )
    add_no_report(made, "the folder of predictions", also=", nor pictures/most_uncertain.png")


if __name__ == "__main__":
    raise SystemExit(main())
