"""What the three forms of LIDC-IDRI have in common: one label, up to four radiologists."""

from collections.abc import Sequence

from diffunet.conversion.case import Conversion, SourceCase
from diffunet.data.raw.splits import Split

_REFERENCE = "https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX"


def nodules(
    cases: Sequence[SourceCase],
    *,
    description: str,
    licence: str = "",
    channel: str,
    file_ending: str,
    splits: Sequence[Split] = (),
    remarks: Sequence[str],
) -> Conversion:
    """Return the conversion of a download of LIDC-IDRI.

    Args:
        channel: name of the only one.
    """
    return Conversion(
        dataset_json={
            "description": description,
            "reference": _REFERENCE,
            **({"licence": licence} if licence else {}),
            "channel_names": {"0": channel},
            "labels": {"background": 0, "nodule": 1},
            "raters": True,
            "file_ending": file_ending,
        },
        cases=tuple(cases),
        suggested_name="LIDC",
        splits=tuple(splits),
        remarks=tuple(remarks),
    )
