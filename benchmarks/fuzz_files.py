"""Damage every kind of file that is read, a thousand times each, and read it.

    python benchmarks/fuzz_files.py [--mutations 1000] [--seed 0] [--kind NAME ...] [-o table.md]

What is read either is read or is refused with a `DiffunetError`. Anything else is a fault: another
exception, a process that ends, more than 20 s or 2 GB for files of a few kilobytes, a file written
outside. Every mutation depends on the seed, its kind and its number alone: `--kind NAME --only N`
repeats one.
"""

import argparse
import contextlib
import json
import logging
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fuzz_kinds
from fuzz_kind import Kind

from diffunet.errors import DiffunetError
from diffunet.limits import set_max_image_bytes

SECONDS = 20
MEMORY_GB = 2.0
MAX_IMAGE_BYTES = 2**28


def fuzz(kind: Kind, numbers: Sequence[int], *, seed: int) -> Iterator[tuple[int, str | None]]:
    """Yield for each number whether its mutation was read ("read", "refused") or what it broke."""
    whole = kind.path.read_bytes()
    try:
        for number in numbers:
            draw = random.Random(f"{seed} {kind.name} {number}")  # noqa: S311 - damage, no secret
            change = draw.choice(kind.mutations)
            kind.path.write_bytes(change(whole, draw))
            yield number, outcome(kind.read)
    finally:
        kind.path.write_bytes(whole)


def outcome(read: Callable[[], object]) -> str:
    """Return "read", "refused", or the exception that should not have been."""
    try:
        read()
    except DiffunetError as refused:
        return "refused" if str(refused) else "an error without a message"
    except Exception as cause:
        frames = traceback.extract_tb(cause.__traceback__)
        ours = [frame for frame in frames if "/diffunet/" in frame.filename]
        last = ours[-1] if ours else frames[-1]
        return f"{type(cause).__name__}: {cause} [{Path(last.filename).name}:{last.lineno}]"
    return "read"


def main() -> None:
    """Fuzz all kinds in processes of their own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", nargs="+", help="the default: all")
    parser.add_argument("--only", type=int, help="the number of one mutation")
    parser.add_argument("-o", type=Path, help="where the table is written")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _run_child(given.child, json.loads(sys.stdin.read()), seed=given.seed)
        return
    numbers = range(given.mutations) if given.only is None else [given.only]
    with tempfile.TemporaryDirectory() as scratch:
        pristine = Path(scratch) / "pristine"
        fuzz_kinds.build(pristine)
        names = given.kind or [kind.name for kind in fuzz_kinds.kinds(pristine)]
        results = _fuzz_all(pristine, {name: list(numbers) for name in names}, seed=given.seed)
    table = "\n".join(
        [
            "| file | mutations | read | refused | faults | memory (MB) | slowest (s) |",
            "|---|---|---|---|---|---|---|",
            *(_row(name, results[name]) for name in names),
        ]
    )
    print(table)
    faults = [fault for reports in results.values() for fault in reports if _is_fault(fault)]
    if given.o:
        given.o.write_text(table + "\n")
    sys.exit(1 if faults else 0)


def _fuzz_all(
    pristine: Path, left: dict[str, list[int]], *, seed: int
) -> dict[str, list[dict[str, Any]]]:
    """Run the mutations in a child, and go on in another behind the one that ends it."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in left}
    while any(left.values()):
        with tempfile.TemporaryDirectory() as folder:
            sandbox = Path(folder) / "sandbox"
            shutil.copytree(pristine, sandbox)
            errors = Path(folder) / "errors.txt"
            with errors.open("w") as file:
                child = subprocess.Popen(
                    [sys.executable, __file__, f"--child={sandbox}", f"--seed={seed}"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=file,
                    text=True,
                )
                assert child.stdin
                assert child.stdout
                child.stdin.write(json.dumps(left))
                child.stdin.close()
                for line in child.stdout:
                    _note(json.loads(line), results, left)
                child.wait()
            said = errors.read_text().strip().splitlines()[-1:]
        name = next((name for name, numbers in left.items() if numbers), None)
        if name is not None:
            what = f"the process ended with {child.returncode}: {said}"
            report = {"kind": name, "number": left[name][0], "outcome": what}
            _note({**report, "memory_mb": 0.0, "seconds": 0.0}, results, left)
    return results


def _note(
    report: dict[str, Any], results: dict[str, list[dict[str, Any]]], left: dict[str, list[int]]
) -> None:
    name = report["kind"]
    results[name].append(report)
    left[name].remove(report["number"])
    if _is_fault(report):
        print(f"{name} {report['number']}: {report['outcome'][:400]}", flush=True)
    if not left[name]:
        print(_row(name, results[name]), flush=True)


def _is_fault(report: dict[str, Any]) -> bool:
    return report["outcome"] not in ("read", "refused") or report["seconds"] >= SECONDS


def _row(name: str, reports: list[dict[str, Any]]) -> str:
    sound = [report["outcome"] for report in reports if not _is_fault(report)]
    counts = [sound.count("read"), sound.count("refused")]
    memory = max(report["memory_mb"] for report in reports)
    seconds = max(report["seconds"] for report in reports)
    numbers = [len(reports), *counts, len(reports) - sum(counts), round(memory)]
    return f"| {name} | {' | '.join(map(str, numbers))} | {seconds:.2f} |"


def _run_child(sandbox: Path, left: dict[str, list[int]], *, seed: int) -> None:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    set_max_image_bytes(MAX_IMAGE_BYTES)
    signal.signal(signal.SIGALRM, _too_slow)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    outside = _watched_writes(sandbox)
    for kind in fuzz_kinds.kinds(sandbox):
        if not left.get(kind.name):
            continue
        kind.read()  # imports and caches, before anything is measured
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        outside.clear()
        before = _status("VmRSS")
        limit = _status("VmSize") * 1024 + round(MEMORY_GB * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        steps = fuzz(kind, left[kind.name], seed=seed)
        while True:
            signal.alarm(SECONDS)
            start = time.monotonic()
            number, what = next(steps, (None, None))
            signal.alarm(0)
            if number is None:
                break
            report = {
                "kind": kind.name,
                "number": number,
                "outcome": f"wrote outside: {outside.pop()}" if outside else what,
                "memory_mb": (_status("VmHWM") - before) / 1024,
                "seconds": time.monotonic() - start,
            }
            print(json.dumps(report), flush=True)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def _watched_writes(sandbox: Path) -> list[str]:
    """Return a list that names from now on what is written or removed outside of `sandbox`."""
    found: list[str] = []
    inside = str(sandbox.resolve())

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        paths: tuple[Any, ...] = ()
        if event == "open":
            is_written = isinstance(arguments[2], int) and arguments[2] & (
                os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
            )
            paths = arguments[:1] if is_written else ()
        elif event in ("os.remove", "os.rmdir", "os.mkdir", "os.rename", "os.link", "os.symlink"):
            paths = arguments[:2]
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike):
                resolved = str(Path(os.fsdecode(path)).absolute())
                if ".." in resolved or not resolved.startswith((inside, "/dev/", "/proc/")):
                    found.append(f"{event} {resolved}")

    sys.addaudithook(watch)
    return found


def _status(name: str) -> int:
    """Return a number of kilobytes from /proc/self/status."""
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"{name}:\s+(\d+) kB", text)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
