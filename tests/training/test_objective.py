import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from diffunet.data.batches.batch_augment import BatchAugmentation
from diffunet.data.batches.loader import Batch
from diffunet.diffusion.times import stratified_times
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.plans import AugmentationPlan, DiffusionPlan
from diffunet.randomness import derive_seed
from diffunet.training.objective import (
    DiffusionObjective,
    LossTerm,
    SupervisedObjective,
    TensorBatch,
    loss_of,
    masks_of,
    sample_noise,
    soft_dice,
)
from diffunet.training.tensors import to_device
from tests.training.folds import SIZE, plans

ONE = LabelScheme(names=("disc",), values=((1,),))
TWO = LabelScheme(names=("a", "b"), values=((1,), (2,)))
REGIONS = LabelScheme(
    names=("all", "core"), values=((1, 2), (2,)), is_regions=True, class_order=(1, 2)
)

CPU = torch.device("cpu")
SCHEMES = {"one": ONE, "two": TWO, "regions": REGIONS}
IGNORING = dataclasses.replace(ONE, ignore_value=2)


OBJECTIVES = {"diffusion": DiffusionObjective, "supervised": SupervisedObjective}


def batch(label_maps: torch.Tensor, *, indices: tuple[int, ...] | None = None) -> TensorBatch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(len(label_maps), 1, *label_maps.shape[1:], generator=generator)
    indices = tuple(range(len(label_maps))) if indices is None else indices
    return TensorBatch(
        images=images,
        label_maps=label_maps,
        tags=torch.zeros(len(label_maps), 0),
        iteration=3,
        indices=indices,
        global_size=4,
    )


def label_maps(number: int, highest: int) -> torch.Tensor:
    generator = np.random.Generator(np.random.PCG64(0))
    return torch.from_numpy(generator.integers(0, highest + 1, (number, SIZE, SIZE), np.uint8))


def built(method: str, labels: LabelScheme):
    plan = plans(method=method).configuration
    objective = OBJECTIVES[method](configuration=plan, labels=labels, seed=5)
    torch.manual_seed(0)
    return objective, METHODS[method].build_model(plan, num_image_channels=1, labels=labels)


def total(terms: dict[str, LossTerm]) -> float:
    return sum(float((term.total / term.count).detach()) for term in terms.values())


@pytest.mark.parametrize("method", OBJECTIVES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_method_has_a_finite_loss_with_gradients_for_every_kind_of_label(method, scheme):
    objective, model = built(method, SCHEMES[scheme])
    terms = objective(model, batch(label_maps(4, 2 if scheme != "one" else 1)))
    counts = torch.stack([term.count for term in terms.values()])
    loss_of(terms, counts, num_ranks=1).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.abs().sum() > 0 for gradient in gradients if gradient is not None)


@pytest.mark.parametrize("method", OBJECTIVES)
def test_parts_of_a_batch_add_up_to_the_whole(method):
    objective, model = built(method, IGNORING)
    maps = label_maps(4, 2)
    whole_batch = batch(maps)
    whole = objective(model, whole_batch)
    parts = [
        objective(
            model,
            dataclasses.replace(
                whole_batch,
                images=whole_batch.images[part],
                tags=whole_batch.tags[part],
                label_maps=maps[part],
                indices=tuple(range(4))[part],
            ),
        )
        for part in (slice(0, 1), slice(1, 4))
    ]
    for name, term in whole.items():
        torch.testing.assert_close(term.total, parts[0][name].total + parts[1][name].total)
        torch.testing.assert_close(term.count, parts[0][name].count + parts[1][name].count)


@pytest.mark.parametrize("method", OBJECTIVES)
def test_what_the_network_says_where_nobody_annotated_counts_nothing(method):
    """Outputs are changed at ignored voxels only, by a wrapped network: the loss stays."""
    objective, model = built(method, IGNORING)
    maps = label_maps(2, 2)
    before = total(objective(model, batch(maps)))
    shift = 100.0 * (maps == 2).unsqueeze(1)
    prefix = "network." if method == "diffusion" else ""
    head = model.get_submodule(f"{prefix}head")

    def shifted(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output + shift

    head.register_forward_hook(shifted)
    assert total(objective(model, batch(maps))) == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("method", OBJECTIVES)
@pytest.mark.parametrize("labels", [ONE, TWO, IGNORING])
def test_a_sample_counts_by_its_weight_in_sums_and_not_in_counts(method, labels):
    objective, model = built(method, labels)
    whole = batch(label_maps(3, 2))
    alone = [
        objective(
            model,
            dataclasses.replace(
                whole,
                images=whole.images[index : index + 1],
                tags=whole.tags[index : index + 1],
                label_maps=whole.label_maps[index : index + 1],
                indices=(index,),
            ),
        )
        for index in range(3)
    ]
    weights = torch.tensor([0.25, 2.0, 1.0])
    weighted = objective(model, dataclasses.replace(whole, weights=weights))
    for name, term in weighted.items():
        expected = sum(
            weight * each[name].total for weight, each in zip(weights, alone, strict=True)
        )
        torch.testing.assert_close(term.total, expected)
        assert term.count == sum(each[name].count for each in alone)


def test_the_weights_of_a_batch_reach_the_loss():
    weights = np.array([0.5, 2.0], np.float32)
    made = Batch(
        iteration=0,
        indices=(0, 1),
        cases=("a", "b"),
        raters=("r", "r"),
        images=np.zeros((2, 1, 4, 4), np.float32),
        label_maps=np.zeros((2, 4, 4), np.uint8),
        tags=np.zeros((2, 0), np.float32),
        weights=weights,
    )
    options = {"global_size": 2, "seed": 0, "augmentation": None}
    moved = to_device(made, CPU, **options)
    assert moved.weights.tolist() == weights.tolist()
    unweighted = dataclasses.replace(made, weights=None)
    assert to_device(unweighted, CPU, **options).weights is None


def test_a_batch_is_augmented_on_its_way_to_the_device_by_what_the_plan_says():
    generator = np.random.default_rng(0)
    made = Batch(
        iteration=2,
        indices=tuple(range(20)),
        cases=("a",) * 20,
        raters=("r",) * 20,
        images=generator.normal(size=(20, 1, 4, 4)).astype(np.float32),
        label_maps=generator.integers(2, size=(20, 4, 4)).astype(np.uint8),
        tags=np.zeros((20, 0), np.float32),
    )
    plan = AugmentationPlan(mirror_axes=(0,)).without_intensity()
    moved = to_device(
        dataclasses.replace(made, images=made.images.copy(), label_maps=made.label_maps.copy()),
        CPU,
        global_size=20,
        seed=1,
        augmentation=BatchAugmentation(plan=plan),
    )
    is_mirrored = [
        np.array_equal(image.numpy(), before[:, ::-1])
        for image, before in zip(moved.images, made.images, strict=True)
    ]
    assert 3 < sum(is_mirrored) < 17
    for label_map, before, is_flipped in zip(
        moved.label_maps, made.label_maps, is_mirrored, strict=True
    ):
        np.testing.assert_array_equal(label_map, before[::-1] if is_flipped else before)


def test_a_batch_that_nobody_annotated_has_no_loss():
    objective, model = built("diffusion", IGNORING)
    terms = objective(model, batch(torch.full((2, SIZE, SIZE), 2, dtype=torch.uint8)))
    assert float(terms["denoising"].total.detach()) == 0
    assert float(terms["denoising"].count) == 0


class Perfect(nn.Module):
    """Puts out a fixed tensor, whatever it sees."""

    def __init__(self, answer: torch.Tensor):
        super().__init__()
        self.answer = nn.Parameter(answer)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.answer


@pytest.mark.parametrize("scheme", SCHEMES)
def test_perfect_logits_have_no_supervised_loss(scheme):
    labels = SCHEMES[scheme]
    objective, _ = built("supervised", labels)
    maps = label_maps(3, 2 if scheme != "one" else 1)
    target = objective.encoding.encode(masks_of(maps, labels)[0], None)
    terms = objective(Perfect(target * 50), batch(maps))
    assert total(terms) == pytest.approx(0, abs=1e-5)


def test_the_supervised_loss_is_that_of_torch_and_dice_by_hand():
    objective, _ = built("supervised", TWO)
    maps = label_maps(2, 2)
    logits = torch.randn(2, 3, SIZE, SIZE)
    terms = objective(Perfect(logits), batch(maps))
    expected = nn.functional.cross_entropy(logits, maps.long())
    torch.testing.assert_close(
        (terms["cross_entropy"].total / terms["cross_entropy"].count).detach(), expected
    )
    shares = logits.softmax(dim=1)[:, 1:].flatten(2)
    target = torch.stack([maps == 1, maps == 2], dim=1).float().flatten(2)
    dice = (2 * (shares * target).sum(2) + 1) / (shares.sum(2) + target.sum(2) + 1)
    torch.testing.assert_close(terms["dice"].total.detach(), (1 - dice).sum())
    assert float(terms["dice"].count) == 4


def test_the_plan_weighs_dice_and_nothing_else():
    def terms_of(weight: float) -> dict[str, LossTerm]:
        objective = SupervisedObjective(
            configuration=plans(training={"dice_weight": weight}).configuration, labels=TWO, seed=5
        )
        logits = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
        return objective(Perfect(logits), batch(label_maps(2, 2)))

    full, half, none = terms_of(1.0), terms_of(0.5), terms_of(0.0)
    torch.testing.assert_close(2 * half["dice"].total, full["dice"].total)
    assert list(none) == ["cross_entropy"]
    torch.testing.assert_close(none["cross_entropy"].total, full["cross_entropy"].total)


def test_a_patch_without_the_label_predicted_so_has_dice_one():
    nothing = torch.zeros(1, 1, 4, 4)
    assert float(soft_dice(nothing, nothing, torch.ones(1, 1, 4, 4))) == 1


class Recording(nn.Module):
    """A denoiser that keeps what it was asked."""

    def encode_image(self, image):
        return (image,)

    def loss(self, x_0, t, noise, **settings):
        self.asked = (x_0, t, noise, settings)
        return type(
            "Loss", (), {"weighted_sum": x_0.flatten(1).sum(dim=1), "num_valid": torch.tensor(1)}
        )()


def test_times_and_noise_are_those_of_the_global_index():
    objective, _ = built("diffusion", ONE)
    model = Recording()
    objective(model, batch(label_maps(2, 1), indices=(1, 3)))
    times = stratified_times(4, derive_seed(5, "times", 3))
    torch.testing.assert_close(model.asked[1], times[[1, 3]])
    shape = model.asked[0].shape[1:]
    alone = [
        sample_noise(shape, seed=5, iteration=3, indices=(i,), global_size=4, device=CPU)
        for i in (1, 3)
    ]
    torch.testing.assert_close(model.asked[2], torch.cat(alone))


def test_noise_is_standard_normal_and_differs_between_samples_and_iterations():
    def noise(iteration: int) -> torch.Tensor:
        return sample_noise(
            (1, 64, 64), seed=0, iteration=iteration, indices=(0, 1), global_size=2, device=CPU
        )

    first, second = noise(0), noise(1)
    assert float(first.mean()) == pytest.approx(0, abs=0.05)
    assert float(first.std()) == pytest.approx(1, abs=0.03)
    together = torch.stack([first[0], first[1], second[0]]).flatten(1)
    assert torch.corrcoef(together).triu(diagonal=1).abs().max() < 0.06


def test_decoupling_of_the_plan_reaches_the_denoiser():
    configuration = plans(
        diffusion=DiffusionPlan(is_weighting_decoupled=True, loss_weighting="uniform")
    ).configuration
    objective = DiffusionObjective(configuration=configuration, labels=ONE, seed=0)
    model = Recording()
    objective(model, batch(label_maps(2, 1)))
    settings = model.asked[3]
    assert settings["is_decoupled"] is True
    assert settings["valid"] is None
    assert float(settings["weighting"](torch.tensor([3.0], dtype=torch.float64))) == 1


def test_masks_of_regions_are_the_union_of_their_integers():
    masks, ignored = masks_of(torch.tensor([[[0, 1, 2]]]), REGIONS)
    assert masks[0, :, 0].tolist() == [[False, True, True], [False, False, True]]
    assert ignored is None


def test_over_ranks_the_average_of_parts_is_the_whole_loss():
    terms = {"a": LossTerm(torch.tensor(6.0), torch.tensor(2.0))}
    other = {"a": LossTerm(torch.tensor(2.0), torch.tensor(6.0))}
    counts = torch.tensor([8.0])
    parts = [loss_of(each, counts, num_ranks=2) for each in (terms, other)]
    assert float(sum(parts) / 2) == 1.0


def test_a_batch_without_label_maps_has_no_masks():
    without = dataclasses.replace(batch(label_maps(2, 1)), label_maps=None)
    with pytest.raises(ValueError, match="without label maps"):
        without.masks(ONE)


def drawing(number: int, labels: LabelScheme = IGNORING):
    objective, model = built("diffusion", labels)
    training = dataclasses.replace(objective.configuration.training, num_draws=number)
    configuration = dataclasses.replace(objective.configuration, training=training)
    return dataclasses.replace(objective, configuration=configuration), model


def test_several_draws_are_those_of_a_batch_that_shows_each_image_several_times():
    objective, model = drawing(3)
    once, thrice = built("diffusion", IGNORING)[0], batch(label_maps(4, 2))
    repeats = dataclasses.replace(
        thrice,
        images=thrice.images.repeat_interleave(3, dim=0),
        label_maps=thrice.label_maps.repeat_interleave(3, dim=0),
        tags=thrice.tags.repeat_interleave(3, dim=0),
        indices=tuple(range(12)),
        global_size=12,
    )
    found, expected = objective(model, thrice)["denoising"], once(model, repeats)["denoising"]
    torch.testing.assert_close(found.total, expected.total)
    torch.testing.assert_close(found.count, expected.count)


def test_the_image_is_encoded_once_for_all_draws():
    objective, model = drawing(3)
    encoded: list[int] = []
    encoder = model.network.image_encoder
    encoder.register_forward_hook(lambda _m, given, _out: encoded.append(len(given[0])))
    objective(model, batch(label_maps(4, 2)))
    assert encoded == [4]


def test_draws_of_a_sample_do_not_depend_on_the_rank_that_trains_it():
    objective, model = drawing(2)
    whole = batch(label_maps(4, 2))
    halves = [
        dataclasses.replace(
            whole,
            images=whole.images[part],
            tags=whole.tags[part],
            label_maps=whole.label_maps[part],
            indices=whole.indices[part],
        )
        for part in (slice(0, 2), slice(2, 4))
    ]
    parts = [objective(model, half)["denoising"] for half in halves]
    together = objective(model, whole)["denoising"]
    torch.testing.assert_close(together.total, parts[0].total + parts[1].total)


def test_the_weight_of_a_sample_holds_for_all_its_draws():
    objective, model = drawing(2, ONE)
    whole = batch(label_maps(4, 1))
    weights = torch.tensor([0.0, 0.0, 2.0, 0.0])
    weighted = objective(model, dataclasses.replace(whole, weights=weights))["denoising"]
    third = dataclasses.replace(
        whole,
        images=whole.images[2:3],
        tags=whole.tags[2:3],
        label_maps=whole.label_maps[2:3],
        indices=(2,),
    )
    torch.testing.assert_close(weighted.total, 2 * objective(model, third)["denoising"].total)
