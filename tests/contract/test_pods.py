"""What a pod is: its containers in order, and what of a change replaces which of them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.contract.containers import spec_hash
from fleet.contract.errors import InvalidInput
from fleet.contract.pod import (
    Dependency,
    InitContainer,
    Member,
    Pod,
    PodContainer,
    SentPod,
    as_sent,
    members,
    start_order,
)
from fleet.contract.wire import Container, Container2, Desired, decode, encode

NAMES = [f"c{number}" for number in range(8)]


@st.composite
def pods(draw: st.DrawFn) -> Pod:
    """Each container waits for some of those before it in an order that is not that of the pod."""
    names = draw(st.permutations(NAMES))[: draw(st.integers(1, len(NAMES)))]
    made = [
        PodContainer(
            name=name,
            image="a:1",
            depends_on=tuple(map(Dependency, draw(st.sets(st.sampled_from(names[:place]))) if place else ())),
        )
        for place, name in enumerate(names)
    ]
    return Pod(tuple(draw(st.permutations(made))), (InitContainer(name="init", image="i:1"),))


def sent(pod: Pod) -> SentPod:
    workload = as_sent(pod)
    assert isinstance(workload, SentPod)
    return workload


@given(pods())
def test_each_container_comes_after_what_it_waits_for(pod: Pod) -> None:
    order = start_order(pod)
    assert sorted(order) == sorted(pod.parts)
    assert list(members(sent(pod))) == order
    for one in pod.containers:
        assert all(order.index(needed.name) < order.index(one.name) for needed in one.depends_on)
        assert order.index("init") < order.index(one.name)


@given(pods())
def test_a_pod_goes_over_the_wire_and_an_agent_of_before_does_not_take_it_for_something_else(pod: Pod) -> None:
    class Before(msgspec.Struct, tag="desired"):
        """As agents had it before there were pods."""

        workload: Container | Container2

    told = encode(Desired(1, sent(pod)))
    assert decode(told, Desired).workload == sent(pod)
    with pytest.raises(InvalidInput) as refused:
        decode(told, Before)
    assert refused.value.what.endswith("`$.workload.type`"), "the agent calls this an unsupported workload"


@given(pods(), st.data())
def test_a_change_of_one_container_changes_no_other_and_another_set_of_names_changes_all(
    pod: Pod, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([one.name for one in pod.containers]))
    before = hashes(pod)
    changed = tuple(msgspec.structs.replace(one, env={"A": "1"}) if one.name == name else one for one in pod.containers)
    after = hashes(msgspec.structs.replace(pod, containers=changed))
    assert {one for one in before if before[one] != after[one]} == {name}
    grown = hashes(msgspec.structs.replace(pod, containers=(*pod.containers, PodContainer(name="new", image="n:1"))))
    assert not set(before.values()) & set(grown.values()), "each knows the others by name"


def hashes(pod: Pod) -> dict[str, str]:
    return {name: spec_hash(one) for name, one in members(sent(pod)).items()}


def test_a_member_is_never_sent() -> None:
    with pytest.raises(InvalidInput):
        decode(encode(Member(name="web", image="web:1")), SentPod)
