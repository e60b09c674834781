"""Terms of networks and collectives."""

from simdml.cli.glossary.term import Term

NCCL = "NVIDIA/nccl, src/graph/tuning.cc"
THAKUR = "Thakur, Rabenseifner and Gropp, IJHPCA 19(1), 2005"
NCCL_TESTS = "NVIDIA/nccl-tests, doc/PERFORMANCE.md"

TERMS = (
    Term(
        "all-reduce",
        "Every rank ends with the sum of all ranks' buffers.",
        "at least 2 (n-1)/n x S bytes leave every rank",
        "B",
        "Patarasuk and Yuan, JPDC 69(2), 2009",
        ("allreduce",),
    ),
    Term(
        "ring all-reduce",
        "Parts of the buffer go round a ring twice: once to be summed, once to be handed out.",
        "2 (n-1) x latency + 2 (n-1)/n x S / bandwidth",
        "s",
        "Patarasuk and Yuan, JPDC 69(2), 2009",
        ("ring",),
    ),
    Term(
        "tree",
        "NCCL's all-reduce over two trees at once: sums go up and down, in steps that grow with the logarithm of the "
        "ranks; faster than a ring for small buffers on many nodes.",
        "about 2 log2(n) x latency + 2 S / bandwidth",
        "s",
        NCCL,
        ("double tree",),
    ),
    Term(
        "reduce-scatter",
        "Every rank ends with the sum of one part of the buffer: the first half of a ring all-reduce.",
        "(n-1)/n x S bytes leave every rank",
        "B",
        NCCL_TESTS,
    ),
    Term(
        "all-gather",
        "Every rank ends with everybody's part: the second half of a ring all-reduce.",
        "(n-1)/n x S bytes leave every rank",
        "B",
        NCCL_TESTS,
    ),
    Term(
        "all-to-all",
        "Every rank sends a different part to every other one.",
        "(n-1)/n x S bytes leave every rank",
        "B",
        NCCL_TESTS,
    ),
    Term("broadcast", "Every rank ends with the root's buffer.", "S bytes enter every other rank", "B", NCCL_TESTS),
    Term(
        "algorithm bandwidth",
        "Size of a collective over its time, whatever had to be moved.",
        "S / t",
        "B/s",
        NCCL_TESTS,
        ("algbw",),
    ),
    Term(
        "bus bandwidth",
        "Algorithm bandwidth times a factor that makes it comparable with the speed of the hardware whatever the "
        "number of ranks.",
        "S / t x 2 (n-1)/n for all-reduce; (n-1)/n for all-gather and reduce-scatter; 1 for broadcast",
        "B/s",
        NCCL_TESTS,
        ("busbw",),
    ),
    Term(
        "LL",
        "NCCL's low-latency protocol: 4 bytes of flag with every 4 of data, so nothing waits for a fence; half the "
        "bandwidth.",
        source=NCCL,
    ),
    Term(
        "LL128",
        "NCCL's protocol of 128-byte lines with 8 bytes of flag: low latency at 120/128 of the bandwidth, where "
        "128-byte stores are not torn (NVLink).",
        source=NCCL,
    ),
    Term("Simple", "NCCL's protocol of large chunks and fences: highest bandwidth, highest latency.", source=NCCL),
    Term(
        "NVLS",
        "NVLink SHARP: the NVSwitch sums, so every GPU sends and receives its buffer once.",
        "S bytes leave every rank, instead of 2 (n-1)/n x S",
        "B",
        NCCL,
        ("NVLink SHARP",),
    ),
    Term(
        "PXN",
        "A GPU hands what is for another rail over NVLink to the GPU beside that rail's NIC, so that an all-to-all "
        "stays on its rails and crosses no spine. communication.pxn turns it off.",
        "(g-1)/g x (n-g)/n x S bytes more over NVLink; (g-1)/g of the traffic between nodes over spines without it",
        "B",
        "NVIDIA/nccl, src/graph/paths.cc (NCCL_P2P_PXN_LEVEL)",
        ("PCI x NVLink", "communication.pxn"),
    ),
    Term(
        "NVLSTree",
        "NVLS within each node and NCCL's double tree across nodes.",
        "25 us + 2 log2(N) x 20.9 us + S / (C x min(NVSwitch, 2 NICs or NIC, cap))",
        "s",
        NCCL,
        ("NVLS_TREE",),
    ),
    Term(
        "CollNet",
        "Sums made in the network's switches: a node sends its sum once, instead of 2 (N-1)/N times. CollNetDirect "
        "gathers in the node over NVSwitch, CollNetChain along a chain.",
        "2 (3.7 us + 0.4 us x (g-1)) + 31 us + 2 S / (C x w), x 0.85 from H100 on (CollNetDirect, g GPUs a node)",
        "s",
        NCCL,
        ("CollNetDirect", "CollNetChain", "SHARP", "communication.collnet"),
    ),
    Term(
        "PAT",
        "NCCL's parallel aggregated trees for all-gather and reduce-scatter among ranks on nodes of their own.",
        "8 us + log2(N) x 14 us / 3.5 + 2.8 us x N + S / (0.75 C x w)",
        "s",
        NCCL,
    ),
    Term(
        "halving_doubling",
        "Exchanges of halves, quarters, ... with ranks 1, 2, ... away sum, the same backwards hand out. NCCL has none; "
        "communication.algorithm asks for it. A power of two ranks.",
        "2 log2(n) x latency + 2 (n-1)/n x S / bandwidth",
        "s",
        THAKUR,
        ("Rabenseifner", "recursive halving"),
    ),
    Term(
        "recursive_doubling",
        "Exchanges of the whole buffer with ranks 1, 2, 4, ... away, for small buffers.",
        "log2(n) x (latency + S / bandwidth)",
        "s",
        THAKUR,
    ),
    Term(
        "hierarchical all-reduce",
        "Reduce-scatter within each of N nodes of g GPUs, all-reduce of every part across nodes, all-gather within.",
        "2 (g-1) x (latency + S/g / NVLink) + 2 (N-1) x (latency + S/gN / NIC)",
        "s",
        "Jia et al., arXiv 1807.11205",
        ("hierarchical", "2D ring"),
    ),
    Term(
        "binomial_tree",
        "Whoever has a broadcast buffer sends it on, so that twice as many have it after each step; reduce backwards.",
        "ceil(log2(n)) x (latency + S / bandwidth)",
        "s",
        THAKUR,
        ("broadcast tree",),
    ),
    Term(
        "pairwise_exchange",
        "All-to-all in n-1 steps of one message out and one in, instead of all at once.",
        "(n-1) x (latency + S/n / bandwidth)",
        "s",
        THAKUR,
    ),
    Term(
        "NVLink", "NVIDIA's links between GPUs, directly or through NVSwitch.", unit="B/s", source="vendor datasheets"
    ),
    Term("NVSwitch", "A switch that joins all GPUs of a node by NVLink at full rate.", source="vendor datasheets"),
    Term(
        "cube mesh",
        "Eight GPUs wired directly by NVLink, as in DGX-1: two fully connected fours and a link between each pair.",
        source="NVIDIA DGX-1 with Tesla V100 system architecture, WP-08437",
        aliases=("hybrid cube mesh",),
    ),
    Term(
        "rail",
        "The NICs of equal number in all nodes. On a rail-optimised network each rail has its own leaf switches.",
        source="NVIDIA DGX SuperPOD reference architecture",
        aliases=("rail-optimised",),
    ),
    Term(
        "oversubscription",
        "Bandwidth of the nodes below a switch over the bandwidth of its uplinks; 1 is full bisection.",
        "bandwidth down / bandwidth up",
        source="Al-Fares et al., SIGCOMM 2008",
    ),
    Term(
        "bisection",
        "Bandwidth from one half of the cluster to the other, in one direction.",
        unit="B/s",
        source="simdml, cluster/describe.py",
    ),
    Term(
        "max-min fairness",
        "Transfers that share links get rates such that none can be raised without lowering one that is no faster: "
        "each has a full link on which it is among the fastest.",
        "water-filling: raise all rates together, freeze those on a link that fills",
        "B/s",
        "Bertsekas and Gallager, Data Networks, 2nd ed., section 6.5.2",
        ("max-min", "fair share"),
    ),
    Term(
        "GPUDirect",
        "The NIC reads and writes GPU memory itself instead of a copy in host memory.",
        source="NVIDIA GPUDirect RDMA documentation",
    ),
    Term(
        "gloo",
        "A collective library over TCP between host memories; GPU tensors are copied to the host and back.",
        "2 (n-1) x step + 2 (n-1)/n x S / connection + sums and copies",
        "s",
        "facebookincubator/gloo, gloo/allreduce.cc",
    ),
    Term(
        "interference",
        "Kernels beside a collective are slower: NCCL's channels are thread blocks that stay on multiprocessors until "
        "it has ended. Matrix products on Hopper and later are persistent and need a second round. "
        "communication: {interference: none} leaves it out.",
        "1 - channels / multiprocessors of the rate; 1/2 for products on Hopper",
        "1",
        "NVIDIA/nccl, src/enqueue.cc; simdml, costs/interference.py",
        ("overlap slowdown",),
    ),
    Term(
        "communication fit",
        "Measured corrections to NCCL's own model: an overhead for each call, a scale of latency, and for each "
        "protocol a scale of bandwidth and a ramp at middle sizes.",
        "overhead + latency scale x L + w + sqrt(ramp x w), w = S / (B x bandwidth scale)",
        "s",
        "simdml, calibration/communication.py",
        ("ramp",),
    ),
)
