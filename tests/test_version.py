import re
import runpy
from pathlib import Path

import pytest
import setuptools

from diffunet import __version__

ROOT = Path(__file__).parents[1]


def _first(pattern, path):
    return re.findall(pattern, (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE)[0]


def test_the_metadata_of_setup_name_the_version_of_the_package(monkeypatch):
    said = {}
    monkeypatch.setattr(setuptools, "setup", said.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    assert said["version"] == __version__


@pytest.mark.parametrize(
    ("path", "pattern"), [("CITATION.cff", r"^version: (.+)$"), ("CHANGELOG.md", r"^## (\S+)")]
)
def test_citation_and_changelog_name_the_version_of_the_package(path, pattern):
    assert _first(pattern, path) == __version__
