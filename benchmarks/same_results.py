r"""Say whether two commits give the same results, to the bit, on tiny datasets of each kind.

    PYTHONPATH=OLD python benchmarks/same_results.py before.json --models kept
    PYTHONPATH=NEW python benchmarks/same_results.py after.json --compare before.json
    PYTHONPATH=NEW python benchmarks/same_results.py again.json --compare before.json \
        --use_models kept
    python benchmarks/same_results.py times.json --times OLD NEW

The first line makes plans, preprocessed arrays, trained weights, masks, samples, saliency, scores
and pseudo-masks through the commands that users type, and writes a digest of each; it also keeps
the trained models. The second does it with the code of another commit, names what differs and exits
with 1 if anything does. The third trains nothing: it predicts with the models that were kept. The
last measures two trees in turn: start-up, a train step, a prediction. The CPU is used, one thread.
"""

import argparse
import fnmatch
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import same_results_times
from same_results_data import write_datasets
from same_results_road import KINDS, Road

_MOST_NAMED = 60


def main() -> int:
    """Run what is asked for; return 1 where results differ."""
    given = _parser().parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":  # read when libraries are loaded: start anew
        os.execve(  # noqa: S606  # this script
            sys.executable, [sys.executable, *sys.argv], os.environ | {"OMP_NUM_THREADS": "1"}
        )
    if given.times:
        content = same_results_times.measure(*given.times, num_rounds=given.rounds)
        given.output.write_text(json.dumps(content, indent=1), encoding="utf-8")
        return 0
    before = json.loads(given.compare.read_text(encoding="utf-8")) if given.compare else None
    made = make_results(given.only or KINDS, models=given.models, used_models=given.use_models)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(made, indent=1), encoding="utf-8")
    print(f"{len(made['results'])} results of {made['package']} in {made['seconds']:.0f} s")
    if before is None:
        return 0
    return report(before, json.loads(given.output.read_text()), expected=given.expected)


def make_results(
    kinds: tuple[str, ...] | list[str], *, models: Path | None, used_models: Path | None
) -> dict[str, Any]:
    """Go the whole road with the package that Python finds.

    Args:
        kinds: of datasets.
        models: where trained models are copied to.
        used_models: where models trained before lie.
    """
    import diffunet

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        write_datasets(folder / "ws")
        road = Road(folder, used_models=used_models)
        for kind in kinds:
            road.go(kind)
        if models is not None:
            shutil.copytree(folder / "ws" / "results", models, dirs_exist_ok=True)
    return {
        "package": str(Path(diffunet.__file__).parent),
        "versions": _versions(),
        "kinds": list(kinds),
        "is_trained": used_models is None,
        "seconds": time.perf_counter() - start,
        "seconds_of_commands": road.seconds,
        "results": road.results,
    }


def report(before: dict[str, Any], after: dict[str, Any], *, expected: list[str]) -> int:
    """Print what differs; return 1 if something does that is not expected."""
    if before["versions"] != after["versions"]:
        print(f"other libraries or machine: {before['versions']} before, {after['versions']} now")
    found = differences(before, after)
    meant = [n for n in found if any(fnmatch.fnmatchcase(n, pattern) for pattern in expected)]
    others = [name for name in found if name not in set(meant)]
    for name in others[:_MOST_NAMED]:
        print(f"{name}: {found[name]}")
    if len(others) > _MOST_NAMED:
        print(f"... and {len(others) - _MOST_NAMED} more; of all that differ:")
        for place, count in Counter("/".join(n.split("/")[:3]) for n in others).items():
            print(f"  {count:6d} in {place}")
    num_compared = len(_comparable(before, after))
    print(f"{num_compared} results compared: {len(others)} differ, {len(meant)} more as expected")
    return int(bool(others))


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, str]:
    """Return what differs, in words, by the name of the result."""
    found = {}
    nothing = object()
    for name in _comparable(before, after):
        old, new = (made["results"].get(name, nothing) for made in (before, after))
        if new is nothing:
            found[name] = f"was {old}, is missing"
        elif old is nothing:
            found[name] = f"is new: {new}"
        elif json.dumps(old) != json.dumps(new):  # 0 is not 0.0, and nan equals itself
            found[name] = f"was {old}, is {new}"
    return found


def _comparable(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return names of what both runs make or should make."""
    kinds = set(before["kinds"]) & set(after["kinds"])
    names = dict.fromkeys([*before["results"], *after["results"]])
    is_trained = before["is_trained"] and after["is_trained"]
    return [
        name
        for name in names
        if name.split("/")[0] in kinds
        and (is_trained or name.split("/")[1] != "train" or "/validation/" in name)
    ]


def _versions() -> dict[str, str]:
    import numpy as np
    import torch

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "machine": torch.backends.cpu.get_cpu_capability(),
    }


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("output", type=Path, help="JSON file to write")
    made.add_argument("--compare", type=Path, metavar="FILE", help="written before")
    made.add_argument("--models", type=Path, metavar="FOLDER", help="keep the trained models here")
    made.add_argument(
        "--use_models", type=Path, metavar="FOLDER", help="trained before: no training"
    )
    made.add_argument("--only", nargs="+", choices=KINDS, help="kinds of datasets")
    made.add_argument(
        *("--expected",), nargs="+", default=[], metavar="PATTERN", help="names that may differ"
    )
    made.add_argument(
        "--times", nargs=2, type=Path, metavar=("OLD", "NEW"), help="trees to measure"
    )
    made.add_argument("--rounds", type=int, default=12, help="of --times, each tree once")
    return made


if __name__ == "__main__":
    raise SystemExit(main())
