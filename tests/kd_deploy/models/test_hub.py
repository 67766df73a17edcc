"""The hub where there is a network and where there is none; the network here is this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from huggingface_hub import constants

from kd_deploy.models.hub import hub


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A server in the hub's place that takes connections and answers nothing."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield server


def test_a_hub_that_takes_a_connection_is_asked(endpoint: socket.socket) -> None:
    with hub():
        assert not constants.is_offline_mode()


def test_without_a_network_the_cache_alone_is_asked(endpoint: socket.socket) -> None:
    endpoint.close()
    with pytest.raises(OSError, match="gone"), hub():
        assert constants.is_offline_mode()
        raise OSError("gone")
    assert not constants.is_offline_mode()


def test_a_name_that_cannot_be_resolved_is_no_network(
    endpoint: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.invalid")
    with hub():
        assert constants.is_offline_mode()


def test_behind_a_proxy_only_the_proxy_knows(
    endpoint: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.close()
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    with hub():
        assert not constants.is_offline_mode()


def test_who_says_offline_is_not_contradicted(
    endpoint: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket, "create_connection", None)  # nobody is asked
    with hub():
        assert constants.is_offline_mode()
    assert constants.is_offline_mode()
