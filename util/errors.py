"""How programs end if the request or the data is wrong, or the machine too small: one line on
standard error, exit code 2, no traceback."""

import contextlib
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator

from util.logging import configure_logging
from util.process import tolerate_broken_streams
from util.text import without_secrets

EXIT_OK, EXIT_INPUT_ERROR = 0, 2
_EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it

_OUT_OF_MEMORY = re.compile(
    "out of memory"  # CUDA, MPS
    # torch's CPU allocator and memory-mapped files
    "|can.t allocate memory|cannot allocate memory|not enough memory"
    "|bad_alloc|bad allocation"
    # a tensor beyond any memory
    "|storage size calculation overflowed|integer multiplication overflow"
    "|insufficient memory|failed to allocate"  # OpenCV
    # cuBLAS and cuDNN, if there is no memory for their workspaces
    "|STATUS_ALLOC_FAILED|STATUS_NOT_INITIALIZED"
    "|can.t start new thread",  # there is no memory for its stack
    re.IGNORECASE,
)
_REASON_CHARACTERS = 200
_skips_cleanup = False


class InputError(ValueError):
    """The request or the data is wrong. The message is one line: where, what was found, what to
    do."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error reports that the machine or the device has too little memory, which
    libraries do by several types and messages."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError) or type(error).__module__ == "cv2":
        return _OUT_OF_MEMORY.search(str(error)) is not None
    return isinstance(error, MemoryError)


@contextlib.contextmanager
def explain_out_of_memory(location: str, remedy: str, purpose: str = "") -> Iterator[None]:
    """Turn too little memory inside the block into an InputError.

    location: the device or machine. remedy: what takes less memory. purpose: what needed it.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        needed = f" for {purpose}" if purpose else ""
        raise InputError(f"{location} has too little memory{needed}; {remedy}") from error


def reason_in_one_line(error: BaseException) -> str | None:
    """What a program reports of an error that lies in the request, the data or the machine.

    Returns None for an error that is a defect of the program. URLs lose their passwords.
    """
    if is_out_of_memory(error):
        found = next(iter(str(error).splitlines()), "") or type(error).__name__
        return (
            f"this machine has too little memory ({found[:_REASON_CHARACTERS]}); "
            "ask for less at once, or end other programs"
        )
    if isinstance(error, (InputError, OSError)):
        return without_secrets(" ".join(str(error).split()))
    return None


def exit_without_cleanup() -> None:
    """Make run_command end the process without Python's cleanup at exit, in which something would
    wait forever or abort."""
    global _skips_cleanup
    _skips_cleanup = True


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command-line program's main and exit with its code.

    InputError (a wrong request or wrong data), OSError (an unwritable folder, a full disk) and too
    little memory become one line on standard error and exit code 2. Any other exception is a
    defect and keeps its traceback. Logged notes and warnings appear on standard error. Broken
    standard streams are tolerated (see tolerate_broken_streams).
    """
    with tolerate_broken_streams():
        configure_logging()
        code = _exit_code(main)
    if _skips_cleanup:
        os._exit(code)
    sys.exit(code)


def _exit_code(main: Callable[[], int | None]) -> int:
    try:
        code = main() or EXIT_OK
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("stopped by the user", file=sys.stderr)
        return _EXIT_INTERRUPTED
    except Exception as error:
        reason = reason_in_one_line(error)
        if reason is None:
            raise
        print(f"error: {reason}", file=sys.stderr)
        return EXIT_INPUT_ERROR
    except SystemExit as end:
        if not _skips_cleanup or not isinstance(end.code, int):
            raise
        return end.code
