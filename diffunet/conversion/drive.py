"""DRIVE: 20 training photographs drawn once, 20 test photographs drawn twice."""

from pathlib import Path

from diffunet.conversion.case import Conversion
from diffunet.conversion.formats import format_of
from diffunet.conversion.retina import Download, scan_retina
from diffunet.conversion.wishes import Wishes


def scan(source: Path, wishes: Wishes) -> Conversion:
    """Return the photographs of both parts; a newer download has no masks of the test part.

    The field-of-view masks are not used: see the decision on DRIVE.

    Raises:
        DatasetError: `scan_retina` does.
    """
    del wishes  # there is nothing to choose
    return scan_retina(
        source,
        Download(
            layout=format_of("drive").layout,
            name="DRIVE",
            key="[0-9]+",
            image="_(?P<part>training|test)",
            masks={"r00": "_manual1", "r01": "_manual2"},
            required=("r00",),
            about={
                "description": "r00: 1st_manual; r01: 2nd_manual, which test images alone have",
                "reference": "Staal et al. 2004, IEEE Trans. Med. Imaging 23(4), 501-509",
            },
            remarks=(
                "training images have one observer, so that a model learns no disagreement from "
                "them; the test part has two where the download holds them",
                "outside the field of view the observers' masks are background, and stay so",
            ),
        ),
    )
