"""CHASE_DB1, DRIVE and STARE: who drew what, and how the files of each download are named.

CHASE_DB1 has both eyes of 14 children, drawn by two observers. DRIVE has 20 training photographs
drawn once, and 20 test photographs drawn twice; a newer download has no masks of these. STARE has
20 photographs drawn by two observers, among more that nobody drew.
"""

from functools import partial

from diffunet.conversion.formats import format_of
from diffunet.conversion.retina import Download, scan_retina

scan_chase = partial(
    scan_retina,
    download=Download(
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

# The field-of-view masks are not used: see the decision on DRIVE.
scan_drive = partial(
    scan_retina,
    download=Download(
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

scan_stare = partial(
    scan_retina,
    download=Download(
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
