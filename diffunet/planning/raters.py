"""Who the raters are, and whether their numbers mean the same people throughout."""

from diffunet.fingerprint.fingerprint import RaterFingerprint
from diffunet.fingerprint.traps import seem_to_be_people
from diffunet.planning.choice import Choice


def choose_raters(raters: RaterFingerprint | None) -> Choice[tuple[str, ...]]:
    """Return the raters' names, and in words why the network is not told who drew.

    Nobody but the user knows whether a number means one person. The network is told only if he says
    so; what the masks say about it stands in the reason.
    """
    if raters is None or raters.per_case.mean <= 1:
        return Choice((), "Off: no case has several raters.")
    if raters.habits is None:
        names = tuple(sorted(raters.share_of_empty_masks_by_rater))
        return Choice(names, "Off: too few patients have the same raters to compare them.")
    habits, names = raters.habits, tuple(sorted(raters.habits.mean_ranks))
    ranks = ", ".join(f"{name} {habits.mean_ranks[name]:.2f}" for name in names)
    found = f"p = {habits.p_value:.2g}, {habits.num_patients} patients; mean ranks {ranks}"
    if seem_to_be_people(habits):
        return Choice(
            names,
            "Off, since only you know who the raters are. Some numbers mark more than others "
            f"throughout ({found}): if each is one person, and files are not numbered by their "
            "content, set it to draw as each of them (--rater).",
        )
    return Choice(
        names,
        "Off: no rater number marks more or less than others throughout, so nothing shows that "
        f"numbers mean people ({found}). Set it if you know that they do: people may differ in "
        "other ways. If they do not, the network learns nothing from them.",
    )
