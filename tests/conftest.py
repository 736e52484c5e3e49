"""Every test checks the shapes in diffunet's annotations (jaxtyping with beartype)."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook(["diffunet.diffusion", "diffunet.networks"], "beartype.beartype")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of raw datasets that DIFFUNET_TEST_DATA names, or skip the test."""
    folder = os.environ.get("DIFFUNET_TEST_DATA")
    if not folder:
        pytest.skip("DIFFUNET_TEST_DATA names no folder of raw datasets")
    return Path(folder)
