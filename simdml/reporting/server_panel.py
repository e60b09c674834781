"""Parameter servers in pictures: the distribution of staleness, and who waits for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matplotlib.ticker import MaxNLocator

from simdml.results.servers import Held, ServerActivity
from simdml.units import format_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT: Final = 2.0
COLOR: Final = "#4c78a8"
BARS: Final = 24
PAIRS: Final = 8


def says_something(activity: ServerActivity) -> bool:
    """Whether a gradient was stale or a worker waited for another: without, the panels would be empty."""
    return bool(activity.held) or max(activity.staleness, default=0) > 0


def draw_staleness(axes: Axes, activity: ServerActivity) -> None:
    """Draw the share of gradients by their staleness, joined to at most ``BARS`` bars."""
    low, high = min(activity.staleness, default=0), max(activity.staleness, default=0)
    width = -(-(high - low + 1) // BARS)
    shares: dict[int, float] = {}
    for updates, fraction in activity.staleness.items():
        first = low + (updates - low) // width * width
        shares[first] = shares.get(first, 0.0) + 100 * fraction
    axes.bar([first + (width - 1) / 2 for first in shares], list(shares.values()), width=0.9 * width, color=COLOR)
    axes.set_title("Staleness of gradients")
    axes.set_xlabel("updates since the parameters were pulled")
    axes.set_ylabel("% of gradients")
    axes.set_xlim(low - 0.6, max(high, low + 3) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_waits(axes: Axes, activity: ServerActivity) -> None:
    """Draw the longest waits of one worker for another, and how busy the servers are."""
    held = activity.held[:PAIRS]
    busy = sorted({f"{100 * load.utilisation:.0f}" for load in activity.servers}, key=float)
    span = busy[0] if len(busy) == 1 else f"{busy[0]} to {busy[-1]}"
    axes.set_title(f"Who waits for whom (servers busy {span} %)")
    if not held:
        axes.text(0.5, 0.5, "nobody waits for another worker", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    axes.barh(range(len(held)), [each.seconds_per_pull for each in held], height=0.7, color=COLOR)
    axes.set_yticks(range(len(held)), [_label(each) for each in held])
    axes.set_ylim(len(held) - 0.4, -0.6)
    axes.set_xlabel(f"seconds a pull (longest {format_time(held[0].seconds_per_pull)})")


def _label(held: Held) -> str:
    return f"rank {held.rank} for {held.by}"
