"""How NATS and the web page are reached, and which doors of the pods are open to whom."""

from __future__ import annotations

from fleet.topology.capabilities import Endpoint, Json, Service
from fleet.topology.kubernetes.labels import meta, named, pods_of
from fleet.topology.kubernetes.shape import WEB_PORT, Exposure, Shape, WebExposure

NATS = "nats"
"""The service that devices reach, and its port."""
_WEB = "fleet-web"
"""The name of what leads to the web page."""
_DNS = (53, 5353)
"""OpenShift's resolver listens on the second; a policy sees the address behind a Service."""


def inside(service: Service, namespace: str) -> list[Json]:
    """The Services by which other parts, and the replicas themselves, find a part; none where nobody asks for it."""
    if service.name not in service.ports:
        return []
    selector, name = pods_of(service.name), named(service.name)
    spec = {"selector": selector, "ports": [_port(service.name, service.ports[service.name])]}
    found = [_service(name, namespace, service.name, spec)]
    if service.keeps_data:
        peers = [_port("routes", service.ports["routes"])] if "routes" in service.ports else []
        # A replica is asked for before it is ready: it becomes so only once it has found the others.
        alike = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": selector, "ports": peers}
        found.append(_service(f"{name}-peers", namespace, service.name, alike))
    return found


def outside(service: Service, address: Endpoint, namespace: str, shape: Shape) -> Json:
    """What leads from a service's public address to its pods."""
    match shape.exposure:
        case Exposure.NODE_PORT | Exposure.LOAD_BALANCER:
            return _public_service(service, address, namespace, shape)
        case Exposure.INGRESS:
            made = meta(_public(service), namespace, service.name)
            return _ingress(made, address.host, named(service.name), service.name, shape.ingress_class)
        case Exposure.ROUTE:
            made = meta(_public(service), namespace, service.name)
            return _route(made, address.host, named(service.name), service.name)


def web_outside(shape: Shape, namespace: str) -> list[Json]:
    """What leads from the web page's name to the operator's pod; nothing where it is reached by port-forward.

    A policy of its own lets everybody in, for nobody knows from where a controller comes.
    """
    if shape.web_exposure is WebExposure.PORT_FORWARD:
        return []
    made, operator = meta(_WEB, namespace, "operator"), pods_of("operator")
    spec: Json = {"podSelector": {"matchLabels": operator}, "policyTypes": ["Ingress"]}
    spec["ingress"] = [{"ports": _tcp("web")}]
    door: Json = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": made, "spec": spec}
    inner = _service(_WEB, namespace, "operator", {"selector": operator, "ports": [_port("web", WEB_PORT)]})
    if shape.web_exposure is WebExposure.INGRESS:
        outer = _ingress(dict(made), shape.web_host, _WEB, "web", shape.web_ingress_class)
    else:
        outer = _route(made, shape.web_host, _WEB, "web")
    return [door, inner, outer]


def _public_service(service: Service, address: Endpoint, namespace: str, shape: Shape) -> Json:
    by_node = shape.exposure is Exposure.NODE_PORT
    spec = {
        "type": "NodePort" if by_node else "LoadBalancer",
        "selector": pods_of(service.name),
        "ports": [_port(service.name, address.port) | ({"nodePort": address.port} if by_node else {})],
    }
    return _service(_public(service), namespace, service.name, spec)


def _ingress(made: Json, host: str, service: str, port: str, ingress_class: str) -> Json:
    backend = {"service": {"name": service, "port": {"name": port}}}
    made["annotations"] = {
        # The two that hand TLS through; a controller that knows neither would want to end it.
        "nginx.ingress.kubernetes.io/ssl-passthrough": "true",
        "haproxy.org/ssl-passthrough": "true",
    }
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    spec: Json = {"rules": [{"host": host, "http": {"paths": paths}}], "tls": [{"hosts": [host]}]}
    if ingress_class:
        spec["ingressClassName"] = ingress_class
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": made, "spec": spec}


def _route(made: Json, host: str, service: str, port: str) -> Json:
    return {
        "apiVersion": "route.openshift.io/v1",
        "kind": "Route",
        "metadata": made,
        "spec": {
            "host": host,
            "port": {"targetPort": port},
            "tls": {"termination": "passthrough"},
            "to": {"kind": "Service", "name": service, "weight": 100},
            "wildcardPolicy": "None",
        },
    }


def _public(service: Service) -> str:
    return f"{named(service.name)}-public"


def policy(service: Service, namespace: str) -> Json:
    """Who may come to a part's ports. The kubelet, which probes, always may (kubernetes.io, "Network Policies").

    NATS faces the devices, so it may also speak only to its like; the others speak to the identity provider and to the
    API server, wherever those are.
    """
    spec: Json = {"podSelector": {"matchLabels": pods_of(service.name)}, "policyTypes": ["Ingress"]}
    if service.clients:
        known = [{"podSelector": {"matchLabels": pods_of(client)}} for client in service.clients]
        spec["ingress"] = [{"from": known, "ports": _tcp(*service.ports)}]
        return _policy(service.name, namespace, spec)
    if service.public and service.name != NATS:
        spec["ingress"] = [{"ports": _tcp(*service.ports)}]
        return _policy(service.name, namespace, spec)
    if service.name != NATS:
        # Any pod of the cluster may ask for health and metrics, which hold no secret.
        spec["ingress"] = [{"from": [{"namespaceSelector": {}}], "ports": _tcp(*service.ports)}]
        return _policy(service.name, namespace, spec)
    spec["ingress"] = [{"ports": _tcp(NATS)}]
    spec["policyTypes"].append("Egress")
    resolvers: list[Json] = [{"port": port, "protocol": kind} for port in _DNS for kind in ("UDP", "TCP")]
    spec["egress"] = [{"ports": resolvers}]
    if "routes" in service.ports:
        like: list[Json] = [{"podSelector": {"matchLabels": pods_of(NATS)}}]
        spec["ingress"] += [{"from": like, "ports": _tcp("routes")}]
        spec["egress"] += [{"to": like, "ports": _tcp("routes")}]
    return _policy(service.name, namespace, spec)


def _policy(component: str, namespace: str, spec: Json) -> Json:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": meta(named(component), namespace, component),
        "spec": spec,
    }


def _service(name: str, namespace: str, component: str, spec: Json) -> Json:
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta(name, namespace, component), "spec": spec}


def _port(name: str, port: int) -> Json:
    return {"name": name, "port": port, "targetPort": name, "protocol": "TCP"}


def _tcp(*names: str) -> list[Json]:
    return [{"port": name, "protocol": "TCP"} for name in names]
