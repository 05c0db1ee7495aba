"""Where the web page's name leads, as objects; whether a controller heeds them is in docs/unproven.md."""

from __future__ import annotations

from typing import cast

import pytest

from fleet.kube.client import KubeClient
from fleet.topology.capabilities import Json, Service
from fleet.topology.kubernetes.network import web_outside
from fleet.topology.kubernetes.options import Cluster, shape_of
from fleet.topology.kubernetes.pods import pod_template
from fleet.topology.kubernetes.rights import require_rights
from fleet.topology.kubernetes.shape import Shape, endpoints
from fleet.topology.place_options import PlaceOptions

PLAIN, OPENSHIFT = Cluster(frozenset()), Cluster(frozenset({"route.openshift.io"}))


def shape(cluster: Cluster = PLAIN, **options: object) -> Shape:
    given: Json = {"nats_address": "nats.example.org", "web": True, **options}
    return shape_of(PlaceOptions(**given), cluster)


def objects(made: Shape) -> dict[str, Json]:
    return {f"{item['kind']}/{item['metadata']['name']}": item for item in web_outside(made, "here")}


def test_without_a_name_nothing_leads_in_and_the_certificate_is_for_this_machine() -> None:
    made = shape()
    assert objects(made) == {}
    assert endpoints("here", made).web_url == ""
    assert endpoints("here", made).web_hosts == ("localhost", "127.0.0.1")


def test_without_a_page_there_is_no_name_to_sign() -> None:
    assert endpoints("here", shape(web=False)).web_hosts == ()


@pytest.mark.parametrize(
    ("cluster", "options", "kind"),
    [
        (PLAIN, {}, "Ingress"),
        (OPENSHIFT, {}, "Route"),
        (OPENSHIFT, {"web_exposure": "ingress"}, "Ingress"),
        (OPENSHIFT, {"web_exposure": "route"}, "Route"),
    ],
)
def test_a_name_leads_to_the_operators_pod_with_tls_as_it_is(
    cluster: Cluster, options: dict[str, str], kind: str
) -> None:
    made = shape(cluster, web_host="fleet.example.org", **options)
    found = objects(made)
    assert set(found) == {"NetworkPolicy/fleet-web", "Service/fleet-web", f"{kind}/fleet-web"}
    assert found["Service/fleet-web"]["spec"] == {
        "selector": {"app.kubernetes.io/part-of": "fleet", "app.kubernetes.io/component": "operator"},
        "ports": [{"name": "web", "port": 8444, "targetPort": "web", "protocol": "TCP"}],
    }
    door = found["NetworkPolicy/fleet-web"]["spec"]
    assert door["ingress"] == [{"ports": [{"port": "web", "protocol": "TCP"}]}], "from everywhere, to the page only"
    leads = found[f"{kind}/fleet-web"]
    if kind == "Route":
        assert leads["spec"]["host"] == "fleet.example.org"
        assert leads["spec"]["tls"] == {"termination": "passthrough"}
        assert leads["spec"]["to"]["name"] == "fleet-web"
    else:
        (rule,) = leads["spec"]["rules"]
        assert rule["host"] == "fleet.example.org"
        assert rule["http"]["paths"][0]["backend"] == {"service": {"name": "fleet-web", "port": {"name": "web"}}}
        assert leads["metadata"]["annotations"]["nginx.ingress.kubernetes.io/ssl-passthrough"] == "true"
        assert "annotations" not in found["NetworkPolicy/fleet-web"]["metadata"]


def test_the_address_is_announced_and_in_the_certificate() -> None:
    places = endpoints("here", shape(web_host="fleet.example.org"))
    assert places.web_url == "https://fleet.example.org"
    assert places.web_hosts == ("localhost", "127.0.0.1", "fleet.example.org"), "a forwarded port works all the same"


def test_a_controllers_class_counts_for_each_ingress_and_for_nothing_else() -> None:
    both = shape(web_host="x", exposure="ingress", ingress_class="haproxy")
    assert (both.ingress_class, both.web_ingress_class) == ("haproxy", "haproxy")
    page = shape(web_host="x", ingress_class="haproxy")
    assert (page.ingress_class, page.web_ingress_class) == ("", "haproxy")
    assert objects(page)["Ingress/fleet-web"]["spec"]["ingressClassName"] == "haproxy"
    nats = shape(OPENSHIFT, web_host="x", exposure="ingress", ingress_class="haproxy")
    assert (nats.ingress_class, nats.web_ingress_class) == ("haproxy", "")


@pytest.mark.parametrize(("cluster", "resource"), [(PLAIN, "ingresses"), (OPENSHIFT, "routes")])
def test_the_rights_for_it_are_asked_for_first(cluster: Cluster, resource: str) -> None:
    class Kube:
        host = "https://kube.example"

        def __init__(self) -> None:
            self.asked: set[str] = set()

        def request(self, _method: str, _path: str, review: Json) -> Json:
            self.asked.add(review["spec"]["resourceAttributes"]["resource"])
            return {"status": {"allowed": True}}

    kube = Kube()
    require_rights(cast("KubeClient", kube), "here", shape(cluster, exposure="node-port"))
    assert resource not in kube.asked
    require_rights(cast("KubeClient", kube), "here", shape(cluster, exposure="node-port", web_host="x"))
    assert resource in kube.asked


def test_an_operator_that_serves_the_page_may_take_what_both_need() -> None:
    """The page's process is in the same container, so the two share its limits."""

    def limits(**ports: int) -> Json:
        operator = Service("operator", "fleet-operator", (), {}, ports, 8080, "/readyz")
        template = pod_template(operator, shape(), "digest")
        return template["spec"]["containers"][0]["resources"]["limits"]

    assert limits(health=8080) == {"cpu": "1", "memory": "512Mi"}
    assert limits(health=8080, web=8444) == {"cpu": "1500m", "memory": "768Mi"}
