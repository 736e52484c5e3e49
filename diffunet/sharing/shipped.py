"""Models that come with diffunet, known by name: for a first prediction without training.

What each was trained on, and how it scores, stands in documentation/how-to/shipped-models.md.
"""

from pathlib import Path

SHIPPED_MODELS = ("lidc_nodules",)
_FOLDER = Path(__file__).parent / "models"


def find_model(given: Path) -> Path:
    """Return the zip file of the shipped model of this name, or else the path that was given.

    A file or a model's folder of that name goes first; predictions in such a folder do not.
    """
    is_model = given.is_file() or any(given.glob("fold_*"))
    if str(given) in SHIPPED_MODELS and not is_model:
        return _FOLDER / f"{given}.zip"
    return given
