from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gitops_serving.local.epochs import KEPT_EPOCHS, Epochs
from gitops_serving.local.routing import Target

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def at(percent: int) -> tuple[Target, ...]:
    return (Target("new", percent), Target("old", 100 - percent))


def test_an_epoch_begins_with_each_change_of_targets_and_with_nothing_else() -> None:
    epochs = Epochs(Clock())
    for percent in (10, 10, 20, 20, 10):
        epochs.follow({"fraud/scorer": at(percent), "fraud/other": at(50)})
    shown = epochs.document()
    assert [epoch["targets"]["new"] for epoch in shown["fraud/scorer"]] == [10, 20, 10]
    assert len(shown["fraud/other"]) == 1
    assert shown["fraud/scorer"][0]["since"] == "2026-01-02T03:04:06.000+00:00"


def test_a_request_belongs_to_the_epoch_of_its_pick() -> None:
    epochs = Epochs(Clock())
    epochs.follow({"fraud/scorer": at(10)})
    picked = epochs.current("fraud/scorer")
    epochs.follow({"fraud/scorer": at(20)})
    picked.count("new", 200)
    epochs.current("fraud/scorer").count("new", 502)
    first, second = epochs.document()["fraud/scorer"]
    assert first["requests"]["new"] == {"2xx": 1, "4xx": 0, "5xx": 0}
    assert second["requests"]["new"] == {"2xx": 0, "4xx": 0, "5xx": 1}


def test_a_rare_class_is_shown_when_there_was_one() -> None:
    epochs = Epochs(Clock())
    epochs.follow({"fraud/scorer": at(10)})
    epochs.current("fraud/scorer").count("old", 304)
    assert epochs.document()["fraud/scorer"][0]["requests"]["old"] == {"2xx": 0, "4xx": 0, "5xx": 0, "3xx": 1}


def test_a_service_that_left_takes_its_counts_with_it() -> None:
    epochs = Epochs(Clock())
    epochs.follow({"fraud/scorer": at(10)})
    leaving = epochs.current("fraud/scorer")
    epochs.follow({})
    leaving.count("new", 200)
    assert epochs.document() == {}


def test_the_oldest_epochs_are_forgotten() -> None:
    epochs = Epochs(Clock())
    for number in range(KEPT_EPOCHS + 5):
        epochs.follow({"fraud/scorer": at(number % 100)})
    shown = epochs.document()["fraud/scorer"]
    assert len(shown) == KEPT_EPOCHS
    assert shown[0]["targets"]["new"] == 5
