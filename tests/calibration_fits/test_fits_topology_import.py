"""Machines that describe themselves, as cluster files that load."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from simdml.cli.topology_import import TopologyCommand
from simdml.cluster.importing.conversion import convert, import_topology
from simdml.cluster.importing.nccl_xml import parse_nccl_xml
from simdml.cluster.importing.nvidia_smi_topo import parse_topo
from simdml.cluster.importing.safe_xml import parse_xml
from simdml.cluster.loading import load_cluster
from simdml.cluster.node import Fabric
from simdml.documents.loading import parse_document
from simdml.errors import DocumentError, UnknownNameError, UsageError


def matrix(cells, numa=None, legend=""):
    """``cells`` by (row, column) of names, the lower half mirrored."""
    names = list(dict.fromkeys(name for pair in cells for name in pair))
    titles = "\tCPU Affinity\tNUMA Affinity" if numa else "\tCPU Affinity"
    lines = ["\t" + "\t".join(f"\x1b[4m{name}\x1b[0m" for name in names) + titles]
    for name in names:
        row = [" X " if name == other else cells.get((name, other)) or cells[other, name] for other in names]
        affinity = ["0-31", str(numa[name])] if numa and name in numa else ["0-31"]
        lines.append("\t".join([name, *row, *affinity]))
    return "\n".join(lines) + "\n\nLegend:\n\n  X    = Self\n  PIX  = ...\n" + legend


def dgx(links="NV12"):
    gpus = [f"GPU{index}" for index in range(8)]
    cells = {(a, b): links for a in gpus for b in gpus if a < b}
    for nic in range(4):
        for index, gpu in enumerate(gpus):
            near = "PXB" if index // 2 == nic else "SYS" if index // 4 != nic // 2 else "NODE"
            cells[gpu, f"NIC{nic}"] = near
        for other in range(nic + 1, 4):
            cells[f"NIC{nic}", f"NIC{other}"] = "NODE" if nic // 2 == other // 2 else "SYS"
    numa = {gpu: index // 4 for index, gpu in enumerate(gpus)}
    legend = "\nNIC Legend:\n\n" + "".join(f"  NIC{nic}: mlx5_{nic}\n" for nic in range(4))
    return matrix(cells, numa, legend)


def reload(imported):
    """The cluster from the text that would be written."""
    return load_cluster(parse_document(imported.text("x"), "x.yaml"))


def test_a_board_with_nvswitch():
    node = parse_topo(dgx(), "x")
    assert node.nvswitch
    assert (node.sockets, [nic.name for nic in node.nics]) == (2, ["mlx5_0", "mlx5_1", "mlx5_2", "mlx5_3"])
    cluster = reload(convert(node))
    template = cluster.template(0)
    assert (cluster.num_gpus, template.device.name, template.fabric) == (8, "a100_sxm_80gb", Fabric.NVSWITCH)
    assert template.pcie.switches == 4
    assert [nic.gpus for nic in template.nics] == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert [template.socket_of(gpu) for gpu in range(8)] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [nic.socket for nic in template.nics] == [0, 0, 1, 1]


def test_what_the_file_does_not_say_can_be_said():
    imported = convert(parse_topo(dgx("NV18"), "x"), gpu="h200_sxm", nic_rate_bps=400e9)
    template = reload(imported).template(0)
    assert template.device.name == "h200_sxm"
    assert template.nics[0].rate_bytes_per_s == 50e9
    assert not any("assumed, --gpu" in note or "--nic-rate" in note for note in imported.notes)
    with pytest.raises(UnknownNameError):
        convert(parse_topo(dgx(), "x"), gpu="h2oo")


def test_cards_on_switches_of_two_sockets():
    gpus = [f"GPU{index}" for index in range(4)]
    cells = {(a, b): "PIX" if int(a[3]) // 2 == int(b[3]) // 2 else "SOC" for a in gpus for b in gpus if a < b}
    template = reload(convert(parse_topo(matrix(cells), "x"))).template(0)
    assert (template.fabric, template.pcie.switches, template.cpu.sockets) == (Fabric.PCIE, 2, 2)
    assert [template.switch_of(gpu) for gpu in range(4)] == [0, 0, 1, 1]


def test_cube_mesh_is_recognised():
    double = {(0, 3), (0, 4), (1, 2), (1, 5), (2, 3), (4, 7), (5, 6), (6, 7)}
    single = {(0, 1), (0, 2), (1, 3), (2, 6), (3, 7), (4, 5), (4, 6), (5, 7)}
    cells = {
        (f"GPU{a}", f"GPU{b}"): "NV2" if (a, b) in double else "NV1" if (a, b) in single else "SYS"
        for a in range(8)
        for b in range(a + 1, 8)
    }
    template = reload(convert(parse_topo(matrix(cells), "x"))).template(0)
    assert template.fabric is Fabric.CUBE_MESH
    assert template.nvlinks_between(0, 3) == 2


def test_a_bridged_pair_is_listed_link_by_link():
    imported = convert(parse_topo(matrix({("GPU0", "GPU1"): "NV2"}), "x"), gpu="a6000")
    cluster = reload(imported)
    assert "graph" in imported.mapping
    route = cluster.links.ends(cluster.gpu_port_links(0)[0])
    assert cluster.num_gpus == 2
    assert route
    nvlink = [edge for edge in imported.mapping["graph"]["edges"] if edge["kind"] == "nvlink"]
    assert [edge["between"] for edge in nvlink] == [["gpu0", "gpu1"]]


def test_nics_near_no_gpu_are_left_out_and_named():
    text = dgx().replace("mlx5_3", "storage")
    rows = text.splitlines()
    rows = [
        line if not line.startswith("GPU") else "\t".join([*line.split("\t")[:12], "SYS", *line.split("\t")[13:]])
        for line in rows
    ]
    rows = [
        line if not line.startswith("NIC3\t") else "\t".join(["NIC3", *["SYS"] * 11, " X ", "0-31"]) for line in rows
    ]
    node = parse_topo("\n".join(rows), "x")
    assert len(node.nics) == 3
    assert "storage" in node.notes[-1]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [("PXB", "PYB", "no code"), (" X ", "NV4", "diagonal"), ("\tSYS\tSYS\t0-31", "\t0-31", "no code")],
)
def test_a_damaged_matrix_is_refused_with_its_line(before, after, words):
    with pytest.raises(DocumentError, match=words) as found:
        parse_topo(dgx().replace(before, after, 1), "topo.txt")
    assert found.value.problems[0].place.line == 2


def test_a_matrix_cut_short_or_absent():
    with pytest.raises(DocumentError, match="no row GPU7"):
        parse_topo("\n".join(dgx().splitlines()[:8]), "x")
    with pytest.raises(DocumentError, match="no matrix"):
        parse_topo("NVIDIA-SMI has failed\n", "x")


def pci(busid, code, inner="", *, device="0x2330", speed="32.0 GT/s PCIe"):
    return (
        f'<pci busid="{busid}" class="{code}" vendor="0x10de" device="{device}" link_speed="{speed}" '
        f'link_width="16">{inner}</pci>'
    )


def dump(*, leaves=True, net='<net name="mlx5_{0}" dev="{0}" speed="400000" port="1"/>'):
    """Two NUMA domains with two switches each, a GPU and a NIC on every one."""
    cpus = ""
    for socket in range(2):
        inside = ""
        for switch in range(2):
            number = 2 * socket + switch
            links = "".join(f'<nvlink target="0000:a{n}:00.0" count="9" tclass="0x068000"/>' for n in range(2))
            gpu = f'<gpu dev="{number}" sm="90" rank="{number}" gdr="1">{links}</gpu>' if leaves else ""
            nic = f"<nic>{net.format(number)}</nic>" if leaves else ""
            inside += pci(
                f"0000:{number}0:00.0",
                "0x060400",
                pci(f"0000:{number}1:00.0", "0x030200", gpu) + pci(f"0000:{number}2:00.0", "0x020700", nic),
            )
        cpus += f'<cpu numaid="{socket}" arch="x86_64" vendor="GenuineIntel" familyid="6" modelid="143">{inside}</cpu>'
    return f'<system version="1">{cpus}</system>'


def test_a_whole_dump():
    node = parse_nccl_xml(dump(), "x.xml")
    assert (node.sockets, node.cpu, node.gpu_slot, node.nvswitch) == (2, "sapphire_rapids", "gen5 x16", True)
    assert set(node.nvlinks.values()) == {18}
    cluster = reload(convert(node))
    template = cluster.template(0)
    assert (template.device.name, template.fabric) == ("h100_sxm", Fabric.NVSWITCH)
    assert [(nic.rate_bytes_per_s, nic.pcie_switch) for nic in template.nics] == [(50e9, switch) for switch in range(4)]


def test_a_vendor_file_without_leaves():
    imported = convert(parse_nccl_xml(dump(leaves=False), "x.xml"))
    template = reload(imported).template(0)
    assert (template.gpus, len(template.nics), template.device.name) == (4, 4, "h100_sxm")
    assert any("rate of the NICs" in note for note in imported.notes)


def test_direct_nvlinks_between_two_cards():
    gpus = [
        pci(f"0000:0{n}:00.0", "0x030200", f'<gpu dev="{n}" sm="80"><nvlink target="0000:0{1 - n}:00.0" count="12" '
            'tclass="0x030200"/></gpu>', device="0x20b5", speed="16 GT/s")
        for n in range(2)
    ]  # fmt: skip
    cpu = '<cpu numaid="0" arch="x86_64" vendor="AuthenticAMD" familyid="175" modelid="1">'
    text = f'<system version="1">{cpu}{"".join(gpus)}</cpu></system>'
    node = parse_nccl_xml(text, "x")
    assert (dict(node.nvlinks), node.cpu) == ({(0, 1): 12}, "milan")
    assert reload(convert(node)).template(0).device.name == "a100_pcie_80gb"


def test_a_graph_file_gives_gpus_and_path():
    text = (
        '<graphs version="1"><graph id="0" typeintra="SYS"><channel><gpu dev="0"/><gpu dev="1"/></channel></graph>'
        "</graphs>"
    )
    template = reload(convert(parse_nccl_xml(text, "x"))).template(0)
    assert (template.gpus, template.fabric, template.cpu.sockets) == (2, Fabric.PCIE, 2)


BOMB = """<?xml version="1.0"?>
<!DOCTYPE system [
 <!ENTITY a "ha">
 <!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">
]>
<system version="1">&b;</system>
"""


def test_entities_are_refused_before_they_mean_anything():
    with pytest.raises(DocumentError, match="document type") as found:
        parse_xml(BOMB, "bomb.xml")
    assert found.value.problems[0].place.line == 2


def test_xml_cut_short_too_deep_or_of_another_kind():
    with pytest.raises(DocumentError, match="not XML") as found:
        parse_nccl_xml(dump()[:-12].replace("<cpu", "\n<cpu"), "x.xml")
    assert found.value.problems[0].place.line == 3
    with pytest.raises(DocumentError, match="nested deeper"):
        parse_xml("<a>" * 100 + "</a>" * 100, "x")
    with pytest.raises(DocumentError, match="not a topology"):
        parse_nccl_xml("<html><body/></html>", "x")
    with pytest.raises(DocumentError, match="no GPU"):
        parse_nccl_xml('<system version="1"><cpu numaid="0"/></system>', "x")


def topology():
    @click.group()
    def main():
        pass

    @main.command("topology", cls=TopologyCommand)
    @click.argument("name")
    @click.option("--nodes")
    def show(name, nodes):
        click.echo(f"cluster {name} {nodes}")

    return main


def test_import_beside_a_command_on_names(tmp_path):
    source, made = tmp_path / "topo.txt", tmp_path / "mine.yaml"
    source.write_text(dgx())
    call = CliRunner().invoke
    assert call(topology(), ["topology", "dgx_a100", "--nodes", "2"]).output == "cluster dgx_a100 2\n"
    printed = call(topology(), ["topology", "import", str(source), "--gpu", "a100_sxm_40gb"])
    assert "type: a100_sxm_40gb" in printed.output
    wrote = call(topology(), ["topology", "import", str(source), "-o", str(made), "--nic-rate", "100 Gbps"])
    assert wrote.exit_code == 0
    cluster = load_cluster(made, {"nodes": 4})
    assert (cluster.num_gpus, cluster.template(0).nics[0].rate_bytes_per_s) == (32, 12.5e9)
    again = call(topology(), ["topology", "import", str(source), "-o", str(made)])
    assert isinstance(again.exception, UsageError)
    assert "import FILE" in call(topology(), ["topology", "--help"]).output


def test_files_by_content(tmp_path):
    (tmp_path / "a.txt").write_text(dgx())
    (tmp_path / "b.xml").write_text(dump())
    assert import_topology(tmp_path / "a.txt").mapping["node"]["gpus"]["count"] == 8
    assert import_topology(tmp_path / "b.xml").mapping["node"]["gpus"]["count"] == 4
