"""What a serving process asks of its runtime: of the allocator, the collector and the limit of open files."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
from collections.abc import Callable
from types import FrameType
from typing import Final

import uvicorn

# malloc.h of glibc
M_TRIM_THRESHOLD: Final = -1
M_TOP_PAD: Final = -2
M_MMAP_THRESHOLD: Final = -3
MIB: Final = 2**20
COLLECT_AFTER: Final = 20_000
FILES: Final = 65_536


def tune() -> None:
    """Called once, before serving."""
    _keep_large_blocks()
    _open_many_files()
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 20)


def release() -> None:
    """Give memory that nobody uses back to the system; called now and then, since the allocator keeps it for long."""
    with contextlib.suppress(OSError, AttributeError):  # another C library has no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)


def _keep_large_blocks() -> None:
    """Bodies of megabytes are taken from memory that was used before, not from fresh pages that the kernel clears."""
    with contextlib.suppress(OSError, AttributeError):  # another C library has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 32 * MIB)
        mallopt(M_TRIM_THRESHOLD, 1024 * MIB)
        mallopt(M_TOP_PAD, 16 * MIB)


def _open_many_files() -> None:
    """Two sockets for each request in flight."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Server(uvicorn.Server):
    """uvicorn that says when it was asked to stop. A second signal of any kind stops it at once."""

    def __init__(self, config: uvicorn.Config, asked: Callable[[], None]) -> None:
        super().__init__(config)
        self._asked = asked

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._asked()
        self.force_exit = self.force_exit or self.should_exit
        super().handle_exit(sig, frame)
