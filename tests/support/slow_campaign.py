"""One run of a campaign told event by event, checkpoint by checkpoint: the oracle of the fast timeline."""

from __future__ import annotations

from math import inf

KINDS = ("checkpoints", "lost work", "detection", "waiting for a node", "restart")


def tell(campaign, random):
    """Return wall time and seconds by account of one run; checkpoints that were lost are lost work."""
    told = _Told(campaign, random)
    while not told.over:
        told.stretch()
    return told.now, told.account


class _Told:
    def __init__(self, campaign, random):
        self.campaign, self.checkpoints, self.random = campaign, campaign.checkpoints, random
        self.now = self.trained = 0.0
        self.good = (0.0, 0.0)  # Trained so far, and when training went on from there.
        self.pending = None  # When it can be relied on, and what is good then.
        self.stalling = self.over = False
        self.found_at = inf
        self.stalls = 0.0  # Of checkpoints since the last good one.
        self.ready = [0.0] * (campaign.spares or 0)
        self.account = dict.fromkeys(KINDS, 0.0)

    def stretch(self):
        """Train to the next checkpoint, or stall for it, unless something comes between."""
        campaign, checkpoints = self.campaign, self.checkpoints
        factor = campaign.slow.factor if campaign.slow and self.found_at < inf else 1.0
        last = self.trained >= campaign.work_s
        if self.stalling:
            length = checkpoints.whole_s if last else checkpoints.stall_s
        else:
            cycle = round(self.trained / checkpoints.interval_s, 9) // 1 + 1
            boundary = min(cycle * checkpoints.interval_s, campaign.work_s)
            length = (boundary - self.trained) * factor
        name, after = self.first_event(length)
        self.now += after
        if not self.stalling:
            self.trained = boundary if name == "end" else self.trained + after / factor
        if name == "end":
            self.ends(last)
        else:
            getattr(self, name)()

    def first_event(self, length):
        modes = self.campaign.interruptions
        events = {
            "end": length,
            "fails": self.strike(sum(each.rate_per_s for each in modes if not each.planned)),
            "is_stopped": self.strike(sum(each.rate_per_s for each in modes if each.planned)),
            "gets_slow": self.strike(self.campaign.slow.rate_per_s if self.campaign.slow else 0.0),
            "is_found": max(self.found_at - self.now, 0.0),
        }
        return min(events.items(), key=lambda event: event[1])

    def strike(self, rate):
        return self.random.expovariate(rate) if rate else inf

    def ends(self, last):
        if not self.stalling:
            self.stalling = True
            return
        self.settle()
        self.pending = (self.now + self.checkpoints.write_s, (self.trained, self.now))
        self.over, self.stalling = last, False
        self.stalls += self.checkpoints.whole_s if last else self.checkpoints.stall_s
        if last:
            self.account["checkpoints"] += self.stalls

    def settle(self):
        """Let the checkpoint in the making be good if it is written by now."""
        if self.pending is not None and self.pending[0] <= self.now:
            self.good, self.pending = self.pending[1], None
            self.account["checkpoints"] += self.stalls
            self.stalls = 0.0

    def gets_slow(self):
        if self.found_at == inf:
            self.found_at = self.now + self.campaign.slow.found_after_s

    def is_found(self):
        self.found_at = inf
        self.saves(replaced=True)

    def is_stopped(self):
        self.saves(replaced=self.pick(planned=True).replaced)

    def saves(self, *, replaced):
        self.now += self.checkpoints.whole_s
        self.account["checkpoints"] += self.stalls + self.checkpoints.whole_s
        self.restarts(0.0, replaced)

    def fails(self):
        self.settle()
        each = self.pick(planned=False)
        self.account["lost work"] += self.now - self.good[1]
        self.trained = self.good[0]
        self.restarts(each.detection_s, each.replaced)

    def pick(self, *, planned):
        modes = [each for each in self.campaign.interruptions if each.planned == planned]
        return self.random.choices(modes, [each.rate_per_s for each in modes])[0]

    def restarts(self, detection_s, replaced):
        self.stalling, self.pending, self.stalls = False, None, 0.0
        self.spend("detection", detection_s)
        if replaced and self.campaign.spares is not None:
            self.spend("waiting for a node", self.take_spare())
        name, after = min(("end", self.campaign.restart_s), self.restart_strike(), key=lambda event: event[1])
        self.spend("restart", after)
        if name == "fails":
            each = self.pick(planned=False)
            self.restarts(each.detection_s, each.replaced)
        self.good = (self.trained, self.now)

    def restart_strike(self):
        rate = sum(each.rate_per_s for each in self.campaign.interruptions if not each.planned)
        return "fails", self.strike(rate)

    def take_spare(self):
        if not self.ready:
            return self.campaign.repair_s
        self.ready.sort()
        waited = max(self.ready[0] - self.now, 0.0)
        self.ready[0] = self.now + self.campaign.repair_s
        return waited

    def spend(self, kind, seconds):
        self.now += seconds
        self.account[kind] += seconds
