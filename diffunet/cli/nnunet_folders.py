"""nnU-Net's three variables: never used in silence, and their folders never written into."""

from collections.abc import Mapping
from pathlib import Path

from diffunet.errors import WorkspaceError
from diffunet.workspace import Workspace

_NAMES = ("raw", "preprocessed", "results")


def hint_at_nnunet_folders(environment: Mapping[str, str]) -> str:
    """Return a sentence about variables of nnU-Net that are set where ours are not; or nothing."""
    names = [name for name in _NAMES if environment.get(f"nnUNet_{name}")]
    unset = [name for name in names if not environment.get(f"diffunet_{name}")]
    if not unset:
        return ""
    advice = "set diffunet_preprocessed and diffunet_results to folders of their own"
    if "raw" in unset:
        advice = f"for its datasets, set diffunet_raw={environment['nnUNet_raw']} (only read); "
        advice += "set the other two to folders of their own"
    variables = ", ".join(f"nnUNet_{name}" for name in unset)
    return f"nnU-Net's folders are not used by themselves ({variables}): {advice}"


def refuse_nnunet_folders(
    workspace: Workspace, environment: Mapping[str, str], *, writes_raw: bool
) -> None:
    """Check that nothing would be written into a folder that nnU-Net's variables name.

    Args:
        writes_raw: the command makes a raw dataset.

    Raises:
        WorkspaceError: one of them is ours too.
    """
    theirs = {
        Path(environment[f"nnUNet_{name}"]).resolve(): f"nnUNet_{name}"
        for name in _NAMES
        if environment.get(f"nnUNet_{name}")
    }
    for name in _NAMES if writes_raw else _NAMES[1:]:
        folder: Path = getattr(workspace, name)
        if variable := theirs.get(folder.resolve()):
            raise WorkspaceError(
                f"'{folder}' would be written into, and is nnU-Net's ({variable}); expected a "
                f"folder of our own: set diffunet_{name} to another one, or give --workspace"
            )
