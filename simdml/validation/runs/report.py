"""The accuracy report: worst rows first, errors by group, layouts, memory, and every coefficient's source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simdml import __version__
from simdml.calibration.profile import available_profiles, load_profile
from simdml.reporting.drawings import picture
from simdml.reporting.report import Block, Points, Report, Section, Table, Topic, Words
from simdml.validation.runs.coefficients import COLUMNS, cells, coefficients
from simdml.validation.runs.coverage import COVERAGE_COLUMNS, coverage_cells
from simdml.validation.runs.fitted_counts import COLUMNS as COUNTED
from simdml.validation.runs.fitted_counts import MOST_OF_WHOLE_STEPS, counts_by_generation, counts_cells
from simdml.validation.runs.ranking import LayoutGroup
from simdml.validation.runs.scaling import ScalingGroup, scaling_groups
from simdml.validation.runs.scores import Score, left_out
from simdml.validation.runs.study import RunsValidation
from simdml.validation.runs.table import ROW_COLUMNS, SCORE_COLUMNS, percent, row_cells, score_cells

WORST_SHOWN = 20


def accuracy_report(validation: RunsValidation, further: Sequence[Section] = ()) -> Report:
    """Return the report on a validation, with ``further`` sections after that on the worst rows."""
    worst, *others = _sections(validation)
    total = validation.total
    compared = 0 if total is None else total.rows
    answer = (
        "No row could be compared."
        if total is None
        else f"Predicted step times are {100 * total.median:.1f} % off in the median and {100 * total.mean:.1f} % on "
        f"average, over {compared} measured runs; the worst row is {percent(total.worst.error or 0.0)}."
    )
    return Report(
        title="How accurate simdml is",
        subject=f"{len(validation.rows)} published runs of {len(validation.tables)} tables, predicted and compared",
        answer=answer,
        certainty=_certainty(validation),
        tiles=() if total is None else tuple(_tiles(validation)),
        warnings=(),
        sections=(worst, *further, *others),
        version=__version__,
    )


def _certainty(validation: RunsValidation) -> tuple[str, ...]:
    total = validation.total
    if total is None:
        return ()
    side = "short" if total.bias < 0 else "long"
    return (
        f"Predictions are {abs(100 * total.bias):.1f} % too {side} in the median; nine of ten rows are within "
        f"{100 * total.tail:.1f} %. Errors are of step time. No row was used to fit anything unless its "
        "source is named among the coefficients below, and none is left out for being wrong. Choices made after rows "
        "were seen: that llm-foundry's attention is the first FlashAttention, and its H100s have the profile of 2023; "
        "that Megatron-Core's attention on Hopper and newer is as fast as the third; that a product on Hopper beside a "
        "collective runs in two rounds; that batched products whose sizes 8 does not divide run at the rate of fp32; "
        "that convolutions of one pixel run as plain products, and batch norm as an elementwise kernel; that a node of "
        "Aleph Alpha's has one 200 Gb/s link, gathers its logits, and takes the softmax of unfused attention in fp32; "
        "that PaddlePaddle's BERT drops padding, for which its rows are not compared; that images of three channels "
        "that come first miss the tensor cores, that TensorFlow lays images out anew since 2.3, and that convolutions "
        "of 2020 on A100 have a profile of their own; that MXNet until 1.2 waits after every kernel; and that large "
        "convolutions may run as products of spectra.",
    )


def _tiles(validation: RunsValidation) -> Iterator[tuple[str, str]]:
    total = validation.total
    assert total is not None
    yield "median absolute error", f"{100 * total.median:.1f} %"
    yield "rows compared", f"{total.rows} of {len(validation.rows)}"
    yield "90th percentile", f"{100 * total.tail:.1f} %"
    if validation.mean_regret is not None:
        yield "mean regret of layouts", f"{100 * validation.mean_regret:.1f} %"
    if validation.memory.right is not None:
        yield "memory on the right side", f"{100 * validation.memory.right:.0f} %"


def _sections(validation: RunsValidation) -> Iterator[Section]:
    worst = tuple(row_cells(each) for each in validation.worst(WORST_SHOWN))
    yield Section(
        Topic.ERRORS, "Worst rows", (Table("Largest errors of step time", ROW_COLUMNS, worst, text_columns=2),)
    )
    yield Section(Topic.ERRORS, "Errors by group", tuple(_groups(validation)))
    if validation.layouts:
        rows = tuple(map(_layout_cells, validation.layouts))
        caption = "Runs that differ in layout alone: what simdml's choice costs, and how well it ranks them"
        yield Section(
            Topic.ALTERNATIVES,
            "Layouts",
            (Table(caption, ("runs", "layouts", "regret", "rank correlation", "chosen"), rows, remark_columns=1),),
        )
    groups = scaling_groups(validation.rows)
    if groups:
        yield Section(Topic.ERRORS, "How jobs scale", tuple(_scaling(groups)))
    yield Section(Topic.MEMORY, "Memory", tuple(_memory(validation)))
    if validation.covered is not None:
        yield Section(Topic.CERTAINTY, "Whether intervals mean what they say", tuple(_coverage(validation)))
    yield Section(Topic.ASSUMPTIONS, "What was fitted, and on what", (*_counts(), _coefficients(), _fitted()))
    yield Section(Topic.LIMITS, "Rows without a prediction", (Points(tuple(_reasons(validation))),))
    yield Section(Topic.REPRODUCTION, "How to make this again", (Words(_again()),))


def _groups(validation: RunsValidation) -> Iterator[Block]:
    # matplotlib is slow to load.
    from simdml.validation.runs.figures import runs_figure

    yield picture(
        "accuracy",
        lambda: runs_figure(validation),
        "Predicted over measured step times on logarithmic axes, and the spread of errors of every source",
        "Left: every run, with a band of 10 %. Right: errors by source.",
    )
    yield _spreads(validation)
    for grouping, scores in validation.scores.items():
        if scores:
            yield _scores(f"Errors of step time by {grouping}", grouping, scores)


def _scores(caption: str, grouping: str, scores: Sequence[Score]) -> Table:
    return Table(caption, (grouping, *SCORE_COLUMNS), tuple(map(score_cells, scores)), remark_columns=1)


def _spreads(validation: RunsValidation) -> Block:
    # matplotlib is slow to load.
    from simdml.validation.runs.figures_of_groups import groups_figure

    return picture(
        "groups",
        lambda: groups_figure(validation),
        "The spread of errors by GPU, by strategy and by number of GPUs",
        "Quartiles, and the 5th and 95th percentile, of the groups with the most rows; how many, in brackets.",
    )


def _scaling(groups: Sequence[ScalingGroup]) -> Iterator[Block]:
    # matplotlib is slow to load.
    from simdml.validation.runs.figures_of_groups import scaling_figure, widest

    yield picture(
        "scaling",
        lambda: scaling_figure(groups),
        "Samples a second of one GPU over the number of GPUs, measured and predicted, a panel a job",
        f"{len(widest(groups))} of {len(groups)} jobs that ran on three or more numbers of GPUs: those of the widest "
        "range, two of a source at most.",
    )


def _layout_cells(group: LayoutGroup) -> tuple[str, ...]:
    return (
        group.name,
        str(len(group.members)),
        f"{100 * group.regret:.1f} %",
        f"{group.rank_correlation:.2f}",
        group.chosen.row.name,
    )


def _memory(validation: RunsValidation) -> Iterator[Block]:
    memory = validation.memory
    columns = ("", "predicted to fit", "predicted not to fit")
    rows = (
        ("ran", str(memory.ran_and_fits), str(memory.ran_but_refused)),
        ("ran out of memory", str(memory.failed_but_fits), str(memory.failed_and_refused)),
    )
    yield Table("Runs by what happened and what simdml says of the fullest GPU", columns, rows)
    if validation.memory_scores:
        yield _scores("Errors of peak memory where a source states it", "source", validation.memory_scores)


def _counts() -> Iterator[Block]:
    yield Words(
        (
            f"Of the coefficients of one GPU generation, {MOST_OF_WHOLE_STEPS} at most are fitted to whole training "
            "steps or were chosen by how well these come out; all others are of kernels, of collectives, or follow by "
            "a rule that is stated. A value that several profiles of a generation share is counted once, and one that "
            "was carried over from another generation with those of its own.",
        )
    )
    rows = tuple(map(counts_cells, counts_by_generation()))
    yield Table("Coefficients by GPU generation, by what they were fitted to", COUNTED, rows, remark_columns=1)


def _coefficients() -> Table:
    """Return the coefficients of every profile, counted by how they came to be and from what."""
    rows: list[tuple[str, ...]] = []
    for name in available_profiles():
        profile = load_profile(name)
        counts: dict[tuple[str, str], int] = {}
        for provenance in profile.provenance.values():
            key = (provenance.mark, provenance.source)
            counts[key] = counts.get(key, 0) + 1
        rows += [(name, mark, str(count), source) for (mark, source), count in sorted(counts.items())]
    columns = ("profile", "mark", "coefficients", "source")
    return Table("Coefficients of the compute profiles", columns, tuple(rows), text_columns=4)


def _fitted() -> Table:
    rows = tuple(map(cells, coefficients()))
    caption = "Every fitted coefficient, and how far what it was fitted on is from it"
    return Table(caption, COLUMNS, rows, text_columns=2, remark_columns=1)


def _coverage(validation: RunsValidation) -> Iterator[Block]:
    yield Words(
        (
            "Measured steps that lie in the intervals of their predictions, by group. The spreads behind the intervals "
            "were fitted to whole steps of published runs, none of them for one source; calibrate/fit_spreads.py says "
            "how many lie inside if their own source is left out of the fit.",
        )
    )
    for grouping, found in validation.coverages.items():
        yield Table(f"Inside intervals by {grouping}", (grouping, *COVERAGE_COLUMNS), tuple(map(coverage_cells, found)))


def _reasons(validation: RunsValidation) -> Iterator[str]:
    for reason, rows in left_out(validation.rows):
        yield f"{', '.join(each.row.name for each in rows[:6])}{' and others' if len(rows) > 6 else ''}: {reason}"


def _again() -> tuple[str, ...]:
    return (
        "simdml validate --report reports/accuracy.html replays the bundled rows (calibrate/runs), and simdml validate "
        "TABLE --report FILE any others. Of every source, every k-th row that says enough to be simulated is bundled, "
        "ten to twenty of the larger ones, and ten that ran out of memory.",
    )
