"""CHASE_DB1: photographs of both eyes of 14 children, drawn by two observers."""

from pathlib import Path

from diffunet.conversion.case import Conversion
from diffunet.conversion.formats import format_of
from diffunet.conversion.retina import Download, scan_retina
from diffunet.conversion.wishes import Wishes


def scan(source: Path, wishes: Wishes) -> Conversion:
    """Return the photographs; the two eyes of a child are one patient.

    Raises:
        DatasetError: `scan_retina` does.
    """
    del wishes  # there is nothing to choose
    return scan_retina(
        source,
        Download(
            layout=format_of("chase").layout,
            name="CHASE_DB1",
            key="Image_[0-9]+[LR]",
            masks={"r00": "_1stHO", "r01": "_2ndHO"},
            patient="Image_[0-9]+",
            required=("r00", "r01"),
            about={
                "description": "r00: first human observer (1stHO); r01: second (2ndHO)",
                "reference": "Fraz et al. 2012, IEEE Trans. Biomed. Eng. 59(9), 2538-2548",
                "licence": "CC BY 4.0",
            },
            remarks=(
                "the download names no test part; the two eyes of a child are one patient, so that "
                "folds keep them together",
            ),
        ),
    )
