"""What happens when the request or the data is wrong: one clear line, exit code 2, no traceback."""

import sys
from collections.abc import Callable

from util.secrets import without_secrets
from util.streams import steady_streams

EXIT_OK, EXIT_INPUT_ERROR = 0, 2


class InputError(ValueError):
    """The request or the data is wrong. The message is one line: where, what was found, what to do."""


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command-line program's main and exit with its code.

    InputError (a wrong request or wrong data) and OSError (an unwritable folder, a full disk) become one line on stderr and
    exit code 2. Any other exception is a defect of ours and keeps its traceback. Standard streams that are closed are no error (see steady_streams).
    """
    with steady_streams():
        try:
            code = main() or EXIT_OK
            if sys.stdout is not None:
                sys.stdout.flush()
        except (InputError, OSError) as error:
            print("error: " + without_secrets(" ".join(str(error).split())), file=sys.stderr)
            code = EXIT_INPUT_ERROR
        except KeyboardInterrupt:
            print("stopped by the user", file=sys.stderr)
            code = 130
    sys.exit(code)
