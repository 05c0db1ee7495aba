"""Logins of registries in a Secret, and when one ends by its own words."""

from __future__ import annotations

import base64
import json

import pytest

from fleet.contract.errors import InvalidInput, NotFound
from fleet.contract.logins import login_ends, registry_login
from fleet.contract.sealed import RegistryLogin


def config(**auths: object) -> bytes:
    return json.dumps({"auths": auths}).encode()


def encoded(value: object, *, url: bool = True) -> str:
    data = json.dumps(value).encode()
    return (base64.urlsafe_b64encode(data).decode().rstrip("=")) if url else base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("registry", "place", "auth", "login"),
    [
        ("r.example", "r.example", {"username": "u", "password": "p"}, RegistryLogin("u", "p", "r.example", "s")),
        (
            "r.example",
            "https://r.example/v2/",
            {"auth": base64.b64encode(b"u:p:q").decode()},
            RegistryLogin("u", "p:q", "r.example", "s"),
        ),
        (
            "docker.io",
            "https://index.docker.io/v1/",
            {"username": "u", "password": "p"},
            RegistryLogin("u", "p", "https://index.docker.io/v1/", "s"),
        ),
        ("r.example", "r.example", {"identitytoken": "t"}, RegistryLogin("", "", "r.example", "s", "t")),
    ],
    ids=["fields", "base64", "hub", "token"],
)
def test_the_login_of_one_registry(registry: str, place: str, auth: object, login: RegistryLogin) -> None:
    found = config(**{"other.example": {"username": "x", "password": "y"}, place: auth})
    assert registry_login(found, f"{registry}/web:1", "s") == login


PLACES = {
    "r.example/team/web": "web",
    "r.example/team": "team",
    "https://r.example/v2/": "all",
    "r.example/te": "te",
    "other.example/team/web": "other",
    "docker.io/team": "hub-team",
    "https://index.docker.io/v1/": "hub",
}


@pytest.mark.parametrize(
    ("image", "user", "server"),
    [
        ("r.example/team/web:1", "web", "r.example"),
        ("r.example/team/web/sub@sha256:" + "0" * 64, "web", "r.example"),
        ("r.example/team/webs", "team", "r.example"),
        ("r.example/teams/web", "all", "r.example"),
        ("team/web", "hub-team", "https://index.docker.io/v1/"),
        ("web", "hub", "https://index.docker.io/v1/"),
    ],
)
@pytest.mark.parametrize("places", [PLACES, dict(reversed(PLACES.items()))], ids=["", "reversed"])
def test_of_several_logins_of_a_registry_the_image_gets_that_of_the_longest_path_it_is_below(
    image: str, user: str, server: str, places: dict[str, str]
) -> None:
    found = config(**{place: {"username": name, "password": "p"} for place, name in places.items()})
    assert registry_login(found, image, "s") == RegistryLogin(user, "p", server, "s")


def test_a_login_of_another_path_is_better_than_none_and_an_empty_one_is_none() -> None:
    found = config(**{"r.example/b": {"username": "b", "password": "p"}, "r.example/a/x": {}})
    assert registry_login(found, "r.example/a/x/y", "s").username == "b"


@pytest.mark.parametrize("data", [b"", b"[]", b'{"auths": []}', b"\xff"])
def test_what_is_no_configuration_of_logins(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="the Secret s"):
        registry_login(data, "r.example/web", "s")


@pytest.mark.parametrize("auth", [{}, {"auth": "%%"}, {"auth": base64.b64encode(b"\xff").decode()}])
def test_a_registry_without_a_login(auth: object) -> None:
    with pytest.raises(NotFound, match=r"r\.example"):
        registry_login(config(**{"r.example": auth}), "r.example/web", "s")


AT = 1_800_000_000


@pytest.mark.parametrize(
    ("password", "token", "ends"),
    [
        ("hunter2", "", None),
        ("", "", None),
        ("a.b.c", "", None),
        (f"e30.{encoded({'exp': AT})}.sig", "", AT),
        (f"e30.{encoded({'sub': 'x'})}.sig", "", None),
        (f"e30.{encoded({'exp': 'soon'})}.sig", "", None),
        (f"e30.{encoded({'exp': -1})}.sig", "", None),
        (f"e30.{encoded([AT])}.sig", "", None),
        ("", f"e30.{encoded({'exp': AT + 0.5})}.sig", AT + 0.5),
        (f"e30.{encoded({'exp': AT + 9})}.sig", f"e30.{encoded({'exp': AT})}.sig", AT),
        (encoded({"payload": "x", "version": "2", "type": "DATA_KEY", "expiration": AT}, url=False), "", AT),
        (encoded({"expiration": AT}, url=False), "", None),
        ("ü.ü.ü", "", None),
    ],
)
def test_when_a_login_ends(password: str, token: str, ends: float | None) -> None:
    assert login_ends(RegistryLogin("u", password, "r.example", "s", token)) == ends
