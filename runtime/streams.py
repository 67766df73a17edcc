"""The process's own streams: none of them missing, and what libraries print on stderr kept from the user."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PIPE = 1 << 16
"""Bytes that a pipe of Linux holds."""


def open_closed_streams() -> None:
    """Give a command that was started without stdin, stdout or stderr (`2>&-`, some daemons) nowhere in their place.

    The next file opened would get the number, and what a library prints on file descriptor 2 would land in it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


@contextmanager
def stderr_to(descriptor: int) -> Iterator[None]:
    """Send file descriptor 2 to another one; a program that closed it has it closed again afterwards."""
    if sys.stderr is not None:
        sys.stderr.flush()
    kept = None
    with suppress(OSError):
        kept = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        if kept is None:
            os.close(2)
        else:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def no_stderr() -> Iterator[None]:
    """Send file descriptor 2 nowhere: some libraries print past every log level."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        with stderr_to(nowhere):
            yield
    finally:
        os.close(nowhere)


@contextmanager
def stderr_words() -> Iterator[list[str]]:
    """Take what libraries print on file descriptor 2: it is in the list once the block has ended.

    On Windows, which has no pipes that never block, the list stays empty.
    """
    words: list[str] = []
    if sys.platform == "win32":
        with no_stderr():
            yield words
        return
    reader, writer = os.pipe()
    try:
        for end in (reader, writer):
            os.set_blocking(end, False)  # what a full pipe does not take is lost
        with stderr_to(writer):
            yield words
    finally:
        with suppress(BlockingIOError):  # nothing was printed
            words.append(os.read(reader, _PIPE).decode(errors="replace"))
        for descriptor in (reader, writer):
            os.close(descriptor)
