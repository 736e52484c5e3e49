import contextlib
import subprocess
import sys

import pytest
import torch

from diffunet.errors import UsageError
from diffunet.inference.compute import Compute, computes_in, parts, run_in_memory
from diffunet.inference.draw import draw_x_0
from diffunet.inference.segment import segment_image
from diffunet.plans import SamplingPlan
from tests.inference.fakes import PointwiseNetwork, denoiser_of, random_image

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


@pytest.fixture
def old_gpu(monkeypatch):
    """A GPU of before 2020: bfloat16 is emulated at best."""
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )


class SmallMemory(PointwiseNetwork):
    """Runs out of memory with more than two tiles at once."""

    def forward(self, x_t, t=None, features=None, condition=None):
        if len(x_t) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return super().forward(x_t, t, features)


def test_the_state_of_a_group_fits_its_memory():
    compute = Compute(device=CPU, state_gib=1.0)
    bytes_per_sample = 4 * 5 * 2 * 100**3
    assert compute.group_size((2, 100, 100, 100), num_volumes=5) == 1024**3 // bytes_per_sample


def test_at_least_one_sample_is_drawn_at_a_time():
    assert Compute(device=CPU).group_size((5, 1000, 1000, 1000), num_volumes=4) == 1


def test_a_gpu_takes_larger_batches_than_a_cpu():
    assert Compute(device=CPU).batch_size((128, 128)) == 4
    assert Compute(device=CUDA).batch_size((128, 128)) == 256
    assert Compute(device=CUDA).batch_size((512, 512, 512)) == 1
    assert Compute(device=CUDA, batch_voxels=3000).batch_size((10, 100)) == 3


def test_a_rest_joins_the_part_before_it_where_it_is_too_small():
    assert parts(7, size=3, fewest=1) == [3, 3, 1]
    assert parts(7, size=3, fewest=2) == [3, 4]
    assert parts(8, size=3, fewest=2) == [3, 3, 2]
    assert parts(1, size=2, fewest=2) == [1]
    assert parts(4, size=2, fewest=2) == [2, 2]


def test_a_cpu_takes_two_small_tiles_at_once_and_one_large_one():
    """Of a single small volume, one thread of torch is many times slower."""
    assert Compute(device=CPU).batch_size((40, 40, 40)) == 2
    assert Compute(device=CPU).batch_size((88, 128, 128)) == 1
    assert Compute(device=CPU, batch_voxels=1).batch_size((40, 40, 40)) == 1
    assert Compute(device=CUDA, batch_voxels=1).batch_size((40, 40, 40)) == 1


def test_the_state_stays_on_the_gpu_only_if_it_takes_a_quarter_of_what_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4 * 1600, 10**9))
    assert Compute(device=CUDA).state_device((1, 1, 10, 10), num_volumes=4) == CUDA
    assert Compute(device=CUDA).state_device((2, 1, 10, 10), num_volumes=4) == CPU
    assert Compute(device=CPU).state_device((2, 1, 10, 10), num_volumes=4) == CPU


def test_float32_is_exact_and_leaves_the_setting_as_it_was():
    torch.backends.cudnn.allow_tf32 = True
    with Compute(device=CPU).running():
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.is_autocast_enabled("cpu")
    assert torch.backends.cudnn.allow_tf32
    with Compute(device=CPU, precision="bfloat16").running():
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
        assert torch.is_autocast_enabled("cpu")


def test_a_gpu_without_bfloat16_refuses_it_and_says_what_it_has(old_gpu):
    with pytest.raises(UsageError, match=r"bfloat16.*'cuda' computes in float32 or float16;"):
        Compute(device=CUDA, precision="bfloat16")
    assert Compute(device=CUDA, precision="float16").precision == "float16"


def test_a_gpu_with_bfloat16_takes_it(old_gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert Compute(device=CUDA, precision="bfloat16").precision == "bfloat16"


def test_float16_is_for_gpus():
    with pytest.raises(UsageError, match=r"float16.*'cpu' computes in float32 or bfloat16;"):
        Compute(device=CPU, precision="float16")


def test_what_is_unknown_of_a_device_is_refused():
    assert computes_in("float32", torch.device("mps"))
    assert not computes_in("bfloat16", torch.device("mps"))


def test_numbers_beyond_float16_end_a_prediction(old_gpu):
    compute = Compute(device=CUDA, precision="float16")
    assert compute.in_range(torch.ones(2, dtype=torch.float16)).dtype == torch.float32
    with pytest.raises(UsageError, match="beyond what float16 holds"):
        compute.in_range(torch.tensor([1.0, float("inf")]))


def test_batches_are_halved_until_they_fit(caplog):
    def draw(network):
        sampling = SamplingPlan(num_steps=2, num_samples=5)
        drawn = draw_x_0(
            [denoiser_of(network)],
            random_image(1, 32, 16),
            num_channels=1,
            sampling=sampling,
            patch_size=(16, 16),
            mirror_axes=(),
            seed=0,
            case="case",
            compute=Compute(device=CPU, batch_voxels=2**20),
        )
        return torch.stack([x_0 for _, x_0 in sorted(drawn, key=lambda item: item[0])])

    network = SmallMemory()
    assert torch.allclose(draw(network), draw(PointwiseNetwork()), atol=1e-4)
    assert max(network.batch_sizes) == 2
    assert "going on with batches of 2 tiles" in caplog.text
    assert caplog.text.count("batches of 2 tiles") == 1  # it is not tried again at every step


def test_a_supervised_network_gets_smaller_batches_too():
    class Network(torch.nn.Module):
        def forward(self, image):
            if len(image) > 2:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return image

    image = random_image(1, 64, 16)
    probabilities = segment_image(
        [Network()],
        image,
        num_channels=1,
        is_exclusive=True,
        patch_size=(16, 16),
        tile_step_size=0.5,
        mirror_axes=(),
        compute=Compute(device=CPU),
    )
    assert torch.allclose(probabilities, image.sigmoid(), atol=1e-6)


def test_a_gpu_without_room_for_one_tile_is_said_so():
    def run(batch_size):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UsageError, match="does not hold the network and one tile"):
        run_in_memory(run, 4)


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch 2.9 and later")
@pytest.mark.parametrize("precision", ["ieee", "tf32"])
def test_convolutions_are_exact_where_the_caller_set_their_precision_alone(precision):
    """In a process of its own: torch cannot mix both ways to set it back."""
    other = {"ieee": "tf32", "tf32": "ieee"}[precision]
    code = f"""
import torch
from diffunet.inference.compute import Compute
cudnn = torch.backends.cudnn
cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = {precision!r}, {other!r}
for _ in range(2):
    with Compute(device=torch.device("cpu")).running():
        assert cudnn.conv.fp32_precision == "ieee"
    assert cudnn.conv.fp32_precision == {precision!r}
"""
    subprocess.run([sys.executable, "-c", code], check=True)
