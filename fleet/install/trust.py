"""The certificates of a host that is set up as a device, replaced by hand: for one that NATS cannot bring them to."""

from __future__ import annotations

import msgspec

from fleet.contract.certificates import certificates
from fleet.contract.config import AgentConfig, render_config
from fleet.contract.errors import InvalidInput, NotFound
from fleet.contract.wire import decode
from fleet.identity.issuer import trust
from fleet.install.setup import CONFIG_PATH, SECRET, restart_agent
from fleet.topology.capabilities import Applied, RunsCommands


class DeviceTrustScore(msgspec.Struct, frozen=True):
    """A device that trusts the certificates of `bundle` (PEM), and nothing else of it changed."""

    bundle: str

    def interpret(self, host: RunsCommands) -> tuple[AgentConfig, Applied]:
        """Write them into the device's configuration, and have its agent begin anew if they are others.

        Raises:
            InvalidInput: the bundle holds no certificate, or the host's configuration is damaged.
            NotFound: the host is set up as no device.
        """
        trust(self.bundle)
        if not certificates(self.bundle):
            raise InvalidInput("the bundle holds no certificate", next_step="write it with `fleet secrets bundle`")
        found = host.read(CONFIG_PATH)
        if found is None:
            raise NotFound(f"{host} is set up as no device", next_step="set it up with --config")
        known = decode(found, AgentConfig)
        config = msgspec.structs.replace(known, auth=msgspec.structs.replace(known.auth, ca=self.bundle))
        if config == known:
            return config, Applied(CONFIG_PATH, False)
        done = host.put(CONFIG_PATH, render_config(config), SECRET)
        restart_agent(host)
        return config, done
