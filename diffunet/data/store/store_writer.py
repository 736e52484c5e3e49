"""Writing a store group by group, so that it can stop anywhere and continue.

A group is the unit of work and, for small 2D cases, of a shard. A shard is named after the hashes
of what it holds: no file is overwritten by another, finished work is recognised by its name, and
cases that are not stale move from shard to shard without being made again.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.data.store import shards, volumes
from diffunet.data.store.case import CaseProperties
from diffunet.data.store.case_store import MANIFEST, SHARD_SUFFIX, Manifest, properties_from_json
from diffunet.errors import DiffunetError, WorkspaceError, WriteError, explain
from diffunet.jsonio import as_json, hash_of, is_temporary, remove_unfinished

logger = logging.getLogger(__name__)

IMAGE = "image"
_OWN_FILES = ""
_FAULTS_SHOWN = 5
_CONTINUES = "it continues where it stopped"


@dataclass(frozen=True, kw_only=True)
class MadeCase:
    """A case to be stored.

    Attributes:
        patch_sizes: for an array what is read at once along its last axes.
    """

    properties: CaseProperties
    arrays: dict[str, np.ndarray]
    patch_sizes: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class StoredCases:
    """What a folder holds already: for each case and source hash the shards ("" for own files)."""

    locations: dict[tuple[str, str], tuple[str, ...]]

    @classmethod
    def find(cls, folder: Path, *, checks: bool = True) -> "StoredCases":
        """Look through `folder`, which may be missing, unfinished, or of another plan.

        Damaged cases count as absent, and a warning names them.

        Args:
            checks: read everything, and compare it with its checksums; otherwise only the indexes.
        """
        locations: dict[tuple[str, str], tuple[str, ...]] = {}
        faults: list[str] = []

        def add(case: str, source: str, location: str) -> None:
            locations[case, source] = (*locations.get((case, source), ()), location)

        for path in _whole_files(folder, SHARD_SUFFIX):
            with _noting(faults):
                for case, entry in shards.read_index(path).items():
                    with _noting(faults):
                        if checks:
                            shards.read_case(path, entry)
                        add(case, entry.source, path.name)
        for case in _cases_with_own_files(folder):
            with _noting(faults):
                record = volumes.read_record(folder, case)
                if record is not None:
                    if checks:
                        volumes.check_volume(folder, case, record)
                    add(case, record.source, _OWN_FILES)
        if faults:
            _warn_of(faults)
        return cls(locations)

    def of_group(self, sources: Mapping[str, str]) -> dict[str, str]:
        """Return where each case of a group is, as far as it is there."""
        shard = shard_name(sources)
        found = {}
        for case, source in sources.items():
            places = self.locations.get((case, source), ())
            if places:
                found[case] = shard if shard in places else places[-1]
        return found


def is_complete(sources: Mapping[str, str], places: Mapping[str, str]) -> bool:
    """Return whether nothing is left to do for a group whose cases lie in `places`."""
    targets = {shard_name(sources), _OWN_FILES}
    return all(places.get(case) in targets for case in sources)


def shard_name(sources: Mapping[str, str]) -> str:
    """Return the file name of the shard of a group (case to source hash)."""
    return f"{hash_of(list(sources.items()))}{SHARD_SUFFIX}"


def write_group(
    folder: Path,
    sources: Mapping[str, str],
    *,
    stored: Mapping[str, str],
    make: Callable[[str], MadeCase],
    is_packed: bool,
) -> dict[str, str]:
    """Store the cases of a group and return where each one is: the name of a shard, or "".

    Args:
        sources: for each case, in order, a hash of all that it is made from.
        stored: where some of them lie already; these are not made again.
        make: makes a case.
        is_packed: cases of at most 1 MiB go into one shard.

    Raises:
        DiffunetError: the disk is full or cannot be written to; with the name of the case.
        RuntimeError: any other failure of `make`, with the name of the case.
    """
    if is_complete(sources, stored):
        return dict(stored)
    shard = shard_name(sources)
    indexes = _indexes(folder, stored)
    packed: dict[str, shards.PackedCase] = {}
    places = dict.fromkeys(sources, _OWN_FILES)
    for case, source in sources.items():
        with _naming(f"case '{case}'", folder):
            place = stored.get(case)
            if place == _OWN_FILES:
                continue
            if place is not None:
                packed[case] = shards.read_case(folder / place, indexes[place][case])
                continue
            made = make(case)
            if is_packed and _num_bytes(made) <= shards.LARGEST_PACKED_CASE:
                packed[case] = _packed(made, source)
                continue
            volumes.write_volume(
                folder,
                case,
                arrays=made.arrays,
                properties=asdict(made.properties),
                source=source,
                patch_sizes=made.patch_sizes,
            )
    if packed:
        with _naming(f"cases '{next(iter(packed))}' to '{list(packed)[-1]}'", folder):
            shards.write_shard(folder / shard, packed)
    return places | dict.fromkeys(packed, shard)


def stored_properties(folder: Path, places: Mapping[str, str]) -> dict[str, CaseProperties]:
    """Return the properties of cases of a store that need not be complete.

    Args:
        places: where each of them lies.
    """
    indexes = _indexes(folder, places)
    properties = {}
    for case, place in places.items():
        entry = indexes[place][case] if place else volumes.read_record(folder, case)
        if entry is None:
            raise WorkspaceError(f"case '{case}' is missing in '{folder}'; preprocess again")
        properties[case] = properties_from_json(entry.properties, where=f"{folder}: {case}")
    return properties


def unseal(folder: Path) -> None:
    """Declare the store in `folder` unfinished."""
    (folder / MANIFEST).unlink(missing_ok=True)


def seal(
    folder: Path,
    sources: Mapping[str, str],
    places: Mapping[str, str],
    *,
    recipe: Mapping[str, Any],
) -> None:
    """Declare the store in `folder` complete, and remove all cases that are not part of it.

    Does nothing where this was done before.

    Args:
        sources: for each case, in order, a hash of all that it was made from.
        places: for each case its shard, "" for files of its own.
        recipe: what was done to every case, for `Manifest`.
    """
    cases = {case: places[case] for case in sources}
    manifest = Manifest(
        source=hash_of(list(sources.items())), cases=cases, recipe=as_json(dict(recipe))
    )
    if manifest.is_saved(folder):
        return
    unseal(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    wanted = set(places.values())
    for path in folder.glob(f"*{SHARD_SUFFIX}"):
        if path.name not in wanted:
            path.unlink()
    volumes.remove_other_volumes(
        folder, kept=[case for case, place in places.items() if place == _OWN_FILES]
    )
    manifest.save(folder)


def _cases_with_own_files(folder: Path) -> Sequence[str]:
    return [path.name.removesuffix(".json") for path in _whole_files(folder, ".json")]


def _whole_files(folder: Path, suffix: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{suffix}") if not is_temporary(path))


def _indexes(folder: Path, places: Mapping[str, str]) -> dict[str, dict[str, shards.CaseEntry]]:
    """Return the index of each shard among `places`."""
    return {place: shards.read_index(folder / place) for place in {*places.values()} - {_OWN_FILES}}


def _warn_of(faults: Sequence[str]) -> None:
    shown = [*faults[:_FAULTS_SHOWN], *(["..."] if len(faults) > _FAULTS_SHOWN else [])]
    logger.warning(
        "%d preprocessed cases or files cannot be used and are made anew:\n  %s",
        len(faults),
        "\n  ".join(shown),
    )


@contextmanager
def _noting(faults: list[str]) -> Iterator[None]:
    try:
        yield
    except DiffunetError as cause:
        faults.append(str(cause))


def _num_bytes(made: MadeCase) -> int:
    return sum(array.nbytes for array in made.arrays.values())


def _packed(made: MadeCase, source: str) -> shards.PackedCase:
    arrays = {
        name: shards.PackedArray.pack(array, is_picture=name == IMAGE)
        for name, array in made.arrays.items()
    }
    return shards.PackedCase(source, asdict(made.properties), arrays)


@contextmanager
def _naming(name: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except WriteError as cause:
        raise WriteError(
            f"{name}: cannot be written to '{folder}': {cause}; {_CONTINUES}"
        ) from cause
    except DiffunetError:
        raise
    except OSError as cause:
        raise WriteError(
            f"{name}: cannot be written to '{folder}': {explain(cause)}; {_CONTINUES}"
        ) from cause
    except Exception as cause:
        raise RuntimeError(f"{name}: {type(cause).__name__}: {cause}") from cause
