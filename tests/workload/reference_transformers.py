"""Transformers in plain torch, written from their papers and independently of simdml's builder."""

import torch
from torch import nn
from torch.nn import functional


def dropout(x):
    """The kernel that dropout is on a GPU."""
    return torch.native_dropout(x, 0.1, True)[0]


def flash_attention(query, key, value, causal):
    return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, 0.0, causal)[0]


def plain_attention(query, key, value, causal):
    return dropout(probabilities(query, key, causal)) @ value


def undropped_attention(query, key, value, causal):
    return probabilities(query, key, causal) @ value


def probabilities(query, key, causal):
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    if causal:
        size = scores.shape[-1]
        mask = torch.ones(size, size, dtype=torch.bool, device=scores.device).tril()
        scores = torch.where(mask, scores, float("-inf"))
    return scores.softmax(-1)


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)).to(x.dtype)


class GPT2Block(nn.Module):
    def __init__(self, width, heads, attention):
        super().__init__()
        self.heads, self.attention = heads, attention
        self.ln_1 = nn.LayerNorm(width)
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        self.ln_2 = nn.LayerNorm(width)
        self.c_fc = nn.Linear(width, 4 * width)
        self.mlp_proj = nn.Linear(4 * width, width)

    def forward(self, x):
        batch, sequence, width = x.shape
        parts = self.c_attn(self.ln_1(x)).split(width, dim=-1)
        q, k, v = (p.view(batch, sequence, self.heads, -1).transpose(1, 2) for p in parts)
        mixed = self.attention(q, k, v, True).transpose(1, 2).reshape(batch, sequence, width)
        x = x + dropout(self.c_proj(mixed))
        hidden = functional.gelu(self.c_fc(self.ln_2(x)), approximate="tanh")
        return x + dropout(self.mlp_proj(hidden))


class GPT2(nn.Module):
    def __init__(self, layers, width, heads, vocab, positions, attention=plain_attention):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(positions, width)
        self.h = nn.ModuleList(GPT2Block(width, heads, attention) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        x = dropout(x)
        for block in self.h:
            x = block(x)
        logits = functional.linear(self.ln_f(x), self.wte.weight)
        return functional.cross_entropy(logits.flatten(0, 1).float(), ids.flatten())


class LlamaAttention(nn.Module):
    def __init__(self, width, heads, kv_heads, attention):
        super().__init__()
        self.heads, self.kv_heads, self.attention = heads, kv_heads, attention
        size = width // heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, kv_heads * size, bias=False)
        self.v_proj = nn.Linear(width, kv_heads * size, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x):
        batch, sequence, width = x.shape
        q = self.q_proj(x).view(batch, sequence, self.heads, -1).transpose(1, 2)
        k, v = (
            p(x)
            .view(batch, sequence, self.kv_heads, -1)
            .transpose(1, 2)
            .repeat_interleave(self.heads // self.kv_heads, dim=1)
            for p in (self.k_proj, self.v_proj)
        )
        return self.o_proj(self.attention(q, k, v, True).transpose(1, 2).reshape(batch, sequence, width))


class SwiGLU(nn.Module):
    def __init__(self, width, ffn):
        super().__init__()
        self.gate_proj = nn.Linear(width, ffn, bias=False)
        self.up_proj = nn.Linear(width, ffn, bias=False)
        self.down_proj = nn.Linear(ffn, width, bias=False)

    def forward(self, x):
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class BalancedExperts(nn.Module):
    """Tokens go round-robin to experts, so that every expert has as many."""

    def __init__(self, width, ffn, experts, chosen):
        super().__init__()
        self.gate = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(SwiGLU(width, ffn) for _ in range(experts))
        self.chosen = chosen

    def forward(self, x):
        flat = x.flatten(0, 1)
        weights = self.gate(flat).softmax(-1)[:, : self.chosen]
        copies = flat.repeat_interleave(self.chosen, dim=0).chunk(len(self.experts))
        outputs = torch.cat([expert(part) for expert, part in zip(self.experts, copies, strict=True)])
        mixed = outputs.view(*weights.shape, -1) * weights.unsqueeze(-1)
        return mixed.sum(1).view_as(x)


class LlamaBlock(nn.Module):
    def __init__(self, width, heads, kv_heads, ffn, experts, attention):
        super().__init__()
        self.self_attn = LlamaAttention(width, heads, kv_heads, attention)
        self.mlp = BalancedExperts(width, ffn, *experts) if experts else SwiGLU(width, ffn)
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(width), RMSNorm(width)

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, layers, width, heads, kv_heads, ffn, vocab, experts=(), attention=plain_attention):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab, width)
        self.layers = nn.ModuleList(LlamaBlock(width, heads, kv_heads, ffn, experts, attention) for _ in range(layers))
        self.norm = RMSNorm(width)
        self.lm_head = nn.Linear(width, vocab, bias=False)

    def forward(self, ids):
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return functional.cross_entropy(self.lm_head(self.norm(x)).flatten(0, 1).float(), ids.flatten())


class BertBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output, self.output_norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.intermediate, self.dense = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        batch, sequence, width = x.shape
        q, k, v = (
            p(x).view(batch, sequence, self.heads, -1).transpose(1, 2) for p in (self.query, self.key, self.value)
        )
        mixed = plain_attention(q, k, v, False).transpose(1, 2).reshape(batch, sequence, width)
        x = self.output_norm(x + self.output(mixed))
        return self.norm(x + self.dense(functional.gelu(self.intermediate(x))))


class Bert(nn.Module):
    """BERT with both pre-training heads, decoding every position."""

    def __init__(self, layers, width, heads, vocab=30522, positions=512):
        super().__init__()
        self.words, self.positions = nn.Embedding(vocab, width), nn.Embedding(positions, width)
        self.types, self.norm = nn.Embedding(2, width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(BertBlock(width, heads) for _ in range(layers))
        self.pooler, self.next_sentence = nn.Linear(width, width), nn.Linear(width, 2)
        self.transform, self.transform_norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocab))

    def forward(self, ids):
        positions = torch.arange(ids.shape[1], device=ids.device)
        x = self.norm(self.words(ids) + self.positions(positions) + self.types(ids))
        for block in self.blocks:
            x = block(x)
        pair = self.next_sentence(torch.tanh(self.pooler(x[:, 0])))
        words = self.transform_norm(functional.gelu(self.transform(x)))
        logits = functional.linear(words, self.words.weight, self.bias)
        return functional.cross_entropy(logits.flatten(0, 1).float(), ids.flatten()) + pair.float().sum()
