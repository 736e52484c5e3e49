from functools import partial

import pytest
import torch
from torch import nn

from diffunet.diffusion.denoiser import Denoiser
from diffunet.diffusion.encoding import SignedEncoding
from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.diffusion.process import ScaledSchedule, add_noise
from diffunet.diffusion.schedules import CosineSchedule
from diffunet.diffusion.weighting import WEIGHTINGS

SCHEDULE = ScaledSchedule(CosineSchedule(), 0.1, 20.0)
MODERATE = torch.tensor([0.05, 0.1, 0.2, 0.4], dtype=torch.float64)  # log SNR 0.5 ... -4


def weighting_of(name):
    return partial(WEIGHTINGS[name], bias=-4.0)


class ScriptedNetwork(nn.Module):
    """Puts out a given tensor plus `error`, and remembers what it was called with."""

    def __init__(self, output=None, error=0.0):
        super().__init__()
        self.output = output
        self.error = nn.Parameter(torch.tensor(error))
        self.calls = []

    def encode_image(self, image):
        return (image, image.mean(dim=1, keepdim=True))

    def forward(self, x_t, t, features=None, condition=None):
        self.calls.append((x_t, t, features, condition))
        return self.output + self.error


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(4, 1, 6, 5, generator=generator) > 0.5
    return SignedEncoding(1).encode(masks, None), torch.randn(4, 1, 6, 5, generator=generator)


def loss_of(denoiser, batch, t=MODERATE, *, weighting=None, is_decoupled=False, valid=None):
    return denoiser.loss(
        *(batch[0], t, batch[1]),
        features=None,
        weighting=weighting or weighting_of("uniform"),
        is_decoupled=is_decoupled,
        valid=valid,
    )


def scripted_denoiser(batch, prediction, *, t=MODERATE, error=0.0):
    target = PREDICTIONS[prediction].target(*batch, log_snr=SCHEDULE.log_snr(t))
    network = ScriptedNetwork(target, error)
    return Denoiser(network, schedule=SCHEDULE, prediction=PREDICTIONS[prediction])


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_right_output_gives_x_0(batch, prediction):
    denoiser = scripted_denoiser(batch, prediction)
    x_t = add_noise(*batch, log_snr=SCHEDULE.log_snr(MODERATE))
    found = denoiser.predict_x_0(x_t, MODERATE, features=None)
    torch.testing.assert_close(found, batch[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_right_output_has_no_loss(batch, prediction):
    loss = loss_of(scripted_denoiser(batch, prediction), batch)
    torch.testing.assert_close(loss.weighted_sum, torch.zeros(4))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("is_decoupled", [False, True])
def test_loss_is_the_weighted_error_of_x_0(batch, prediction, weighting, is_decoupled):
    denoiser, weighting = scripted_denoiser(batch, prediction, error=0.1), weighting_of(weighting)
    log_snr = SCHEDULE.log_snr(MODERATE)
    x_t = add_noise(*batch, log_snr=log_snr)
    x_0_hat = denoiser.predict_x_0(x_t, MODERATE, features=None)
    weight = weighting(log_snr) * (-SCHEDULE.slope(MODERATE) if is_decoupled else 1)
    expected = weight * (x_0_hat - batch[0]).square().sum(dim=(1, 2, 3))
    loss = loss_of(denoiser, batch, weighting=weighting, is_decoupled=is_decoupled)
    torch.testing.assert_close(loss.weighted_sum.double(), expected, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("is_decoupled", [False, True])
def test_loss_and_its_gradient_are_finite_at_the_limits(batch, prediction, is_decoupled):
    t = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    denoiser = scripted_denoiser(batch, prediction, t=t, error=0.1)
    weighting = weighting_of("sigmoid")
    loss = loss_of(denoiser, batch, t, weighting=weighting, is_decoupled=is_decoupled)
    loss.weighted_sum.sum().backward()
    assert bool(loss.weighted_sum.isfinite().all())
    assert bool(denoiser.network.error.grad.isfinite())


def test_noise_loss_with_snr_weight_is_the_plain_squared_error_even_at_the_limits(batch):
    t = torch.tensor([0.0, 0.3, 0.7, 1.0], dtype=torch.float64)
    denoiser = scripted_denoiser(batch, "noise", t=t, error=0.5)
    loss = loss_of(denoiser, batch, t, weighting=weighting_of("snr"))
    torch.testing.assert_close(loss.weighted_sum, torch.full((4,), 0.25 * 30))


def test_sum_and_count_give_the_mean_over_valid_voxels_and_channels(batch):
    x_0, noise = (torch.cat([part, part], dim=1) for part in batch)
    denoiser = scripted_denoiser((x_0, noise), "x_0", error=2.0)
    valid = torch.zeros(4, 1, 6, 5, dtype=torch.bool)
    valid[0, :, :2] = True
    valid[1] = True
    loss = loss_of(denoiser, (x_0, noise), valid=valid)
    assert loss.num_valid.tolist() == [2 * 10, 2 * 30, 0, 0]
    assert loss.weighted_sum.tolist() == [4 * 20, 4 * 60, 0, 0]


def test_without_a_mask_every_voxel_counts(batch):
    loss = loss_of(scripted_denoiser(batch, "x_0"), batch)
    assert loss.num_valid.tolist() == [30, 30, 30, 30]


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_ignored_voxels_have_no_gradient(batch, prediction):
    x_0, noise = batch
    ignored = torch.zeros(4, 1, 6, 5, dtype=torch.bool)
    ignored[:, :, 3:] = True
    x_0 = x_0.masked_fill(ignored, 0)
    output = torch.zeros_like(x_0, requires_grad=True)
    denoiser = Denoiser(
        ScriptedNetwork(output), schedule=SCHEDULE, prediction=PREDICTIONS[prediction]
    )
    loss_of(denoiser, (x_0, noise), valid=~ignored).weighted_sum.sum().backward()
    assert torch.equal(output.grad == 0, ignored)


def test_the_network_sees_x_t_time_features_and_condition(batch):
    network = ScriptedNetwork(batch[0])
    denoiser = Denoiser(network, schedule=SCHEDULE, prediction=PREDICTIONS["x_0"])
    features = denoiser.encode_image(torch.rand(4, 3, 6, 5))
    condition = torch.rand(4, 7)
    denoiser.predict_x_0(batch[1], MODERATE, features=features, condition=condition)
    x_t, t, *others = network.calls[0]
    assert torch.equal(x_t, batch[1])
    assert torch.equal(t, MODERATE.float())
    assert others[0] is features
    assert others[1] is condition


def test_loss_noises_x_0_to_its_own_time(batch):
    denoiser = scripted_denoiser(batch, "x_0")
    loss_of(denoiser, batch)
    expected = add_noise(*batch, log_snr=SCHEDULE.log_snr(MODERATE))
    assert torch.equal(denoiser.network.calls[0][0], expected)


def test_one_time_for_all_is_the_same_as_that_time_for_each(batch):
    x_t = batch[1]
    denoiser = Denoiser(ScriptedNetwork(batch[0]), schedule=SCHEDULE, prediction=PREDICTIONS["v"])
    together = denoiser.predict_x_0(x_t, 0.4, features=None)
    each = denoiser.predict_x_0(x_t, torch.full((4,), 0.4, dtype=torch.float64), features=None)
    assert torch.equal(together, each)
    assert torch.equal(denoiser.network.calls[0][1], denoiser.network.calls[1][1])


def test_image_features_are_those_of_the_network():
    image = torch.rand(2, 3, 4, 4)
    denoiser = Denoiser(ScriptedNetwork(), schedule=SCHEDULE, prediction=PREDICTIONS["x_0"])
    assert denoiser.encode_image(image)[0] is image


def test_the_network_is_part_of_the_denoiser():
    denoiser = Denoiser(ScriptedNetwork(), schedule=SCHEDULE, prediction=PREDICTIONS["x_0"])
    assert list(denoiser.state_dict()) == ["network.error"]


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_half_precision_output_gives_float32(batch, prediction):
    network = ScriptedNetwork(batch[0])
    denoiser = Denoiser(network.bfloat16(), schedule=SCHEDULE, prediction=PREDICTIONS[prediction])
    network.output = network.output.bfloat16()
    assert denoiser.predict_x_0(batch[1], 0.9, features=None).dtype == torch.float32
    assert loss_of(denoiser, batch).weighted_sum.dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("time_device", ["cpu", "cuda"])
def test_loss_on_a_gpu_equals_that_on_the_cpu(batch, prediction, time_device):
    denoiser = scripted_denoiser(batch, prediction, error=0.1)
    expected = loss_of(denoiser, batch).weighted_sum
    denoiser.network.output = denoiser.network.output.cuda()
    moved = tuple(part.cuda() for part in batch)
    found = loss_of(denoiser.cuda(), moved, MODERATE.to(time_device)).weighted_sum
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-5)
