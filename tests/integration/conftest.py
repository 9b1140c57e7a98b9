"""What integration tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import prometheus as prometheus_server
from tests.support.certificates import Authority
from tests.support.fleet import wait_until
from tests.support.operator import FakeOperator, Served, write_context
from tests.support.payments import Shop, payments
from tests.support.prometheus import Prometheus, prometheus


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def served(authority: Authority) -> Iterator[Served]:
    """A coordinator that answers as the test tells it."""
    served = Served(FakeOperator(), authority)
    yield served
    served.stop()


@pytest.fixture
def operator(served: Served, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeOperator:
    """The same, with a context `test` that leads to it."""
    config = write_context(tmp_path / "config", [served.address], authority)
    monkeypatch.setenv("KILLDEER_CONFIG", str(config))
    return served.operator


@pytest.fixture(scope="module")
def open_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    if missing := prometheus_server.missing():
        pytest.skip(missing)
    with payments(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture(scope="module")
def server(open_shop: Shop) -> Iterator[Prometheus]:
    with prometheus(open_shop.front.address) as made:
        yield made


@pytest.fixture
def shop(open_shop: Shop, server: Prometheus) -> Shop:
    """As new: whole, idle, and the errors of the test before have left the rates' windows."""
    open_shop.warm_up(0)
    open_shop.front.post("/retries/off")
    wait_until(open_shop.settled, "the shop is as it was")
    server.wait_for(lambda: server.query("increase(requests_total[6s])") == [0], "the shop was idle for a while")
    return open_shop
