"""Generate a dataset to try the program on."""

import filecmp
import logging
import shutil
from pathlib import Path

from diffunet.arguments import workspace_of
from diffunet.calls import from_python
from diffunet.errors import UsageError, WorkspaceError
from diffunet.locks import in_use
from diffunet.workspace import Workspace

logger = logging.getLogger(__name__)


@from_python
def example_dataset(
    kind: str,
    *,
    dataset: int | str | None = None,
    workspace: Workspace | Path | None = None,
    seed: int = 0,
) -> Path:
    """Generate a small raw dataset in the workspace, the same one for the same seed.

    If it is there already, file by file what would be written, it stays as it is, and a line of the
    log says so.

    Args:
        kind: "several_raters", "volumes", "image_level_labels" or "lung_nodules".
        dataset: number or name; None for 901, 902, 903 or 904.
        seed: of all random draws.

    Returns:
        The folder of the raw dataset; it is there whole or not at all.

    Raises:
        UsageError: there is no such kind.
        WorkspaceError: the folder holds anything else, or the number is another dataset's.
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
        unfinished = folder.with_name(f".unfinished-{name}")
        shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
        try:
            example.write(unfinished, seed)
            if folder.exists():
                _require_same(folder, unfinished, seed=seed)
                logger.info("'%s' is there already, and whole; nothing was written", folder)
            else:
                unfinished.rename(folder)
                logger.info("wrote '%s'", folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _require_same(folder: Path, made: Path, *, seed: int) -> None:
    """Check that a dataset is the one that was just made.

    Raises:
        WorkspaceError: it is another one.
    """
    difference = _difference(folder, made)
    if difference:
        raise WorkspaceError(
            f"'{folder}' is there already, and is not what this command writes with seed {seed} "
            f"({difference}); nothing was written: use it, remove it, or choose another number or "
            "name"
        )


def _difference(folder: Path, made: Path) -> str:
    """Return in words the first file in which two folders differ; empty if in none.

    Hidden files, which file managers leave, do not count.
    """
    there, wanted = (
        {
            path.relative_to(each)
            for path in each.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        }
        for each in (folder, made)
    )
    for name in sorted(wanted):
        if name not in there:
            return f"'{name}' is missing"
        if not filecmp.cmp(folder / name, made / name, shallow=False):
            return f"'{name}' differs"
    return f"'{min(there - wanted)}' is none of its files" if there - wanted else ""
