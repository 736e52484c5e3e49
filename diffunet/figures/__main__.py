"""One picture of a training, by a separate process: `python -m diffunet.figures KIND IN OUT`."""

import sys
from pathlib import Path

from diffunet.figures.masks import plot_samples
from diffunet.figures.progress import plot_training


def main(arguments: list[str]) -> None:
    """Draw one picture: KIND ("training" or "samples"), input file, output file."""
    kind, source, target = arguments
    {"training": plot_training, "samples": plot_samples}[kind](Path(source), Path(target))


if __name__ == "__main__":
    main(sys.argv[1:])
