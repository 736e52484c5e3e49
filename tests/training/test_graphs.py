import dataclasses

import pytest
import torch

from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.training.graphs import as_graphs
from tests.training.folds import plans

ONE = LabelScheme(names=("disc",), values=((1,),))


def model_of(configuration, method="diffusion"):
    torch.manual_seed(0)
    return METHODS[method].build_model(configuration, num_image_channels=1, labels=ONE)


def test_on_a_cpu_a_model_is_trained_as_it_is():
    configuration = plans().configuration
    model = model_of(configuration)
    graphs = as_graphs(model, configuration, labels=ONE, num_image_channels=1, precision="float32")
    assert graphs is model


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_graphs_give_the_losses_and_gradients_of_the_model():
    configuration = plans().configuration
    batch_size, patch = configuration.training.batch_size, configuration.patch_size
    model = model_of(configuration).cuda().to(memory_format=torch.channels_last)
    graphs = as_graphs(model, configuration, labels=ONE, num_image_channels=1, precision="bfloat16")
    assert graphs is not model
    generator = torch.Generator("cuda").manual_seed(1)
    for _ in range(3):
        image, x_t = (
            torch.randn(batch_size, 1, *patch, device="cuda", generator=generator) for _ in range(2)
        )
        t = torch.rand(batch_size, device="cuda", dtype=torch.float64, generator=generator)
        found = []
        for each in (model, graphs):
            model.zero_grad(set_to_none=True)
            with torch.autocast("cuda", torch.bfloat16):
                output = each.predict_x_0(x_t, t, features=each.encode_image(image))
            loss = (output - 1).square().mean()
            loss.backward()
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            found.append([loss.detach(), *(each.clone() for each in gradients)])
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_network_that_sees_its_own_x_0_hat_has_no_graphs():
    diffusion = dataclasses.replace(plans().configuration.diffusion, is_self_conditioned=True)
    configuration = plans(diffusion=diffusion).configuration
    model = model_of(configuration).cuda()
    graphs = as_graphs(model, configuration, labels=ONE, num_image_channels=1, precision="float32")
    assert graphs is model
