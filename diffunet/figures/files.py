"""Pictures as files."""

from pathlib import Path
from typing import Any

from diffunet.jsonio import atomic_file


def save(figure: Any, png: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with atomic_file(png) as file:
        figure.savefig(file, dpi=110, format="png")
