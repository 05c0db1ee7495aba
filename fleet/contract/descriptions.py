"""What `kubectl explain` says of each field of our objects: the one place, by type and field."""

from __future__ import annotations

KINDS = {
    "Device": "A device of the fleet. Its labels are those of its metadata; deployments select it by them.",
    "FleetDeployment": "A workload, and the devices that are to run it.",
}
STANDARD = {
    "apiVersion": "The group and version of this kind.",
    "kind": "The kind of this object.",
}

_CONTAINER = {
    "image": "The image's reference, as the device's engine pulls it: [HOST[:PORT]/]NAME[:TAG][@DIGEST].",
    "command": "The program and its arguments, instead of the image's entry point.",
    "args": "Arguments, instead of the image's.",
    "env": "Environment variables.",
    "ports": "Ports that are published on the device.",
    "restart": "When the engine starts the container again: no, on-failure, always or unless-stopped.",
    "health": "How the engine sees whether the container is well. Without it, one that runs is.",
    "mounts": "Volumes, folders of the device, and memory, in the container's file system.",
    "files": "Files that the container can read: its configuration, and values of Secrets.",
    "secretEnv": "Environment variables from Secrets of this namespace that have the label "
    "fleet.nationtech.io/sealable=true. They are sealed for each device; who may look into its engine sees them.",
    "imagePullSecret": "A Secret of the type kubernetes.io/dockerconfigjson, with that label: the login at the "
    "image's registry. It is used only when the image has to be fetched.",
    "limits": "The most that the container gets of the device.",
    "ulimits": "Limits of each process, as setrlimit(2) has them.",
    "shmSize": "Bytes of /dev/shm; 0 for the engine's own size.",
    "security": "What the container's processes may do. What goes beyond an ordinary container needs the leave of "
    "the device's owner, in /etc/fleet/policy.json.",
    "devices": "Device nodes of the device, such as /dev/ttyUSB0, as far as its owner allows them. The container "
    "waits for one that is not plugged in.",
    "user": "The user that it runs as, instead of the image's: a name or a number, and a group after a colon.",
    "workingDir": "The folder that it begins in, instead of the image's.",
    "hostname": "The container's host name; its id if none is given.",
    "labels": "Labels of the container in the device's engine.",
    "network": "bridge gives it a network of its own, none gives it none. host gives it the device's, where its "
    "owner allows that.",
    "extraHosts": "Names with their addresses, for the container's /etc/hosts; host-gateway is the device.",
    "dns": "The addresses of its name servers, instead of the device's.",
    "stop": "How it is asked to end.",
    "log": "How much of its output the device keeps. The oldest goes first.",
    "pull": "When the image is fetched: IfNotPresent, Always (at each start of a new container), or Never.",
    "platform": "The platform of the image, as OS/ARCHITECTURE[/VARIANT]; the device's own if none is given.",
}
"""The fields of every container."""

FIELDS: dict[str, dict[str, str]] = {
    "Device": {
        "spec": "What an admin wants of the device.",
        "status": "What the operator knows of the device. It is written on transitions, not on every heartbeat.",
    },
    "FleetDeployment": {
        "spec": "What runs where, and how a change spreads.",
        "status": "How far the deployment is.",
    },
    "DeviceSpec": {
        "subject": "The token subject of the device's machine user at the identity provider. `fleet device enroll` "
        "writes it; it cannot be changed otherwise.",
        "labels": "Deprecated: write metadata.labels. What stands here anew is put into the metadata once.",
        "revoked": "Whether the device is shut out. `fleet device revoke` sets it, and waits for the session to end.",
        "agentVersion": "The version of the agent that the device is to run, such as v0.1.2; empty for no order.",
        "agentOrder": "Raised by each order of an agent version, so that one that failed can be ordered again.",
        "agentVersionsKept": "How many of the newest agents stay on the device, besides those that may be needed. "
        "Without it, all stay.",
        "released": "Raised by each `fleet device release`, which ends a quarantine that began before.",
        "cordoned": "No change of a deployment is sent to the device; what it runs, it goes on running.",
        "tokensAfter": "Tokens that the identity provider gave until then (Unix seconds of its clock) let in no more. "
        "Each rotation of the device's machine key writes it.",
        "enrollment": "Raised by each `fleet device enroll --replace`, which gives the device another subject.",
        "removeVolumes": "Orders to remove volumes from the device, which it has not answered yet. `fleet device "
        "remove-volume` writes them; the operator takes out what the device has answered.",
    },
    "VolumeOrder": {
        "deployment": "The deployment that the volume was made for, which may be gone.",
        "name": "The volume's name, as the deployment's mounts had it.",
        "id": "The volume's id, as the status tells it: another volume that has the name since is not removed.",
        "order": "A text of hexadecimal digits that no earlier order had: a device carries out each order once.",
        "former": "The identity that the volume was made under, if that is not the device's present one.",
    },
    "DeviceStatus": {
        "info": "What the device said of itself last.",
        "lastHeartbeat": "When its last heartbeat came, at the time of the last transition.",
        "deployments": "How many deployments it is to run.",
        "workloads": "What it said last of each of them, those in trouble first, as many as there is room for.",
        "conditions": "Enrolled, Online, Revoked; Upgraded once an agent was ordered; others while there is cause.",
    },
    "DeviceInfo": {
        "type": "The kind of this report.",
        "agentVersion": "The version of the agent that runs.",
        "arch": "The machine's architecture, as `uname -m` has it.",
        "os": "The operating system, as its os-release names it.",
        "kernel": "The kernel's version.",
        "memory": "The machine's memory, in bytes.",
        "disk": "The size of the disk that the agent keeps its state on, in bytes.",
        "bootId": "The id of the boot that the agent runs in.",
        "instanceId": "The id of the agent's process.",
        "engine": "The container engine and its version; empty when none answers.",
        "trusts": "Ids of the certificates that it trusts; none from an agent that takes no trust bundle.",
        "upgrade": "How the latest attempt to replace the agent stands.",
        "diskUsage": "What uses the disk that the engine keeps its data on.",
        "sealingKey": "The public half of its sealing key (X25519, base64): secrets are sealed with it. Empty where "
        "its agent is too old for that.",
        "keyId": "The id of the machine key that it has on its disk, as the identity provider knows it.",
        "offeredKey": "The public half of a machine key that it has made and would use in its place.",
        "tokensAfter": "Until when tokens were given that the device has replaced by a later one, as it was ordered.",
        "volumeOutcomes": "What became of the last orders to remove a volume.",
        "releaseKeys": "Which list of release keys it has on its disk; none from an agent that takes no list.",
    },
    "HeldKeys": {
        "number": "The number of the list; 0 is one of a set-up.",
        "digest": "The digest of its text; empty where the device trusts no release key.",
        "refused": "Why it did not take a list with a higher number.",
    },
    "DiskUsage": {
        "free": "Bytes that are free.",
        "floor": "Bytes that stay free: below, no image is fetched.",
        "images": "Bytes of images.",
        "containers": "Bytes that containers wrote.",
        "volumes": "Bytes of volumes.",
        "namedVolumes": "The volumes that were made for deployments, the largest first; at most 32.",
    },
    "VolumeUsage": {
        "name": "The volume's name, as the deployment's mounts have it.",
        "deployment": "The deployment that it was made for, which may be gone.",
        "size": "Bytes, rounded down to a power of two.",
        "id": "What tells it from another volume that is made under its name later.",
        "former": "The identity that it was made under, if that is not the device's present one.",
        "containers": "How many containers of the fleet have it mounted, whether they run or not.",
    },
    "VolumeOutcome": {
        "order": "Which order this is about, by its own text.",
        "reason": "Removed, NotFound, InUse or EngineError. The order is over in any case.",
        "message": "The same as a sentence.",
    },
    "UpgradeStatus": {
        "generation": "The number of the attempt.",
        "phase": "How far the attempt is; Committed, Reverted and Refused are its ends.",
        "reason": "Why the phase is what it is, in one word.",
        "message": "The same as a sentence.",
        "running": "The version of the agent that reports this.",
        "committed": "The version that has proven itself, and is started after a reboot.",
        "candidate": "The version that the attempt is about.",
        "previous": "The version that `fleet device rollback` goes back to.",
        "at": "When the device wrote this, in Unix seconds of its own clock.",
    },
    "Condition": {
        "type": "What the condition is about.",
        "status": "True, False or Unknown.",
        "reason": "Why, in one word.",
        "message": "Why, as a sentence.",
        "lastTransitionTime": "When the status changed last.",
        "observedGeneration": "The metadata.generation that the condition is about.",
    },
    "WorkloadStatus": {
        "name": "The deployment's name.",
        "generation": "The metadata.generation of the deployment that this is about.",
        "phase": "How it stands: Pending, Running, Unhealthy, Restarting or Failed.",
        "reason": "Why, in one word.",
        "message": "Why, as a sentence.",
        "image": "A digest by which registries know the image that runs, else the image's id.",
        "since": "When it came to this phase and reason.",
        "containers": "The containers of a pod, in the order in which they start, where there is room for them.",
    },
    "ContainerStatus": {
        "name": "The container's name in the pod.",
        "phase": "How it stands: Pending, Running, Unhealthy, Restarting or Failed.",
        "reason": "Why, in one word.",
    },
    "RunningImage": {
        "image": "A digest by which registries know the image, else its id.",
        "devices": "How many devices run it.",
    },
    "DeploymentSpec": {
        "workload": "What runs on each device.",
        "selector": "The devices that run it, by their labels. An empty one selects every device.",
        "strategy": "How a change reaches the devices.",
        "paused": "No change is sent to any device; what they run, they go on running.",
    },
    "Selector": {
        "matchLabels": "Labels that a device must have, with these values.",
        "matchExpressions": "What else is required of a device's labels; all of them must be met.",
    },
    "Requirement": {
        "key": "The label's key.",
        "operator": "In and NotIn look for the label's value among `values`, Exists and DoesNotExist for the label. "
        "NotIn also selects devices without the label.",
        "values": "For In and NotIn, at least one; else none.",
    },
    "Strategy": {
        "type": "AllAtOnce changes every device at once. Rolling changes at most `maxUnavailable` at a time, and goes "
        "on when they run the new generation.",
        "maxUnavailable": "With Rolling, how many devices may be without a ready workload at a time.",
    },
    "Container": {
        "type": "The kind of workload: container for one container, pod for several that belong together.",
        **_CONTAINER,
        "update": "How what is ordered takes the place of what ran before.",
    },
    "Pod": {
        "containers": "Of a pod: its containers. They reach each other by their names, and mount the same volumes.",
        "initContainers": "Of a pod: containers that run to their end before the others start, one after the other. "
        "One runs again when it is changed.",
    },
    "PodContainer": {
        **_CONTAINER,
        "name": "Its name, by which the other containers of the pod reach it.",
        "dependsOn": "What must be so of other containers of the pod before this one starts.",
    },
    "InitContainer": {
        **_CONTAINER,
        "name": "Its name.",
        "restart": "Whether the engine runs it again when it fails: on-failure, or no.",
    },
    "Dependency": {
        "name": "The other container.",
        "condition": "Started, Healthy (its health check passes; without one, it has run for 10 s), or Completed (it "
        "ended with exit code 0).",
    },
    "Mount": {
        "type": "volume is kept by the device for this deployment, also when the deployment is deleted. bind is a "
        "folder or file of the device that its owner lists in /etc/fleet/policy.json. tmpfs is memory.",
        "path": "Where it is in the container.",
        "source": "The volume's name, or the folder's path on the device. A tmpfs has none.",
        "readOnly": "Whether the container can only read it.",
        "size": "Bytes of a tmpfs; 0 for the engine's own limit.",
    },
    "File": {
        "path": "Where it is in the container.",
        "content": "What is in it.",
        "mode": "Its permissions, octal, such as 0444.",
        "user": "The number of the user that owns it.",
        "group": "The number of the group that owns it.",
        "secret": "Where its content is from, instead of `content`: it is sealed for each device, where it lies in "
        "memory only.",
    },
    "FromSecret": {
        "name": "The Secret's name. It is in this namespace, and has the label fleet.nationtech.io/sealable=true.",
        "key": "The name of the value in it.",
    },
    "ResourceLimits": {
        "memory": "Bytes of memory; 0 for no limit. What takes more is ended by the kernel.",
        "cpus": "Processor cores, such as 0.5; 0 for no limit.",
        "pids": "Processes and threads; 0 for no limit.",
    },
    "Ulimit": {
        "name": "Its name, such as nofile.",
        "soft": "The limit that counts until a process raises it; -1 for none.",
        "hard": "The limit that no process raises; -1 for none.",
    },
    "Security": {
        "readOnlyRoot": "Whether the image's files cannot be written.",
        "privileged": "Whether it may do all that root of the device may, where the device's owner allows that.",
        "capabilities": "Capabilities, as capabilities(7) has them, without CAP_.",
        "options": "no-new-privileges, which every device allows; seccomp=unconfined, apparmor=PROFILE and "
        "label=LABEL, where the device's owner allows them.",
    },
    "Capabilities": {
        "add": "Added to the engine's own set, as far as the device's owner allows them.",
        "drop": "Taken from it; ALL for all of them.",
    },
    "HostDevice": {
        "source": "Its path on the device.",
        "path": "Its path in the container; the same if none is given.",
        "permissions": "r to read, w to write, m to make the node.",
    },
    "Stop": {
        "signal": "The signal that asks it to end, by its name in signal(7), such as SIGINT or SIGRTMIN+3; the image's "
        "own if none is given.",
        "grace": "Seconds until it is killed.",
    },
    "Update": {
        "order": "Recreate ends the container before first. StartFirst ends it once the new one is well; one that "
        "publishes ports, or has the device's network, is recreated.",
        "deadline": "Seconds until a container that is not well gives way to the one before it, which runs until "
        "another order comes; 0 for never. One is well when its health check passes, or without one when it has run "
        "for 10 s.",
    },
    "Log": {
        "size": "Bytes of one file of it.",
        "files": "So many files are kept.",
    },
    "Port": {
        "host": "The port of the device.",
        "container": "The port inside the container.",
        "protocol": "tcp or udp.",
    },
    "Health": {
        "command": "The program that is run inside the container, and its arguments; exit code 0 is healthy.",
        "interval": "Seconds between two checks.",
        "timeout": "Seconds after which a check has failed.",
        "retries": "So many failures in a row make the container unhealthy.",
        "startPeriod": "Seconds after the start in which a failed check does not count.",
    },
    "DeploymentStatus": {
        "observedGeneration": "The metadata.generation that this status is about; an older one says nothing of the "
        "latest change.",
        "matched": "How many devices the selector selects.",
        "updated": "How many of them are ordered to run the observed generation.",
        "ready": "How many of them run it, and are well.",
        "failed": "On how many of them it does not run.",
        "images": "Which images run, the most frequent first.",
        "workloadImages": "The images that the workload of the observed generation names, the first of them.",
        "conditions": "Ready and Progressing.",
    },
}
