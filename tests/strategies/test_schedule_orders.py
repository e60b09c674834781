"""What every device does, action by action: golden orders, and torch itself for many sizes."""

import pytest
from golden_orders import GOLDEN
from torch_schedules import TORCH, torch_order, torch_schedule

from simdml.errors import DocumentError, InfeasibleError, UnknownNameError
from simdml.strategies.schedules import SCHEDULES, find_schedule
from simdml.strategies.schedules.order_table import read_order_table


def printed(schedule, device, depth, microbatches, chunks):
    """The order as torch prints it."""
    placement = schedule.placement(depth, chunks)
    text = ""
    for action in schedule.actions(device, depth, microbatches, chunks):
        unit = f"{placement.stage((device, action.chunk))}{action.phase}{action.microbatch}"
        if action.with_next:
            text += f" ({unit};"
        elif text.endswith(";"):
            text += f"{unit})OVERLAP_F_B"
        else:
            text += f" {unit}"
    return text.strip()


def test_schedules_with_flush_have_golden_orders_unless_of_both_directions_or_known_by_bubble_and_memory():
    assert set(SCHEDULES) - set(GOLDEN) == {"dual_pipe", "pipedream", "pipedream_2bw", "v_half", "v_min"}


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("device", range(4))
def test_golden_order(name, device):
    schedule = find_schedule(name)
    assert printed(schedule, device, 4, 8, schedule.chunks) == GOLDEN[name][device]


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_torchs_order_for_other_sizes(name, depth):
    schedule = SCHEDULES[name]
    compared = 0
    for chunks in (1, 2, 3) if schedule.any_chunks else (2,):
        for microbatches in range(1, 14):
            try:
                theirs = torch_order(name, depth, microbatches, chunks)
                ours = [printed(schedule, device, depth, microbatches, chunks) for device in range(depth)]
            except (ValueError, InfeasibleError):
                continue
            assert ours == theirs
            compared += 1
    assert compared > 2


@pytest.mark.parametrize("depth", [2, 4, 6, 8])
def test_dual_pipe_is_dual_pipe_v_from_both_ends(depth):
    """deepseek-ai/DualPipe: dualpipev.py is dualpipe.py with half the devices."""
    dual, folded = SCHEDULES["dual_pipe"], SCHEDULES["dual_pipe_v"]
    for device in range(depth):
        near = min(device, depth - 1 - device)
        assert dual.actions(device, depth, 4 * depth, 2) == folded.actions(near, depth // 2, 2 * depth, 2)


def test_dual_pipe_holds_a_stage_of_each_direction_on_every_device():
    placement = SCHEDULES["dual_pipe"].placement(4, 2)
    assert [placement.stage((device, 0)) for device in range(4)] == [0, 1, 1, 0]
    assert [placement.stage((device, 1)) for device in range(4)] == [3, 2, 2, 3]
    assert placement.after((1, 0)) == (2, 1)
    assert placement.after((2, 0)) == (1, 1)


@pytest.mark.parametrize("form", ["compute_only", "compute_comms"])
@pytest.mark.parametrize("name", TORCH)
def test_torchs_csv_files_are_read(name, form, tmp_path):
    schedule = SCHEDULES[name]
    torch_schedule(name, 4, 8, 2)._dump_csv(tmp_path / "order.csv", format=form)
    found = read_order_table((tmp_path / "order.csv").read_text(), "order.csv")
    assert found.chunks == 2
    assert found.placement(4, 2) == schedule.placement(4, 2)
    for device in range(4):
        assert found.actions(device, 4, 8, 2) == schedule.actions(device, 4, 8, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0F0,0B0\n1F0,1X0", r"order.csv:2:1.*\"1X0\" is no action"),
        ("0F0,0B0\n2F0,2B0", "stages 0, 1, 2 and so on"),
        ("0F0,0B0\n0F0,0B0", "each on one device"),
        ("", "stages 0, 1, 2"),
    ],
)
def test_tables_that_are_no_schedule_are_refused(text, message):
    with pytest.raises(DocumentError, match=f"(?s){message}"):
        read_order_table(text, "order.csv")


def test_a_table_is_for_its_own_numbers_and_has_to_be_complete():
    schedule = read_order_table("0F0,0F1,0B0\n1F0,1B0,1F1,1B1", "order.csv")
    with pytest.raises(InfeasibleError, match="does not run every one of 2 micro-batches"):
        schedule.actions(0, 2, 2, 1)
    with pytest.raises(InfeasibleError, match=r"(?s)orders 2 micro-batches on 2 devices.*mesh.pp: 2"):
        schedule.actions(1, 2, 4, 1)


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("interleaved_1f1b", (0, 4, 6, 2), r"(?s)groups of 4.*multiple of 4"),
        ("interleaved_zero_bubble", (0, 4, 9, 2), r"(?s)2 rounds.*multiple of 4"),
        ("1f1b", (0, 4, 8, 2), "(?s)one chunk.*interleaved_1f1b"),
        ("zb_v", (0, 4, 8, 3), "2 chunks on each device, not 3"),
        ("dual_pipe", (0, 3, 8, 2), "(?s)even number of devices.*over 4 devices"),
        ("dual_pipe", (0, 4, 6, 2), "8 or more micro-batches"),
        ("dual_pipe_v", (0, 4, 6, 2), "(?s)8, not 6.*zb_v"),
        ("pipedream_2bw", (0, 4, 3, 1), "(?s)4, not 3.*pipedream"),
    ],
)
def test_impossible_numbers_are_refused_with_what_would_do(name, sizes, message):
    with pytest.raises(InfeasibleError, match=message):
        find_schedule(name).actions(*sizes)


def test_unknown_schedules_are_refused():
    with pytest.raises(UnknownNameError, match="1f1b"):
        find_schedule("1f1d")
