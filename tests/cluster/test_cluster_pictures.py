"""Tables and pictures of clusters, and what they load."""

import subprocess
import sys
from pathlib import Path

import pytest

from simdml.cluster.describe import fact_rows, link_rows
from simdml.cluster.draw import draw, figure
from simdml.cluster.loading import load_cluster
from simdml.errors import OutputError
from simdml.resources import available


def test_links_are_counted_by_kind() -> None:
    cluster = load_cluster({"name": "dgx1_v100", "nodes": 4})
    rows = {(row.kind, row.between, round(row.capacity_bytes_per_s / 1e6)): row.count for row in link_rows(cluster)}
    assert sum(rows.values()) * 2 == cluster.links.num_links
    assert rows["nvlink", "port - port", 48500] == 32
    assert rows["socket", "socket - socket", 15360] == 4


@pytest.mark.parametrize("name", available("topologies"))
def test_tables_of_every_bundled_cluster(name: str) -> None:
    cluster = load_cluster(name)
    facts = dict(fact_rows(cluster))
    assert facts["GPUs"] == f"{cluster.num_gpus:,}"
    assert facts["bisection"].endswith("B/s")
    assert sum(row.count for row in link_rows(cluster)) * 2 == cluster.links.num_links
    assert all(all(row.cells()) for row in link_rows(cluster))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"name": "dgx1_v100", "nodes": 3}, ["GPU 7", "NIC 3", "rail 3", "node 2", "PCIe switch 3"]),
        ({"name": "dgx_h100", "nodes": 64}, ["NVSwitch", "spines", "node 63", "..."]),
        ({"name": "gb200_nvl72"}, ["GPU 7", "NIC 7", "...\n72 GPUs"]),
        ({"name": "pcie_8gpu", "nodes": 2}, ["network switch", "memory 1"]),
        ({"name": "pcie_4xt4_25gbe", "servers": {"nodes": 8}}, ["leaf 3", "server, 24 cores"]),
        ({"name": "llama3_roce_h100"}, ["core", "node 2047"]),
        ({"name": "two_workstations"}, ["office", "51 GB/s"]),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_pictures_show_the_parts(source: dict[str, object], words: list[str]) -> None:
    made = figure(load_cluster(source))
    shown = [text.get_text() for axes in made.axes for text in axes.texts]
    for word in words:
        assert any(word in text for text in shown), word


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_suffix_decides_the_format(tmp_path: Path, suffix: str) -> None:
    file = draw(load_cluster("pcie_8gpu"), tmp_path / f"box{suffix}")
    assert file.read_bytes()[:5] == {".png": b"\x89PNG\r", ".svg": b"<?xml"}[suffix]


def test_other_suffixes_and_folders_that_are_not_there(tmp_path: Path) -> None:
    cluster = load_cluster("pcie_8gpu")
    with pytest.raises(OutputError, match=r"\.png"):
        draw(cluster, tmp_path / "box.txt")
    with pytest.raises(OutputError, match="cannot write"):
        draw(cluster, tmp_path / "none" / "box.png")


def test_structured_clusters_load_neither_networkx_nor_matplotlib() -> None:
    code = (
        "import sys; from simdml.cluster.loading import load_cluster; from simdml.cluster.endpoint import gpu;"
        "import simdml.cluster.draw, simdml.cluster.describe;"
        "load_cluster({'name': 'dgx_a100', 'nodes': 2}).route(gpu(0), gpu(9));"
        "sys.exit(any(name in sys.modules for name in ('networkx', 'matplotlib', 'pandas', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0


def test_legends_name_what_is_drawn() -> None:
    def words(nodes: int) -> str:
        made = figure(load_cluster("dgx_h100", {"nodes": nodes}))
        return " ".join(
            text.get_text() for axes in made.axes if (key := axes.get_legend()) is not None for text in key.get_texts()
        )

    assert "leaf to spines" not in words(4)
    assert "leaf to spines" in words(64)
