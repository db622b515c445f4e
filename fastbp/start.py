"""Where the script `fastbp` begins: the command line, without looking for garbage while it starts and ends.

May import ``cli``, when it runs, and the standard library.
"""

import atexit
import gc


def main() -> None:
    """Run the command line.

    What is imported, and what Numba makes when it loads or compiles, stays to the end. Looking through it for
    garbage takes a third of the time of a short command, half of that at the very end; so a command that may run
    for long begins to look when it has started (`cli`), and at the end nobody does.
    """
    gc.disable()
    atexit.register(gc.freeze)
    from fastbp.cli import main

    main()
