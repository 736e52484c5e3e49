"""STARE: 20 photographs, drawn by Adam Hoover and by Valentina Kouznetsova."""

from pathlib import Path

from diffunet.conversion.case import Conversion
from diffunet.conversion.formats import format_of
from diffunet.conversion.retina import Download, scan_retina
from diffunet.conversion.wishes import Wishes


def scan(source: Path, wishes: Wishes) -> Conversion:
    """Return the drawn photographs; those of `all-images` that nobody drew are left out.

    Raises:
        DatasetError: `scan_retina` does.
    """
    del wishes  # there is nothing to choose
    return scan_retina(
        source,
        Download(
            layout=format_of("stare").layout,
            name="STARE",
            key="im[0-9]+",
            masks={"r00": ".ah", "r01": ".vk"},
            required=("r00", "r01"),
            about={
                "description": "r00: Adam Hoover (ah); r01: Valentina Kouznetsova (vk)",
                "reference": "Hoover et al. 2000, IEEE Trans. Med. Imaging 19(3), 203-210",
            },
            others_left_out=True,
            remarks=("the download names neither patients nor a test part",),
        ),
    )
