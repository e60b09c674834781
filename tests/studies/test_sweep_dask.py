"""A sweep on a Dask cluster: the same rows, and a kind error for every cluster that is none."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import warnings
from functools import partial

import pytest
from sample_sweeps import GRID, JOB

from simdml.cli.main import main
from simdml.errors import InfeasibleError, UsageError
from simdml.studies.sweep import dask_cluster
from simdml.studies.sweep.dask_cluster import dask_workers
from simdml.studies.sweep.sweep import plan_sweep, run_sweep
from simdml.studies.sweep.table import csv_text

distributed = pytest.importorskip("distributed", reason='needs Dask: pip install "simdml[cluster]"')


@pytest.fixture(scope="module")
def cluster():
    """Two workers with a process each."""
    with (
        warnings.catch_warnings(),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL
        ) as cluster,
    ):
        yield cluster


def test_two_workers_give_the_same_bytes(cluster):
    plan = plan_sweep(JOB, vary={**GRID, "training.batch_per_gpu": [32, 10**6]})
    rows = csv_text(run_sweep(plan, start=partial(dask_workers, cluster.scheduler_address)))
    assert rows == csv_text(run_sweep(plan, jobs=1))


def test_the_command_and_its_journal(cluster, tmp_path, capsys):
    command = ["sweep", "quickstart", "--vary", "training.batch_per_gpu=16,32", "--json"]
    texts = []
    for options in (["--dask", cluster.scheduler_address, "--out", str(tmp_path)], ["--jobs", "1"]):
        with pytest.raises(SystemExit) as ended:
            main([*command, *options])
        assert ended.value.code == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 3


def test_workers_with_another_simdml_are_refused(cluster, monkeypatch):
    monkeypatch.setattr(dask_cluster, "code_digest", lambda: str(os.getpid()))
    with (
        pytest.raises(InfeasibleError, match="Dask workers have another simdml"),
        dask_workers(cluster.scheduler_address),
    ):
        pass


def test_a_scheduler_without_workers():
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0", silence_logs=logging.CRITICAL) as empty,
        pytest.raises(InfeasibleError, match="has no workers"),
        dask_workers(empty.scheduler_address),
    ):
        pass


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{port}", "127.0.0.1:{port}", "nowhere.invalid:8786"])
def test_nothing_at_the_address(address, monkeypatch):
    monkeypatch.setattr(dask_cluster, "PATIENCE_S", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(UsageError, match="no Dask scheduler answers at"), dask_workers(address.format(port=port)):
        pass
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("greeting", "problem"), [(b"", "timed out"), (b"220 mail ready", "something else answered")])
def test_something_else_at_the_address(greeting, problem, monkeypatch):
    monkeypatch.setattr(dask_cluster, "PATIENCE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with server.accept()[0] as connection:
                connection.sendall(greeting)
                connection.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UsageError, match=problem), dask_workers(address):
            pass
        thread.join()


@pytest.mark.parametrize("address", ["nowhere", "http://x:1", "tcp://", "tcp://host", "host:99999", "a b:1", ""])
def test_no_address(address):
    with pytest.raises(UsageError, match="is not the address of a Dask scheduler"), dask_workers(address):
        pass
