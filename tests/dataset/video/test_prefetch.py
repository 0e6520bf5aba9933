"""Reading ahead in a background thread keeps order, errors and bounds."""

import threading

import pytest

from dataset import prefetch
from util.errors import InputError


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_prefetch_keeps_order_and_stays_within_its_capacity():
    made = []
    taken = 0
    for item in prefetch((made.append(i) or i for i in range(200)), capacity=3):
        assert item == taken
        taken += 1
        assert len(made) <= taken + 3
    assert taken == 200
    assert not prefetch_threads()


def test_prefetch_raises_the_sources_error_after_the_items_before_it():
    def source():
        yield 1
        yield 2
        raise InputError("clip/00002.jpg: damaged")

    items = []
    with pytest.raises(InputError, match="damaged"):
        for item in prefetch(source()):
            items.append(item)
    assert items == [1, 2]
    assert not prefetch_threads()


@pytest.mark.parametrize("way", ["close", "forget", "error"])
def test_prefetch_ends_its_thread_and_closes_the_source_when_the_consumer_stops(way):
    closed = threading.Event()

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    iterator = prefetch(source(), capacity=2)
    next(iterator)
    if way == "close":
        iterator.close()
    elif way == "forget":
        del iterator
    else:
        with pytest.raises(RuntimeError):
            iterator.throw(RuntimeError("the consumer's"))
    assert closed.is_set()
    assert not prefetch_threads()
