"""One value of every wire type and configuration file, with no field left at its default."""

from __future__ import annotations

import msgspec

from fleet.contract.config import AgentConfig, CalloutConfig, FleetDeviceAuth, MachineKey, OperatorConfig
from fleet.contract.names import AgentVersion, DeviceId, Digest
from fleet.contract.objects import ServerInfo
from fleet.contract.wire import (
    AgentLease,
    AgentTarget,
    Container,
    Desired,
    DesiredIndex,
    DeviceInfo,
    DeviceState,
    Health,
    Heartbeat,
    Identity,
    IdentityState,
    Phase,
    Port,
    Protocol,
    Reason,
    Restart,
)

CONTAINER = Container(
    image="registry.example/web:1.2",
    command=("/bin/web",),
    args=("--port", "80"),
    env={"MODE": "production"},
    ports=(Port(host=8080, container=80, protocol=Protocol.UDP),),
    restart=Restart.ON_FAILURE,
    health=Health(command=("/bin/check",), interval=3, timeout=2, retries=5, start_period=1),
)

SAMPLES: dict[str, msgspec.Struct] = {
    "desired": Desired(generation=7, workload=CONTAINER),
    "desired-index": DesiredIndex(deployments={"web": 7, "cache": 2}),
    "device-state": DeviceState(
        generation=7,
        phase=Phase.UNHEALTHY,
        reason=Reason.HEALTH_CHECK_FAILED,
        message="exit code 1",
        container_id="c0ffee",
        restarts=3,
        at=1800000000.5,
    ),
    "device-info": DeviceInfo(
        agent_version=AgentVersion("v0.1.0"),
        arch="aarch64",
        os="Debian GNU/Linux 12 (bookworm)",
        kernel="6.6.31",
        memory=4142276608,
        disk=31268536320,
        boot_id="0d9f2b0c-7d1f-4c1e-9a4f-2f1a3c4d5e6f",
        instance_id="instance-1",
        engine="podman 5.2",
    ),
    "heartbeat": Heartbeat(
        agent_version=AgentVersion("v0.1.0"),
        instance_id="instance-1",
        boot_id="0d9f2b0c-7d1f-4c1e-9a4f-2f1a3c4d5e6f",
        sequence=42,
        interval=10,
        generation=4,
        at=1800000000.5,
    ),
    "identity": Identity(device=DeviceId("pi-1"), state=IdentityState.REVOKED),
    "agent-target": AgentTarget(
        version=AgentVersion("v0.2.0-rc.1+build.7"),
        digest=Digest("sha256:" + "ab" * 32),
        generation=4,
        stop_instance="instance-0",
    ),
    "agent-lease": AgentLease(instance_id="instance-1", generation=4, expires=1800000030.5),
    "agent-config": AgentConfig(
        device_id=DeviceId("pi-1"),
        nats_url="tls://nats.example:4222",
        auth=FleetDeviceAuth(
            issuer="https://id.example",
            project="352711906418819075",
            machine_key=MachineKey(
                user_id="274001",
                key_id="351",
                key="(PEM)",
                type="serviceaccount",
                expiration_date="2030-01-01T00:00:00Z",
            ),
            ca="(PEM)",
        ),
        engine_socket="/run/podman/podman.sock",
        heartbeat_interval=5,
        resync_interval=30,
    ),
    "callout-config": CalloutConfig(
        nats_url="tls://nats.example:4222",
        nats_user="fleet-callout",
        nats_auth_pass="(secret)",
        ca="(PEM)",
        issuer="https://id.example",
        project_id="352711906418819075",
        issuer_seed="(seed)",
        xkey_seed="(seed)",
        health_host="0.0.0.0",
        health_port=8080,
        answer_within=1,
        max_concurrent=100,
    ),
    "operator-config": OperatorConfig(
        nats_url="tls://nats.example:4222",
        nats_app_pass="(secret)",
        nats_control_pass="(secret)",
        nats_system_pass="(secret)",
        ca="(PEM)",
        namespace="fleet-system",
        kubeconfig="/etc/fleet/kubeconfig",
        health_host="0.0.0.0",
        health_port=8080,
        resync_interval=20,
        offline_after_intervals=4,
    ),
    "server-info": ServerInfo(
        issuer="https://id.example",
        project_id="352711906418819075",
        cli_client_id="352711906418819076",
        nats_url="tls://nats.example:4222",
        ca="(PEM)",
        version="0.1.0",
    ),
}
