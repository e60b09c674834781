"""Terms of pipeline schedules."""

from simdml.cli.glossary.term import Term

ZERO_BUBBLE = "Qi et al., Zero Bubble Pipeline Parallelism, ICLR 2024, arXiv 2401.10241"
DEEPSEEK = "DeepSeek-V3, arXiv 2412.19437, section 3.2.1; deepseek-ai/DualPipe"

TERMS = (
    Term(
        "schedule",
        "The order in which every stage of a pipeline runs forwards (F) and backwards (B) of its micro-batches; some "
        "split a backward into the gradients of its inputs (I) and those of its weights (W). A scenario names one, or "
        "a file: Python with a SCHEDULE, which is run, or a CSV table of actions.",
        source="torch/distributed/pipelining/schedules.py; simdml, strategies/schedules",
        aliases=("pipeline schedule",),
    ),
    Term(
        "order table",
        "A schedule as a table, a row a device, of actions such as 0F3: stage, phase, micro-batch. As torch dumps it.",
        source="torch/distributed/pipelining/schedules.py, _dump_csv",
        aliases=("schedule file", "csv schedule"),
    ),
    Term(
        "looped bfs",
        "Breadth-first: all micro-batches pass a chunk before the next chunk; backward in the reverse order. The "
        "bubble of interleaved 1F1B with every micro-batch alive.",
        "m (F + B) + (p-1)(F + B)/v in all",
        "s",
        "Lamy-Poirier, MLSys 2023, arXiv 2211.05953",
        ("looped_bfs", "breadth-first"),
        is_strategy=True,
    ),
    Term(
        "zero bubble",
        "Schedules that run the gradients of weights, for which nobody waits, where a pipeline would stand idle.",
        source=ZERO_BUBBLE,
        aliases=("weight gradients", "input gradients"),
    ),
    Term(
        "zb_h1",
        "1F1B whose weight gradients fill the drain: a third of its bubble if F = I = W, in its memory.",
        "bubble (p-1)(F + I - W); p micro-batches alive",
        "s",
        f"{ZERO_BUBBLE}, section 2.1",
        ("zb-h1", "ZB1P"),
        is_strategy=True,
    ),
    Term(
        "zb_h2",
        "Zero bubble with twice the warm-up of 1F1B. Steps join without a gap, as the optimizer does not wait for all "
        "stages (the paper's post-validation).",
        "no bubble if F = I = W; 2p - 1 micro-batches alive",
        "s",
        f"{ZERO_BUBBLE}, section 2.2",
        ("zb-h2", "ZB2P"),
        is_strategy=True,
    ),
    Term(
        "interleaved zero bubble",
        "Interleaved 1F1B with the weight gradients of stage i put off by i input gradients.",
        source="torch/distributed/pipelining/schedules.py, ScheduleInterleavedZeroBubble",
        aliases=("interleaved_zero_bubble",),
        is_strategy=True,
    ),
    Term(
        "zb_v",
        "Zero bubble with two chunks a device on a V: down the devices and back, so the first holds both ends.",
        "no bubble if F = I = W; p micro-batches alive",
        "s",
        f"{ZERO_BUBBLE}, section 6; torch's ScheduleZBVZeroBubble",
        ("zb-v", "ZBV", "V schedule"),
        is_strategy=True,
    ),
    Term(
        "dual_pipe",
        "Two copies of the model, micro-batches fed from both ends; a forward one way is paired with a backward the "
        "other way, and the communication of each hides behind the other. Both copies' gradients are summed.",
        "p + 1 micro-batches alive; twice the parameters",
        "micro-batches",
        DEEPSEEK,
        ("DualPipe",),
        is_strategy=True,
    ),
    Term(
        "dual_pipe_v",
        "DualPipe cut in half: one copy of the model on a V of two chunks a device.",
        source=f"{DEEPSEEK}, dualpipev.py",
        aliases=("DualPipeV",),
        is_strategy=True,
    ),
    Term(
        "pipedream",
        "1F1B that never flushes: every stage updates its weights after each micro-batch and stashes the version each "
        "micro-batch in flight started with.",
        "no bubble in the steady state; p - i versions of the weights on stage i",
        "versions",
        "Narayanan et al., PipeDream, SOSP 2019; msr-fiddle/pipedream",
        ("weight stashing", "asynchronous pipeline"),
        is_strategy=True,
    ),
    Term(
        "pipedream_2bw",
        "PipeDream with the gradients of a step's micro-batches summed before one update: two versions of the weights "
        "are enough.",
        "2 versions of the weights; at least p micro-batches a step",
        "versions",
        "Narayanan et al., ICML 2021, arXiv 2006.09503",
        ("2BW", "double-buffered weights"),
        is_strategy=True,
    ),
)
