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


class LatentAttention(nn.Module):
    """Multi-head latent attention; ``ranks`` of queries (0 for none) and of keys with values, head sizes ``sizes``."""

    def __init__(self, width, heads, ranks, sizes, attention):
        super().__init__()
        self.heads, self.sizes, self.attention = heads, sizes, attention
        plain, rotary, value = sizes
        query_rank, self.rank = ranks
        if query_rank:
            self.q_a_proj, self.q_norm = nn.Linear(width, query_rank, bias=False), RMSNorm(query_rank)
        self.q_b_proj = nn.Linear(query_rank or width, heads * (plain + rotary), bias=False)
        self.kv_a_proj, self.kv_norm = nn.Linear(width, self.rank + rotary, bias=False), RMSNorm(self.rank)
        self.kv_b_proj = nn.Linear(self.rank, heads * (plain + value), bias=False)
        self.o_proj = nn.Linear(heads * value, width, bias=False)

    def forward(self, x):
        batch, sequence, _ = x.shape
        plain, rotary, value = self.sizes
        q = self.q_b_proj(self.q_norm(self.q_a_proj(x)) if hasattr(self, "q_a_proj") else x)
        q = q.view(batch, sequence, self.heads, -1).transpose(1, 2)
        compressed, k_rotary = self.kv_a_proj(x).split([self.rank, rotary], dim=-1)
        kv = self.kv_b_proj(self.kv_norm(compressed)).view(batch, sequence, self.heads, -1).transpose(1, 2)
        k_plain, v = kv.split([plain, value], dim=-1)
        k_rotary = k_rotary.view(batch, sequence, 1, rotary).transpose(1, 2).expand(-1, self.heads, -1, -1)
        mixed = self.attention(q, torch.cat([k_plain, k_rotary], -1), v, True)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, sequence, -1))


class DeepSeekBlock(nn.Module):
    def __init__(self, width, attention, mlp, shared):
        super().__init__()
        self.self_attn, self.mlp, self.shared = attention, mlp, shared
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(width), RMSNorm(width)

    def forward(self, x):
        x = x + self.self_attn(self.input_layernorm(x))
        normalized = self.post_attention_layernorm(x)
        x = x + self.mlp(normalized)
        return x if self.shared is None else x + self.shared(normalized)


class DeepSeek(Llama):
    """DeepSeek-V2 or V3: ``dense`` = (layers, MLP size) first, then ``experts`` = (layers, size, number, chosen)."""

    def __init__(self, width, heads, ranks, sizes, dense, experts, shared, vocab, attention=plain_attention):
        super().__init__(0, width, 1, 1, 1, vocab)
        layers, ffn, number, chosen = experts

        def block(mlp, beside):
            return DeepSeekBlock(width, LatentAttention(width, heads, ranks, sizes, attention), mlp, beside)

        self.layers.extend(block(SwiGLU(width, dense[1]), None) for _ in range(dense[0]))
        self.layers.extend(
            block(BalancedExperts(width, ffn, number, chosen), SwiGLU(width, shared)) for _ in range(layers)
        )
