"""`metrics.jsonl`: one JSON object per line; a killed training may leave its last line cut off."""

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

from diffunet.errors import WriteError, explain
from diffunet.jsonio import parse_json, write_text


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Add a line; an undefined number becomes null.

    Raises:
        WriteError: the disk is full, or refuses; the line may be there in part.
    """
    plain = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in record.items()
    }
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain, allow_nan=False) + "\n")
    except OSError as failure:
        raise WriteError(explain(failure, path=path)) from failure


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return what the whole lines hold; none where there is no file."""
    if not path.exists():
        return []
    records = []
    for line in path.read_bytes().splitlines():
        with suppress(ValueError):
            record = parse_json(line)
            if isinstance(record, dict) and type(record.get("iteration")) is int:
                records.append(record)
    return records


def keep_records_until(path: Path, iteration: int, *, last_validation: int) -> None:
    """Drop records written after the checkpoint of `iteration`: they will be written again.

    Args:
        last_validation: iteration of the last validation that the checkpoint knows of.
    """
    # of a run that began here, and left no checkpoint, nothing is kept
    last = {"validation": last_validation, "start": iteration - 1}
    kept = [
        record
        for record in read_records(path)
        if record["iteration"] <= last.get(str(record.get("kind")), iteration)
    ]
    write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
