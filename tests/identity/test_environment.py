"""Variables that cannot be right are refused by their names, and never shown: a proxy's URL may hold a password."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from fleet.artifacts.layer import Target, layer
from fleet.contract.errors import InvalidInput, NotPermitted
from fleet.identity.issuer import trust, unreachable
from fleet.identity.proxies import check_proxies, proxy_for
from fleet.process.user_folders import user_cache, user_config

ISSUER = "https://id.example.org"
NAMES = [spelling for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY") for spelling in (name, name.lower())]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value", ["http://[::1", "socks5://me:secret@127.0.0.1:1", "socks4://x", "http://", "http://x:70000", "http://x:a"]
)
def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput, match=name) as refused:
        trust("")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("value", ["", "proxy", "proxy:3128", "http://proxy:3128", "http://me:secret@proxy:3128/"])
def test_a_proxy_that_httpx_takes_is_taken(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    check_proxies()
    httpx.Client().close()


def test_an_issuer_behind_a_proxy_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://me:secret@proxy:3128/")
    assert proxy_for(ISSUER) == "proxy:3128"
    said = unreachable(ISSUER, httpx.ConnectError("refused"), 0)
    assert "through the proxy proxy:3128" in said.what
    assert "NO_PROXY" in said.next_step
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert proxy_for(ISSUER) == ""
    assert "proxy" not in str(unreachable(ISSUER, httpx.ConnectError("refused"), 0))


def test_a_key_log_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", "/proc/nowhere/keys")
    with pytest.raises(InvalidInput, match="SSLKEYLOGFILE=/proc/nowhere/keys"):
        trust("")


def test_relative_folders_are_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "relative")
    assert (user_config(), user_cache()) == (tmp_path / "me" / ".config", tmp_path / "me" / ".cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path


def test_a_cache_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "pins").write_text("")
    with pytest.raises(NotPermitted, match="/proc/nowhere"):
        layer(tmp_path / "pins", Target(), Path("/proc/nowhere"))
