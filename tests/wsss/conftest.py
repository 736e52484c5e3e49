import pytest

from diffunet.wsss.saliency import trajectories


@pytest.fixture(params=[True, False], ids=["joined", "apart"])
def is_joined(request, monkeypatch):
    """Run a test with one call of the networks for both trajectories, and with two."""
    monkeypatch.setattr(trajectories, "CPU_JOINED_VOXELS", 2**15 if request.param else 0)
    return request.param
