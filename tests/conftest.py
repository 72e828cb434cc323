"""What holds for every test: seeds, one thread, no connection to the outside, no trace in the home folder."""

from __future__ import annotations

import os

# Several torch threads on a few busy cores take eight times as long as one. Set before torch is imported.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import ipaddress
import random
import socket
import sys

import hypothesis
import numpy as np
import pytest

# The same examples on every run: a test that fails once a week helps nobody. No deadline: machines differ.
hypothesis.settings.register_profile("polysense", derandomize=True, deadline=None, max_examples=30)
hypothesis.settings.load_profile("polysense")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: `make test` runs it, `make check` does not")


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test starts from the same random state. torch is not imported for a test without it."""
    random.seed(0)
    np.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
        torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory):
    """Caches of the tests lie in a folder of their own, so that no earlier run can help or harm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        for name in ("POLYSENSE_CACHE", "POLYSENSE_STAMPS_DEB"):
            patch.delenv(name, raising=False)
        yield


def is_local(address: object) -> bool:
    """Loopback, or no internet address at all (a socket file)."""
    if not isinstance(address, tuple):
        return True
    host = address[0]
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host).split("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def no_outside(monkeypatch: pytest.MonkeyPatch):
    """A connection to anything but loopback fails the test, also where the code swallows the error."""
    tried: list[object] = []

    def guard(name: str, where: int):
        real = getattr(socket.socket, name)

        def guarded(self, *args):
            if not is_local(args[where]):
                tried.append(args[where])
                raise AssertionError(f"a test tried to reach {args[where]}")
            return real(self, *args)

        monkeypatch.setattr(socket.socket, name, guarded)

    guard("connect", 0)
    guard("connect_ex", 0)
    guard("sendto", -1)

    look_up = socket.getaddrinfo

    def getaddrinfo(host, *args, **kwargs):
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and not is_local((name,)):
            tried.append(name)
            raise AssertionError(f"a test tried to look up {name}")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield tried
    assert not tried, f"the test tried to reach {tried}"
