"""Facts about public datasets that were counted without this package."""

import dataclasses
from pathlib import Path

import pytest

from diffunet.data.raw.dataset import open_dataset
from diffunet.fingerprint.extract import extract_fingerprint
from diffunet.fingerprint.fingerprint import Fingerprint

pytestmark = [pytest.mark.real_data, pytest.mark.slow]


def _fingerprint(folder: Path, *, step: int = 1) -> Fingerprint:
    """Measure every case of a dataset, or every `step`-th."""
    if not folder.is_dir():
        pytest.skip(f"there is no '{folder.name}'")
    dataset = open_dataset(folder)
    cases = dataset.training_cases[::step]
    return extract_fingerprint(dataclasses.replace(dataset, training_cases=cases), num_processes=2)


def test_slice_position_predicts_the_tag_of_lgg(real_data):
    found = _fingerprint(real_data / "Dataset003_LGG")
    assert found.image_labels is not None
    assert found.image_labels["tumour"].position_auc_seen == pytest.approx(0.86, abs=0.01)
    assert found.image_labels["tumour"].left_out_share == 0
    assert found.labels is None
    assert found.channels[0].num_constant > 0
    assert found.channels[0].num_noise > 0


def test_intensities_of_hippocampus_span_four_orders_of_magnitude(real_data):
    found = _fingerprint(real_data / "Dataset004_Hippocampus")
    assert found.channels[0].case_maximum.maximum / found.channels[0].case_maximum.minimum > 1e4
    assert any("the maximum of an image ranges" in warning for warning in found.warnings)


def test_lidc_has_the_published_statistics(real_data):
    """Measured on every fourth of 8,063 slices, for time; all of them keep to the same bounds."""
    found = _fingerprint(real_data / "Dataset001_LIDC", step=4)
    assert found.labels is not None
    assert found.raters is not None
    assert found.trivial_answers is not None
    label = found.labels["nodule"]
    assert found.raters.share_of_empty_masks == pytest.approx(0.383, abs=0.015)
    assert label.objects is not None
    assert label.objects.diameter.mean == pytest.approx(11.33, abs=0.5)
    assert found.trivial_answers.oracle_redraw == pytest.approx(0.0245, abs=0.001)
    assert found.trivial_answers.oracle_majority == pytest.approx(0.273, abs=0.01)
    assert found.trivial_answers.always_empty == pytest.approx(0.842, abs=0.03)
    assert any("lie at the centre" in warning for warning in found.warnings)
