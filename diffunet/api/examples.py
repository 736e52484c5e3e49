"""Generate a dataset to try the program on."""

import shutil
from pathlib import Path

from diffunet.arguments import workspace_of
from diffunet.errors import UsageError, WorkspaceError
from diffunet.locks import in_use
from diffunet.workspace import Workspace


def example_dataset(kind: str, *, workspace: Workspace | Path | None = None, seed: int = 0) -> Path:
    """Generate a small raw dataset in the workspace, the same one for the same seed.

    Args:
        kind: "several_raters", "volumes" or "image_level_labels".
        seed: of all random draws.

    Returns:
        The folder of the raw dataset; it is there whole or not at all.

    Raises:
        UsageError: there is no such kind.
        WorkspaceError: the dataset, or another one of its number, is there already.
        WriteError: the disk is full, or refuses.
    """
    from diffunet.data.examples import EXAMPLES

    if kind not in EXAMPLES:
        raise UsageError(f"there is no example '{kind}'; there are {', '.join(EXAMPLES)}")
    example, place = EXAMPLES[kind], workspace_of(workspace)
    folder = place.raw / example.dataset
    place.raw.mkdir(parents=True, exist_ok=True)
    with in_use(place.raw):
        number = example.dataset.split("_")[0]
        others = [path for path in place.raw.glob(f"{number}_*") if path.is_dir()]
        if others:
            raise WorkspaceError(
                f"'{others[0]}' is there already, and nothing was written; use it, remove it, or "
                "name another --workspace"
            )
        begun = place.raw / f".{example.dataset}.unfinished"
        shutil.rmtree(begun, ignore_errors=True)
        example.write(begun, seed)
        begun.rename(folder)
    return folder
