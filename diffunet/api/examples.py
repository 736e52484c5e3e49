"""Generate a dataset to try the program on."""

import shutil
from pathlib import Path

from diffunet.arguments import workspace_of
from diffunet.errors import UsageError, WorkspaceError
from diffunet.locks import in_use
from diffunet.workspace import Workspace


def example_dataset(
    kind: str,
    *,
    dataset: int | str | None = None,
    workspace: Workspace | Path | None = None,
    seed: int = 0,
) -> Path:
    """Generate a small raw dataset in the workspace, the same one for the same seed.

    Args:
        kind: "several_raters", "volumes" or "image_level_labels".
        dataset: number or name; None for 901, 902 or 903.
        seed: of all random draws.

    Returns:
        The folder of the raw dataset; it is there whole or not at all.

    Raises:
        UsageError: there is no such kind.
        WorkspaceError: the dataset, or another one of its number, is there already.
        WriteError, OSError: the disk is full, or refuses.
    """
    from diffunet.data.examples import EXAMPLES

    if kind not in EXAMPLES:
        raise UsageError(f"there is no example '{kind}'; there are {', '.join(EXAMPLES)}")
    example, place = EXAMPLES[kind], workspace_of(workspace)
    wanted = example.number if dataset is None else dataset
    name = place.new_dataset_name(wanted, default=example.name)
    folder = place.raw / name
    with in_use(place.raw, part=name.partition("_")[0], goes_with=lambda _: True):
        if folder.exists():
            raise WorkspaceError(
                f"'{folder}' is there already, and nothing was written; use it, remove it, or "
                "choose another number or name"
            )
        unfinished = folder.with_name(f".unfinished-{name}")
        shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
        try:
            example.write(unfinished, seed)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder
