import dataclasses

import pytest
import torch

from diffunet.methods import METHODS
from diffunet.plans import AugmentationPlan
from diffunet.training import fold_data
from diffunet.training.fold import FoldOptions, train_fold
from tests.wsss.weak_folds import weak_plans, write_tagged

FULL = AugmentationPlan(mirror_axes=(0, 1), rotation_degrees=180.0)


def planned(method, **weak):
    configuration = weak_plans(method=method).configuration
    return dataclasses.replace(
        configuration,
        augmentation=FULL,
        weak=dataclasses.replace(configuration.weak, **weak),
    )


def intensity_probabilities(plan: AugmentationPlan) -> set[float]:
    moves = ("rotation_probability", "scaling_probability")
    return {
        value
        for name, value in dataclasses.asdict(plan).items()
        if name.endswith("_probability") and name not in moves
    }


def test_a_diffusion_of_images_is_shown_no_changed_intensities():
    found = METHODS["cdm"].training().augmentation(planned("cdm"))
    assert intensity_probabilities(found) == {0.0}
    kept = ("mirror_axes", "rotation_probability", "rotation_degrees", "scaling_probability")
    assert all(getattr(found, name) == getattr(FULL, name) for name in kept)


def test_it_is_where_the_plans_say_so():
    found = METHODS["cdm"].training().augmentation(planned("cdm", changes_intensity=True))
    assert found == FULL


@pytest.mark.parametrize("method", ["classifier", "diffusion", "supervised"])
def test_other_methods_have_the_whole_augmentation(method):
    assert METHODS[method].training().augmentation(planned(method)) == FULL


def test_training_draws_patches_by_what_the_method_says(tmp_path, monkeypatch):
    class SeenError(Exception):
        pass

    def places(*_, configuration, **__):
        raise SeenError(configuration.augmentation)

    monkeypatch.setattr(fold_data, "PatchPlaces", places)
    plans = weak_plans(method="cdm")
    with pytest.raises(SeenError) as seen:
        train_fold(
            plans,
            preprocessed_folder=write_tagged(tmp_path / "preprocessed"),
            fold_folder=tmp_path / "fold_0",
            fold="0",
            seed=0,
            device=torch.device("cpu"),
            options=FoldOptions(),
        )
    assert seen.value.args[0] == plans.configuration.augmentation.without_intensity()
