"""Cases that show a label without having a mask of it, which no mask tells."""

import logging
from collections.abc import Iterable, Sequence

from diffunet.data.raw.case_files import CaseFiles, listing
from diffunet.inference.output import OutputFolder
from diffunet.plans import MaskPlan, SaliencyMethod

logger = logging.getLogger(__name__)


def warn_of_empty_masks(
    cases: Iterable[CaseFiles],
    *,
    output: OutputFolder,
    names: Sequence[str],
    saliency: SaliencyMethod,
    plan: MaskPlan,
) -> None:
    """Warn of cases that count as showing a label, where no pixel is above the threshold.

    Args:
        cases: those without masks yet do not count.
        names: of the labels.
        saliency, plan: what masks are made from, and how.
    """
    contents = {files.case: output.content_of_record(files.case) or {} for files in cases}
    for name in names:
        volumes = {
            case: content["volumes"][name]["value"]
            for case, content in contents.items()
            if "volumes" in content and any(content["labels"][name]["is_present"])
        }
        if empty := [case for case, volume in volumes.items() if volume == 0]:
            logger.warning(
                "'%s': %d of the %d cases that count as showing it have no mask (%s): no value of "
                "their maps is above the threshold; look at the maps; weak.masks.%s in the fold's "
                "plans.resolved.json says how they become masks (sign '%s', threshold '%s')",
                name,
                len(empty),
                len(volumes),
                listing(empty),
                saliency,
                plan.sign,
                plan.threshold,
            )
