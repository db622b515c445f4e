"""Where the script `fastbp` begins: the command line, without what would only make it start or end later.

May import ``cli``, when it runs, and the standard library.
"""

import atexit
import gc
import sys
from importlib.abc import MetaPathFinder


class NoPandas(MetaPathFinder):
    """Finds no pandas, and leaves all else to others."""

    def find_spec(self, name, path, target=None):
        """Refuse pandas."""
        if name == "pandas":
            raise ModuleNotFoundError("the command line does without pandas", name=name)


def main() -> None:
    """Run the command line.

    What is imported, and what Numba makes when it loads or compiles, stays to the end. Looking through it for
    garbage takes a third of the time of a short command, half of that at the very end; so a command that may run
    for long begins to look when it has started (`cli`), and at the end nobody does. Where pandas is installed,
    PyArrow would import it with its first array, which takes 0.2 seconds and is of no use here.
    """
    sys.meta_path.insert(0, NoPandas())
    gc.disable()
    atexit.register(gc.freeze)
    from fastbp.cli import main

    main()
