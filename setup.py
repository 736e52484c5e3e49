"""Install diffunet with `pip install .`; to develop, with `pip install -e ".[dev,oracles]"`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

# Every run-time dependency stands here with the reason why it is one.
REQUIREMENTS = [
    "torch>=2.8",  # networks, training, sampling
    "numpy>=1.26",  # every array outside torch
    "scipy>=1.11",  # connected components, k-d trees, Hungarian matching
    # preprocessed data: compressed arrays, read by the patch. Older versions run functions that a
    # file holds when it is opened; Python 3.10 has no newer one, and diffunet opens no such file
    "blosc2>=4.14.1; python_version >= '3.11'",
    "blosc2>=4.3.3; python_version < '3.11'",
    "batchgeneratorsv2>=0.3.2",  # augmentation, the transforms that nnU-Net trains with
    "acvl-utils>=0.2.5,<0.3",  # pads images of any dimension to whole tiles
    "SimpleITK>=2.3",  # reads and writes NIfTI, NRRD and MetaImage
    "nibabel>=5.1",  # NIfTI files that ITK refuses (non-orthonormal directions)
    "pydicom>=2.4",  # headers of DICOM files, also of those without an image, which ITK refuses
    "Pillow>=10.0",  # PNG, BMP
    "tifffile>=2023.7",  # TIFF, also volumes
    "matplotlib>=3.8",  # pictures and plots; never imported by training
    "jinja2>=3.1",  # pages of diffunet_report, escaped by default; torch needs it anyway
    "tqdm>=4.66",  # progress with the time left
    "jaxtyping>=0.2.34",  # shapes in annotations
]

# The documentation as a site: builds without a network, search works without a server, and links
# are checked.
SITE = ["sphinx>=7.3", "furo>=2024.1", "myst-parser>=3.0", "sphinx-copybutton>=0.5"]

EXTRAS = {
    "site": SITE,
    "dev": [
        *SITE,
        "beartype>=0.18",  # with jaxtyping: shapes checked whenever tests run
        "build",
        "import-linter>=2.0",
        "pyright>=1.1.380",
        "pytest>=8.0",
        "pytest-cov>=5.0",
        "pytest-xdist>=3.5",
        "ruff>=0.6",
    ],
    # the backbone "monai"; its attention needs einops, which MONAI itself does not ask for
    "monai": ["monai>=1.4", "einops>=0.6"],
    # diffunet_train --logger NAME
    "tensorboard": ["tensorboard>=2.10"],
    "wandb": ["wandb>=0.15"],
    "mlflow": ["mlflow-skinny>=2.9"],
    # independent implementations that tests compare with; those of the backbone need it as well
    "oracles": ["diffusers>=0.30", "monai>=1.4", "einops>=0.6", "tensorboard>=2.10"],
}

COMMANDS = {
    "diffunet_convert_dataset": "convert:main",
    "diffunet_example_dataset": "example_dataset:main",
    "diffunet_plan_and_preprocess": "plan_and_preprocess:main",
    "diffunet_verify_dataset": "plan_and_preprocess:main_verify",
    "diffunet_extract_fingerprint": "plan_and_preprocess:main_fingerprint",
    "diffunet_plan_experiment": "plan_and_preprocess:main_plan",
    "diffunet_preprocess": "plan_and_preprocess:main_preprocess",
    "diffunet_move_plans": "plan_and_preprocess:main_move",
    "diffunet_train": "train:main",
    "diffunet_predict": "predict:main",
    "diffunet_pseudo_label": "pseudo_label:main",
    "diffunet_evaluate": "evaluate:main",
    "diffunet_ensemble": "ensemble:main",
    "diffunet_accumulate_crossval_results": "selection:main_accumulate",
    "diffunet_determine_postprocessing": "postprocess:main_determine",
    "diffunet_apply_postprocessing": "postprocess:main_apply",
    "diffunet_find_best_configuration": "selection:main_best",
    "diffunet_ablate": "ablate:main",
    "diffunet_report": "report:main",
    "diffunet_demo": "demo:main",
    "diffunet_export_model": "share:main_export",
    "diffunet_install_model": "share:main_install",
    "diffunet_model_info": "share:main_info",
}

# The version stands in the package alone, and is read here without importing it.
SOURCE = Path("diffunet/__init__.py").read_text(encoding="utf-8")
VERSION = re.findall(r'^__version__ = "(.+)"$', SOURCE, flags=re.MULTILINE)[0]

setup(
    name="diffunet",
    version=VERSION,
    description="Self-configuring diffusion models for ambiguous medical image segmentation",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["diffunet", "diffunet.*"]),
    package_data={"diffunet": ["py.typed", "report/templates/*", "sharing/models/*.zip"]},
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [f"{name} = diffunet.cli.{target}" for name, target in COMMANDS.items()]
    },
)
