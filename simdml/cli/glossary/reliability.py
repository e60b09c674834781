"""Terms of long training with failures, and of clusters that jobs share."""

from simdml.cli.glossary.term import Term

DALY = "Daly, FGCS 22(3), 2006"

TERMS = (
    Term(
        "effective training time",
        "Training at the rated speed that was kept, as a share of wall time: without checkpoints, failures and their "
        "detection, restarts, work done again, and what slow nodes add.",
        "training kept / wall time",
        "%",
        "Kokolis et al., HPCA 2025, arXiv 2410.21680; Llama 3, arXiv 2407.21783, section 3.3.4",
        ("goodput", "ETTR"),
    ),
    Term(
        "checkpoint interval",
        "Training between two checkpoints. Short ones cost stalls, long ones lost work; the best one follows from the "
        "stall w of a checkpoint and the mean time M between failures of the whole job.",
        "sqrt(2 w M) (Young); sqrt(2 w M) (1 + sqrt(w / 2M) / 3 + w / 18M) - w (Daly)",
        "s",
        f"Young, CACM 17(9), 1974; {DALY}",
        ("Young's formula", "Daly's formula"),
    ),
    Term(
        "mean time between failures",
        "How long a unit (a GPU, a node, or the whole job) runs until something interrupts it, on average. Times "
        "between failures are taken as exponential, so that a job fails as many times as often as it has units.",
        "M of a job = 1 / sum of units / M of a unit",
        "s",
        DALY,
        ("MTBF", "MTTF"),
    ),
    Term(
        "lost work",
        "What was trained since the last checkpoint that was written when a failure came, and is trained again.",
        "failure - last checkpoint that can be relied on",
        "s",
        "simdml, studies/goodput/cycles.py",
    ),
    Term(
        "gang scheduling",
        "A job starts when all of its GPUs are free, and holds all of them until it ends.",
        source="Feitelson and Rudolph, JPDC 16(4), 1992",
    ),
    Term(
        "backfilling",
        "A job that fits now passes others that wait, if by what users say of runtimes it delays not the first of them "
        "(EASY) or none of those before it (conservative).",
        source="Mu'alem and Feitelson, IEEE TPDS 12(6), 2001",
        aliases=("EASY", "conservative backfilling"),
    ),
    Term(
        "fragmentation",
        "GPUs that are free while the first job in the queue needs no more than them and yet fits nowhere, as they are "
        "on nodes that others use.",
        "free GPUs while that is so / all GPUs, over time",
        "%",
        "simdml, studies/fleet/queue.py",
    ),
    Term(
        "asynchronous checkpoint",
        "Training waits only until the state is copied to the memory of the nodes; it is written to storage beside "
        "training and can be relied on when that is done.",
        "stall = state of a GPU / rate to its node's memory",
        "s",
        "simdml, studies/goodput/checkpoint_size.py",
    ),
)
