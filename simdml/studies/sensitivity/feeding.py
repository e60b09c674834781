"""A better and a worse input pipeline. ``factor`` 2 is twice as good."""

from __future__ import annotations

from dataclasses import replace

from simdml.cluster.feed import feed_of, with_feed
from simdml.scenario.building import Built


def faster_storage(built: Built, factor: float) -> Built | None:
    """Change the rate of storage, of all nodes and of each."""
    return _fed(built, storage=factor) if _has(built, "storage") else None


def faster_decoding(built: Built, factor: float) -> Built | None:
    """Change what a loader worker, and a core, decodes."""
    return _fed(built, decoding=factor) if _has(built, "decode") else None


def _has(built: Built, stage: str) -> bool:
    return built.job.input is not None and stage in built.job.input.stages


def _fed(built: Built, storage: float = 1.0, decoding: float = 1.0) -> Built:
    feed = feed_of(built.job.cluster)
    assert feed is not None
    cluster = with_feed(
        built.job.cluster,
        shared_bytes_per_s=feed.shared_bytes_per_s * storage,
        node_bytes_per_s=feed.node_bytes_per_s * storage,
        decode_bytes_per_s=[rate * decoding for rate in feed.decode_bytes_per_s],
    )
    cost = replace(built.costs.feed, cluster=cluster, worker_bytes_per_s=built.costs.feed.worker_bytes_per_s * decoding)
    return replace(built, job=replace(built.job, cluster=cluster), costs=replace(built.costs, feed=cost))
