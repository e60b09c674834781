"""Which parameters ZeRO-3 gathers, prefetches and releases at each module of a forward and backward.

A model of deepspeed/runtime/zero/partitioned_param_coordinator.py of DeepSpeed 0.16.4 once it knows the trace of a
step: fetch_sub_module and release_sub_module, element counts and all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ShardedParameter:
    """A parameter of a module: a name of its own, and its elements."""

    name: str
    elements: int


@dataclass(frozen=True, slots=True)
class Limits:
    """The element counts of DeepSpeed's configuration; parameters of at most ``persistence`` stay whole."""

    prefetch_bucket: int
    persistence: int
    max_live: int
    max_reuse_distance: int


@dataclass(frozen=True, slots=True)
class ModuleFetch:
    """What happens at one module: gathered at once and ahead, elements live then, and what is released after it."""

    fetched: tuple[ShardedParameter, ...]
    prefetched: tuple[ShardedParameter, ...]
    live_elements: int
    released: tuple[ShardedParameter, ...]


@dataclass(slots=True)
class Coordinator:
    """Walks a ``trace`` of modules, each the parameters it uses; ``walk`` gives what happens at each."""

    trace: Sequence[tuple[ShardedParameter, ...]]
    limits: Limits
    _whole: set[str] = field(default_factory=set)
    _live: int = 0
    _fetched_for: dict[str, int] = field(default_factory=dict)

    def walk(self) -> Iterator[ModuleFetch]:
        """Yield what happens at each module, in order."""
        queue = deque((parameter, step) for step, module in enumerate(self.trace) for parameter in module)
        for parameter, _ in queue:
            if self._persists(parameter):
                self._whole.add(parameter.name)
        for step, module in enumerate(self.trace):
            fetched = self._gather(module)
            self._skip(queue, module, step)
            prefetched = self._gather(self._upcoming(queue))
            live = self._live
            yield ModuleFetch(fetched, prefetched, live, self._release(module, step + 1))

    def _persists(self, parameter: ShardedParameter) -> bool:
        return parameter.elements <= self.limits.persistence

    def _gather(self, parameters: Sequence[ShardedParameter]) -> tuple[ShardedParameter, ...]:
        missing = tuple(parameter for parameter in parameters if parameter.name not in self._whole)
        self._whole.update(parameter.name for parameter in missing)
        self._live += sum(parameter.elements for parameter in missing)
        return missing

    def _skip(self, queue: deque[tuple[ShardedParameter, int]], module: Sequence[ShardedParameter], step: int) -> None:
        """Take the module's own parameters off the queue, unless a prefetch has come past them."""
        own = {parameter.name for parameter in module if self._fetched_for.get(parameter.name, -1) < step}
        skipped = set[str]()
        while queue and len(skipped) < len(own):
            parameter, used = queue.popleft()
            self._fetched_for[parameter.name] = used
            skipped.add(parameter.name)

    def _upcoming(self, queue: deque[tuple[ShardedParameter, int]]) -> tuple[ShardedParameter, ...]:
        """Take parameters off the queue until a prefetch bucket is full of those that are not whole."""
        limit = min(self.limits.max_live - self._live, self.limits.prefetch_bucket)
        chosen: dict[str, ShardedParameter] = {}
        elements = 0
        while queue and elements < limit:
            parameter, used = queue.popleft()
            self._fetched_for[parameter.name] = max(self._fetched_for.get(parameter.name, -1), used)
            if parameter.name not in self._whole and parameter.name not in chosen:
                chosen[parameter.name] = parameter
                elements += parameter.elements
        return tuple(chosen.values())

    def _release(self, module: Sequence[ShardedParameter], step: int) -> tuple[ShardedParameter, ...]:
        """Free the module's parameters that are not used again soon, nor were counted on by a prefetch."""
        going = {p.name: p for p in module if not self._persists(p) and self._fetched_for.get(p.name, -1) <= step}
        traversed = 0
        for later in self.trace[step:]:
            if traversed >= self.limits.max_reuse_distance or not going:
                break
            for parameter in later:
                going.pop(parameter.name, None)
                traversed += parameter.elements
        self._whole.difference_update(going)
        self._live -= sum(parameter.elements for parameter in going.values())
        return tuple(going.values())
