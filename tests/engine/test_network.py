"""The fluid network: closed forms, the max-min certificate, and conservation, on the tick clock."""

from dataclasses import dataclass
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simdml.engine.bundles import Bundle, Flow
from simdml.engine.environment import SimEnvironment
from simdml.engine.fairness import max_min_rates
from simdml.engine.network import Network


def run(network, starts):
    """Start ``(time, flow, bytes)`` transfers, some with a latency as well, and return when each ended."""
    ends = [None] * len(starts)

    def begin(index, flow, nbytes, latency):
        def done():
            ends[index] = network.env.now

        network.send(network.bundle(flow), nbytes, latency, done)

    for index, (time, flow, nbytes, *latency) in enumerate(starts):
        network.env.call_in(time, lambda i=index, f=flow, b=nbytes, s=latency: begin(i, f, b, sum(s)))
    network.env.run()
    return ends


def test_two_jobs_on_one_link_each_get_half():
    network = Network(SimEnvironment(), [100.0])
    first, second = Flow((0,), (1.0,), inf), Flow((0,), (1.0,), 1e9)
    assert run(network, [(0.0, first, 100.0), (0.0, second, 100.0)]) == [2.0, 2.0]


def test_a_transfer_alone_meets_no_solver():
    network = Network(SimEnvironment(), [100.0, 50.0])
    assert run(network, [(0.0, Flow((0, 1), (1.0, 1.0), inf), 100.0), (8.0, Flow((0,), (2.0,), inf), 100.0)]) == [
        2.0,
        10.0,
    ]
    assert network.solves == 0


def test_late_comer_shares_and_leaves_its_share():
    network = Network(SimEnvironment(), [100.0])
    flow = Flow((0,), (1.0,), inf)
    assert run(network, [(0.0, flow, 100.0), (0.5, flow, 100.0)]) == [1.5, 2.0]


def test_cap_leaves_the_rest_to_others():
    network = Network(SimEnvironment(), [100.0])
    capped, free = Flow((0,), (1.0,), 25.0), Flow((0,), (1.0,), inf)
    assert run(network, [(0.0, capped, 50.0), (0.0, free, 150.0)]) == [2.0, 2.0]


def test_weight_puts_more_bytes_on_the_link():
    network = Network(SimEnvironment(), [100.0])
    assert run(network, [(0.0, Flow((0,), (1.75,), inf), 100.0)]) == [1.75]
    assert network.link_bytes() == [175.0]


def test_transfer_is_a_simpy_event():
    env = SimEnvironment()
    network = Network(env, [10.0])
    log = []

    def process():
        yield network.transfer(Flow((0,), (1.0,), inf), 10.0, latency_s=0.25)
        log.append(env.now)
        yield env.timeout(1.0)
        yield network.transfer(Flow((0,), (1.0,), inf), 0.0)
        log.append(env.now)

    env.process(process())
    env.run()
    assert log == [1.25, 2.25]


def test_capacity_change_takes_effect_at_once():
    network = Network(SimEnvironment(), [100.0])
    network.env.call_in(0.5, lambda: network.set_capacity(0, 25.0))
    assert run(network, [(0.0, Flow((0,), (1.0,), inf), 100.0)]) == [2.5]


links = st.integers(min_value=1, max_value=5)


@st.composite
def networks(draw):
    count = draw(links)
    capacities = draw(st.lists(st.floats(0.5, 100.0), min_size=count, max_size=count))
    flows = draw(
        st.lists(
            st.tuples(
                st.sets(st.integers(0, count - 1), min_size=1),
                st.sampled_from([0.25, 1.0, 1.5, 1.75, 2.0]),
                st.one_of(st.just(inf), st.floats(0.1, 50.0)),
                st.integers(1, 4),
            ),
            min_size=1,
            max_size=6,
        )
    )
    return capacities, [(Flow(tuple(sorted(on)), (w,) * len(on), cap), n) for on, w, cap, n in flows]


def bundles_of(flows, capacities):
    found = []
    for flow, count in flows:
        bundle = Bundle(flow, capacities)
        bundle.count = count
        found.append(bundle)
    return found


@given(networks())
def test_max_min_certificate(case):
    """No link above capacity; every bundle at its cap or fastest on a full link."""
    capacities, flows = case
    bundles = bundles_of(flows, capacities)
    rates = max_min_rates(bundles, capacities)
    used = [0.0] * len(capacities)
    for bundle, rate in zip(bundles, rates, strict=True):
        for link, weight in zip(bundle.links, bundle.weights, strict=True):
            used[link] += bundle.count * weight * rate
    for link, capacity in enumerate(capacities):
        assert used[link] <= capacity * (1 + 1e-9)
    for bundle, rate in zip(bundles, rates, strict=True):
        bottlenecks = [
            link
            for link in bundle.links
            if used[link] >= capacities[link] * (1 - 1e-9)
            and all(rate >= r * (1 - 1e-9) for b, r in zip(bundles, rates, strict=True) if link in b.links)
        ]
        assert rate == bundle.cap or bottlenecks


@given(networks(), st.randoms())
def test_rates_do_not_depend_on_order(case, random):
    capacities, flows = case
    order = list(range(len(flows)))
    random.shuffle(order)
    rates = max_min_rates(bundles_of(flows, capacities), capacities)
    shuffled = max_min_rates(bundles_of([flows[i] for i in order], capacities), capacities)
    assert [rates[i] for i in order] == shuffled


starts = st.lists(
    st.tuples(st.integers(0, 8).map(lambda n: n / 4), st.integers(0, 3), st.integers(1, 400).map(float)),
    min_size=1,
    max_size=10,
)


@settings(max_examples=60)
@given(networks(), starts)
def test_bytes_in_equal_bytes_out_and_never_beat_the_bound(case, begins):
    capacities, flows = case
    network = Network(SimEnvironment(), capacities)
    transfers = [(time, flows[index % len(flows)][0], nbytes) for time, index, nbytes in begins]
    ends = run(network, transfers)
    for (time, flow, nbytes), end in zip(transfers, ends, strict=True):
        solo = min(flow.cap, *(capacities[k] / w for k, w in zip(flow.links, flow.weights, strict=True)))
        assert end >= time + nbytes / solo - 1e-9
    moved = [0.0] * len(capacities)
    for _, flow, nbytes in transfers:
        for link, weight in zip(flow.links, flow.weights, strict=True):
            moved[link] += nbytes * weight
    assert network.link_bytes() == pytest.approx(moved)
    assert not network.active()


@settings(max_examples=60)
@given(networks(), starts)
def test_bundled_equals_per_flow(case, begins):
    """Transfers of equal flows share a bundle; keeping them apart by a distinct (unreached) cap changes no time."""
    capacities, flows = case
    transfers = [(time, flows[index % len(flows)][0], nbytes) for time, index, nbytes in begins]
    apart = [
        (time, Flow(f.links, f.weights, 1e6 + i) if f.cap == inf else f, nbytes)
        for i, (time, f, nbytes) in enumerate(transfers)
    ]
    together = run(Network(SimEnvironment(), capacities), transfers)
    assert run(Network(SimEnvironment(), capacities), apart) == together


@dataclass
class Moving:
    """A transfer of the oracle."""

    flow: Flow
    left: float
    index: int
    count: int = 1

    def __getattr__(self, name):
        return getattr(self.flow, name)


def fluid(capacities, starts, changes=()):
    """Return when each transfer ends: the rates of all of them anew whenever anything begins, ends or changes."""
    capacities, now, ends = list(capacities), 0.0, [None] * len(starts)
    begins = sorted(
        (time + sum(latency), i, Moving(flow, nbytes, i)) for i, (time, flow, nbytes, *latency) in enumerate(starts)
    )
    changes, moving = sorted(changes), []
    while begins or moving:
        rates = max_min_rates(moving, capacities)
        over = min((now + each.left / rate for each, rate in zip(moving, rates, strict=True)), default=inf)
        then = min([over, *(begin[0] for begin in begins[:1]), *(change[0] for change in changes[:1])])
        for each, rate in zip(moving, rates, strict=True):
            each.left -= rate * (then - now)
            if each.left <= 1e-9 * rate:
                ends[each.index] = then
        now, moving = then, [each for each in moving if ends[each.index] is None]
        while begins and begins[0][0] <= now:
            moving.append(begins.pop(0)[2])
        while changes and changes[0][0] <= now:
            _, link, capacity = changes.pop(0)
            capacities[link] = capacity
    return ends


late_starts = st.lists(
    st.tuples(
        st.integers(0, 8).map(lambda n: n / 4),
        st.integers(0, 5),
        st.integers(1, 400).map(float),
        st.sampled_from([0.0, 0.125, 0.5, 1.0]),
    ),
    min_size=1,
    max_size=14,
)
changes = st.lists(
    st.tuples(st.integers(1, 40).map(lambda n: n / 8), st.integers(0, 4), st.floats(0.5, 100.0)), max_size=3
)


@settings(max_examples=150)
@given(networks(), late_starts, changes)
def test_bookings_end_when_the_oracle_says(case, begins, changed):
    """Latencies, bookings that others come in the way of, and links that change meanwhile."""
    capacities, flows = case
    transfers = [(time, flows[index % len(flows)][0], nbytes, late) for time, index, nbytes, late in begins]
    changed = [(time, link % len(capacities), capacity) for time, link, capacity in changed]
    network = Network(SimEnvironment(), capacities)
    for time, link, capacity in sorted(changed):
        network.env.call_in(time, lambda k=link, c=capacity: network.set_capacity(k, c))
    assert run(network, transfers) == pytest.approx(fluid(capacities, transfers, changed), rel=1e-6)
    assert not network.active()
    assert network._crowding.idle(range(len(capacities)))


def test_a_booking_that_has_not_begun_gives_way():
    """The second is booked for later, the third begins before and is through when the second begins."""
    network = Network(SimEnvironment(), [100.0])
    first, second = Flow((0,), (1.0,), inf), Flow((0,), (1.0,), 100.0)
    assert run(network, [(0.0, first, 100.0, 2.0), (0.5, second, 100.0)]) == [3.0, 1.5]
    assert network.solves == 0


def test_bundles_that_leave_each_other_room_are_not_joined():
    """Two can take half of the link that they share at most: each has its own limit, and nothing to solve."""
    network = Network(SimEnvironment(), [50.0, 50.0, 100.0])
    first, second = (Flow((own, 2), (1.0, 1.0), inf) for own in (0, 1))
    assert run(network, [(0.0, each, 100.0) for each in (first, first, second)]) == [4.0, 4.0, 2.0]
    assert network.solves == 0
