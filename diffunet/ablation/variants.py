"""The variants of a sweep: their plans, checked before anything trains, and what they share."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from diffunet.ablation.axes import Axis, Setting
from diffunet.errors import DiffunetError, PlansError
from diffunet.jsonio import as_json, hash_of
from diffunet.methods import METHODS
from diffunet.names import file_parts
from diffunet.plans import ResolvedPlans
from diffunet.plans.differences import differences

Resolve = Callable[[Sequence[str]], ResolvedPlans]
"""From settings, "path.to.field=value" each, to the plans that a training would have with them."""

OWN = "as planned"
"""The name of the variant that sets nothing."""

CHOSEN = "as its training chooses"
"""The value of a field that a training sets at its end."""

_DIGITS = 8
"""Of a name, that tell it from those that look alike."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What weights are made from, but for the seed.

    Attributes:
        settings: beyond those of the whole sweep.
        plans: with them; fields that prediction alone reads are as the sweep has them.
        name: of its folder, and of no other training's.
    """

    settings: tuple[str, ...]
    plans: ResolvedPlans
    name: str


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One choice of values.

    Attributes:
        values: by the path of each axis, as in JSON; of a group the preset's name; `CHOSEN`
            where the training itself chooses.
        is_own: it sets nothing but what is planned anyway.
        settings: that prediction alone reads, beyond those of the whole sweep.
        plans: with all settings.
        file_name: of its scores: the same for equal predictions of any sweep, and for no others.
    """

    name: str
    values: dict[str, Any]
    is_own: bool
    training: Training
    settings: tuple[str, ...]
    plans: ResolvedPlans
    file_name: str


def make_variants(
    chosen: Sequence[Setting], axes: Sequence[Axis], *, resolve: Resolve, preset: Sequence[str] = ()
) -> tuple[Variant, ...]:
    """Return the variants; of those that would be predicted alike only one.

    Args:
        chosen: what each variant sets, see `combinations`.
        resolve: takes settings beyond those of the whole sweep.
        preset: settings of every variant.

    Raises:
        PlansError: all that is wrong with the values.
    """
    base, own = resolve(()), resolve(preset)
    variants: dict[str, Variant] = {}
    faults: dict[str, str] = {}
    for each in chosen:
        try:
            variant = _variant(each, axes, resolve=resolve, preset=preset, base=base, own=own)
        except DiffunetError as fault:
            words, reason = [f"{path}={value}" for path, value in each.items()], str(fault)
            for word in words:  # a field that is not there is told once, whatever its values
                reason = reason.removeprefix(f"--set {word}: ")
            faults.setdefault(reason, f"--over {' '.join(words)}: {reason}")
        else:
            former = variants.get(variant.file_name)
            if former is None or former.name == OWN:  # which is then where the user named it
                variants.pop(variant.file_name, None)
                variants[variant.file_name] = variant
    if faults:
        raise PlansError("\n".join(faults.values()))
    return tuple(variants.values())


def trainings_of(variants: Iterable[Variant]) -> tuple[Training, ...]:
    """Return the trainings of variants, each once."""
    return tuple({each.training.name: each.training for each in variants}.values())


def value_at(plans: ResolvedPlans, path: str) -> Any:
    """Return what plans have at a path in their configuration, as in JSON."""
    content: Any = as_json(plans.configuration)
    for name in path.split("."):
        content = content.get(name) if isinstance(content, dict) else None
    return content


def _variant(
    chosen: Setting,
    axes: Sequence[Axis],
    *,
    resolve: Resolve,
    preset: Sequence[str],
    base: ResolvedPlans,
    own: ResolvedPlans,
) -> Variant:
    words = (*preset, *(f"{path}={value}" for path, value in chosen.items()))
    plans = resolve(words)
    method = METHODS[plans.method]
    of_prediction = tuple(word for word in words if method.is_of_prediction(_path(word)))
    trained = tuple(word for word in words if word not in of_prediction)
    plans_of_training = resolve(trained)
    training = Training(
        settings=trained,
        plans=plans_of_training,
        name=_file_name(plans_of_training, base, decisive=plans.method),
    )
    # such a training chooses how to predict, but for what the user set: setting it is a difference
    chooses = method.learns_from == "image_labels"
    set_by_user = of_prediction if chooses else ()
    return Variant(
        name=_name(chosen, axes) or OWN,
        values={
            axis.path: CHOSEN
            if chooses and axis.path not in chosen and method.is_of_prediction(axis.path)
            else _value(axis.path, chosen, plans)
            for axis in axes
        },
        is_own=not chosen or (plans.configuration == own.configuration and not set_by_user),
        training=training,
        settings=of_prediction,
        plans=plans,
        file_name=_file_name(plans, base, decisive=[training.name, set_by_user]),
    )


def _file_name(plans: ResolvedPlans, base: ResolvedPlans, *, decisive: Any) -> str:
    """Return a file's name that tells what plans have of their own, and ends in what tells it all.

    Args:
        base: of the whole sweep.
        decisive: what the file depends on besides the values of `plans`.
    """
    now = as_json(plans.configuration)
    changed = differences(as_json(base.configuration), now)
    words = [f"{path.rpartition('.')[2]} {value}" for path, (_, value) in changed.items()]
    (readable,) = file_parts([" ".join(words) or OWN])
    return f"{readable}-{hash_of([decisive, now])[:_DIGITS]}"


def _path(word: str) -> str:
    return word.partition("=")[0].strip()


def _last(word: str) -> str:
    """Return "input_scale=0.3" of "diffusion.input_scale=0.3"."""
    path = _path(word)
    return path.rpartition(".")[2] + word[len(path) :]


def _name(chosen: Setting, axes: Sequence[Axis]) -> str:
    """Return "input_scale=0.3, sampler=ddim"; where two axes end alike, whole paths."""
    endings = [axis.name for axis in axes]
    words = [f"{path}={value}" for path, value in chosen.items()]
    return ", ".join(_last(w) if endings.count(_path(_last(w))) == 1 else w for w in words)


def _value(path: str, chosen: Setting, plans: ResolvedPlans) -> Any:
    found = value_at(plans, path)
    return chosen.get(path, OWN) if isinstance(found, dict) else found
