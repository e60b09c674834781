"""Panels about servers: none where there is nothing to tell, and integers on the axis of updates."""

from matplotlib.figure import Figure

import simdml
from simdml.reporting.figures import result_figure
from simdml.reporting.server_panel import draw_staleness, draw_waits, says_something
from simdml.results.servers import ServerActivity, ServerLoad


def activity(staleness, busy=(0.25,)):
    loads = tuple(ServerLoad(f"server {number}", 1, share, 0.0, 1.0, 0.0) for number, share in enumerate(busy))
    return ServerActivity(loads, staleness, (), 0.0, 0.0)


def test_synchronous_servers_have_no_panels():
    result = simdml.run("tfbench/resnet50_batch64_08gpus")
    assert result.servers is not None
    assert not says_something(result.servers)
    assert [axes.get_title(loc="left") or axes.get_title() for axes in result_figure(result).axes] == [
        "Where the step goes",
        "One step",
    ]


def test_staleness_is_drawn_over_whole_updates():
    axes = Figure().subplots()
    draw_staleness(axes, activity({0: 0.4, 1: 0.6}))
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert ticks
    assert all(tick == round(tick) for tick in ticks)
    assert says_something(activity({0: 0.4, 1: 0.6}))


def test_how_busy_servers_are_is_said_once_where_they_are_alike():
    for busy, words in (((0.25, 0.2501), "servers busy 25 %"), ((0.25, 0.9), "servers busy 25 to 90 %")):
        axes = Figure().subplots()
        draw_waits(axes, activity({0: 1.0}, busy))
        assert words in axes.get_title()
