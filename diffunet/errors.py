"""What a user can get wrong; the command line makes one message and exit code 2 of each."""

from collections.abc import Sequence


class DiffunetError(Exception):
    """A mistake of the user's, or of the data: expected, found, where, and what to do."""


class DatasetError(DiffunetError):
    """A raw dataset, or a file in it, is not as documentation/reference/dataset-format.md says.

    Args:
        problems: one message per fault; all faults are reported at once.
    """

    def __init__(self, problems: str | Sequence[str]):
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class PlansError(DiffunetError):
    """A plans file or a `--set` value is not valid."""


class WorkspaceError(DiffunetError):
    """A folder of the workspace, a dataset in it or a trained model is missing or ambiguous."""


class CheckpointError(DiffunetError):
    """A checkpoint or a model folder cannot be read or does not fit."""


class UsageError(DiffunetError):
    """An option of a command or an argument of the Python API is not valid."""
