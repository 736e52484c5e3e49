import dataclasses
import re

import pytest
import torch

from diffunet.errors import PlansError
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.needs import require_memory_for_weights, require_memory_to_train
from diffunet.planning.memory import forward_cost
from diffunet.plans import WeakPlan
from tests.test_plans import network, plans

__all__ = ["plans"]

CPU = torch.device("cpu")


@pytest.fixture
def configuration(plans):
    bare = dataclasses.replace(network(), image_channels=(), num_image_blocks=())
    return dataclasses.replace(plans.configurations["2d"], weak=WeakPlan(network=bare))


def with_network(configuration, **changes):
    wide = dataclasses.replace(configuration.network, **changes)
    bare = dataclasses.replace(wide, image_channels=(), num_image_blocks=())
    return dataclasses.replace(configuration, network=wide, weak=WeakPlan(network=bare))


@pytest.mark.parametrize("method", METHODS)
def test_the_bound_on_weights_is_no_more_than_a_network_has(configuration, method):
    labels = LabelScheme(names=("a",), values=((1,),))
    model = METHODS[method].build_model(configuration, num_image_channels=1, labels=labels)
    bound = sum(half.num_weights for half in METHODS[method].network_sizes(configuration))
    exact = sum(parameter.numel() for parameter in model.parameters())
    assert exact / 8 < bound <= exact


def test_the_bound_on_values_is_no_more_than_a_forward_pass_keeps(configuration):
    labels = LabelScheme(names=("a",), values=((1,),))
    model = METHODS["supervised"].build_model(configuration, num_image_channels=1, labels=labels)
    image = torch.zeros(1, 1, *configuration.patch_size)
    kept = forward_cost(model, lambda: model(image)).kept
    bound = 4 * sum(
        half.num_values(configuration.patch_size)
        for half in METHODS["supervised"].network_sizes(configuration)
    )
    assert kept / 16 < bound <= kept


@pytest.mark.parametrize("method", METHODS)
def test_a_network_that_no_memory_holds_is_refused_before_it_is_built(configuration, method):
    wide = with_network(
        configuration,
        channels=(4096, 4096),
        image_channels=(4096, 4096),
        num_blocks=(32, 32),
        num_decoder_blocks=(32, 32),
        num_image_blocks=(32, 32),
        kernel_sizes=((7, 7), (7, 7)),
    )
    with pytest.raises(PlansError, match=r"need at least .* GB of memory \(the weights"):
        require_memory_to_train(wide, method=method, device=CPU)
    with pytest.raises(PlansError, match=r"the weights .* GB\), there are .* GB; make the network"):
        require_memory_for_weights(wide, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_that_no_memory_holds_is_refused_before_it_is_drawn(configuration, method):
    large = dataclasses.replace(
        configuration,
        network=dataclasses.replace(configuration.network, has_attention=(False, False)),
        patch_size=(2**15, 2**15),
        weak=WeakPlan(
            network=dataclasses.replace(configuration.weak.network, has_attention=(False, False))
        ),
    )
    message = r"8 patches of \[32768, 32768\] .* make patch_size, training.batch_size"
    with pytest.raises(PlansError, match=message):
        require_memory_to_train(large, method=method, device=CPU)


@pytest.mark.parametrize("method", METHODS)
def test_what_fits_is_not_refused(configuration, method):
    require_memory_to_train(configuration, method=method, device=CPU)
    require_memory_for_weights(configuration, method=method)


@pytest.mark.parametrize(
    ("precision", "device", "share"),
    [("auto", "cpu", 1), ("bfloat16", "cpu", 2), ("auto", "cuda", 2), ("float32", "cuda", 1)],
)
def test_values_are_counted_in_the_precision_of_the_training(
    configuration, monkeypatch, precision, device, share
):
    monkeypatch.setattr("diffunet.needs._memory_of", lambda device: 0)
    training = dataclasses.replace(configuration.training, precision=precision)
    found = []
    for asked in (training, dataclasses.replace(training, precision="float32")):
        with pytest.raises(PlansError) as caught:
            require_memory_to_train(
                dataclasses.replace(configuration, training=asked, patch_size=(256, 256)),
                method="supervised",
                device=torch.device(device),
            )
        found.append(float(re.search(r"256\] (\S+) GB", str(caught.value))[1]))
    assert found[1] == pytest.approx(share * found[0], rel=0.01)


def test_ranks_share_a_batch(configuration):
    large = dataclasses.replace(
        configuration,
        training=dataclasses.replace(configuration.training, batch_size=2**16),
        patch_size=(512, 512),
        network=dataclasses.replace(configuration.network, has_attention=(False, False)),
        weak=None,
    )
    with pytest.raises(PlansError, match="65536 patches"):
        require_memory_to_train(large, method="diffusion", device=CPU)
    require_memory_to_train(large, method="diffusion", device=CPU, num_ranks=2**16)


def test_attention_over_too_many_positions_is_refused(plans):
    with pytest.raises(PlansError, match=r"has_attention\[1\] would compare 262144 positions"):
        plans.resolve("2d", settings=["patch_size=[1024,1024]"])
