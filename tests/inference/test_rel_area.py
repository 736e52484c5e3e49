import numpy as np
import pytest

from diffunet.cli import predict as command
from diffunet.data.image_io import read_label_map, read_map
from diffunet.errors import UsageError
from diffunet.inference.rel_area import emptied_by_rel_area
from diffunet.jsonio import read_json
from tests.inference.driving import predict_into
from tests.inference.models import dataset_content, small_configuration, small_plans, write_model
from tests.inference.test_predict import loaded, write_images


def masks_of(*num_voxels: int) -> np.ndarray:
    """Return one mask per label, with this many voxels of 5 x 3."""
    masks = np.zeros((len(num_voxels), 15), bool)
    for mask, number in zip(masks, num_voxels, strict=True):
        mask[:number] = True
    return masks.reshape(-1, 5, 3)


def test_small_samples_become_empty_label_by_label_and_keep_their_order():
    drawn = {2: masks_of(10, 1), 0: masks_of(5, 0), 1: masks_of(6, 3)}
    found = list(emptied_by_rel_area(drawn.items(), 0.5))
    assert [number for number, _ in found] == [2, 0, 1]
    expected = [masks_of(10, 0), masks_of(0, 0), masks_of(6, 3)]
    np.testing.assert_array_equal([masks for _, masks in found], expected)


def test_samples_that_are_all_empty_stay_so():
    ((_, masks),) = emptied_by_rel_area([(0, masks_of(0))], 0.5)
    assert not masks.any()


@pytest.fixture
def model(tmp_path):
    plans = small_plans(small_configuration(num_samples=6))
    return loaded(write_model(tmp_path / "model", plans, content=dataset_content()))


def test_consensus_probability_volumes_and_samples_are_those_of_the_emptied_samples(
    model, tmp_path
):
    images = write_images(tmp_path / "images", 1)
    shown = {"saves_samples": True, "saves_probabilities": True}
    plain = predict_into(model, images, tmp_path / "plain", **shown).parent
    areas = read_json(plain / "predictions.json")["cases"]["case0"]["volumes"]["nodule"]["samples"]
    rel_area = float(np.median(areas) / max(areas))  # about half of the samples are smaller
    output = tmp_path / "emptied"
    emptied = predict_into(model, images, output, rel_area=rel_area, **shown).parent
    content = read_json(emptied / "predictions.json")
    left = [area if area > rel_area * max(areas) else 0 for area in areas]
    assert 0 < left.count(0) < len(left)
    assert content["cases"]["case0"]["volumes"]["nodule"]["samples"] == left
    samples = []
    for number in range(6):
        mask, _ = read_label_map(emptied / "samples" / f"case0_s{number:02}.png")
        before, _ = read_label_map(plain / "samples" / f"case0_s{number:02}.png")
        np.testing.assert_array_equal(mask, before if left[number] else 0 * before)
        samples.append(mask > 0)
    probability, _ = read_map(emptied / "case0_probability.png")
    np.testing.assert_allclose(probability, np.mean(samples, axis=0), atol=1 / 255)
    consensus, _ = read_label_map(emptied / "case0.png")
    np.testing.assert_array_equal(consensus > 0, 2 * np.sum(samples, axis=0) > 6)


def test_it_is_recorded_and_otherwise_absent(model, tmp_path):
    images = write_images(tmp_path / "images", 1)
    emptied = predict_into(model, images, tmp_path / "emptied", rel_area=0.5)
    plain = predict_into(model, images, tmp_path / "plain")
    assert read_json(emptied)["settings"]["rel_area"] == 0.5
    assert "rel_area" not in read_json(plain)["settings"]
    with pytest.raises(UsageError, match="rel_area"):
        predict_into(model, images, tmp_path / "plain", rel_area=0.5, continues=True)


@pytest.mark.parametrize("rel_area", [0.0, 1.0, -1.0, float("nan")])
def test_a_share_that_empties_nothing_or_everything_is_refused(model, tmp_path, rel_area):
    images = write_images(tmp_path / "images", 1)
    with pytest.raises(UsageError, match=r"rel_area: expected a number above 0, below 1"):
        predict_into(model, images, tmp_path / "out", rel_area=rel_area)


def test_the_command_refuses_it_where_no_samples_are_drawn(tmp_path, capsys):
    plans = small_plans(small_configuration(), method="supervised")
    folder = write_model(tmp_path / "model", plans, content=dataset_content())
    images = write_images(tmp_path / "images", 1)
    words = ["-i", str(images), "-o", str(tmp_path / "out"), "--model", str(folder)]
    assert command.main([*words, "--rel_area", "0.5"]) == 2
    assert "rel_area: a model of -m supervised gives one answer" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
