import pytest
import torch

from diffunet.diffusion.encoding import (
    ENCODINGS,
    AnalogBitsEncoding,
    RegionEncoding,
    SignedEncoding,
)

SHAPES = [(5, 6), (3, 4, 5)]
EXCLUSIVE = [
    (encoding, num_labels)
    for encoding in (SignedEncoding, AnalogBitsEncoding)
    for num_labels in range(1, 7)
]


def exclusive_masks(num_labels, shape, batch_size=2):
    generator = torch.Generator().manual_seed(num_labels)
    numbers = torch.randint(0, num_labels + 1, (batch_size, *shape), generator=generator)
    return torch.stack([numbers == label + 1 for label in range(num_labels)], dim=1)


def masks_of_numbers(numbers, num_labels):
    return torch.stack([torch.tensor(numbers) == n + 1 for n in range(num_labels)])[None]


@pytest.mark.parametrize("encoding, num_labels", EXCLUSIVE)
@pytest.mark.parametrize("shape", SHAPES)
def test_exclusive_masks_come_back(encoding, num_labels, shape):
    masks = exclusive_masks(num_labels, shape)
    scheme = encoding(num_labels)
    x_0 = scheme.encode(masks, None)
    assert x_0.shape == (2, scheme.num_channels, *shape)
    assert torch.equal(scheme.decode(x_0), masks)


@pytest.mark.parametrize("num_labels", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_overlapping_regions_come_back(num_labels, shape):
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, num_labels, *shape, generator=generator) > 0.5
    scheme = RegionEncoding(num_labels)
    assert torch.equal(scheme.decode(scheme.encode(masks, None)), masks)


@pytest.mark.parametrize("name", ENCODINGS)
def test_x_0_is_float32_of_minus_one_and_one(name):
    x_0 = ENCODINGS[name](3).encode(exclusive_masks(3, (5, 6)), None)
    assert x_0.dtype == torch.float32
    assert set(x_0.unique().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("num_labels", [1, 3])
def test_ignored_voxels_are_0_in_every_channel_and_only_they(name, num_labels):
    masks = exclusive_masks(num_labels, (5, 6))
    ignored = torch.rand(2, 1, 5, 6, generator=torch.Generator().manual_seed(9)) > 0.7
    scheme = ENCODINGS[name](num_labels)
    x_0 = scheme.encode(masks, ignored)
    assert torch.equal(x_0 == 0, ignored.expand_as(x_0))


@pytest.mark.parametrize("name", ENCODINGS)
def test_encoding_leaves_the_masks_alone(name):
    masks = exclusive_masks(3, (5, 6))
    before = masks.clone()
    ENCODINGS[name](3).encode(masks, torch.ones(2, 1, 5, 6, dtype=torch.bool))
    assert torch.equal(masks, before)


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("num_labels", [1, 3])
def test_ties_go_to_background(name, num_labels):
    scheme = ENCODINGS[name](num_labels)
    assert not bool(scheme.decode(torch.zeros(1, scheme.num_channels, 4, 4)).any())


@pytest.mark.parametrize("encoding, num_labels", EXCLUSIVE)
def test_decoded_exclusive_masks_never_overlap(encoding, num_labels):
    scheme = encoding(num_labels)
    x_0 = torch.randn(2, scheme.num_channels, 9, 9, generator=torch.Generator().manual_seed(2))
    x_0 = x_0.round()  # many ties
    assert int(scheme.decode(x_0).sum(dim=1).max()) == 1


@pytest.mark.parametrize("num_labels", range(2, 7))
def test_decoding_signed_channels_is_argmax(num_labels):
    x_0 = torch.randn(2, num_labels + 1, 9, 9, generator=torch.Generator().manual_seed(2))
    expected = torch.stack([x_0.argmax(dim=1) == n + 1 for n in range(num_labels)], dim=1)
    assert torch.equal(SignedEncoding(num_labels).decode(x_0), expected)


@pytest.mark.parametrize("num_labels", [1, 3, 7])
def test_decoding_full_analog_bits_is_by_sign(num_labels):
    scheme = AnalogBitsEncoding(num_labels)
    x_0 = torch.randn(1, scheme.num_channels, 9, 9, generator=torch.Generator().manual_seed(2))
    powers = torch.tensor([2**bit for bit in range(scheme.num_channels)])
    numbers = ((x_0 > 0) * powers.view(1, -1, 1, 1)).sum(dim=1)
    expected = torch.stack([numbers == n + 1 for n in range(num_labels)], dim=1)
    assert torch.equal(scheme.decode(x_0), expected)


def test_analog_bits_that_stand_for_no_class_become_the_nearest_one():
    # classes 0 ... 2 in two bits; 3 = (1, 1) is none. The weaker bit gives way.
    x_0 = torch.tensor([[[0.9, 0.2], [0.2, 0.9]]]).transpose(1, 2)[..., None]
    decoded = AnalogBitsEncoding(2).decode(x_0)
    assert torch.equal(decoded[0, :, :, 0], masks_of_numbers([1, 2], 2)[0])


@pytest.mark.parametrize("num_labels", [2, 5, 6, 20, 104])
@pytest.mark.parametrize("is_rounded", [False, True])
def test_analog_bits_become_the_lowest_class_that_agrees_best(num_labels, is_rounded):
    scheme = AnalogBitsEncoding(num_labels)
    x_0 = torch.randn(2, scheme.num_channels, 9, 9, generator=torch.Generator().manual_seed(2))
    x_0 = x_0.round() if is_rounded else x_0.double()  # rounded: many ties
    numbers = torch.arange(num_labels + 1)
    signs = torch.stack([(numbers >> bit & 1) * 2 - 1 for bit in range(scheme.num_channels)])
    agreement = torch.einsum("bc...,cn->bn...", x_0, signs.to(x_0.dtype))
    is_best = agreement >= agreement.amax(dim=1, keepdim=True) - 1e-9
    lowest = is_best.int().argmax(dim=1)
    expected = torch.stack([lowest == n + 1 for n in range(num_labels)], dim=1)
    assert torch.equal(scheme.decode(x_0), expected)


def test_analog_bits_write_class_six_as_low_bit_first():
    masks = masks_of_numbers([[6]], 6)
    assert AnalogBitsEncoding(6).encode(masks, None).flatten().tolist() == [-1, 1, 1]


def test_exclusive_labels_have_a_background_channel_first():
    masks = masks_of_numbers([[0, 2]], 2)
    expected = torch.tensor([[1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]])
    assert torch.equal(SignedEncoding(2).encode(masks, None)[0, :, 0], expected)


@pytest.mark.parametrize(
    "name, num_labels, num_channels",
    [
        ("signed", 1, 1),
        ("signed", 2, 3),
        ("signed", 6, 7),
        ("regions", 3, 3),
        ("analog_bits", 1, 1),
        ("analog_bits", 3, 2),
        ("analog_bits", 4, 3),
    ],
)
def test_number_of_channels(name, num_labels, num_channels):
    assert ENCODINGS[name](num_labels).num_channels == num_channels


@pytest.mark.parametrize("name", ENCODINGS)
def test_no_labels_are_refused(name):
    with pytest.raises(ValueError, match="num_labels should be at least 1, got 0"):
        ENCODINGS[name](0)
