"""Hugging Face's hub without its wait for a network that is not there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

import huggingface_hub
from huggingface_hub import constants

_TIMEOUT = 10.0
"""Seconds to wait for a connection: the hub's own patience with its first request."""


@contextmanager
def hub() -> Iterator[None]:
    """Ask the hub inside it: from its cache alone where it cannot be reached, with its own patience where it can.

    The hub's client repeats a request six times, 23 s for each file, whatever was wrong. One connection tells the
    absent network from the slow one: a resolver and TCP repeat what is lost by themselves.
    """
    huggingface_hub.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # our one line says it
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable() -> bool:
    """Whether the hub (or its mirror, HF_ENDPOINT) takes a connection; behind a proxy only the proxy knows."""
    url = urlsplit(constants.ENDPOINT)
    if url.scheme in (proxies := getproxies()) or "all" in proxies:
        return True
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
        socket.create_connection((url.hostname, port), _TIMEOUT).close()
    except OSError:
        return False
    return True
