import numpy as np
import pytest

from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.dataset import open_dataset
from diffunet.data.synthetic import SceneFamily, scene_of_case
from diffunet.data.synthetic_dataset import read_family, write_ambiguous_dataset


@pytest.mark.parametrize(
    "family",
    [SceneFamily(size=(32, 40)), SceneFamily(size=(12, 24, 24), num_labels=2, num_styles=3)],
    ids=["images", "volumes"],
)
def test_the_dataset_on_disk_is_what_the_scenes_say(tmp_path, family):
    folder = tmp_path / "Dataset001_Synthetic"
    write_ambiguous_dataset(folder, num_training=3, num_test=2, num_raters=3, family=family, seed=4)
    dataset = open_dataset(folder)
    assert (len(dataset.training_cases), len(dataset.test_cases)) == (3, 2)
    assert read_family(folder) == (family, 4)
    for case in (*dataset.training_cases, *dataset.test_cases):
        assert list(case.labels) == ["r00", "r01", "r02"]
        outcomes = scene_of_case(case.case, family, seed=4).outcomes()
        assert read_image(case.images)[0].shape == (1, *family.size)
        for path in case.labels.values():
            drawn = read_label_map(path)[0]
            assert any(np.array_equal(drawn, label_map) for label_map in outcomes)
