"""How an account looks: its place in lists, its colour and its hatching.

Colours start from Okabe and Ito's set, which people with colour-blindness tell apart (jfly.uni-koeln.de/color, 2008).
Computation is blue and green, communication warm and hatched, idling grey, so that the three differ in print too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Style:
    """A fill colour and a matplotlib hatch."""

    color: str
    hatch: str = ""


_EXPOSED: Final = "exposed "

STYLES: Final[Mapping[str, Style]] = MappingProxyType(
    {
        "forward": Style("#0a5c9c"),
        "backward": Style("#56b4e9"),
        "recompute": Style("#b5dcf5", "---"),
        "optimizer": Style("#00805e"),
        "gradient copies": Style("#7fcfb2"),
        "launch": Style("#f0e442"),
        "tp": Style("#c44e00", "////"),
        "cp": Style("#a3480a", "xxxx"),
        "ep": Style("#8a3d00", "||||"),
        "pp": Style("#f0b429", "\\\\\\\\"),
        "dp": Style("#d98cb3", "////"),
        "dp_shard": Style("#d98cb3", "////"),
        "dp_replicate": Style("#a8587f", "xxxx"),
        "dp_node": Style("#f2b8d0", "////"),
        "dp_all": Style("#a8587f", "xxxx"),
        "embedding": Style("#8c2d62", "xxxx"),
        "node": Style("#e07b39", "xxxx"),
        "input": Style("#4d9221", "\\\\"),
        "host copy": Style("#f7cfa0", "||||"),
        "push": Style("#d98cb3", "////"),
        "pull": Style("#a8587f", "\\\\\\\\"),
        "server wait": Style("#5c5c5c"),
        "waiting for peers": Style("#a9a9a9"),
        "bubble": Style("#d4d4d4"),
        "waiting": Style("#f2f2f2"),
    }
)
OTHER: Final = Style("#e07b39", "++++")

_AXES: Final = frozenset(
    {"tp", "cp", "ep", "pp", "dp", "dp_shard", "dp_replicate", "dp_node", "dp_all", "embedding", "node"}
)
_ORDER: Final = {name: position for position, name in enumerate(STYLES)}


def style_of(account: str) -> Style:
    """Return the style of an account; exposed communication looks like the communication it waits for."""
    return STYLES.get(account.removeprefix(_EXPOSED), OTHER)


def ordered(accounts: Iterable[str]) -> list[str]:
    """Return accounts in the order they are listed: computation, launch, communication, idling."""
    return sorted(set(accounts), key=lambda name: (_ORDER.get(name.removeprefix(_EXPOSED), len(_ORDER)), name))


def label_of(account: str) -> str:
    """Return what a legend calls an account, for rows that show work and for bars that show waiting for it."""
    name = account.removeprefix(_EXPOSED)
    if name == "server wait":
        return "server"
    return f"{name} communication" if name in _AXES else name


def is_dark(color: str) -> bool:
    """Return whether text on ``#rrggbb`` should be white (relative luminance, ITU-R BT.709)."""
    red, green, blue = (int(color[index : index + 2], 16) / 255 for index in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5
