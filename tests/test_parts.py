"""Work on one folder, shared out over several jobs."""

import multiprocessing
from pathlib import Path

import pytest

from diffunet.errors import InUseError, UsageError
from diffunet.parts import ALL, Part


def hold(part: Part, folder: Path) -> str:
    """Hold a folder in another process, and return what came of it."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_hold, (part, folder))


def _hold(part: Part, folder: Path) -> str:
    try:
        with part.holding(folder):
            return "held"
    except InUseError:
        return "refused"


def test_parts_share_all_items() -> None:
    items = list(range(11))
    parts = [Part(num_parts=3, part_id=part_id).of(items) for part_id in range(3)]
    assert sorted(item for part in parts for item in part) == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert ALL.of(items) == items


@pytest.mark.parametrize("part_id", [-1, 3])
def test_a_part_that_is_not_there_is_refused(part_id: int) -> None:
    with pytest.raises(UsageError, match="from 0 to 2"):
        Part(num_parts=3, part_id=part_id)


def test_only_other_parts_of_one_division_work_at_once(tmp_path: Path) -> None:
    with Part(num_parts=2, part_id=0).holding(tmp_path):
        assert hold(Part(num_parts=2, part_id=1), tmp_path) == "held"
        assert hold(Part(num_parts=2, part_id=0), tmp_path) == "refused"
        assert hold(Part(num_parts=3, part_id=1), tmp_path) == "refused"
        assert hold(ALL, tmp_path) == "refused"
