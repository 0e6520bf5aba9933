"""Reading ahead: a background thread produces a bounded number of items."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


class _Failure:
    def __init__(self, error: BaseException):
        self.error = error


def prefetch(items: Iterable[Item], capacity: int = 4) -> Iterator[Item]:
    """The same items in the same order, produced up to `capacity` ahead in a background thread.

    The thread starts when the first item is requested. An error raised by `items` is raised here
    after all items produced before it. If the consumer stops early (close(), break, an error), the
    thread ends and closes `items`, if it is a generator, before the consumer continues.

    Raises:
        ValueError: capacity < 1.
    """
    if capacity < 1:
        raise ValueError(f"capacity {capacity}: at least one item must be held")
    return _consume(items, capacity)


def _consume(items: Iterable[Item], capacity: int) -> Iterator[Item]:
    ready: queue.SimpleQueue = queue.SimpleQueue()
    free = threading.Semaphore(capacity)
    stopped = threading.Event()
    # a daemon, so that an unfinished iterator does not keep the program alive at exit
    thread = threading.Thread(
        target=_produce, args=(items, ready, free, stopped), name="prefetch", daemon=True
    )
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            free.release()
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        stopped.set()
        free.release()
        thread.join()


def _produce(
    items: Iterable, ready: queue.SimpleQueue, free: threading.Semaphore, stopped: threading.Event
) -> None:
    try:
        iterator = iter(items)
        while True:
            free.acquire()  # before producing an item, so that no more than `capacity` exist
            if stopped.is_set():
                break
            try:
                item = next(iterator)
            except StopIteration:
                break
            ready.put(item)
            del item  # keeping a reference would hold one more frame in memory
        if hasattr(iterator, "close"):
            iterator.close()
        ready.put(_END)
    except BaseException as error:  # the consumer decides what to do with it
        ready.put(_Failure(error))
