"""What a user can set for a prediction: one name per option, from the command line to the loops."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffunet.methods import SaliencyMethod
from diffunet.parts import ALL, Part
from diffunet.ranges import Range

OneFile = Literal["one_file"]
ONE_FILE: OneFile = "one_file"
SavesSamples = bool | OneFile
"""Whether samples are saved: True in files of their own, "one_file" all of a case in one."""

REL_AREA = Range(0, 1, is_above=True, is_below=True)
"""At the ends nothing, or every sample, would become empty."""


@dataclass(frozen=True, kw_only=True)
class PredictionOptions:
    """How images are predicted, and which files are written; None leaves a choice to the plans.

    Attributes:
        num_samples: per case, over all folds together.
        num_steps, sampler: of drawing a sample.
        rel_area: samples of at most this share of the case's largest become empty, per label; a
            trick of the metric. None: all stay.
        rater: name or number of the rater to draw as; None: as all of them together.
        tile_step_size: distance of neighbouring tiles, in tiles.
        is_mirrored: average over mirrored images.
        saliency: what masks are made from, of a model that was trained from image-level labels.
        image_labels: a table of what images show, in place of what the classifier finds.
        saves_probabilities: write CASE_probability, one per label where there are several.
        saves_samples: write samples/CASE_s00, ...; "one_file": samples/CASE_samples.
        draws_picture: write `pictures/saliency.png`, of a model that makes saliency.
        seed: each case's answer is a function of it, the case's name and its image.
    """

    num_samples: int | None = None
    num_steps: int | None = None
    sampler: str | None = None
    rel_area: float | None = None
    rater: str | None = None
    tile_step_size: float | None = None
    is_mirrored: bool | None = None
    saliency: SaliencyMethod | None = None
    image_labels: Path | None = None
    saves_probabilities: bool = False
    saves_samples: SavesSamples = False
    draws_picture: bool = True
    seed: int = 0

    def given(self) -> dict[str, Any]:
        """Return the options that were given, by name; every method has a seed."""
        return {
            each.name: getattr(self, each.name)
            for each in dataclasses.fields(self)
            if each.name != "seed" and getattr(self, each.name) != each.default
        }


@dataclass(frozen=True, kw_only=True)
class FolderRun:
    """Which cases of a folder a run predicts.

    Attributes:
        continues: keep the cases that are whole; otherwise they are predicted anew.
        part: which of them, sorted, where several jobs predict into one folder.
    """

    continues: bool = False
    part: Part = ALL
