"""What an outline surrounds."""

import numpy as np
import pytest

from diffunet.conversion.outlines import fill

RING = [(1, 1), (2, 1), (3, 1), (3, 2), (3, 3), (2, 3), (1, 3), (1, 2)]


def test_the_line_is_no_part_of_what_it_surrounds() -> None:
    within, line = fill(np.array(RING), (5, 6))
    assert np.argwhere(within).tolist() == [[2, 2]]
    assert line.sum() == 8


@pytest.mark.parametrize(
    "points",
    [RING[::-1], [*RING, RING[0]], [*RING, *RING], [(1, 1), (3, 1), (3, 3), (1, 3)]],
    ids=["the other way round", "closed", "twice", "corners alone"],
)
def test_ways_to_draw_one_line_surround_the_same(points: list[tuple[int, int]]) -> None:
    expected = fill(np.array(RING), (5, 5))
    found = fill(np.array(points), (5, 5))
    np.testing.assert_array_equal(found, expected)


def test_a_pixel_is_told_from_those_beside_it_by_x_and_y() -> None:
    points = np.array([(1, 0), (4, 0), (4, 2), (1, 2)])
    within, _ = fill(points, (3, 6))
    assert np.argwhere(within).tolist() == [[1, 2], [1, 3]]


def test_points_and_strokes_surround_nothing() -> None:
    assert not fill(np.array([(2, 2)]), (5, 5))[0].any()
    assert not fill(np.array([(1, 1), (2, 2), (3, 3), (2, 2)]), (5, 5))[0].any()


def test_an_outline_beyond_the_border_is_cut_off() -> None:
    within, line = fill(np.array([(-1, -1), (2, -1), (2, 2), (-1, 2)]), (4, 4))
    assert np.argwhere(within).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert line.sum() == 5


def test_random_polygons_equal_a_count_of_crossings() -> None:
    random = np.random.default_rng(0)
    for _ in range(6):
        angles = np.sort(random.random(9)) * 2 * np.pi
        radii = random.uniform(3, 12, 9)
        points = np.rint(
            np.column_stack([15 + radii * np.cos(angles), 14 + radii * np.sin(angles)])
        ).astype(int)
        within, line = fill(points, (28, 31))
        rows, columns = np.nonzero(~line)
        expected = [_is_within(points, x, y) for y, x in zip(rows, columns, strict=True)]
        np.testing.assert_array_equal(within[rows, columns], expected)


def _is_within(points: np.ndarray, x: int, y: int) -> bool:
    """Sum the angles under which the edges are seen; not zero means within."""
    towards = points - (x, y)
    angles = np.arctan2(towards[:, 1], towards[:, 0])
    turned = np.diff(np.append(angles, angles[0]))
    turned = (turned + np.pi) % (2 * np.pi) - np.pi
    return abs(turned.sum()) > 1
