"""The colour of each label, the same in pictures and in the tables of viewers."""

import colorsys

_FIRST = (
    *((228, 60, 50), (60, 180, 75), (50, 110, 230), (255, 205, 30), (190, 75, 200)),
    *((40, 190, 200), (245, 130, 48), (245, 110, 170), (150, 100, 50), (140, 150, 30)),
)
"""Of the first ten labels: far apart in hue, on grey images and on white paper."""

_GOLDEN_TURN = 0.618  # of the circle of hues: the next colour is far from all before


def label_colours(num_labels: int) -> list[tuple[int, int, int]]:
    """Return red, green and blue in [0, 255] for each label; background has no colour."""
    more = (
        colorsys.hsv_to_rgb(number * _GOLDEN_TURN % 1, 0.65, 0.9)
        for number in range(len(_FIRST), num_labels)
    )
    others = [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in more]
    return [*_FIRST, *others][:num_labels]
