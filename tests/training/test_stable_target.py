"""`training.has_stable_target`: which masks the loss takes for as likely as the drawn one."""

import dataclasses

import torch

from diffunet.plans import DiffusionPlan
from diffunet.training.objective import DiffusionObjective, TensorBatch
from tests.training.folds import SIZE, plans
from tests.training.test_objective import (
    IGNORING,
    ONE,
    TWO,
    Recording,
    batch,
    built,
    label_maps,
)


def stable(labels, *, num_draws: int = 1, diffusion: DiffusionPlan | None = None):
    made = plans() if diffusion is None else plans(diffusion=diffusion)
    training = dataclasses.replace(
        made.configuration.training, has_stable_target=True, num_draws=num_draws
    )
    configuration = dataclasses.replace(made.configuration, training=training)
    return DiffusionObjective(configuration=configuration, labels=labels, seed=5)


def with_others(highest: int, *, num_others: tuple[int, ...] = (2, 2, 2, 2)) -> TensorBatch:
    maps = label_maps(12, highest).reshape(4, 3, SIZE, SIZE)
    return dataclasses.replace(
        batch(maps[:, 0]), other_label_maps=maps[:, 1:], num_others=num_others
    )


def alternatives_of(objective: DiffusionObjective, given: TensorBatch):
    model = Recording()
    objective(model, given)
    return model.asked[3]["alternatives"]


def loss(objective, model, given) -> torch.Tensor:
    return objective(model, given)["denoising"].total.detach()


def test_a_plan_without_it_takes_the_drawn_mask_alone():
    objective, model = built("diffusion", TWO)
    assert not objective.reads_all_raters
    given = with_others(2)
    assert alternatives_of(objective, given) is None
    alone = dataclasses.replace(given, other_label_maps=None, num_others=())
    assert loss(objective, model, given) == loss(objective, model, alone)


def test_the_alternatives_are_the_other_raters_masks_encoded():
    given = with_others(2)
    found = alternatives_of(stable(TWO), given)
    assert found.x_0.shape == (2, 4, 3, SIZE, SIZE)
    for number in range(2):
        drawn = dataclasses.replace(given, label_maps=given.other_label_maps[:, number])
        x_0 = stable(TWO).encoding.encode(*drawn.masks(TWO))
        torch.testing.assert_close(found.x_0[number].float(), x_0)
    assert found.is_possible.all()


def test_raters_who_agree_have_the_loss_of_one():
    _, model = built("diffusion", TWO)
    maps = label_maps(4, 2)
    agreeing = dataclasses.replace(
        batch(maps), other_label_maps=torch.stack([maps, maps], dim=1), num_others=(2,) * 4
    )
    assert loss(stable(TWO), model, agreeing) == loss(built("diffusion", TWO)[0], model, agreeing)


def test_raters_who_differ_change_the_loss_and_fillings_do_not():
    _, model = built("diffusion", ONE)
    given = with_others(1, num_others=(1, 1, 1, 1))
    filled = given.other_label_maps.clone()
    filled[:, 1] = 1 - filled[:, 1]
    other = dataclasses.replace(given, other_label_maps=filled)
    assert loss(stable(ONE), model, given) == loss(stable(ONE), model, other)
    both = dataclasses.replace(given, num_others=(2, 2, 2, 2))
    assert loss(stable(ONE), model, given) != loss(stable(ONE), model, both)


def test_a_rater_who_left_out_other_voxels_is_no_alternative():
    maps = label_maps(4, 1)
    other = maps.clone()
    other[0, 0, 0] = IGNORING.ignore_value
    given = dataclasses.replace(
        batch(maps), other_label_maps=torch.stack([other, 1 - maps], dim=1), num_others=(2,) * 4
    )
    found = alternatives_of(stable(IGNORING), given)
    assert found.is_possible.tolist() == [[False, True, True, True], [True] * 4]


def test_where_the_network_is_told_who_drew_there_is_one_mask():
    told = DiffusionPlan(conditions_on_rater=True, rater_names=("r00", "r01"))
    objective = stable(ONE, diffusion=told)
    given = dataclasses.replace(with_others(1), raters=("r00", "r01", "r00", "r01"))

    class Embedding(Recording):
        def embed_labels(self, tags):
            return tags @ torch.ones(2, 3)

    seen = {True: 0, False: 0}
    for iteration in range(20):
        model = Embedding()
        objective(model, dataclasses.replace(given, iteration=iteration))
        settings = model.asked[3]
        is_told = settings["condition"].abs().sum(dim=1) > 0
        for number in range(2):
            assert torch.equal(settings["alternatives"].is_possible[number], ~is_told)
        seen[True] += int(is_told.sum())
        seen[False] += int((~is_told).sum())
    assert min(seen.values()) > 10


def test_several_draws_share_the_alternatives_of_their_patch():
    objective, given = stable(TWO, num_draws=3), with_others(2)
    once = alternatives_of(stable(TWO), given)
    thrice = alternatives_of(objective, given)
    torch.testing.assert_close(thrice.x_0, once.x_0.repeat_interleave(3, dim=1))
    assert thrice.is_possible.shape == (2, 12)


def test_parts_of_a_batch_add_up_to_the_whole():
    _, model = built("diffusion", ONE)
    objective, whole = stable(ONE), with_others(1, num_others=(2, 0, 1, 2))
    parts = [
        dataclasses.replace(
            whole,
            images=whole.images[rows],
            tags=whole.tags[rows],
            label_maps=whole.label_maps[rows],
            other_label_maps=whole.other_label_maps[rows],
            num_others=whole.num_others[rows],
            indices=whole.indices[rows],
        )
        for rows in (slice(0, 2), slice(2, 4))
    ]
    torch.testing.assert_close(
        loss(objective, model, whole), sum(loss(objective, model, part) for part in parts)
    )
