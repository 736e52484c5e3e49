import logging
import sys
from pathlib import Path

import pytest

from diffunet.errors import DiffunetError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

# benchmarks are scripts, no package: pyright does not find them
import fuzz_files  # pyright: ignore[reportMissingImports]
import fuzz_kinds  # pyright: ignore[reportMissingImports]

NUM_MUTATIONS = 25
NUM_OF_SLOW_KINDS = 4
SLOW_KINDS = ("checkpoint", "plans.resolved", "dataset_fingerprint", "dataset.json of a model")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzz")
    logging.disable(logging.CRITICAL)
    try:
        fuzz_kinds.build(root)
        yield root
    finally:  # or all later tests of this process would be silent
        logging.disable(logging.NOTSET)


@pytest.mark.slow
def test_damaged_files_of_every_kind_are_read_or_refused(root):
    faults = [
        (kind.name, number, what)
        for kind in fuzz_kinds.kinds(root)
        for number, what in fuzz_files.fuzz(
            kind,
            range(NUM_OF_SLOW_KINDS if kind.name.startswith(SLOW_KINDS) else NUM_MUTATIONS),
            seed=1,
        )
        if what not in ("read", "refused")
    ]
    assert faults == []


def test_whole_files_of_every_kind_are_read(root):
    assert {fuzz_files.outcome(kind.read) for kind in fuzz_kinds.kinds(root)} == {"read"}


def test_what_is_no_refusal_is_a_fault():
    def refuse():
        raise DiffunetError("no")

    assert fuzz_files.outcome(refuse) == "refused"
    assert fuzz_files.outcome(lambda: 1 / 0).startswith("ZeroDivisionError: division by zero")
