import pytest

from diffunet.data.prediction_records import read_record, record_path
from diffunet.jsonio import write_json

WHOLE = {"settings": {"seed": 0}, "input": None, "files": {}, "shape": [4, 4]}


@pytest.mark.parametrize(
    "damaged",
    [
        [],
        {},
        {"settings": 3},
        WHOLE | {"settings": None},
        WHOLE | {"input": 5},
        WHOLE | {"files": []},
        WHOLE | {"files": {"a.png": 1}},
    ],
)
def test_a_record_of_another_form_counts_as_absent(damaged, tmp_path):
    write_json(record_path(tmp_path, "a"), WHOLE)
    assert read_record(tmp_path, "a") is not None
    write_json(record_path(tmp_path, "a"), damaged)
    assert read_record(tmp_path, "a") is None
