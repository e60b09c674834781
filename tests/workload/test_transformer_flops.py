"""FLOPs and parameters of transformers against plain torch modules on the meta device."""

import pytest

from simdml.workload.catalog import find_model
from simdml.workload.transformer import TransformerConfig, build_transformer

PARAMETERS = {
    "gpt2": 124_439_808,
    "gpt2_xl": 1_557_611_200,
    "bert_base": 110_106_428,
    "bert_large": 336_226_108,
    "llama2_7b": 6_738_415_616,
    "llama2_13b": 13_015_864_320,
    "llama2_70b": 68_976_648_192,
    "llama3_8b": 8_030_261_248,
    "llama3_70b": 70_553_706_496,
    "llama3_405b": 405_853_388_800,
    "mixtral_8x7b": 46_702_792_704,
}
SC21_BILLIONS = {
    "gpt_1_7b": 1.7,
    "gpt_3_6b": 3.6,
    "gpt_7_5b": 7.5,
    "gpt_18b": 18.4,
    "gpt_39b": 39.1,
    "gpt_76b": 76.1,
    "gpt_145b": 145.6,
    "gpt_310b": 310.1,
    "gpt_530b": 529.6,
    "gpt_1t": 1008.0,
}


def references():
    return pytest.importorskip("reference_transformers")


REFERENCES = {
    "gpt2": lambda r, a: r.GPT2(12, 768, 12, 50257, 1024, a),
    "llama2_7b": lambda r, a: r.Llama(32, 4096, 32, 32, 11008, 32000, attention=a),
    "llama3_8b": lambda r, a: r.Llama(32, 4096, 32, 8, 14336, 128256, attention=a),
    "mixtral_8x7b": lambda r, a: r.Llama(32, 4096, 32, 8, 14336, 32000, (8, 2), attention=a),
}


def measure(builder, samples, sequence):
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        module = builder().to(torch.bfloat16)
        ids = torch.empty(samples, sequence, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        loss = module(ids)
        forward = counter.get_total_flops()
        loss.backward()
    return sum(p.numel() for p in module.parameters()), forward, counter.get_total_flops() - forward


def flops(model):
    layers = [layer for block in model.blocks for layer in block.layers]
    return sum(layer.forward_flops for layer in layers), sum(layer.backward_flops for layer in layers)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count(name):
    assert find_model(name).build(samples=1).parameter_count == PARAMETERS[name]


@pytest.mark.parametrize("name", SC21_BILLIONS)
def test_sc21_models_have_the_parameters_of_table_1(name):
    model = find_model(name).build(samples=1)
    assert round(model.parameter_count / 1e9, 1) == SC21_BILLIONS[name]


@pytest.mark.parametrize("name", SC21_BILLIONS)
def test_sc21_flops_are_equation_3_without_recomputation(name):
    """72·B·s·l·h²(1 + s/6h + V/12lh): a quarter less than the 96... of arXiv 2104.04473, equation 3."""
    spec = find_model(name)
    layers, h, s, vocab = spec.config.layers, spec.config.hidden, 2048, 51200
    model = spec.build(samples=2)
    assert model.model_flops_per_sample == 72 * s * layers * h**2 + 12 * s * s * layers * h + 6 * s * vocab * h


@pytest.mark.parametrize(
    ("name", "attention"),
    [*((name, "unfused") for name in REFERENCES), ("gpt2", "flash"), ("llama3_8b", "flash")],
)
def test_flops_equal_torch(name, attention):
    kernels = {"unfused": references().plain_attention, "flash": references().flash_attention}
    parameters, forward, backward = measure(
        lambda: REFERENCES[name](references(), kernels[attention]), samples=2, sequence=64
    )
    model = find_model(name).build(samples=2, sequence=64, attention=attention)
    assert model.parameter_count == parameters
    assert flops(model) == (forward, backward)


@pytest.mark.parametrize(("name", "layers", "width"), [("bert_base", 12, 768), ("bert_large", 24, 1024)])
def test_bert_equals_torch(name, layers, width):
    parameters, forward, backward = measure(
        lambda: references().Bert(layers, width, width // 64), samples=3, sequence=64
    )
    model = find_model(name).build(samples=3, sequence=64)
    assert model.parameter_count == parameters
    assert flops(model) == (forward, backward)


def test_model_flops_do_not_depend_on_the_attention_kernel():
    spec = find_model("llama2_7b")
    flash, unfused = (spec.build(samples=1, attention=a) for a in ("flash", "unfused"))
    assert flash.model_flops_per_sample == unfused.model_flops_per_sample == sum(flops(unfused))
    assert sum(flops(flash)) > sum(flops(unfused))


def test_mixtral_rounds_unbalanced_rows_up():
    model = find_model("mixtral_8x7b").build(samples=1, sequence=33)
    experts = next(layer for layer in model.blocks[1].layers if layer.name == "experts_fc1")
    assert experts.forward[0].shape == (8, 9, 2 * 14336, 4096)


def test_padded_vocabulary_counts_as_parameters():
    config = TransformerConfig("tiny", "gpt2", 2, 64, 4, 4, 16, 256, 100)
    padded = build_transformer(config, samples=1, sequence=8, vocab_multiple=128)
    plain = build_transformer(config, samples=1, sequence=8)
    assert padded.parameter_count - plain.parameter_count == 28 * 64
    assert padded.tied_parameters == 128 * 64
