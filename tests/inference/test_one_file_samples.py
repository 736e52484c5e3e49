"""`--save_samples one_file`: every command finds the samples of a case as if each had its file."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile

from diffunet.cli import ensemble, evaluate, postprocess
from diffunet.cli import predict as command
from diffunet.cli.predict import parser
from diffunet.data.image_io import read_label_map
from diffunet.errors import UsageError
from diffunet.inference.output import OutputFolder
from diffunet.jsonio import read_json, write_json
from tests.inference.models import dataset_content, small_configuration, small_plans, write_model
from tests.inference.test_predict import TWO_LABELS, contents, loaded, run, write_images
from tests.inference.written_folders import samples_in
from tests.postprocessing.test_apply import plan

IN_ONE = {"saves_samples": "one_file", "saves_probabilities": False}
APART = {"saves_samples": True, "saves_probabilities": False}


@pytest.fixture
def model(tmp_path):
    plans = small_plans(small_configuration())
    return write_model(tmp_path / "model", plans, content=dataset_content(labels=TWO_LABELS))


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", 2)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "samples").iterdir())


@pytest.fixture
def both(model, images, tmp_path):
    run(model, images, tmp_path / "apart", **APART)
    run(model, images, tmp_path / "one", **IN_ONE)
    return tmp_path / "apart", tmp_path / "one"


def test_an_image_has_one_page_per_sample(both):
    apart, one = both
    assert names_in(one) == ["case0_samples.tif", "case1_samples.tif"]
    pages = tifffile.imread(one / "samples" / "case0_samples.tif")
    files = sorted((apart / "samples").glob("case0_s*"))
    assert np.array_equal(pages, [read_label_map(path)[0] for path in files])
    assert contents(one)["case0.png"] == contents(apart)["case0.png"]


def test_a_volume_has_the_place_of_its_image(tmp_path):
    plans = small_plans(
        small_configuration(3, spacing_mm=(2.0, 1.0, 1.0), patch=8), transpose_forward=(0, 1, 2)
    )
    content = dataset_content(file_ending=".nii.gz", labels=TWO_LABELS)
    model = write_model(tmp_path / "model", plans, content=content)
    values = np.random.default_rng(0).normal(size=(11, 12, 7)).astype(np.float32)
    affine = np.array([[0, 0.9, 0, 5], [0.8, 0, 0, -3], [0, 0, -3, 2], [0, 0, 0, 1]], float)
    (tmp_path / "images").mkdir()
    image = nibabel.Nifti1Image(values, affine)
    image.set_sform(affine, code=2)
    image.to_filename(tmp_path / "images" / "scan_0000.nii.gz")
    run(model, tmp_path / "images", tmp_path / "one", **IN_ONE)
    run(model, tmp_path / "images", tmp_path / "apart", **APART)
    assert names_in(tmp_path / "one") == ["scan_samples.nii.gz"]
    found = nibabel.load(tmp_path / "one" / "samples" / "scan_samples.nii.gz")
    assert found.shape == (11, 12, 7, 3)
    assert np.allclose(found.affine, affine, atol=1e-5)
    assert found.header["sform_code"] == 2
    assert found.get_data_dtype() == np.uint8
    for number in range(3):
        alone = nibabel.load(tmp_path / "apart" / "samples" / f"scan_s{number:02d}.nii.gz")
        assert np.array_equal(np.asarray(alone.dataobj), np.asarray(found.dataobj)[..., number])


def test_scores_and_mixtures_do_not_depend_on_the_form(both, tmp_path):
    apart, one = both
    references = tmp_path / "references"
    references.mkdir()
    for case in ("case0", "case1"):
        for rater in range(2):
            name = f"samples/{case}_s{rater:02d}.png"
            shutil.copyfile(apart / name, references / f"{case}_r{rater:02d}.png")
    content = {**dataset_content(labels=TWO_LABELS), "raters": True}
    found = {}
    for folder in both:
        write_json(folder / "dataset.json", content)
        assert evaluate.main([str(references), str(folder), "-np", "0"]) == 0
        found[folder] = read_json(folder / "summary.json")["mean"]
    assert found[apart] == found[one]
    for name, inputs in (("a", (apart, one)), ("b", (one, apart))):
        output = tmp_path / name
        words = ["-i", *map(str, inputs), "-o", str(output), "--num_samples", "4"]
        assert ensemble.main(words) == 0
    assert len(samples_in(tmp_path / "a", "case0")) == 4
    assert not set(samples_in(tmp_path / "a", "case0")) - set(samples_in(apart, "case0"))


def test_post_processing_takes_the_samples_of_either_form(both, tmp_path):
    file = plan(tmp_path / "plan.json", keep_largest_of=[["anterior"]])
    for folder in both:
        output = tmp_path / f"{folder.name}_cleaned"
        assert postprocess.main_apply(["-i", str(folder), "-o", str(output), "-pp", str(file)]) == 0
    cleaned = [samples_in(tmp_path / f"{name}_cleaned", "case1") for name in ("apart", "one")]
    assert len(cleaned[0]) == 3
    assert cleaned[0] == cleaned[1]


def test_asked_again_in_the_other_form_no_sample_is_there_twice(model, images, tmp_path):
    output = tmp_path / "out"
    run(model, images, output, **IN_ONE)
    run(model, images, output, **APART)
    assert len(names_in(output)) == 6
    with pytest.raises(UsageError, match="samples"):
        run(model, images, output, continues=True, **IN_ONE)
    assert len(names_in(output)) == 6
    run(model, images, output, **IN_ONE)
    assert names_in(output) == ["case0_samples.tif", "case1_samples.tif"]


def test_both_forms_of_a_case_side_by_side_are_refused(both, tmp_path, capsys):
    apart, one = both
    shutil.copyfile(
        apart / "samples" / "case0_s00.png", tmp_path / "one" / "samples" / "case0_s00.png"
    )
    references = tmp_path / "references"
    references.mkdir()
    for case in ("case0", "case1"):
        shutil.copyfile(apart / f"{case}.png", references / f"{case}.png")
    assert evaluate.main([str(references), str(one), "-np", "0"]) == 2
    assert "expected its samples once" in capsys.readouterr().err


def test_a_continued_run_keeps_whole_cases_and_mends_others(model, images, tmp_path):
    output = tmp_path / "out"
    run(model, images, output, **IN_ONE)
    before = contents(output)
    (output / "samples" / "case1_samples.tif").unlink()
    (output / "samples" / ".unfinished-0123456789abcdef-case1_samples.tif").write_bytes(b"torn")
    time = (output / "samples" / "case0_samples.tif").stat().st_mtime_ns
    run(model, images, output, continues=True, **IN_ONE)
    assert contents(output) == before
    assert (output / "samples" / "case0_samples.tif").stat().st_mtime_ns == time


def test_a_case_that_fails_leaves_no_file_of_samples(model, images, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise UsageError("the disk is full")

    monkeypatch.setattr(OutputFolder, "write_maps", fail)
    with pytest.raises(UsageError):
        run(model, images, tmp_path / "out", **IN_ONE)
    assert not list((tmp_path / "out").rglob("*_samples*"))


def test_another_word_is_refused(model, images, tmp_path):
    with pytest.raises(UsageError, match="one_file"):
        run(model, images, tmp_path / "out", saves_samples="one")


@pytest.mark.parametrize(
    ("words", "expected"),
    [([], False), (["--save_samples"], True), (["--save_samples", "one_file"], "one_file")],
)
def test_the_flag_alone_still_means_separate_files(words, expected):
    given = parser().parse_args(["-i", "a", "-o", "b", *words, "--seed", "1"])
    assert given.saves_samples == expected


def test_the_command_writes_one_file_and_tables_of_labels(model, images, tmp_path):
    words = ["-i", str(images), "-o", str(tmp_path / "out"), "--model", str(model)]
    assert command.main([*words, "--save_samples", "one_file", "-device", "cpu"]) == 0
    assert loaded(model).labels.names == ("anterior", "left lobe")
    assert '"left lobe"' in (tmp_path / "out" / "labels.txt").read_text()
    assert "left_lobe" in (tmp_path / "out" / "labels.ctbl").read_text()
    assert len(names_in(tmp_path / "out")) == 2
