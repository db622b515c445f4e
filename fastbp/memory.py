"""What the process does with memory that it has given back: it keeps it. May import the standard library alone."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as glibc's malloc.h numbers them
_LARGEST_MMAP_THRESHOLD = 2**25  # that glibc takes
KEPT_BYTES = 2**29


def keep_freed_memory() -> None:
    """Have the C library keep up to half a gigabyte of freed memory for what is wanted next.

    Each shard wants as much as the last one. Out of the box glibc hands arrays of some megabytes back to the
    system and gets them anew, empty page after empty page, which costs a sweep of many short runs a third of its
    time. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
