"""How intensities are normalised: nnU-Net's rules by the channel's name."""

from collections.abc import Sequence
from dataclasses import replace

from diffunet.fingerprint.fingerprint import ChannelFingerprint, IntensityFingerprint
from diffunet.planning.choice import Choice
from diffunet.plans import NormalizationPlan

_MASK_BELOW = 0.75  # nnU-Net: crops that leave less come from images with a masked background
_SCHEMES = ("ct", "nonorm", "rescale_to_0_1", "rgb_to_0_1", "zscore")


def choose_normalizations(
    channels: Sequence[ChannelFingerprint], *, relative_size_after_crop: float
) -> tuple[Choice[NormalizationPlan], ...]:
    """Choose the normalisation of each channel, in their order.

    What a z-score by default hides is said once, at the last channel that has it.

    Args:
        relative_size_after_crop: as for `choose_normalization`.
    """
    chosen = [
        choose_normalization(
            channel.name,
            intensities=channel.intensities,
            relative_size_after_crop=relative_size_after_crop,
        )
        for channel in channels
    ]
    unnamed = [at for at, each in enumerate(channels) if each.name.casefold() not in _SCHEMES]
    if unnamed:
        last = chosen[unnamed[-1]]
        them = "the channel" if len(unnamed) == 1 else f"these {len(unnamed)} channels"
        hint = (
            "It hides how bright a case is; if grey values mean the same in every case, name "
            f"{them} CT."
        )
        chosen[unnamed[-1]] = replace(last, reason=f"{last.reason} {hint}")
    return tuple(chosen)


def choose_normalization(
    channel: str,
    *,
    intensities: IntensityFingerprint | None,
    relative_size_after_crop: float,
) -> Choice[NormalizationPlan]:
    """Choose the normalisation of a channel by its name in dataset.json, upper or lower case.

    "CT": clip to the foreground's 0.5 and 99.5 percentile, then its mean and standard deviation,
    all of the whole dataset, since Hounsfield units mean the same everywhere; "zscore", "noNorm",
    "rescale_to_0_1", "rgb_to_0_1": as they say; any other: zscore of each case.

    Args:
        intensities: of the foreground; None where there is none.
        relative_size_after_crop: median share of the voxels left by the crop to what is not zero.
    """
    name = channel.casefold()
    if name == "ct":
        return _ct(channel, intensities, relative_size_after_crop)
    if name == "nonorm":
        return Choice(NormalizationPlan(scheme="none"), f"'{channel}': left as it is.")
    if name == "rescale_to_0_1":
        return Choice(
            NormalizationPlan(scheme="rescale_to_0_1"),
            f"'{channel}': minimum and maximum of each case become 0 and 1.",
        )
    if name == "rgb_to_0_1":
        return Choice(NormalizationPlan(scheme="rgb_to_0_1"), f"'{channel}': divided by 255.")
    found = _zscore(relative_size_after_crop)
    if name == "zscore":
        return Choice(found.value, f"'{channel}': {found.reason}")
    return Choice(found.value, f"'{channel}' names no scheme: {found.reason}")


def _ct(
    channel: str, intensities: IntensityFingerprint | None, relative_size_after_crop: float
) -> Choice[NormalizationPlan]:
    if intensities is None or intensities.std == 0:
        fallback = _zscore(relative_size_after_crop)
        found = "there is no foreground" if intensities is None else "the foreground is constant"
        warning = (
            f"Channel '{channel}' would be normalised as CT, but {found}: zscore is used instead."
        )
        return Choice(fallback.value, f"{warning} {fallback.reason}", warning)
    plan = NormalizationPlan(
        scheme="ct",
        lower=intensities.percentile_00_5,
        upper=intensities.percentile_99_5,
        mean=intensities.mean,
        std=intensities.std,
    )
    return Choice(
        plan,
        f"'{channel}': Hounsfield units mean the same in every case, so one normalisation for all: "
        f"clipped to [{plan.lower:.4g}, {plan.upper:.4g}] (0.5 and 99.5 percentile of the "
        f"foreground), minus {plan.mean:.4g}, divided by {plan.std:.4g}.",
    )


def _zscore(relative_size_after_crop: float) -> Choice[NormalizationPlan]:
    uses_mask = relative_size_after_crop < _MASK_BELOW
    where = "each case"
    if uses_mask:
        where = (
            f"the non-zero part of each case (the crop keeps only {relative_size_after_crop:.0%} "
            "of the voxels, so zero means outside)"
        )
    return Choice(
        NormalizationPlan(scheme="zscore", uses_mask=uses_mask),
        f"zscore, mean 0 and standard deviation 1 of {where}.",
    )
