"""The best layout of a model on a cluster, or the smallest or cheapest cluster: proven by a bound, mostly unsimulated.

============================  ===========================================================================
``studies.plan.layout``       one way to lay a model out, and the scenario of it
``studies.plan.space``        every legal layout of a model on so many GPUs
``studies.plan.site``         one cluster that may be chosen
``studies.plan.blocks``       least seconds and bytes of a model's blocks on a rank
``studies.plan.schedules``    what a schedule says of a device: bubbles, micro-batches in flight
``studies.plan.bound``        least step time and memory of a layout, from its blocks: microseconds each
``studies.plan.candidate``    a site with a layout: its bound, sharpened, and its simulation
``studies.plan.goal``         targets and what is best, for bounds and for results
``studies.plan.search``       best first, until nothing left can be better
``studies.plan.planning``     ``plan``: all of it
============================  ===========================================================================
"""
