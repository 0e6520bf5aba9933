"""Work done on background threads, with a bound on how much may wait."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class BackgroundPool:
    """Threads with a bounded queue.

    `submit` waits while `capacity` tasks are queued or running. Raises ValueError if `threads` or
    `capacity` is below 1.
    """

    def __init__(self, threads: int, capacity: int):
        if threads < 1 or capacity < 1:
            raise ValueError(f"threads {threads}, capacity {capacity}: both must be at least 1")
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="background")
        self._slots = threading.BoundedSemaphore(capacity)

    def submit(self, task: Callable[[], None]) -> Future:
        self._slots.acquire()
        try:
            future = self._threads.submit(task)
        except BaseException:
            self._slots.release()
            raise
        future.add_done_callback(lambda _: self._slots.release())
        return future

    def close(self) -> None:
        """Wait for all tasks and end the threads."""
        self._threads.shutdown()


class TaskGroup:
    """The tasks that make one result: all of them succeed, or their first error is raised."""

    def __init__(self, pool: BackgroundPool):
        self._pool = pool
        self._pending: deque[Future] = deque()

    def submit(self, task: Callable[[], None]) -> None:
        """Queue a task. Raises the error of an earlier task that has failed meanwhile."""
        while self._pending and self._pending[0].done():
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(task))

    def wait(self) -> BaseException | None:
        """Wait for all tasks. Returns their first error, if any."""
        errors = [future.exception() for future in self._pending]
        return next((error for error in errors if error is not None), None)
