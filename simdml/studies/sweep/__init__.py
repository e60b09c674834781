"""Many variants of one scenario: a grid or a list of them, simulated in parallel, resumable.

============================  ======================================================================
``studies.sweep.ranges``      "10 Gbps .. 100 Gbps step 10 Gbps" into values
``studies.sweep.axes``        what varies: the ``vary`` section and ``--vary`` into axes
``studies.sweep.grid``        axes into points, each a few settings of the scenario
``studies.sweep.outcome``     one point simulated: its numbers, or why it has none
``studies.sweep.journal``     finished points on disk, so that a killed sweep goes on
``studies.sweep.workers``     executors: this process, local processes, a Dask cluster, or the caller's
``studies.sweep.running``     points to outcomes on an executor
``studies.sweep.sweep``       ``run_sweep``: all of it
``studies.sweep.table``       rows as text, CSV, JSON and pandas
============================  ======================================================================
"""
