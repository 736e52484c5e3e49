"""Progress of predictions by their steps."""

import logging

import pytest
import torch

from diffunet.inference.ticking import ticking

CPU = torch.device("cpu")


class Shown:
    """A progress bar that remembers how far it came."""

    def __init__(self):
        self.num = 0
        self.is_closed = False

    def __call__(self, items, total, description):
        assert (total, description) == (4, "predicting")
        for item in items:
            yield item
            self.num += 1
        self.is_closed = True


def test_parts_of_steps_add_up_to_ticks():
    shown = Shown()
    with ticking(shown, 4, "predicting", what="it", device=CPU) as move:
        found = []
        for _ in range(6):
            move(1 / 3)
            found.append(shown.num)
    assert found == [0, 0, 0, 0, 0, 1]  # an item counts once the next one is asked for
    assert shown.is_closed


@pytest.mark.parametrize(
    ("pause_s", "device", "expected"),
    [
        (10.0, "cpu", []),
        (31.0, "cpu", ["time: it takes about 21 minutes; draw less"]),
        (310.0, "cpu", ["; draw less; a GPU, or a model of coarser voxels"]),
        (310.0, "meta", ["time: it takes about 3.4 hours; draw less"]),
    ],
)
def test_how_long_it_takes_is_told_once_it_is_long(pause_s, device, expected, monkeypatch, caplog):
    """Reading before the first step is not counted: it would be taken for the networks' time."""
    now = [0.0]
    monkeypatch.setattr("diffunet.inference.ticking.time.monotonic", lambda: now[0])
    caplog.set_level(logging.INFO)
    with ticking(
        Shown(), 4, "predicting", what="it", device=torch.device(device), advice="; draw less"
    ) as move:
        for seconds in (1000.0, pause_s, pause_s):
            now[0] += seconds
            move(0.1)
    assert len(caplog.messages) == len(expected)
    for message, part in zip(caplog.messages, expected, strict=True):
        assert part in message
        assert ("GPU" in message) == ("GPU" in part)
