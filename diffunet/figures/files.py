"""Pictures as files."""

import warnings
from pathlib import Path
from typing import Any

from diffunet.jsonio import atomic_file


def save(figure: Any, png: Path) -> None:
    """Write a figure as PNG, whole or not at all; letters that no font has are boxes."""
    with atomic_file(png) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph ")
        figure.savefig(file, dpi=110, format="png")
