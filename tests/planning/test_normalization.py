import pytest

from diffunet.planning.normalization import choose_normalization, choose_normalizations
from tests.planning.fingerprints import a_channel, an_intensity


@pytest.mark.parametrize(
    ("channel", "scheme"),
    [
        ("CT", "ct"),
        ("ct", "ct"),
        ("noNorm", "none"),
        ("zscore", "zscore"),
        ("rescale_to_0_1", "rescale_to_0_1"),
        ("RGB_to_0_1", "rgb_to_0_1"),
        ("R", "zscore"),
        ("FLAIR", "zscore"),
        ("CT slice, min-max scaled", "zscore"),
    ],
)
def test_the_name_of_a_channel_chooses_its_scheme(channel, scheme):
    found = choose_normalization(channel, intensities=an_intensity(), relative_size_after_crop=1)
    assert found.value.scheme == scheme
    assert repr(channel) in found.reason
    assert not found.warning


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        (["T1"], ["name the channel CT."]),
        (["R", "G", "B"], ["", "", "name these 3 channels CT."]),
        (["T1", "CT", "flair", "zscore"], ["", "", "name these 2 channels CT.", ""]),
        (["zscore", "noNorm"], ["", ""]),
    ],
)
def test_what_zscore_hides_is_said_once_for_the_channels_that_name_no_scheme(channels, said):
    found = choose_normalizations(
        [a_channel(name) for name in channels],
        relative_size_after_crop=1,
    )
    for each, hint in zip(found, said, strict=True):
        assert each.reason.endswith(hint)
        assert ("It hides how bright" in each.reason) == bool(hint)


def test_ct_takes_the_numbers_of_the_dataset():
    found = choose_normalization("CT", intensities=an_intensity(), relative_size_after_crop=1).value
    assert (found.lower, found.upper, found.mean, found.std) == (-100, 200, 50, 30)


@pytest.mark.parametrize("intensities", [None, an_intensity(std=0.0)])
def test_ct_without_a_usable_foreground_is_zscored_with_a_warning(intensities):
    found = choose_normalization("CT", intensities=intensities, relative_size_after_crop=1)
    assert found.value.scheme == "zscore"
    assert "zscore is used" in found.warning


@pytest.mark.parametrize(("size", "expected"), [(0.74, True), (0.75, False), (1.0, False)])
def test_zscore_uses_the_mask_where_the_crop_leaves_less_than_three_quarters(size, expected):
    found = choose_normalization("T1", intensities=None, relative_size_after_crop=size)
    assert found.value.uses_mask is expected
