"""What a kind of prediction gives to the one driver of all of them (`diffunet.inference.run`)."""

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

OnStep = Callable[[int], None]
"""Called with a number of steps that have been taken."""

OnSample = Callable[[int, np.ndarray], None]
"""Called with a sample's number and its boolean masks (label, *spatial)."""


class CasePredictor(Protocol[Result]):
    """A model with the options of a run: from an image to what is said about it.

    It is made from a model, `compute` and `options`, and refuses what does not fit.

    Attributes:
        model: of whose fields but plans, labels and networks nothing decides about a result.
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
        """Return what decides about a result beside model, seed and precision, for the record."""
        ...

    def begin(self, model: TrainedModel, cases: Sequence[CaseFiles]) -> None:
        """Read what is asked about the cases that are to be predicted; before `settings`."""
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
            on_sample: called with each sample where there are some, not in their order where there
                are several folds.
        """
        ...

    def label_map(self, result: Result) -> np.ndarray:
        """Return the one label map (*original_shape) of a case that is all there is to predict."""
        ...

    def write(
        self, result: Result, *, case: str, geometry: ImageGeometry, output: OutputFolder
    ) -> dict[str, Any]:
        """Write the maps of a case, and return what is said about it in its record."""
        ...

    def finish(self, cases: Sequence[CaseFiles], *, run: FolderRun, output: OutputFolder) -> None:
        """Write what can be known only once all cases are there, if they are.

        Args:
            cases: of all parts of a division; where the run has no parts, some may have failed.
        """
        ...

    def draw(self, cases: Sequence[CaseFiles], *, run: FolderRun, output: OutputFolder) -> None:
        """Draw pictures once all cases are there; their failures are none of the prediction."""
        ...
