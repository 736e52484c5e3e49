"""How near to the truth anybody can come who sees the image alone: the perfect reader.

    python benchmarks/known_truth_reader.py FOLDER --num_cases 200

The truth of a scene knows its p, q and outlines, which texture and noise hide a little. So even a
perfect model has a GED above 0. Its answer is the mean of the truths over the posterior of scenes
given the image. Texture and noise are Gaussian, with a covariance that is known, so the posterior
is sampled by a Markov chain (Metropolis, with proposals of the chain's own covariance).

Only families of one lesion. Two things are left out, both small: grey values are rounded and cut at
0 and 255, and the texture of an image is scaled to one standard deviation exactly.

Each image is a line of FOLDER/reader.jsonl once it is read; run again, it goes on.
"""

import argparse
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from known_truth import DATASET  # pyright: ignore[reportMissingImports]
from scipy.ndimage import gaussian_filter1d
from tqdm import tqdm

from diffunet.data.synthetic import (
    BACKGROUND,
    NOISE_STD,
    TEXTURE_SCALE,
    TEXTURE_STD,
    Lesion,
    Scene,
    SceneFamily,
    scene_of_case,
)
from diffunet.data.synthetic_dataset import read_family
from diffunet.jsonio import write_text
from diffunet.parallel import map_ordered
from diffunet.randomness import numpy_generator

NUM_STEPS = 12000
NUM_KEPT = 100
ADAPTED_SHARE = 0.25  # of the chain, left out: its proposals change there
TINY = 1e-12


class Likelihood:
    """log p(image | lesion) of a family, up to a constant.

    Texture is white noise that a Gaussian has smoothed along each axis, so that its covariance is a
    product over axes, and its eigenvectors are those of the axes.
    """

    def __init__(self, family: SceneFamily) -> None:
        self.family = family
        smoothed = [gaussian_filter1d(np.eye(edge), TEXTURE_SCALE, axis=0) for edge in family.size]
        found = [np.linalg.eigh(matrix @ matrix.T) for matrix in smoothed]
        self.vectors = [vectors for _, vectors in found]
        values = np.ones(())
        for eigenvalues, _ in found:
            values = values[..., None] * np.maximum(eigenvalues, 0)
        number = values.size
        total = np.prod([(matrix @ matrix.T).sum() for matrix in smoothed])
        variance = (values.sum() - total / number) / number  # of an image, around its own mean
        self.variances = TEXTURE_STD**2 / variance * values + NOISE_STD**2 + 1 / 12

    def __call__(self, image: np.ndarray, lesion: Lesion) -> float:
        rest = image - BACKGROUND - lesion.brightness(self.family.size)
        for axis, vectors in enumerate(self.vectors):
            rest = np.moveaxis(np.tensordot(vectors, rest, axes=(0, axis)), 0, axis)
        return -0.5 * float((rest**2 / self.variances).sum())


def log_prior(lesion: Lesion, family: SceneFamily) -> float:
    """Return the log density of what `scene_of_case` draws, up to a constant."""
    radii = np.array(lesion.radii) / min(family.size)
    if not _within(radii, family.radius) or not _within([lesion.angle], (0.0, np.pi)):
        return -np.inf
    if not _within([lesion.presence], family.presence) or not _within([lesion.halo], family.halo):
        return -np.inf
    margin = family.margin(max(lesion.radii))
    room = np.array(family.size) - 2 * margin
    if not all(
        margin <= at <= edge - margin for at, edge in zip(lesion.centre, family.size, strict=True)
    ):
        return -np.inf
    return -float(np.log(room).sum())


def posterior(
    image: np.ndarray, start: Lesion, likelihood: Likelihood, generator: np.random.Generator
) -> list[Lesion]:
    """Return NUM_KEPT lesions that the image may show, from a chain that begins at `start`.

    Begun at the true lesion, which is itself a draw of the posterior, the chain needs no time to
    find it, only time to forget it.
    """
    family = likelihood.family
    first_steps = first_proposal(family)
    proposal = np.diag(first_steps)
    num_adapted = int(NUM_STEPS * ADAPTED_SHARE)
    here = as_vector(start)
    level = likelihood(image, start) + log_prior(start, family)
    visited = np.empty((NUM_STEPS, len(here)))
    for step in range(NUM_STEPS):
        if step in (num_adapted // 4, num_adapted // 2, num_adapted):
            spread = np.cov(visited[step // 2 : step].T) + np.diag((0.01 * first_steps) ** 2)
            proposal = (
                2.4 / np.sqrt(len(here)) * np.linalg.cholesky(spread + TINY * np.eye(len(here)))
            )
        there = here + proposal @ generator.normal(size=len(here)) * (first_steps > 0)
        lesion = as_lesion(there)
        prior = log_prior(lesion, family)
        if prior > -np.inf:
            new = likelihood(image, lesion) + prior
            if np.log(generator.random()) < new - level:
                here, level = there, new
        visited[step] = here
    kept = np.linspace(num_adapted, NUM_STEPS - 1, NUM_KEPT).astype(int)
    return [as_lesion(visited[step]) for step in kept]


def first_proposal(family: SceneFamily) -> np.ndarray:
    """Return the first steps' standard deviations, as `as_vector` orders; 0 for what is fixed."""
    is_free = [low < high for low, high in (family.presence, family.halo)]
    shares = 0.05 * np.array(is_free)
    return np.concatenate([np.full(2 * len(family.size), 0.2), [0.1], shares])


def as_vector(lesion: Lesion) -> np.ndarray:
    return np.array([*lesion.centre, *lesion.radii, lesion.angle, lesion.presence, lesion.halo])


def as_lesion(vector: np.ndarray) -> Lesion:
    *places, angle, presence, halo = vector.tolist()
    half = len(places) // 2
    return Lesion(
        centre=tuple(places[:half]),
        radii=tuple(places[half:]),
        angle=angle,
        presence=presence,
        halo=halo,
    )


def ged_of_mixture(scenes: Sequence[Scene], scene: Scene) -> float:
    """Return the unbiased GED of one who draws a scene among several, then a mask of it.

    2 E d(s,y) - E d(s,s') - E d(y,y') with d = 1 - IoU, s and s' of different scenes.
    """
    masks = np.concatenate([each.outcomes() > 0 for each in [scene, *scenes]])
    shares = [each.probabilities() for each in [scene, *scenes]]
    flat = masks.reshape(len(masks), -1)
    used = flat[:, flat.any(axis=0)].astype(np.float32)
    both = (used @ used.T).astype(float)
    volumes = np.diagonal(both)
    unions = volumes[:, None] + volumes - both
    distance = 1 - np.divide(both, unions, out=np.ones_like(unions), where=unions > 0)
    number = len(scenes)
    outcome = len(shares[0])
    weights = np.stack(shares)
    blocks = distance.reshape(1 + number, outcome, 1 + number, outcome)
    means = np.einsum("ia,iajb,jb->ij", weights, blocks, weights)
    between, among = means[0, 1:].mean(), means[1:, 1:]
    D_ss = (among.sum() - np.trace(among)) / (number * (number - 1))
    return float(2 * between - D_ss - means[0, 0])


def mask_error(scenes: Sequence[Scene], scene: Scene) -> float:
    """Return how far the scenes' mean mask is from the scene's, both coded as -1 and 1, squared.

    That is x_0_hat's distance from Bayes' answer with all noise, as `known_truth.py levels` has it.
    """
    own, *means = (
        np.tensordot(each.probabilities(), each.outcomes() > 0, axes=1) for each in [scene, *scenes]
    )
    return float(np.mean((2 * np.mean(means, axis=0) - 2 * own) ** 2))


def read_case(folder: Path, case: str) -> dict[str, Any]:
    """Return how the perfect reader does on one test image."""
    family, seed = read_family(folder / "raw" / DATASET)
    scene = scene_of_case(case, family, seed=seed)
    (lesion,) = scene.lesions
    image = scene.render(numpy_generator("test image", case)).astype(float)
    found = posterior(image, lesion, Likelihood(family), numpy_generator("reader", case))
    scenes = [replace(scene, lesions=(each,)) for each in found]
    presences = np.array([each.presence for each in found])
    return {
        "case": case,
        "num_steps": NUM_STEPS,
        "ged": ged_of_mixture(scenes, scene),
        "mask_error": mask_error(scenes, scene),
        "presence": float(presences.mean()),
        "presence_std": float(presences.std()),
        "true_presence": lesion.presence,
    }


def read_cases(folder: Path, cases: Sequence[str], *, jobs: int) -> list[dict[str, Any]]:
    """Read the images that are not read yet, and return the records of all, in their order."""
    path = folder / "reader.jsonl"
    known = {each["case"]: each for each in whole_lines(path) if each.get("num_steps") == NUM_STEPS}
    write_text(path, "".join(json.dumps(each) + "\n" for each in known.values()))
    todo = [case for case in cases if case not in known]
    found = map_ordered(partial(read_case, folder), todo, num_processes=jobs if jobs > 1 else 0)
    for record in tqdm(found, total=len(todo), desc="reading images"):
        with path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        known[record["case"]] = record
    return [known[case] for case in cases]


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file, which may be missing, or end within a line."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with suppress(ValueError):
            records.append(json.loads(line))
    return records


def main(words: Sequence[str] | None = None) -> None:
    """Read as many test images as are asked for, and print the means."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="of known_truth.py data")
    parser.add_argument("--num_cases", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args(words)
    family, _ = read_family(given.folder / "raw" / DATASET)
    if family.num_lesions != (1, 1) or family.num_labels > 1:
        raise ValueError(f"expected a family of one lesion of one label, got {family}")
    cases = [f"test{index:05d}" for index in range(given.num_cases)]
    records = read_cases(given.folder, cases, jobs=given.jobs)
    ged = np.array([each["ged"] for each in records])
    error = np.mean([each["mask_error"] for each in records])
    print(f"{len(ged)} images: GED {ged.mean():.4f} (s.e. {ged.std() / np.sqrt(len(ged)):.4f})")
    print(f"x_0_hat to Bayes with all noise {error:.5f}")
    off = np.array([each["presence"] - each["true_presence"] for each in records])
    print(f"presence off by {np.sqrt(np.mean(off**2)):.3f}")


def _within(values: Sequence[float] | np.ndarray, limits: tuple[float, float]) -> bool:
    low, high = limits
    return bool(np.all((np.asarray(values) >= low) & (np.asarray(values) <= high)))


if __name__ == "__main__":
    import known_truth_reader  # pyright: ignore[reportMissingImports]  # as workers know it

    known_truth_reader.main()
