"""How many processes may score at once within the memory allowed."""

import logging
from collections.abc import Sequence

from diffunet.data.image_io.declared import declared_voxels
from diffunet.evaluation.scored_files import ScoredFiles

logger = logging.getLogger(__name__)

MEMORY_BYTES = 2 * 2**30
"""For the whole set of processes, this one counted."""

# Measured: the memory of a process with all libraries, and that of scoring per voxel of the image,
# whatever the number of samples: a map while it is read, whole masks whose surfaces are measured,
# the compressed maps, and the voxels that any mask marks, with eight masks in each byte.
_PROCESS_BYTES = 200 * 2**20
_BYTES_PER_VOXEL = 11


def processes_within_memory(paired: Sequence[ScoredFiles], num_processes: int) -> int:
    """Return how many processes to score with: fewer where cases are large; at least this one."""
    largest = max((declared_voxels(files.references[0]) for files in paired), default=0)
    per_process = _PROCESS_BYTES + _BYTES_PER_VOXEL * largest
    fitting = (MEMORY_BYTES - _PROCESS_BYTES) // per_process
    if fitting >= min(num_processes, len(paired)):
        return num_processes
    chosen = fitting if fitting > 1 else 0
    logger.info(
        "scoring in %d process(es) instead of %d: a case has up to %.0f million voxels, and all "
        "processes together may use %.0f GB",
        max(1, chosen),
        num_processes,
        largest / 1e6,
        MEMORY_BYTES / 2**30,
    )
    return chosen
