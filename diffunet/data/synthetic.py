"""Generated images whose true distribution of expert masks is known exactly.

An image shows one or several ellipses, each with a fainter halo around it. A rater sees a lesion
with probability p, and then draws it up to one of several outlines between the core and the rim of
the halo; q says how far out. Both are visible: p is the lesion's brightness, q that of its halo.
Raters may have styles: a bold one sees more, and draws all that he sees further out.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from diffunet.randomness import numpy_generator

BACKGROUND = 70.0
TEXTURE_STD = 10.0
TEXTURE_SCALE = 2.5  # of its Gaussian, voxels
NOISE_STD = 6.0
_BLUR_STD = 0.5
_CONTRASTS = ((25.0, 150.0), (-20.0, -65.0))  # of the least and the surest lesion, by label
_HALO_WIDTH = 1.6
_HALO_CONTRAST = 0.7
_MOST_OUTCOMES = 4096
_MOST_TRIES = 50  # to place a lesion apart from the others


@dataclass(frozen=True, kw_only=True)
class SceneFamily:
    """What the images of a dataset have in common; the default is that of the demo.

    Attributes:
        size: of an image, voxels, two or three axes.
        num_lesions: fewest and most in an image.
        radius: smallest and largest of a core, as a share of the image's shortest edge.
        presence: smallest and largest p.
        halo: smallest and largest q.
        num_outlines: that a rater may draw of a lesion, evenly from the core to the halo's rim.
        num_labels: 1 or 2; lesions of the second are darker than what is around them.
        num_styles: of raters; rater k has style k modulo it. 1: all raters draw alike.
        style_strength: by how much the logits of p and q of the boldest and of the most cautious
            style differ from those in the image, up and down.
    """

    size: tuple[int, ...] = (64, 64)
    num_lesions: tuple[int, int] = (1, 1)
    radius: tuple[float, float] = (0.08, 0.15)
    presence: tuple[float, float] = (0.15, 0.95)
    halo: tuple[float, float] = (0.1, 0.9)
    num_outlines: int = 2
    num_labels: int = 1
    num_styles: int = 1
    style_strength: float = 1.5

    def __post_init__(self) -> None:
        ranges = (self.num_lesions, self.radius, self.presence, self.halo)
        if len(self.size) not in (2, 3) or any(low > high for low, high in ranges):
            raise ValueError(f"size should have two or three axes, ranges should rise: {self}")
        if not 1 <= self.num_labels <= len(_CONTRASTS) or min(self.num_styles, 1) < 1:
            raise ValueError(f"expected 1 or 2 labels and at least one style: {self}")
        if self.num_outlines < 2 or self.num_lesions[0] < 0:
            raise ValueError(f"expected at least two outlines, and no negative number: {self}")
        if 2 * self.margin(self.radius[1] * min(self.size)) > min(self.size):
            raise ValueError(
                f"a radius of {self.radius[1]} of the shortest edge ({min(self.size)} voxels) has "
                f"no room for its halo; expected at most "
                f"{(min(self.size) / 2 - 1) / (_HALO_WIDTH * min(self.size)):.2f}"
            )
        most = (1 + self.num_outlines) ** self.num_lesions[1]
        if most > _MOST_OUTCOMES:
            raise ValueError(
                f"{self.num_lesions[1]} lesions of {self.num_outlines} outlines have {most} "
                f"outcomes; at most {_MOST_OUTCOMES} are enumerated"
            )

    def margin(self, radius: float) -> float:
        """Return how far a lesion's centre is from the edges at least; all in voxels."""
        return _HALO_WIDTH * radius + 1

    def style_shift(self, style: int) -> float:
        """Return what a style adds to the logits of p and q; 0 on average over styles."""
        if self.num_styles == 1:
            return 0.0
        return self.style_strength * (2 * style / (self.num_styles - 1) - 1)


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """An ellipse with a halo.

    Attributes:
        centre, radii: of the core, voxels, in array order.
        angle: by which the last two axes are turned, radians.
        presence: p, how likely a rater of average style sees it.
        halo: q, in (0, 1): how far out he draws it.
        label: index of its label.
    """

    centre: tuple[float, ...]
    radii: tuple[float, ...]
    angle: float
    presence: float
    halo: float
    label: int = 0

    def distance(self, size: tuple[int, ...]) -> np.ndarray:
        """Return the distance from the centre in units of the core's radius, per voxel."""
        grid = np.indices(size).astype(float)
        *others, rows, columns = (
            axis - middle for axis, middle in zip(grid, self.centre, strict=True)
        )
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        along, across = cosine * rows + sine * columns, cosine * columns - sine * rows
        axes = [*others, along, across]
        squares = [(axis / radius) ** 2 for axis, radius in zip(axes, self.radii, strict=True)]
        return np.sqrt(np.sum(squares, axis=0))

    def brightness(self, size: tuple[int, ...]) -> np.ndarray:
        """Return what the lesion adds to the image, *size; dark lesions take away."""
        distance = self.distance(size)
        weak, strong = _CONTRASTS[self.label]
        contrast = weak + (strong - weak) * self.presence
        in_halo = np.where(distance <= _HALO_WIDTH, _HALO_CONTRAST * self.halo, 0)
        return contrast * gaussian_filter(np.where(distance <= 1, 1.0, in_halo), _BLUR_STD)

    def outlines(self, size: tuple[int, ...], number: int) -> np.ndarray:
        """Return the masks of all outlines from the core outwards, (outline, *size) bool."""
        distance = self.distance(size)
        return np.stack([distance <= edge for edge in np.linspace(1, _HALO_WIDTH, number)])

    def probabilities(self, number: int, *, shift: float) -> np.ndarray:
        """Return how likely a rater draws nothing, the core, ..., the rim, (1 + number,).

        Outline k has a share proportional to q^(k / (number - 1)) (1 - q)^(1 - k / (number - 1)).

        Args:
            shift: of the rater's style, added to the logits of p and q.
        """
        presence, halo = _shifted(self.presence, shift), _shifted(self.halo, shift)
        place = np.linspace(0, 1, number)
        shares = halo**place * (1 - halo) ** (1 - place)
        return np.array([1 - presence, *(presence * shares / shares.sum())])


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One image of a family; where lesions meet, the later one is drawn."""

    family: SceneFamily
    lesions: tuple[Lesion, ...]

    def outcomes(self) -> np.ndarray:
        """Return every label map that a rater may draw, (outcome, *size): 0 is background."""
        number = self.family.num_outlines
        outlines = [lesion.outlines(self.family.size, number) for lesion in self.lesions]
        choices = list(itertools.product(range(1 + number), repeat=len(self.lesions)))
        maps = np.zeros((len(choices), *self.family.size), np.uint8)
        for label_map, choice in zip(maps, choices, strict=True):
            for lesion, masks, drawn in zip(self.lesions, outlines, choice, strict=True):
                if drawn:
                    label_map[masks[drawn - 1]] = 1 + lesion.label
        return maps

    def probabilities(self, style: int | None = None) -> np.ndarray:
        """Return how likely each of `outcomes` is, (outcome,).

        Args:
            style: of the rater; None: of a rater of whom nothing is known.
        """
        styles = range(self.family.num_styles) if style is None else [style]
        return np.mean([self._of_style(each) for each in styles], axis=0)

    def draw(self, rater: int, generator: np.random.Generator) -> int:
        """Return the number of the outcome that a rater draws."""
        shares = self.probabilities(rater % self.family.num_styles)
        return int(generator.choice(len(shares), p=shares))

    def render(self, generator: np.random.Generator) -> np.ndarray:
        """Return the image, *size, uint8."""
        size = self.family.size
        texture = gaussian_filter(generator.normal(size=size), TEXTURE_SCALE)
        image = BACKGROUND + texture * (TEXTURE_STD / texture.std())
        for lesion in self.lesions:
            image += lesion.brightness(size)
        image += generator.normal(0, NOISE_STD, size)
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)

    def _of_style(self, style: int) -> np.ndarray:
        shift = self.family.style_shift(style)
        each = [
            lesion.probabilities(self.family.num_outlines, shift=shift) for lesion in self.lesions
        ]
        return np.array([math.prod(shares) for shares in itertools.product(*each)])


def scene_of_case(case: str, family: SceneFamily, *, seed: int) -> Scene:
    """Return the scene of a case; a pure function of its arguments.

    A lesion that finds no place apart from the others is left out.
    """
    generator = numpy_generator(seed, "scene", case)
    fewest, most = family.num_lesions
    number = fewest if fewest == most else int(generator.integers(fewest, most + 1))
    lesions: list[Lesion] = []
    for _ in range(number):
        lesion = _lesion(family, lesions, generator)
        if lesion is not None:
            lesions.append(lesion)
    return Scene(family=family, lesions=tuple(lesions))


def _lesion(
    family: SceneFamily, others: list[Lesion], generator: np.random.Generator
) -> Lesion | None:
    size = family.size
    radii = generator.uniform(*family.radius, len(size)) * min(size)
    margin = family.margin(radii.max())
    for _ in range(_MOST_TRIES):
        centre = tuple(float(generator.uniform(margin, edge - margin)) for edge in size)
        if all(
            math.dist(centre, other.centre) > margin + _HALO_WIDTH * max(other.radii)
            for other in others
        ):
            break
    else:
        return None
    return Lesion(
        centre=centre,
        radii=tuple(float(radius) for radius in radii),
        angle=float(generator.uniform(0, np.pi)),
        presence=float(generator.uniform(*family.presence)),
        halo=float(generator.uniform(*family.halo)),
        label=int(generator.integers(family.num_labels)) if family.num_labels > 1 else 0,
    )


def _shifted(share: float, shift: float) -> float:
    """Return a share whose logit is `shift` larger."""
    if not shift or share in (0, 1):
        return share
    return 1 / (1 + math.exp(-shift) * (1 - share) / share)
