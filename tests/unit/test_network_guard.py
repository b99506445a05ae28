"""The guard of conftest.py lets a test talk to itself and to nobody else."""

from __future__ import annotations

import socket

import pytest


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_outside_is_out_of_reach(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.socket(family, socket.SOCK_STREAM) as outward,
        pytest.raises(RuntimeError, match="reached for the network"),
    ):
        outward.connect((host, 80))


def test_names_are_not_looked_up() -> None:
    with pytest.raises(RuntimeError, match="reached for the network"):
        socket.getaddrinfo("example.org", 80)


def test_loopback_works() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        client.sendall(b"x")
        peer, _ = server.accept()
        with peer:
            assert peer.recv(1) == b"x"
