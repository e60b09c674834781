"""How collectives were measured: what NCCL was told, what the program counted beside it, and on which machines."""

import pytest

from simdml.costs.collectives.nccl_tables import Algorithm, Protocol
from simdml.validation.runs.collectives import collective_plan, communicator_of
from simdml.validation.runs.reading import Row, Unusable
from simdml.validation.runs.sites import allowed_by, call_s, site_of, version_of

ROW = {"gpu": "8x H200 node", "num_gpus": "8", "nodes": "1", "collective": "all_reduce", "size_bytes": "1073741824"}


def row(**cells):
    return Row("collective", "table.csv", 2, ROW | cells)


def test_nvls_can_be_switched_off():
    off, on = row(notes="NCCL_NVLS_ENABLE=0"), row(notes="NVLS chosen by NCCL")
    # stas00/ml-engineering, network/README.md: rings reach 363 GB/s of bus on 8 H200, NVLS 480.
    assert collective_plan(off).algorithm == "ring"
    assert collective_plan(on).algorithm == "nvls"
    assert Algorithm.NVLS_TREE not in allowed_by(off, None).algorithms


def test_pytorch_s_call_is_counted_where_its_program_counts_it():
    plain, timed = row(how="nccl-tests"), row(how="torch all_reduce_bench.py")
    assert call_s(plain) == 0.0
    assert collective_plan(timed).latency_s == pytest.approx(collective_plan(plain).latency_s + call_s(timed))
    assert call_s(timed) == pytest.approx(20e-6)


@pytest.mark.parametrize("link", ["EFA (NCCL_P2P_DISABLE, provider efa)", "host memory baseline"])
def test_gpus_kept_from_each_other_are_refused(link):
    with pytest.raises(Unusable, match="not modelled"):
        collective_plan(row(link=link))


def test_abci_ran_without_ll128():
    for machine in ("v100_abci_1node_4gpu_all_reduce.txt", "a100_abci_1node_4gpu_all_reduce.txt"):
        found = row(gpu=machine, num_gpus="4", size_bytes=str(2**21))
        assert Protocol.LL128 not in communicator_of(found).allowed.protocols
        assert communicator_of(found).version == "2.8.4"


def test_staged_efa_has_the_fit_of_staged_networks():
    p3dn, p4de = row(gpu="v100_p3dn.24xlarge"), row(gpu="a100_p4de.24xlarge")
    assert communicator_of(p3dn).fits[1] == "nccl_ethernet"
    assert communicator_of(p3dn).allowed.algorithms == (Algorithm.RING,)
    assert communicator_of(p4de).fits[1] == "nccl_efa"


def test_the_version_is_the_row_s_the_site_s_or_that_of_the_year():
    abci, h200 = row(gpu="a100_abci_1node"), row()
    assert version_of(row(nccl_version="2.21.5"), None) == "2.21.5"
    assert version_of(abci, site_of(abci)) == "2.8.4"
    assert version_of(h200, site_of(h200)) == "2.23.4"
    assert site_of(h200) is None
