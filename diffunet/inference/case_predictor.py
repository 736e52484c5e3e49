"""What a kind of prediction gives to the driver of all predictions (`diffunet.inference.run`)."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from diffunet.data.image_io import ImageGeometry
from diffunet.data.raw.case_files import CaseFiles
from diffunet.inference.compute import Compute
from diffunet.inference.model import Model, TrainedModel
from diffunet.inference.options import FolderRun, PredictionOptions
from diffunet.inference.output import OutputFolder
from diffunet.inference.prepared import PreparedImage

Result = TypeVar("Result")

OnStep = Callable[[float], None]
"""Called with the number of steps just taken, or with the share of one that is done."""

OnSample = Callable[[int, np.ndarray], None]
"""Called with a sample's number and its boolean masks (label, *spatial)."""


class CasePredictor(Protocol[Result]):
    """A model with the options of a run: from an image to its answers.

    It is made from a model, `compute` and `options`, and refuses those that do not fit.

    Attributes:
        model: only its plans, labels and networks decide about a result.
        compute: how its work is cut.
        options: of the run.
    """

    model: Model
    compute: Compute
    options: PredictionOptions

    @property
    def num_steps(self) -> int:
        """How many steps `on_step` is told of, over a case."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return the settings that decide about a result besides model, seed and precision."""
        ...

    def begin(self, model: TrainedModel, cases: Sequence[CaseFiles]) -> None:
        """Read what the options say about single cases; called before `settings`."""
        ...

    def predict(
        self,
        prepared: PreparedImage,
        *,
        on_step: OnStep | None = None,
        on_sample: OnSample | None = None,
    ) -> Result:
        """Predict one case.

        Args:
            on_sample: called with each sample, if there are any; with several folds not in order.
        """
        ...

    def label_map(self, result: Result) -> np.ndarray:
        """Return the label map (*original_shape) of a case that is predicted on its own."""
        ...

    def write(
        self, result: Result, *, case: str, geometry: ImageGeometry, output: OutputFolder
    ) -> dict[str, Any]:
        """Write the maps of a case, and return the content of its record."""
        ...

    def finish(self, cases: Sequence[CaseFiles], *, run: FolderRun, output: OutputFolder) -> None:
        """Write what depends on all cases, if all of them are done.

        Args:
            cases: of all parts of a division; where the run has no parts, some may have failed.
        """
        ...

    def draw(self, cases: Sequence[CaseFiles], *, run: FolderRun, output: OutputFolder) -> None:
        """Draw pictures once all cases are done; a failed picture is not a failed prediction."""
        ...
