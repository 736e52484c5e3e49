import pytest

from diffunet.errors import WriteError
from diffunet.training.metrics import append_record, keep_records_until, read_records
from tests.full_disk import full_disk


def test_records_come_back_in_order_and_undefined_numbers_as_none(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_record(path, {"iteration": 1, "loss": 0.5})
    append_record(path, {"iteration": 2, "loss": float("nan")})
    assert read_records(path) == [{"iteration": 1, "loss": 0.5}, {"iteration": 2, "loss": None}]


def test_a_torn_last_line_is_passed_over_and_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 1}\n{"iteration": 2}\n{"iteration": 3}\n{"iterat')
    assert len(read_records(path)) == 3
    keep_records_until(path, 2, last_validation=-1)
    assert path.read_text() == '{"iteration": 1}\n{"iteration": 2}\n'


def test_without_a_file_there_are_no_records(tmp_path):
    keep_records_until(tmp_path / "metrics.jsonl", 5, last_validation=5)
    assert read_records(tmp_path / "metrics.jsonl") == []


def test_lines_that_are_no_records_are_passed_over(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"iteration": 1}\n[1]\n{"iteration": "2"}\n\xff\n{"loss": NaN}\n9\n{"iter')
    assert read_records(path) == [{"iteration": 1}]


def test_of_a_run_that_left_no_checkpoint_not_even_its_start_is_kept(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for iteration in (0, 4, 4):
        append_record(path, {"kind": "start", "iteration": iteration})
    keep_records_until(path, 4, last_validation=0)
    assert [record["iteration"] for record in read_records(path)] == [0]


def test_a_full_disk_is_told_with_the_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(WriteError, match=r"metrics\.jsonl'"), full_disk(5):
        append_record(path, {"kind": "training", "iteration": 1})
