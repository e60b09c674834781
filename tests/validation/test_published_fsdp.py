"""Predictions of FSDP against published runs; nothing was fitted on these rows but one coefficient on fms-fsdp's.

That is what products keep up on H100 in 2023 (profile h100_sxm_2023): llm-foundry's rows on H100 are blind to it.
Choices made after seeing rows: that llm-foundry's attention is the first FlashAttention, because errors grew with the
length of sequences; that it has fms-fsdp's profile; that products on Hopper take two rounds beside collectives.

Errors when this was written: A100 -9 to +1 %, H100 -6 to +5 %. What makes MPT 7B 8 % slower on 512 than on 128 H100
is half modelled.
"""

import pytest

import simdml

# mosaicml/llm-foundry at 8c8dd48, scripts/train/benchmarking/README.md: seconds a step from the printed tokens/s.
# foundation-model-stack/fms-fsdp at 4ffb9bd, README.md: seconds a step from the printed tokens/s a GPU.
A100 = {
    "mpt_3b_8_a100": 3.7886,
    "mpt_7b_8_a100": 5.29513,
    "mpt_30b_8_a100": 140.817,
    "mpt_13b_128_a100": 16.6148,
    "mpt_70b_64_a100": 159.637,
    "llama2_7b_128_a100": 2.21405,
    "llama2_70b_128_a100": 22.1405,
}
H100 = {
    "mpt_3b_512_h100": 0.756261,
    "mpt_7b_128_h100": 1.17305,
    "mpt_70b_128_h100": 15.4783,
    "llama2_70b_96_h100": 10.24,
}


def error(row, seconds):
    return simdml.run(f"fsdp/{row}").step_time_s / seconds - 1


@pytest.mark.parametrize("row", A100)
def test_rows_on_a100_within_12_percent(row):
    assert abs(error(row, A100[row])) < 0.12


@pytest.mark.parametrize("row", H100)
def test_rows_on_h100_within_8_percent(row):
    assert abs(error(row, H100[row])) < 0.08
