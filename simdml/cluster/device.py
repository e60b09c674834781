"""GPUs by name: datasheet peaks, memory and links; and devices of one's own, from files.

Peaks are dense, in FLOP/s; with fp64 the tensor rate where there is one. Values are the vendor's datasheets unless
``source`` says otherwise. NVIDIA counts device memory in binary units, so "80 GB" is 80 GiB here; what a driver
reports as total is up to 6 % less (error correction, reserved pages).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from simdml.errors import Place, UnknownNameError

ARCHITECTURES = ("kepler", "pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell")
_ARCHITECTURE_OF = {
    37: "kepler",
    60: "pascal",
    61: "pascal",
    70: "volta",
    75: "turing",
    80: "ampere",
    86: "ampere",
    89: "ada",
}

ML_ENGINEERING = "stas00/ml-engineering compute/accelerator (vendor values)"
DATASHEET = "vendor datasheet"
NEUSIGHT = "vendor datasheet; sitar-lab/NeuSight device_configs"
TORCHTITAN = "vendor datasheet; pytorch/torchtitan torchtitan/tools/utils.py"
LLM_ANALYSIS = "vendor datasheet; cli99/llm-analysis gpu_configs"

_TENSOR_CORES = {"fp16": 70, "tf32": 80, "bf16": 80, "fp8": 89}
"""The first compute capability whose tensor cores take a precision (CUDA C++ Programming Guide)."""


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU as CUDA sees it (a K80 board is two, a GB200 superchip too), or all cores of a CPU (``arch`` "cpu").

    ``compute_capability`` is 80 for 8.0, and 0 for a CPU, whose ``sms`` are the threads that compute. ``peak_flops``
    has the dense FLOP/s of those of fp64, fp32, tf32, fp16, bf16 and fp8 that the hardware computes.
    ``nvlink_link_bytes_per_s`` is the wire rate of one NVLink in one direction. ``sms`` and ``l2_bytes`` are streaming
    multiprocessors and second-level cache.
    """

    name: str
    arch: str
    compute_capability: int
    peak_flops: Mapping[str, float]
    memory_bytes: float
    memory_bandwidth_bytes_per_s: float
    sms: int
    l2_bytes: float
    nvlink_links: int
    nvlink_link_bytes_per_s: float
    pcie_generation: int
    tdp_watts: float
    source: str

    def has_tensor_cores(self, precision: str) -> bool:
        """Return whether tensor cores compute products at ``precision``."""
        since = _TENSOR_CORES.get(precision)
        return since is not None and precision in self.peak_flops and self.compute_capability >= since

    @property
    def nvlink_bytes_per_s(self) -> float:
        """Wire rate of all NVLinks in one direction."""
        return self.nvlink_links * self.nvlink_link_bytes_per_s


def _architecture(compute_capability: int) -> str:
    if compute_capability >= 100:
        return "blackwell"
    return _ARCHITECTURE_OF.get(compute_capability, "hopper")


def _device(
    name: str,
    compute_capability: int,
    peak_tflops: Mapping[str, float],
    memory: tuple[float, float],
    sms_and_l2: tuple[int, float],
    watts: float,
    *,
    pcie: int,
    nvlink: tuple[int, float] = (0, 0.0),
    source: str = DATASHEET,
) -> Device:
    """``memory`` is (GiB, GB/s), ``sms_and_l2`` (count, MiB), ``nvlink`` (links, GB/s of one, one direction)."""
    return Device(
        name=name,
        arch=_architecture(compute_capability),
        compute_capability=compute_capability,
        peak_flops=MappingProxyType({precision: value * 1e12 for precision, value in peak_tflops.items()}),
        memory_bytes=memory[0] * 2**30,
        memory_bandwidth_bytes_per_s=memory[1] * 1e9,
        sms=sms_and_l2[0],
        l2_bytes=sms_and_l2[1] * 2**20,
        nvlink_links=nvlink[0],
        nvlink_link_bytes_per_s=nvlink[1] * 1e9,
        pcie_generation=pcie,
        tdp_watts=watts,
        source=source,
    )


_V100 = {"fp64": 7.8, "fp32": 15.7, "fp16": 125}
_A100 = {"fp64": 19.5, "fp32": 19.5, "tf32": 156, "fp16": 312, "bf16": 312}
_H100 = {"fp64": 67, "fp32": 67, "tf32": 494.5, "fp16": 989, "bf16": 989, "fp8": 1979}
_H100_PCIE = {"fp64": 51, "fp32": 51, "tf32": 378, "fp16": 756, "bf16": 756, "fp8": 1513}
_H100_NVL = {"fp64": 60, "fp32": 60, "tf32": 418, "fp16": 835, "bf16": 835, "fp8": 1671}
_H20 = {"fp64": 1, "fp32": 44, "tf32": 74, "fp16": 148, "bf16": 148, "fp8": 296}
_B200 = {"fp64": 40, "fp32": 80, "tf32": 1125, "fp16": 2250, "bf16": 2250, "fp8": 4500}
_GB200 = {"fp64": 40, "fp32": 80, "tf32": 1250, "fp16": 2500, "bf16": 2500, "fp8": 5000}
_B300 = {**_B200, "fp64": 1.2}
_GB300 = {**_GB200, "fp64": 1.2}
_A10 = {"fp64": 0.49, "fp32": 31.2, "tf32": 62.5, "fp16": 125, "bf16": 125}
_A10G = {"fp64": 0.49, "fp32": 31.2, "tf32": 35, "fp16": 70, "bf16": 70}
_A6000 = {"fp64": 1.2, "fp32": 38.7, "tf32": 77, "fp16": 154.85, "bf16": 154.85}
_L4 = {"fp64": 0.49, "fp32": 30.3, "tf32": 60, "fp16": 121, "bf16": 121, "fp8": 242}
_L40S = {"fp64": 1.4, "fp32": 91.6, "tf32": 183, "fp16": 362, "bf16": 362, "fp8": 733}
_NVLINK2, _NVLINK3, _NVLINK4, _NVLINK5 = (6, 25.0), (12, 25.0), (18, 25.0), (18, 50.0)
_A100_CHIP, _H100_CHIP = (108, 40), (132, 50)

# One GK210 die of the two on a board: half the board's power and half its PCIe slot.
_DEVICES = (
    _device("k80", 37, {"fp64": 1.37, "fp32": 4.11}, (12, 240.6), (13, 1.5), 150, pcie=3),
    _device("p100_sxm2", 60, {"fp64": 5.3, "fp32": 10.6, "fp16": 21.2}, (16, 732), (56, 4), 300, pcie=3,
            nvlink=(4, 20.0), source=NEUSIGHT),
    _device("p100_pcie", 60, {"fp64": 4.7, "fp32": 9.3, "fp16": 18.7}, (16, 732), (56, 4), 250, pcie=3,
            source=NEUSIGHT),
    _device("p40", 61, {"fp32": 11.76}, (24, 346), (30, 3), 250, pcie=3),
    _device("v100_sxm2_16gb", 70, _V100, (16, 900), (80, 6), 300, pcie=3, nvlink=_NVLINK2, source=NEUSIGHT),
    _device("v100_sxm2_32gb", 70, _V100, (32, 900), (80, 6), 300, pcie=3, nvlink=_NVLINK2, source=NEUSIGHT),
    _device("v100_sxm3_32gb", 70, _V100, (32, 900), (80, 6), 350, pcie=3, nvlink=_NVLINK2, source=NEUSIGHT),
    _device("v100_pcie_16gb", 70, {"fp64": 7.0, "fp32": 14.0, "fp16": 112}, (16, 900), (80, 6), 250, pcie=3,
            source=NEUSIGHT),
    _device("v100_pcie_32gb", 70, {"fp64": 7.0, "fp32": 14.0, "fp16": 112}, (32, 900), (80, 6), 250, pcie=3,
            source=NEUSIGHT),
    # 15 of 16 GB are usable: error correction is inline and always on.
    _device("t4", 75, {"fp64": 0.25, "fp32": 8.1, "fp16": 65}, (15, 320), (40, 4), 70, pcie=3, source=NEUSIGHT),
    _device("a10", 86, _A10, (24, 600), (72, 6), 150, pcie=4),
    _device("a10g", 86, _A10G, (24, 600), (80, 6), 300, pcie=4, source=LLM_ANALYSIS),
    _device("a6000", 86, _A6000, (48, 768), (84, 6), 300, pcie=4, nvlink=(4, 14.0625), source=TORCHTITAN),
    _device("a100_sxm_40gb", 80, _A100, (40, 1555), _A100_CHIP, 400, pcie=4, nvlink=_NVLINK3, source=ML_ENGINEERING),
    _device("a100_pcie_40gb", 80, _A100, (40, 1555), _A100_CHIP, 250, pcie=4, nvlink=_NVLINK3, source=ML_ENGINEERING),
    _device("a100_sxm_80gb", 80, _A100, (80, 2039), _A100_CHIP, 400, pcie=4, nvlink=_NVLINK3, source=ML_ENGINEERING),
    _device("a100_pcie_80gb", 80, _A100, (80, 1935), _A100_CHIP, 300, pcie=4, nvlink=_NVLINK3, source=ML_ENGINEERING),
    _device("l4", 89, _L4, (24, 300), (58, 48), 72, pcie=4, source=NEUSIGHT),
    _device("l40s", 89, _L40S, (48, 864), (142, 96), 350, pcie=4, source=ML_ENGINEERING),
    _device("h100_pcie", 90, _H100_PCIE, (80, 2000), (114, 50), 350, pcie=5, nvlink=(12, 25.0), source=ML_ENGINEERING),
    _device("h100_nvl", 90, _H100_NVL, (94, 3900), _H100_CHIP, 400, pcie=5, nvlink=(12, 25.0), source=TORCHTITAN),
    _device("h100_sxm", 90, _H100, (80, 3350), _H100_CHIP, 700, pcie=5, nvlink=_NVLINK4, source=ML_ENGINEERING),
    _device("h20", 90, _H20, (96, 4000), (78, 50), 400, pcie=5, nvlink=_NVLINK4, source=TORCHTITAN),
    # 60 MB of cache is what the driver reports.
    _device("h200_sxm", 90, _H100, (141, 4800), (132, 60), 700, pcie=5, nvlink=_NVLINK4,
            source=f"{ML_ENGINEERING}; cache size measured"),
    # No cache size is published for Blackwell in the sources used: twice Hopper's for its two dies.
    _device("b200_sxm", 100, _B200, (180, 8000), (148, 100), 1000, pcie=5, nvlink=_NVLINK5, source=ML_ENGINEERING),
    _device("gb200", 100, _GB200, (186, 8000), (148, 100), 1200, pcie=5, nvlink=_NVLINK5, source=ML_ENGINEERING),
    _device("b300_sxm", 103, _B300, (270, 8000), (148, 100), 1100, pcie=6, nvlink=_NVLINK5, source=ML_ENGINEERING),
    _device("gb300", 103, _GB300, (270, 8000), (148, 100), 1400, pcie=6, nvlink=_NVLINK5, source=ML_ENGINEERING),
)  # fmt: skip

_ALIASES = {
    "p100": "p100_sxm2",
    "v100": "v100_sxm2_16gb",
    "v100_16gb": "v100_sxm2_16gb",
    "v100_32gb": "v100_sxm2_32gb",
    "v100_sxm2": "v100_sxm2_16gb",
    "v100_sxm3": "v100_sxm3_32gb",
    "v100_pcie": "v100_pcie_16gb",
    "a100": "a100_sxm_80gb",
    "a100_sxm": "a100_sxm_80gb",
    "a100_pcie": "a100_pcie_80gb",
    "a100_40gb": "a100_sxm_40gb",
    "a100_80gb": "a100_sxm_80gb",
    "a100_sxm4_40gb": "a100_sxm_40gb",
    "a100_sxm4_80gb": "a100_sxm_80gb",
    "a100_80gb_pcie": "a100_pcie_80gb",
    "rtx_a6000": "a6000",
    "h100": "h100_sxm",
    "h100_sxm5": "h100_sxm",
    "h100_80gb": "h100_sxm",
    "h100_80gb_hbm3": "h100_sxm",
    "h200": "h200_sxm",
    "b200": "b200_sxm",
    "b300": "b300_sxm",
}

DEVICES: Mapping[str, Device] = MappingProxyType({device.name: device for device in _DEVICES})


@cache
def _by_folded_name() -> dict[str, Device]:
    named = {_fold(name): device for name, device in DEVICES.items()}
    return named | {_fold(alias): DEVICES[name] for alias, name in _ALIASES.items()}


def _fold(name: str) -> str:
    folded = name.casefold().replace("-", "").replace("_", "").replace(" ", "")
    return folded.removeprefix("nvidia").removeprefix("tesla")


def find_device(name: str, place: Place | None = None) -> Device:
    """Return the GPU called ``name``, in any case and with any of ``-``, ``_`` and space: "A100-SXM4-40GB".

    A name that ends in ``.yaml`` is a device file (:mod:`simdml.cluster.device_file`), found relative to the file
    that ``place`` is in.

    Raises:
        UnknownNameError: no such GPU; the nearest names are listed. ``place`` is where the name was written.
        DocumentError: the device file cannot be read or accepted.
    """
    if name.endswith((".yaml", ".yml")):
        # pydantic is loaded for files alone.
        from simdml.cluster.device_file import read_device

        return read_device((Path() if place is None or place.line is None else Path(place.file).parent) / name)
    found = _by_folded_name().get(_fold(name))
    if found is None:
        raise UnknownNameError("GPU", name, (*DEVICES, *_ALIASES), hint=f"known: {', '.join(DEVICES)}", place=place)
    return found
