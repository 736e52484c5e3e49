import pytest

from diffunet.api import ablation as ablation_api
from diffunet.checkpoint import load_checkpoint
from diffunet.errors import WorkspaceError
from diffunet.training.reporting import Pictures
from tests.ablation.sweeps import NAME, ablate, write_weak_workspace, write_workspace
from tests.wsss.weak_folds import offer_few_settings


@pytest.fixture(scope="module", autouse=True)
def _in_little_time():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pictures, "update", lambda self: None)
        offer_few_settings(patch)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_weak_workspace(tmp_path_factory.mktemp("weak"))


@pytest.mark.slow
def test_maps_of_one_training_are_compared_by_masks_that_chose_nothing(
    place, tmp_path, monkeypatch, caplog
):
    trained = []
    train = ablation_api.train
    monkeypatch.setattr(
        ablation_api, "train", lambda *a, **options: trained.append(1) or train(*a, **options)
    )
    found = ablate(place, tmp_path, "weak.cdm.log_snr=0,1", settings=["weak.default_saliency=cdm"])
    assert trained == [1]
    assert "nothing may be chosen by what this sweep finds" in caplog.text
    assert found["score"] == "Dice"
    assert [row["values"]["weak.cdm.log_snr"] for row in found["variants"]] == [
        "as its training chooses",
        0,
        1,
    ]
    assert all(len(row["runs"][0]["cases"]) == 4 for row in found["variants"])
    assert (tmp_path / "ablation.png").is_file()


def test_without_masks_to_score_by_a_weak_sweep_is_refused_before_it_trains(place, tmp_path):
    labels = place.preprocessed / NAME / "2d" / "labels"
    labels.rename(labels.with_name("elsewhere"))
    try:
        with pytest.raises(WorkspaceError, match="--with_labels"):
            ablate(place, tmp_path / "sweep", "weak.cdm.log_snr=0,1", settings=[])
    finally:
        labels.with_name("elsewhere").rename(labels)


OTHER = {
    "diffusion": ["sampling.num_steps=3", "sampling.sampler=ddim", "sampling.num_samples=2"],
    "cdm": [
        "sampling.num_steps=3",
        "weak.presence_thresholds=[0.3]",
        "weak.is_mirrored=false",
        "weak.default_saliency=cdm",
        "weak.default_cam=grad_cam",
        "weak.cdm.log_snr=0.5",
        "weak.cg_cdm.tau=0.5",
        "weak.cg_diff.num_steps=3",
        "weak.cam.stage=0",
    ],
}


@pytest.mark.parametrize("method", OTHER)
def test_fields_of_prediction_leave_the_weights_alone(place, tmp_path, method):
    """Otherwise variants that differ in them could not share a training."""
    if method == "diffusion":
        place = write_workspace(tmp_path)
    weights = []
    for number, settings in enumerate(([], OTHER[method])):
        fold = ablation_api.train(
            1,
            0,
            workspace=ablation_api.replace(place, results=tmp_path / str(number)),
            method=method,
            settings=settings,
            validates=False,
            device="cpu",
            num_processes=0,
        )
        weights.append(load_checkpoint(fold / "checkpoint_final.pth", "cpu")["weights"])
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
