"""Bytes that autograd keeps of norms, and of queries, keys and values, by storage: PyTorch as the oracle."""

from dataclasses import replace

import pytest

from simdml.workload.transformer import Norm, TransformerConfig, build_transformer

torch = pytest.importorskip("torch")

LLAMA = TransformerConfig(
    *("llama", "llama", 2, 256, 4, 4, 64, 688, 512),
    gated=True,
    norm=Norm.RMS,
    norm_bias=False,
    qkv_bias=False,
    output_bias=False,
    mlp_bias=False,
    rotary=True,
    merged_projections=False,
    dropout=False,
)
TOKENS, HIDDEN = 128, 256
OF_TOKENS = TOKENS * HIDDEN


def kept(layer_name, config=LLAMA, **options):
    model = build_transformer(config, samples=1, sequence=TOKENS, fused_elementwise=False, attention="flash", **options)
    (layer,) = [layer for layer in model.blocks[1].layers if layer.name == layer_name]
    return sum(activation.bytes for activation in layer.activations)


def saved_bytes(compute, *inputs, parameters=()):
    """Return the bytes of storages that ``compute`` saves for backward, without ``parameters`` and what has a row."""
    storages = {}

    def pack(tensor):
        if tensor.numel() >= OF_TOKENS:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = compute(*inputs)
    weights = {each.untyped_storage().data_ptr() for each in parameters}
    del result
    return sum(nbytes for address, nbytes in storages.items() if address not in weights)


def llama_norm(x, weight):
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


def t5_norm(x, weight):
    """transformers 4.28, models/t5/modeling_t5.py and models/llama/modeling_llama.py."""
    variance = x.to(torch.float32).pow(2).mean(-1, keepdim=True)
    return weight * (x * torch.rsqrt(variance + 1e-6)).to(weight.dtype)


@pytest.mark.parametrize(("norm", "keeps_input"), [(llama_norm, False), (t5_norm, True)])
def test_a_norm_of_separate_kernels_keeps_what_autograd_saves(norm, keeps_input):
    x = torch.randn(TOKENS, HIDDEN, dtype=torch.bfloat16, requires_grad=True)
    weight = torch.ones(HIDDEN, dtype=torch.bfloat16, requires_grad=True)
    # What the norm's output is kept for belongs to the projection that follows.
    assert saved_bytes(norm, x, weight) == kept("attention_norm", norm_keeps_input=keeps_input)


def rotated(x, cosine, sine):
    half = x.shape[-1] // 2
    return x * cosine + torch.cat((-x[..., half:], x[..., :half]), -1) * sine


@pytest.mark.parametrize("merged", [False, True])
def test_values_keep_a_merged_projection_whole_beside_rotated_queries_and_keys(merged):
    """Attention's own inputs are what it saves; a product of constants keeps nothing of what it rotates."""
    x = torch.randn(TOKENS, HIDDEN, dtype=torch.bfloat16)
    weights = [torch.randn(HIDDEN, HIDDEN, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
    whole = torch.cat([weight.detach() for weight in weights]).requires_grad_()
    cosine, sine = torch.randn(2, TOKENS, 1, HIDDEN // 4, dtype=torch.bfloat16)

    class Attention(torch.autograd.Function):
        @staticmethod
        def forward(ctx, q, k, v):
            ctx.save_for_backward(q, k, v)
            return torch.zeros_like(q)

        @staticmethod
        def backward(ctx, gradient):
            del ctx
            return gradient, gradient, gradient

    def compute(x):
        parts = (x @ whole.T).chunk(3, -1) if merged else [x @ weight.T for weight in weights]
        q, k, v = (part.unflatten(-1, (4, -1)) for part in parts)
        return Attention.apply(rotated(q, cosine, sine), rotated(k, cosine, sine), v)

    parameters = (*weights, whole, x)
    expected = kept("attention", replace(LLAMA, merged_qkv=merged))
    assert saved_bytes(compute, x, parameters=parameters) == expected
