"""A hub's file that puts the history on a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from millstream.bus import RawConnection
from millstream.config import HubConfig
from millstream.historian import ClickhouseServer, PostgresServer
from millstream.hub._plant import hub_historian
from millstream.kernel import SystemClock
from millstream.sdk import Log

URL = "postgresql://db:5432/plant?sslmode=verify-full"


CLICK = "https://ch:8443"


def config(folder: Path, url: str = URL, *, type: str = "postgresql", **historian: Any) -> HubConfig:
    engine = {"type": type, "url": url, "user": "mill stream", "password": {"file": str(folder / "password")}}
    hub = {"name": "hub", "data_dir": str(folder)}
    return HubConfig.model_validate({"hub": hub, "historian": {"engine": engine, **historian}})


@pytest.mark.parametrize(
    ("url", "more", "told"),
    [
        ("postgresql://me:secret@db/plant", {}, "a password is not written into the url"),
        ("postgresql://db/plant?password=secret", {}, "a password is not written into the url"),
        ("mysql://db/plant", {}, "expected postgresql://"),
        ("ftp://db", {"type": "clickhouse"}, "expected https://host:port"),
        ("https:///x", {"type": "clickhouse"}, "expected https://host:port"),
        ("https://me:secret@ch:8443", {"type": "clickhouse"}, "written into the url"),
        ("https://ch:8443/?password=secret", {"type": "clickhouse"}, "written into the url"),
        (CLICK, {"type": "clickhouse", "max_bytes": "1GiB"}, "are of the embedded history"),
        (CLICK, {"type": "sybase"}, "'postgresql', 'clickhouse'"),
        (URL, {"max_bytes": "1GiB"}, "are of the embedded history"),
        (URL, {"dir": "/var/lib/history"}, "are of the embedded history"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, url: str, more: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        config(tmp_path, url, **more)


def test_the_password_is_read_when_it_is_needed_and_a_tenant_has_a_schema_of_its_own(tmp_path: Path) -> None:
    made = [
        hub_historian(
            config(tmp_path), RawConnection("nats://127.0.0.1:1"), tmp_path, clock=SystemClock(),
            log=cast("Log", None), tenant=tenant,
        )
        for tenant in (None, "north-1")
    ]  # fmt: skip
    servers = [service._options.server for service in made]
    assert [server.schema for server in servers if isinstance(server, PostgresServer)] == [
        "millstream",
        "millstream_north-1",
    ]
    (tmp_path / "password").write_text("p@ss/w:ö rd")
    assert isinstance(servers[0], PostgresServer)
    assert servers[0].conninfo().startswith("postgresql://mill%20stream:p%40ss%2Fw%3A%C3%B6%20rd@db:5432/plant?")
    assert "sslmode=verify-full" in servers[0].conninfo()
    assert "ö" not in repr(servers[0])


def test_a_clickhouse_has_a_database_for_each_tenant(tmp_path: Path) -> None:
    made = [
        hub_historian(
            config(tmp_path, CLICK, type="clickhouse"), RawConnection("nats://127.0.0.1:1"), tmp_path,
            clock=SystemClock(), log=cast("Log", None), tenant=tenant,
        )._options.server
        for tenant in (None, "north-1")
    ]  # fmt: skip
    assert [server.place for server in made if server] == [
        "ch:8443 database millstream",
        "ch:8443 database millstream_north-1",
    ]
    assert [type(server) for server in made] == [ClickhouseServer] * 2
