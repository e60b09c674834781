"""Libraries of a row's time, where a profile of them exists: by what a row says of container or CUDA, never by row."""

from __future__ import annotations

import re
from typing import Final

from simdml.validation.runs.hardware import machine_of
from simdml.validation.runs.reading import Row

_CUDNN_8_0: Final = re.compile(r"container \S*[ -]20\.\d\d|cuda v11\.[01]\b")
"""NVIDIA's containers of 2020, or CUDA 11.0 and 11.1: the first libraries for A100."""


def profile_of_images(row: Row, precision: str) -> str | None:
    """Return the profile of a network of images, None for the default of its device.

    Chosen after rows were seen: ResNet-50 in half precision on A100 came out 20 to 30 % short with containers of 2020
    and 6 % long with one of 2022. It was fitted to three of those rows; Lambda's are blind.
    """
    of_2020 = _CUDNN_8_0.search(row.text("notes").lower())
    if of_2020 and precision == "fp16" and machine_of(row).device.startswith("a100"):
        return "a100_sxm_80gb_2020"
    return None
