"""What every test run has: no network, and random generators left as they were found."""

from __future__ import annotations

import ipaddress
import random
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

# How long an example takes says nothing of the code on a busy machine.
settings.register_profile("foveal", deadline=None)
settings.load_profile("foveal")

NETWORK_EVENTS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
}
"""Audit events of the socket module, with the position of the address in their arguments."""


def is_local(address: object) -> bool:
    """Whether ``address`` stays on this machine: loopback, a wildcard, or not of the internet."""
    host = address[0] if isinstance(address, tuple) else address
    if not isinstance(address, tuple | str) or host in ("", "localhost"):
        return True  # None (a bound address) and the paths of Unix sockets given as bytes
    try:
        ip = ipaddress.ip_address(str(host))
    except ValueError:
        return isinstance(address, str) and address.startswith(("/", "\0"))
    return ip.is_loopback or ip.is_unspecified


def forbid_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise if an audited ``event`` would leave this machine; doctests are covered too."""
    position = NETWORK_EVENTS.get(event)
    if position is not None and not is_local(arguments[position]):
        raise RuntimeError(f"a test reached for the network: {event} {arguments[position]!r}")


def pytest_configure() -> None:
    """Watch sockets from before the first import of a test until the process ends."""
    sys.addaudithook(forbid_network)


@pytest.fixture(autouse=True)
def restore_random_state() -> Iterator[None]:
    """Give every test the generators as they were, so that order does not matter."""
    python, numpy = random.getstate(), np.random.get_state()
    torch = sys.modules.get("torch")
    state = torch.get_rng_state() if torch is not None else None
    yield
    random.setstate(python)
    np.random.set_state(numpy)
    if torch is not None:
        torch.set_rng_state(state)
