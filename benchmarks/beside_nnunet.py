"""Plan and preprocess one dataset with nnU-Net and with diffunet, and compare what comes of it.

    python benchmarks/beside_nnunet.py FOLDER_OF_A_RAW_DATASET --nnunet PYTHON [-o result.json]
    python benchmarks/beside_nnunet.py --ct 12 --nnunet PYTHON

PYTHON is the interpreter of an environment with nnunetv2. The second line makes CT volumes of
unequal spacing. Compared are spacing, shapes and intensities of every case of the configurations
that both have, and seconds of the processor and the peak of memory of all processes together.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from diffunet.data.store.case_store import CaseStore
from diffunet.plans import Plans

CONFIGURATIONS = ("2d", "3d_fullres")
SECONDS_BETWEEN_LOOKS = 0.02
READ_NNUNET = """
import json, sys
import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
folder, output = sys.argv[1:]
dataset = infer_dataset_class(folder)(folder)
np.savez(output, **{name: np.asarray(dataset.load_case(name)[0]) for name in dataset.identifiers})
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("--ct", type=int, default=0, metavar="VOLUMES")
    parser.add_argument("--nnunet", type=Path, required=True, metavar="PYTHON")
    parser.add_argument("-o", dest="output", type=Path)
    given = parser.parse_args()
    if given.dataset is None and given.ct < 1:
        parser.error("give the folder of a raw dataset, or --ct with a number of volumes")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = given.dataset or write_ct(folder / "ct" / "Dataset901_CT", given.ct)
        (folder / "raw").mkdir()
        (folder / "raw" / dataset.name).symlink_to(dataset.resolve())
        number = dataset.name[len("Dataset") :].split("_")[0]
        times = {
            "nnunet": run_nnunet(given.nnunet, folder, number),
            "diffunet": run_diffunet(folder, number),
        }
        ratios = {key: times["diffunet"][key] / times["nnunet"][key] for key in times["diffunet"]}
        result = {"dataset": dataset.name, "times": times, "diffunet_over_nnunet": ratios}
        result["configurations"] = {
            each: compare(folder, dataset.name, each, given.nnunet) for each in CONFIGURATIONS
        }
    text = json.dumps(result, indent=2)
    sys.stdout.write(text + "\n")
    if given.output:
        given.output.write_text(text + "\n")


def run_nnunet(python: Path, folder: Path, number: str) -> dict[str, float]:
    """Let nnU-Net check, plan and preprocess, one worker for each step."""
    entry = (
        "from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import "
        "plan_and_preprocess_entry as main; main()"
    )
    words = ["-d", number, "-c", *CONFIGURATIONS, "-np", "1", "1", "-npfp", "1"]
    environment = {
        "nnUNet_raw": str(folder / "raw"),
        "nnUNet_preprocessed": str(folder / "nnunet"),
        "nnUNet_results": str(folder / "nnunet_results"),
    }
    return measured(
        [python, "-c", entry, *words, "--verify_dataset_integrity", "--no_pbar"], environment
    )


def run_diffunet(folder: Path, number: str) -> dict[str, float]:
    """Let diffunet do the same, in one process."""
    command = [sys.executable, "-m", "diffunet.cli.plan_and_preprocess"]
    return measured([*command, "-d", number, "-np", "0", "--workspace", folder], {})


def measured(command: list[Any], environment: dict[str, str]) -> dict[str, float]:
    """Run a command; return its seconds, and its peak of memory, of all processes together."""
    before, start = os.times(), time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    ended = threading.Event()
    peak: list[int] = [0]
    watch = threading.Thread(target=_watch, args=(process.pid, ended, peak))
    watch.start()
    said, _ = process.communicate()
    ended.set()
    watch.join()
    if process.returncode:
        raise SystemExit(said)
    after = os.times()
    return {
        "cpu_s": after.children_user
        + after.children_system
        - before.children_user
        - before.children_system,
        "wall_s": time.perf_counter() - start,
        "peak_gb": peak[0] / 1e9,
    }


def _watch(session: int, ended: threading.Event, peak: list[int]) -> None:
    while not ended.wait(SECONDS_BETWEEN_LOOKS):
        total = 0
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                total += _memory_of(path, session)
        peak[0] = max(peak[0], total)


def _memory_of(path: Path, session: int) -> int:
    """Return the bytes of a process, its part of what it shares; 0 if it is of another session."""
    try:
        if os.getsid(int(path.name)) != session:
            return 0
        lines = (path / "smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def compare(folder: Path, name: str, configuration: str, python: Path) -> dict[str, Any]:
    """Return how what both made of the cases differs."""
    theirs = json.loads((folder / "nnunet" / name / "nnUNetPlans.json").read_text())
    plan = theirs["configurations"][configuration]
    plans = Plans.load(folder / "preprocessed" / name / "diffunet_plans.json")
    ours = plans.configuration(configuration)
    arrays = folder / f"{configuration}.npz"
    made = folder / "nnunet" / name / plan["data_identifier"]
    subprocess.run(
        [python, "-c", READ_NNUNET, made, arrays], check=True, capture_output=True, text=True
    )
    store = CaseStore(folder / "preprocessed" / name / ours.data_identifier / "images")
    differences, other_shapes = [], []
    with np.load(arrays) as of_nnunet:
        for case in of_nnunet.files:
            expected = of_nnunet[case]
            stored = np.asarray(store.array(case, "image")[:])
            found = store.properties(case).normalized(stored)
            if found.shape != expected.shape:
                other_shapes.append([case, list(found.shape), list(expected.shape)])
                continue
            differences.append(np.abs(found - expected))
    pooled = np.concatenate([each.ravel() for each in differences]) if differences else None
    return {
        "spacing": {"nnunet": plan["spacing"], "diffunet": list(ours.preprocessing.spacing_mm)},
        "patch_size": {"nnunet": plan["patch_size"], "diffunet": list(ours.patch_size)},
        "normalization": {
            "nnunet": theirs["foreground_intensity_properties_per_channel"],
            "diffunet": [asdict(rule) for rule in ours.preprocessing.normalization],
        },
        "num_cases": len(differences) + len(other_shapes),
        "other_shapes": other_shapes[:5],
        "num_other_shapes": len(other_shapes),
        "difference_of_intensities": None
        if pooled is None
        else {
            "mean": float(pooled.mean()),
            "percentile_99": float(np.percentile(pooled, 99)),
            "largest": float(pooled.max()),
        },
    }


def write_ct(folder: Path, num_volumes: int) -> Path:
    """Write volumes of air, a body, and a ball of another density, each with its own spacing."""
    generator = np.random.default_rng(0)
    for kind in ("imagesTr", "labelsTr"):
        (folder / kind).mkdir(parents=True)
    for index in range(num_volumes):
        shape = generator.integers((96, 96, 30), (129, 129, 61))
        spacing = (*generator.choice([0.7, 0.8, 1.0], 1).repeat(2), generator.choice([2.0, 3.0]))
        grid = np.stack(np.meshgrid(*[np.arange(size) for size in shape], indexing="ij"), -1)
        middle = (shape - 1) / 2
        body = (((grid - middle) / (0.42 * shape))[..., :2] ** 2).sum(-1) < 1
        centre = middle + generator.uniform(-0.15, 0.15, 3) * shape
        radius_mm = generator.uniform(8, 18)
        ball = (((grid - centre) * spacing) ** 2).sum(-1) < radius_mm**2
        image = np.where(body, 40, -1000) + np.where(ball, generator.uniform(30, 90), 0)
        image = image + generator.normal(0, 15, shape) + 20 * np.sin(grid[..., 0] / 9)
        affine = np.diag([*spacing, 1.0])
        stem = f"scan{index:03d}"
        for kind, name, array in (
            ("imagesTr", f"{stem}_0000", np.clip(image, -1024, 3071).astype(np.int16)),
            ("labelsTr", stem, ball.astype(np.uint8)),
        ):
            nibabel.Nifti1Image(array, affine).to_filename(folder / kind / f"{name}.nii.gz")
    content = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "tumour": 1},
        "numTraining": num_volumes,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content, indent=2))
    return folder


if __name__ == "__main__":
    main()
