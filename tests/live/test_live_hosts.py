"""Hosts of the testbed: made, shaped, and gone whatever happens."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simdml.errors import InfeasibleError
from simdml.validation.live import hosts
from simdml.validation.live.commands import run_everywhere

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def testbed_possible():
    if reason := hosts.why_not():
        pytest.skip(f"no testbed here: {reason}")


def left_behind(process=None):
    owner = process or os.getpid()
    folder = hosts.NETNS_FOLDER
    return sorted(path.name for path in folder.glob(f"simdml-{owner}-*")) if folder.is_dir() else []


def test_bucket_holds_what_a_late_timer_misses_and_a_whole_segment():
    assert hosts.burst_bytes(400e6) == 125_000
    assert hosts.burst_bytes(10e6) == hosts.SMALLEST_BURST_BYTES > 65_536


def test_why_not_names_what_is_missing(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "root" in hosts.why_not()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(hosts.shutil, "which", lambda tool: None if tool == "tc" else f"/sbin/{tool}")
    assert hosts.why_not().startswith("tc is not installed")


def test_why_not_names_what_the_kernel_lacks(monkeypatch):
    def refuse(*command):
        if "tbf" in command:
            raise InfeasibleError("tc: Specified qdisc kind is unknown")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(hosts.shutil, "which", lambda tool: f"/sbin/{tool}")
    monkeypatch.setattr(hosts, "_run", refuse)
    monkeypatch.setattr(hosts, "_delete", lambda name: None)
    assert "tbf" in hosts.why_not()
    assert "qdisc kind is unknown" in hosts.why_not()


def test_no_testbed_where_there_can_be_none(monkeypatch):
    monkeypatch.setattr(hosts, "why_not", lambda: "not root: network namespaces cannot be made")
    with pytest.raises(InfeasibleError, match="not root"), hosts.namespaces(2):
        pass


@pytest.mark.usefixtures("testbed_possible")
class TestNamespaces:
    def test_hosts_reach_each_other_and_are_removed(self):
        with hosts.namespaces(3) as testbed:
            assert len(left_behind()) == 4
            testbed.set_rate(200e6)
            shaping = subprocess.run(
                ["tc", "-n", testbed.hosts[1].namespace, "qdisc", "show", "dev", "eth0"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            assert "tbf" in shaping
            assert "200Mbit" in shaping
            program = (sys.executable, "-c", TALK)
            assert run_everywhere(testbed, program) == 0
        assert left_behind() == []

    def test_removed_after_an_exception(self):
        with pytest.raises(ZeroDivisionError), hosts.namespaces(2):
            raise ZeroDivisionError
        assert left_behind() == []

    def test_removed_when_making_them_fails(self, monkeypatch):
        monkeypatch.setattr(hosts, "DEVICE", "a-name-too-long-for-a-device")
        monkeypatch.setattr(hosts, "why_not", lambda: "")
        with pytest.raises(InfeasibleError), hosts.namespaces(2):
            pass
        assert left_behind() == []

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_removed_when_told_to_end(self, number):
        child = start_holder()
        assert len(left_behind(child.pid)) == 3
        child.send_signal(number)
        child.wait(20)
        assert left_behind(child.pid) == []

    def test_killed_run_is_swept_by_the_next(self):
        child = start_holder()
        child.kill()
        child.wait(20)
        assert len(left_behind(child.pid)) == 3
        with hosts.namespaces(1):
            assert left_behind(child.pid) == []
            assert len(left_behind()) == 2

    def test_sweep_spares_the_living(self):
        child = start_holder()
        try:
            assert hosts.sweep() == []
            assert len(left_behind(child.pid)) == 3
        finally:
            child.terminate()
            child.wait(20)

    def test_exit_code_is_the_largest(self):
        with hosts.namespaces(2) as testbed:
            code = "import os, sys; sys.exit(3 * int(os.environ['RANK']))"
            assert run_everywhere(testbed, (sys.executable, "-c", code)) == 3
            with pytest.raises(InfeasibleError, match="no program"):
                run_everywhere(hosts.Testbed((hosts.Host("", "127.0.0.1", "lo"),), shaped=False), ("/no/such/file",))


TALK = """
import os, socket, time
rank, master = int(os.environ["RANK"]), os.environ["MASTER_ADDR"]
if rank == 0:
    server = socket.create_server((master, 5000))
    for _ in range(2):
        peer, _ = server.accept()
        assert peer.recv(5) == b"hello"
else:
    for attempt in range(100):
        try:
            socket.create_connection((master, 5000)).sendall(b"hello")
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    else:
        raise SystemExit(1)
"""

HOLD = """
import time
from simdml.validation.live.hosts import namespaces
with namespaces(2):
    print("ready", flush=True)
    time.sleep(60)
"""


def start_holder():
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "ready"
    child.stdout.close()
    time.sleep(0.05)
    return child
