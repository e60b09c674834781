"""Backfilling where only the number of GPUs counts, as the papers define it: oracles of the fast policies."""

from __future__ import annotations


def conservative_starts(jobs, gpus):
    """Give each job in order the first time from its arrival on at which it fits until its end; nothing ever moves.

    Right where estimates are runtimes: no job ends early, so no reservation ever changes.
    """
    taken, starts = [], []
    for job in jobs:
        moments = sorted({job.submit_s, *(end for _, end, _ in taken if end > job.submit_s)})
        start = next(moment for moment in moments if _fits(taken, moment, job, gpus))
        taken.append((start, start + job.runtime_s, job.gpus))
        starts.append(start)
    return starts


def _fits(taken, start, job, gpus):
    inside = [start, *(begin for begin, _, _ in taken if start < begin < start + job.runtime_s)]
    return all(sum(used for begin, end, used in taken if begin <= moment < end) + job.gpus <= gpus for moment in inside)


def easy_starts(jobs, gpus):
    """EASY by counting: a job may pass if it ends before the first in the queue can start, or leaves it its GPUs."""
    starts, ends, waiting, now, arrived = {}, [], [], 0.0, 0
    while len(starts) < len(jobs):
        times = [end for end, _, _ in ends] + ([jobs[arrived].submit_s] if arrived < len(jobs) else [])
        now = min(times)
        ends = [entry for entry in ends if entry[0] > now]
        while arrived < len(jobs) and jobs[arrived].submit_s <= now:
            waiting.append(jobs[arrived])
            arrived += 1
        for job in _easy_now(waiting, ends, now, gpus):
            waiting.remove(job)
            starts[job.number] = now
            ends.append((now + job.runtime_s, job.gpus, now + job.estimate_s))
    return [starts[job.number] for job in jobs]


def _easy_now(waiting, ends, now, gpus):
    free = gpus - sum(used for _, used, _ in ends)
    running = [(planned, used) for _, used, planned in ends]
    queue, started = list(waiting), []
    while queue and queue[0].gpus <= free:
        job = queue.pop(0)
        free -= job.gpus
        running.append((now + job.estimate_s, job.gpus))
        started.append(job)
    if not queue:
        return started
    then, shadow = free, now
    for planned, used in sorted(running):
        if then >= queue[0].gpus and planned > shadow:
            break
        then, shadow = then + used, planned
    extra = then - queue[0].gpus
    for job in queue[1:]:
        short = now + job.estimate_s <= shadow
        if job.gpus <= free and (short or job.gpus <= extra):
            free -= job.gpus
            extra -= 0 if short else job.gpus
            started.append(job)
    return started
