"""What happens when the request or the data is wrong, or the machine too small: one clear line, exit code 2, no traceback."""

import contextlib
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator

from util.streams import steady_streams
from util.text import without_secrets

EXIT_OK, EXIT_INPUT_ERROR = 0, 2

_MEMORY_WORDS = re.compile(
    "out of memory"  # CUDA, MPS
    "|can.t allocate memory|cannot allocate memory|not enough memory"  # torch's CPU allocator, its maps of files
    "|bad_alloc|bad allocation"
    "|storage size calculation overflowed|integer multiplication overflow"  # a tensor beyond any memory
    "|insufficient memory|failed to allocate"  # OpenCV
    "|STATUS_ALLOC_FAILED|STATUS_NOT_INITIALIZED"  # cuBLAS and cuDNN, whose workspaces find no room
    "|can.t start new thread",  # there is no room for its stack
    re.IGNORECASE,
)
_SHOWN_CHARACTERS = 200
_ends_at_once = False


class InputError(ValueError):
    """The request or the data is wrong. The message is one line: where, what was found, what to do."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the machine or the device has too little memory, which libraries do in many ways."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    by_words = isinstance(error, RuntimeError) or type(error).__module__ == "cv2"
    return isinstance(error, MemoryError) or (
        by_words and _MEMORY_WORDS.search(str(error)) is not None
    )


@contextlib.contextmanager
def memory_named(place: str, remedy: str, purpose: str = "") -> Iterator[None]:
    """Too little memory inside the block becomes an InputError: where (`place`, a device or machine), for what (`purpose`), and what takes less (`remedy`)."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"{place} has too little memory{purpose and f' for {purpose}'}; {remedy}"
        ) from error


def reason_in_one_line(error: BaseException) -> str | None:
    """What a program says of an error that lies in the request, the data or the machine; None of one that is a defect of ours."""
    if is_out_of_memory(error):
        found = next(iter(str(error).splitlines()), "") or type(error).__name__
        return f"this machine has too little memory ({found[:_SHOWN_CHARACTERS]}); ask for less at once, or end other programs"
    return (
        without_secrets(" ".join(str(error).split()))
        if isinstance(error, (InputError, OSError))
        else None
    )


def end_at_once() -> None:
    """Let run_command end the process without Python's own cleaning up, since something in it would wait for ever, or abort."""
    global _ends_at_once
    _ends_at_once = True


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command-line program's main and exit with its code.

    InputError (a wrong request or wrong data), OSError (an unwritable folder, a full disk) and too little memory become one line on stderr and
    exit code 2. Any other exception is a defect of ours and keeps its traceback. Standard streams that are closed are no error (see steady_streams).
    """
    with steady_streams():
        try:
            code = main() or EXIT_OK
            if sys.stdout is not None:
                sys.stdout.flush()
        except KeyboardInterrupt:
            print("stopped by the user", file=sys.stderr)
            code = 130
        except Exception as error:
            reason = reason_in_one_line(error)
            if reason is None:
                raise
            print(f"error: {reason}", file=sys.stderr)
            code = EXIT_INPUT_ERROR
        except SystemExit as end:
            if not _ends_at_once or not isinstance(end.code, int):
                raise
            code = end.code
    if _ends_at_once:
        os._exit(code)
    sys.exit(code)
