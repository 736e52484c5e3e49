"""Write a public dataset as a raw dataset."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from diffunet.arguments import processes_of, workspace_of
from diffunet.calls import from_python
from diffunet.jsonio import as_json
from diffunet.locks import in_use
from diffunet.parallel import Progress, without_progress
from diffunet.workspace import Workspace

logger = logging.getLogger(__name__)


@from_python
def convert_dataset(
    format: str,
    source: Path | str,
    *,
    dataset: int | str | None = None,
    workspace: Workspace | Path | None = None,
    channels: Sequence[str] = (),
    labels: Sequence[str] = (),
    tags: bool = False,
    slices: bool = False,
    min_share: float | None = None,
    task: str | None = None,
    values: Sequence[str | int] = (),
    images: Sequence[str] = (),
    masks: Sequence[str] = (),
    image_labels: Path | str | None = None,
    blank: Literal["0", "1", "unknown"] | None = None,
    uncertain: Literal["0", "1", "unknown"] | None = None,
    test_list: Path | str | None = None,
    skip_faulty: bool = False,
    num_processes: int | None = None,
    progress: Progress = without_progress,
) -> Path:
    """Write a public dataset, in the layout in which it is downloaded, as a raw dataset.

    The download is only read. If this ends early, the same call continues.

    Args:
        format: a name of `diffunet.conversion.formats.FORMATS`.
        source: folder or file of the download.
        dataset: number or name; None for the number that the download bears, or the first free one.
        channels: which images of a case to take; empty for those that are usual.
        labels: which structures to keep; empty for all.
        tags: add image-level labels of each axial slice.
        slices: write each axial slice as an image of its own, with image-level labels.
        min_share: a label is 1 where more than this share of a slice shows it.
        task: which of several tasks of a download.
        values: in the masks, of the background and of each of `labels`; several of one label as
            "0,1,6".
        images: how the paths of images end, such as "{case}/image.nii.gz", for each channel.
        masks: how the paths of masks end, for each rater.
        image_labels: a table of which of `labels` each image shows.
        blank, uncertain: what an empty cell of that table means, and -1; None if there are none.
        test_list: a text file with the names of the images for testing, one a line.
        skip_faulty: leave out cases that cannot be read; dataset.json names them in `left_out`.

    Returns:
        The folder of the raw dataset.

    Raises:
        UsageError: the format is unknown, or an option means nothing for it.
        DatasetError: the download has another layout, or cases have faults; all are named.
        WorkspaceError: the dataset is there already.
        WriteError: the disk is full, or refuses.
    """
    from diffunet.conversion.formats import format_of
    from diffunet.conversion.wishes import wishes_from
    from diffunet.conversion.write import unfinished_in, write_dataset

    chosen = format_of(format)
    wishes = wishes_from(
        channels=tuple(channels),
        labels=tuple(labels),
        tags=tags,
        slices=slices,
        min_share=min_share,
        task=task,
        values=tuple(map(str, values)),
        images=tuple(images),
        masks=tuple(masks),
        image_labels=None if image_labels is None else Path(image_labels).resolve(),
        blank=blank,
        uncertain=uncertain,
        test_list=None if test_list is None else Path(test_list).resolve(),
    )
    wishes.require_known(chosen.wishes, format_name=format)
    source, place = Path(source).resolve(), workspace_of(workspace)
    # the share decides on rows of a table, not on what is written of a case
    to_read = replace(wishes, min_share=None)
    conversion = chosen.scan(source, to_read)
    request = as_json({"format": format, "source": source, "wishes": to_read})
    if dataset is None:
        dataset = conversion.suggested_number
    if dataset is None:
        begun = unfinished_in(place.raw)
        same = [name for name, asked in begun.items() if asked == request]
        dataset = same[0] if same else place.first_free_number(also_taken=begun)
    name = place.new_dataset_name(dataset, default=conversion.suggested_name)
    for remark in conversion.remarks:
        logger.info("%s", remark)
    with in_use(place.raw, part=name.partition("_")[0], goes_with=lambda _: True):
        write_dataset(
            conversion,
            place.raw / name,
            request=request,
            min_share=wishes.share,
            skip_faulty=skip_faulty,
            num_processes=processes_of(num_processes),
            progress=progress,
        )
    return place.raw / name
