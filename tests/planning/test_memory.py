import dataclasses
import math
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from diffunet.build import build_denoising_network, build_image_networks
from diffunet.planning.memory import (
    TrainingMemory,
    forward_cost,
    measure_image_model_memory,
    measure_training_memory,
    state_bytes,
)
from diffunet.planning.topology import plan_image_model_network, plan_network
from diffunet.plans import WeakPlan
from diffunet.plans.presets import p1_network

SMALL_2D = plan_network((32, 32), (1.0, 1.0), num_label_channels=1).network
SMALL_3D = plan_network((16, 32, 32), (3.0, 1.0, 1.0), num_label_channels=1).network
# the largest number of features that the measurement may forget or invent
TOLERANCE = 0.03

devices = pytest.mark.parametrize("device", ["cpu", "meta"])


def build(plan, device="cpu"):
    with torch.device(device):
        return build_denoising_network(
            plan, num_image_channels=1, num_label_channels=1, is_output_bounded=True
        )


@devices
def test_two_convolutions_are_counted_as_by_hand(device):
    network = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.SiLU(), nn.Conv2d(3, 1, 3))
    network = network.to(device)
    x = torch.zeros(1, 2, 8, 8, device=device)
    measured = forward_cost(network, lambda: network(x))
    # the input, what SiLU got and what the second convolution got
    assert measured.kept == 4 * 64 * (2 + 3 + 3)
    # SiLU has three channels before and after
    assert measured.transient == 4 * 64 * (3 + 3)


@devices
def test_a_storage_that_is_kept_twice_counts_once(device):
    network = nn.Conv2d(1, 4, 1).to(device)

    def forward():
        y = network(torch.zeros(1, 1, 8, 8, device=device))
        return functional.silu(y) + functional.silu(y[:, :2]).sum() + y.square()

    # the convolution's input and its output
    assert forward_cost(network, forward).kept == 4 * 64 * (1 + 4)


def test_what_was_measured_is_released():
    network = nn.Conv2d(1, 4, 1)
    made = []

    def forward():
        # the sigmoid keeps its own output, and the output knows the sigmoid
        y = torch.sigmoid(network(torch.zeros(1, 1, 8, 8)))
        made.append(weakref.ref(y))
        return y.sum()

    forward_cost(network, forward)
    assert made[0]() is None


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inward, self.outward = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, tokens):
        heads = self.inward(tokens).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        gathered = functional.scaled_dot_product_attention(*heads.unbind())
        return self.outward(gathered.transpose(1, 2).flatten(2))


@devices
@pytest.mark.parametrize("length", [16, 64])
def test_attention_counts_as_fused(device, length):
    network = Attention().to(device)
    tokens = torch.zeros(1, length, 8, device=device)
    measured = forward_cost(network, lambda: network(tokens))
    # tokens, query with key and value, the output, and a log-sum-exp for each of two heads
    assert measured.kept == 4 * length * (8 + 24 + 8 + 2)
    # two heads of four channels: each position's product with every key, and the sum of all values
    assert measured.attention_multiply_adds == 2 * (length * length * 4) * 2
    assert measured.multiply_adds == length * 8 * (24 + 8)


def test_real_fused_attention_keeps_as_much_as_counted():
    network, tokens = Attention(), torch.randn(1, 64, 8)
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(tokens)
    for parameter in network.parameters():
        kept.pop(parameter.data_ptr(), None)
    assert output.requires_grad
    counted = forward_cost(network, lambda: network(tokens)).kept
    assert sum(kept.values()) == pytest.approx(counted, rel=TOLERANCE)


def test_hooks_are_removed_even_if_the_forward_pass_fails():
    network = nn.Conv2d(1, 1, 1)
    with pytest.raises(RuntimeError):
        forward_cost(network, lambda: network(torch.zeros(1, 2, 4, 4)))
    assert not network._forward_hooks


def test_states_of_a_linear_layer_are_counted_as_by_hand():
    layer = nn.Linear(3, 2)  # 8 parameters
    # weight, gradient, two moments, averaged weight
    assert state_bytes(layer, dtype=torch.float32) == 8 * 4 * 5
    assert state_bytes(layer, dtype=torch.bfloat16) == 8 * (4 * 5 + 2)


def test_memory_is_affine_in_batch_and_voxels():
    memory = TrainingMemory(fixed=100, per_voxel=2.5)
    assert memory.total(2, num_voxels=8) == 140
    assert memory.largest_batch(140, num_voxels=8) == 2
    assert memory.largest_batch(139, num_voxels=8) == 1
    assert memory.largest_batch(50, num_voxels=8) == 0


@pytest.mark.parametrize(
    ("plan", "patch"), [(SMALL_2D, (64, 96)), (SMALL_3D, (16, 32, 32)), (p1_network(2), (64, 64))]
)
def test_the_measurement_on_tiny_patches_agrees_with_the_meta_device(plan, patch):
    found = measure_training_memory(plan, num_image_channels=1, num_label_channels=1)
    network = build(plan, "meta").to(torch.bfloat16)
    image = torch.zeros(3, 1, *patch, dtype=torch.bfloat16, device="meta")
    t = torch.zeros(3, device="meta")
    measured = forward_cost(network, lambda: network(image, t, network.encode_image(image)))
    volumes = 4 * (1 + 7) * image.numel()  # the image, and seven of label channels
    expected = measured.kept + measured.transient + volumes
    counted = found.total(3, num_voxels=math.prod(patch)) - found.fixed
    assert counted == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.parametrize("plan", [SMALL_2D, p1_network(2)])
def test_the_modelled_dtype_agrees_with_autocast(plan):
    network, image = build(plan), torch.zeros(2, 1, 32, 32)

    def forward():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return network(image, torch.zeros(2), network.encode_image(image))

    real = forward_cost(network, forward).kept
    copies = 2 * sum(parameter.numel() for parameter in network.parameters())
    network.to(torch.bfloat16)
    rough = image.to(torch.bfloat16)
    modelled = forward_cost(
        network, lambda: network(rough, torch.zeros(2), network.encode_image(rough))
    ).kept
    assert modelled + copies == pytest.approx(real, rel=TOLERANCE)


def peak_of(step):
    """Return the bytes by which the memory in use rises at most during `step`."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    changes = [
        (event.start_ns(), event.nbytes())
        for event in profiler.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    peak = level = 0
    for _, change in sorted(changes):
        level += change
        peak = max(peak, level)
    return peak


@pytest.mark.parametrize(
    ("plan", "patch"), [(SMALL_2D, (64, 64)), (SMALL_3D, (16, 32, 32)), (p1_network(2), (64, 64))]
)
def test_the_predicted_peak_is_that_of_a_real_step(plan, patch):
    network = build(plan)
    image, x_0, noise = (torch.randn(2, 1, *patch) for _ in range(3))

    def step():
        network.zero_grad(set_to_none=True)
        x_t = 0.6 * x_0 + 0.8 * noise
        output = network(x_t, torch.zeros(2), network.encode_image(image))
        (output - x_0).square().sum().backward()

    step()
    network.zero_grad(set_to_none=True)
    peak = peak_of(step)
    memory = measure_training_memory(
        plan, num_image_channels=1, num_label_channels=1, dtype=torch.float32
    )
    predicted = memory.total(2, num_voxels=math.prod(patch)) - memory.fixed
    assert predicted == pytest.approx(peak, rel=0.15)


def _image_model_step(plan, image, *, device):
    """Return a training step of both networks of an image model, and what it works on."""
    networks = build_image_networks(plan, num_image_channels=image.shape[1], num_classes=1)
    both = nn.ModuleList(networks).to(device)
    x_0, noise = image, torch.randn_like(image)
    t, tags = torch.zeros(len(image), device=device), torch.ones(len(image), 1, device=device)

    def step():
        both.zero_grad(set_to_none=True)
        x_t = 0.6 * x_0 + 0.8 * noise
        v = both[0](x_t, t, condition=both[0].embed_labels(tags))
        seen = torch.where(tags[:, :, None, None] > 0, x_0, x_t)
        target = 0.6 * noise - 0.8 * x_0
        ((v.float() - target).square().sum() + both[1](seen, t).square().sum()).backward()

    return both, step


@pytest.mark.parametrize("patch", [(64, 64), (128, 64)])
def test_the_predicted_peak_of_an_image_model_is_that_of_a_real_step(patch):
    plan = WeakPlan(network=plan_image_model_network(patch, (1.0, 1.0)).network)
    both, step = _image_model_step(plan, torch.randn(2, 1, *patch), device="cpu")
    step()
    both.zero_grad(set_to_none=True)
    peak = peak_of(step)
    memory = measure_image_model_memory(
        plan, num_image_channels=1, num_classes=1, dtype=torch.float32
    )
    predicted = memory.total(2, num_voxels=math.prod(patch)) - memory.fixed
    assert predicted == pytest.approx(peak, rel=0.15)


def test_more_image_channels_of_an_image_model_need_more():
    plan = WeakPlan(network=plan_image_model_network((64, 64), (1.0, 1.0)).network)
    few, many = (
        measure_image_model_memory(plan, num_image_channels=count, num_classes=1)
        for count in (1, 4)
    )
    assert few.per_voxel < many.per_voxel
    assert few.fixed < many.fixed


def test_what_suffices_for_two_trainings_suffices_for_each():
    wide = TrainingMemory(fixed=10, per_voxel=5.0)
    deep = TrainingMemory(fixed=30, per_voxel=2.0)
    expected = TrainingMemory(fixed=30, per_voxel=5.0)
    assert wide.or_more(deep) == deep.or_more(wide) == expected


def test_more_channels_of_image_and_labels_need_more():
    few, image, labels = (
        measure_training_memory(SMALL_2D, num_image_channels=i, num_label_channels=j).per_voxel
        for i, j in ((1, 1), (4, 1), (1, 4))
    )
    assert few < image < labels


def test_wider_networks_need_more():
    wide = dataclasses.replace(SMALL_2D, channels=(32, 64, 128))
    narrow = measure_training_memory(SMALL_2D, num_image_channels=1, num_label_channels=1)
    found = measure_training_memory(wide, num_image_channels=1, num_label_channels=1)
    assert found.fixed > narrow.fixed
    assert found.per_voxel > narrow.per_voxel


def test_measuring_leaves_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    measure_training_memory(SMALL_2D, num_image_channels=1, num_label_channels=1)
    assert torch.rand(1) == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    ("plan", "patch", "batch_size"),
    [
        (plan_network((256, 256), (1.0, 1.0), num_label_channels=1).network, (256, 256), 8),
        (plan_network((96,) * 3, (1.0,) * 3, num_label_channels=1).network, (96, 96, 96), 2),
        (p1_network(2), (128, 128), 8),
    ],
)
def test_the_predicted_peak_is_that_of_a_gpu(plan, patch, batch_size):
    network = build(plan).cuda()
    averaged = [each.detach().clone() for each in network.parameters()]
    optimizer = torch.optim.AdamW(network.parameters())
    image, x_0, noise = (torch.randn(batch_size, 1, *patch, device="cuda") for _ in range(3))
    for _ in range(3):
        torch.cuda.reset_peak_memory_stats()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            x_t = 0.6 * x_0 + 0.8 * noise
            t = torch.zeros(batch_size, device="cuda")
            output = network(x_t, t, network.encode_image(image))
        (output - x_0).square().sum().backward()
        optimizer.step()
    memory = measure_training_memory(plan, num_image_channels=1, num_label_channels=1)
    predicted = memory.total(batch_size, num_voxels=math.prod(patch))
    assert averaged
    assert predicted == pytest.approx(torch.cuda.max_memory_allocated(), rel=0.15)
