"""What an admin may say of a place. `fleet server install` has an option for each field, with its help and default."""

from __future__ import annotations

from typing import Annotated

import msgspec


def _option(text: str, metavar: str = "", *, variable: str = "", least: int | None = None) -> msgspec.Meta:
    """`variable` is the environment variable where it is not FLEET_ and the field's name."""
    return msgspec.Meta(description=text, extra={"metavar": metavar, "variable": variable, "least": least})


class PlaceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options; the empty words leave the choice to the place."""

    nats_address: Annotated[str, _option("by which devices reach NATS, for good; required", "HOST[:PORT]")] = ""
    exposure: Annotated[
        str,
        _option(
            "how that address leads in: node-port, load-balancer, ingress or route; without it, route on OpenShift, "
            "else node-port",
            "WAY",
        ),
    ] = ""
    ingress_class: Annotated[str, _option("a controller that hands TLS through", "NAME")] = ""
    nats_replicas: Annotated[int, _option("servers of NATS; not to be changed later", "1|3")] = 1
    storage_class: Annotated[str, _option("of NATS' volumes; else the default one", "NAME")] = ""
    storage_size: Annotated[str, _option("of each of NATS' volumes; else 1Gi", "SIZE")] = ""
    image: Annotated[str, _option("of operator and callout; else fleet:VERSION", "IMAGE")] = ""
    nats_image: Annotated[str, _option("with nats-server as entry point, and wget", "IMAGE")] = ""
    zitadel_image: Annotated[str, _option("bundled", "IMAGE")] = ""
    postgres_image: Annotated[str, _option("bundled", "IMAGE")] = ""
    pull_secret: Annotated[str, _option("a Secret for the images' registry", "NAME")] = ""
    pull_policy: Annotated[str, _option("IfNotPresent, Always or Never", "WHEN")] = ""
    user: Annotated[
        int | None,
        _option(
            "of the pods; without it 65532, and on OpenShift the namespace's own",
            "UID",
            variable="FLEET_POD_USER",
            least=1,
        ),
    ] = None
    web: Annotated[bool, _option("serve the read-only web page, too: see `fleet web`")] = False
    web_host: Annotated[
        str,
        _option(
            "by which browsers reach the page on port 443; without it, by `fleet web`, which forwards a port", "HOST"
        ),
    ] = ""
    web_exposure: Annotated[
        str,
        _option("how that name leads in: ingress or route; without it, route on OpenShift, else ingress", "WAY"),
    ] = ""
