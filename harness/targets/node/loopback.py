"""A CNI plugin: a node port answers on a pod's own 127.0.0.1, as it does outside on this machine's.

So `localhost:PORT` means the same service to a pod, to a device outside and to the tests, and the issuer of tokens,
which must be one URL for all of them, needs neither a public name nor a change of anybody's `/etc/hosts`. It runs last
in the chain (CNI specification 0.4.0), with the result so far as its input. It imports nothing of ours, to be fast.
"""

import json
import os
import subprocess
import sys

_RULES = """
table ip loopback {{
  chain output {{
    type nat hook output priority -100;
    ip daddr 127.0.0.1 tcp dport {first}-{last} dnat to {to}
  }}
  chain postrouting {{
    type nat hook postrouting priority 100;
    ip saddr 127.0.0.1 ip daddr {to} masquerade
  }}
}}
"""
_SCRIPT = "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet && exec nft -f -"


def main() -> int:
    """Do what CNI_COMMAND says."""
    command = os.environ["CNI_COMMAND"]
    if command == "VERSION":
        print(json.dumps({"cniVersion": "0.4.0", "supportedVersions": ["0.3.1", "0.4.0"]}))  # noqa: T201
        return 0
    config = json.load(sys.stdin)
    if command != "ADD":
        return 0
    first, last = config["ports"]
    argv = ["nsenter", f"--net={os.environ['CNI_NETNS']}", "sh", "-c", _SCRIPT]
    rules = _RULES.format(first=first, last=last, to=config["to"])
    done = subprocess.run(argv, input=rules, capture_output=True, text=True, check=False)
    if done.returncode:
        print(json.dumps({"cniVersion": "0.4.0", "code": 100, "msg": done.stderr.strip()}))  # noqa: T201
        return 1
    print(json.dumps(config["prevResult"]))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
