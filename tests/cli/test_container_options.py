"""The options of `fleet deployment apply` for what a container may use, and finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet.cli.container_options import ContainerOptions
from fleet.cli.deployment_source import Options, OptionSource
from fleet.contract.errors import InvalidInput, NotFound
from fleet.contract.policy import DevicePolicy
from fleet.install.setup import load_policy


def workload(before: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - any option
    source = OptionSource(Options("web", "web:1", container=ContainerOptions(**options)), every_device=True)
    there = None if before is None else {"spec": {"workload": {"type": "container", "image": "web:1", **before}}}
    return source.merged_with(there)["spec"]["workload"]


def test_secrets_become_fields_and_an_empty_text_takes_them_away(tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text("a=1\n")
    made = workload(
        config_file=(f"{tmp_path}/app.conf:/etc/app.conf",),
        secret_env=("PASSWORD=db/password", "USER=db/user"),
        secret_file=("/etc/web.key=web-tls/tls.key:0400",),
        image_pull_secret="registry",
    )
    assert made["secretEnv"] == {
        "PASSWORD": {"name": "db", "key": "password"},
        "USER": {"name": "db", "key": "user"},
    }
    assert made["files"] == [
        {"path": "/etc/app.conf", "content": "a=1\n"},
        {"path": "/etc/web.key", "secret": {"name": "web-tls", "key": "tls.key"}, "mode": "0400"},
    ]
    assert made["imagePullSecret"] == "registry"
    gone = workload(made, secret_env=("",), secret_file=("",), image_pull_secret="")
    assert [gone.get(name) for name in ("secretEnv", "files", "imagePullSecret")] == [{}, [], ""]


@pytest.mark.parametrize(
    "options",
    [
        {"secret_env": ("PASSWORD",)},
        {"secret_env": ("PASSWORD=db",)},
        {"secret_env": ("=db/password",)},
        {"secret_env": ("A=DB/password",)},
        {"secret_env": ("A=db/pass word",)},
        {"secret_file": ("etc/key=db/password",)},
        {"secret_file": ("/etc/key=db",)},
        {"secret_file": ("/etc/key=db/password:999",)},
    ],
)
def test_what_names_no_value_of_a_secret_is_refused_by_its_option(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"--secret-(env|file)"):
        workload(**options)


def test_options_become_fields(tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_text("a=1\n")
    made = workload(
        volume=("data:/data", "/srv/media:/media:ro"),
        tmpfs=("/tmp:1M",),
        config_file=(f"{tmp_path}/app.conf:/etc/app.conf:0400",),
        memory="256M",
        cpus=0.5,
        cap_drop=("ALL",),
        ulimit=("nofile=64:128", "core=0"),
        device=("/dev/ttyUSB0:/dev/serial:r",),
        add_host=("cache=192.0.2.7",),
        log="1000000:2",
        stop_grace=3,
        read_only=True,
    )
    assert made["mounts"] == [
        {"type": "volume", "source": "data", "path": "/data"},
        {"type": "bind", "source": "/srv/media", "path": "/media", "readOnly": True},
        {"type": "tmpfs", "path": "/tmp", "size": 2**20},
    ]
    assert made["files"] == [{"path": "/etc/app.conf", "content": "a=1\n", "mode": "0400"}]
    assert made["limits"] == {"memory": 256 * 2**20, "cpus": 0.5}
    assert made["ulimits"] == [{"name": "nofile", "soft": 64, "hard": 128}, {"name": "core", "soft": 0, "hard": 0}]
    assert made["devices"] == [{"source": "/dev/ttyUSB0", "path": "/dev/serial", "permissions": "r"}]
    assert made["security"] == {"readOnlyRoot": True, "capabilities": {"drop": ["ALL"]}}
    assert (made["extraHosts"], made["log"], made["stop"]) == (
        {"cache": "192.0.2.7"},
        {"size": 1_000_000, "files": 2},
        {"grace": 3},
    )


def test_what_an_option_does_not_name_stays() -> None:
    before = {"limits": {"memory": 2**23, "pids": 5}, "security": {"readOnlyRoot": True}, "user": "1"}
    assert workload(before, memory="0", privileged=True, user="") == {
        "type": "container",
        "image": "web:1",
        "limits": {"memory": 0, "pids": 5},
        "security": {"readOnlyRoot": True, "privileged": True},
        "user": "",
    }
    assert workload({"dns": ["192.0.2.1"]}, dns=("",))["dns"] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"volume": ("data:/../etc",)}, "--volume"),
        ({"volume": ("data",)}, "--volume"),
        ({"volume": ("data:/data:rx",)}, "neither ro nor rw"),
        ({"volume": ("data:/data", "other:/data")}, "mounted twice"),
        ({"tmpfs": ("/tmp:big",)}, "is no size"),
        ({"config_file": ("/nowhere/file:/etc/a",)}, "cannot read /nowhere/file"),
        ({"config_file": ("/bin/true:/etc/a",)}, "is no text"),
        ({"memory": "1"}, "at least"),
        ({"memory": "256 monkeys"}, "is no size"),
        ({"ulimit": ("nofile",)}, "--ulimit 'nofile': a limit is NAME=SOFT"),
        ({"ulimit": ("nofile=many",)}, "--ulimit 'nofile=many': a limit is NAME=SOFT"),
        ({"ulimit": ("nofile=1_0",)}, "a limit is NAME=SOFT"),
        ({"ulimit": (f"nofile={'9' * 5000}",)}, "a limit is NAME=SOFT"),
        ({"log": "1000000:1_0"}, "is no number"),
        ({"secret_env": ("A=db/one", "A=db/two")}, "--secret-env gives A twice"),
        ({"device": ("ttyUSB0",)}, "--device"),
        ({"cap_add": ("net_admin",)}, "capabilities"),
        ({"log": "1000000:many"}, "is no number"),
        ({"container_label": ("io.fleet.device=x",)}, "the agent's own"),
        ({"stop_signal": "INT"}, "signal"),
        ({"stop_signal": "SIGFOO"}, "a signal, one of SIGABRT, "),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as error:
        workload(**options)
    assert "next:" not in error.value.what, "a whole error stands inside another"


def test_a_policy_is_read_as_it_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    with pytest.raises(NotFound, match=r"policy\.json"):
        load_policy(path)
    path.write_text('{"type": "policy", "folder": ["/srv"]}')
    with pytest.raises(InvalidInput, match="did you mean folders"):
        load_policy(path)
    path.write_text('{"type": "policy", "folders": ["/srv/../etc"]}')
    with pytest.raises(InvalidInput, match="folders"):
        load_policy(path)
    path.write_text('{"type": "policy", "folders": ["/srv"], "privileged": true}')
    assert load_policy(path) == DevicePolicy(folders=("/srv",), privileged=True)
