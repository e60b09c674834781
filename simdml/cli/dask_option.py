"""``--dask ADDRESS``: the workers of a Dask cluster instead of processes of this machine."""

from __future__ import annotations

from functools import partial

from simdml.studies.sweep.workers import Start


def dask_start(address: str | None) -> Start | None:
    """Return what gives the workers of the cluster at ``address``, None without one."""
    if address is None:
        return None
    # Dask is loaded where it is asked for.
    from simdml.studies.sweep.dask_cluster import dask_workers

    return partial(dask_workers, address)
