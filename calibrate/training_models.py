"""The networks that ``training.py`` trains, in plain PyTorch and as their papers and released code have them.

Every network maps a batch to its loss. Convolutional ones take images and labels, transformers token ids, which
are their own labels. ``recompute`` keeps only the inputs of blocks and runs their forward again in backward.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True, slots=True)
class Sizes:
    """A transformer's layers, width, query heads, key heads, ffn width, vocabulary and longest sequence."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    ffn: int
    vocabulary: int
    positions: int


# Radford et al. 2019 (GPT-2), arXiv 1810.04805 (BERT), and the released configurations of Llama 3.2; llama_75m, for
# CPUs, has a published one's shape in small.
TRANSFORMERS = {
    "gpt2": Sizes(12, 768, 12, 12, 3072, 50257, 1024),
    "gpt2_medium": Sizes(24, 1024, 16, 16, 4096, 50257, 1024),
    "gpt2_large": Sizes(36, 1280, 20, 20, 5120, 50257, 1024),
    "gpt2_xl": Sizes(48, 1600, 25, 25, 6400, 50257, 1024),
    "gpt2_tiny": Sizes(2, 128, 4, 4, 512, 1024, 128),
    "bert_large": Sizes(24, 1024, 16, 16, 4096, 30522, 512),
    "bert_base": Sizes(12, 768, 12, 12, 3072, 30522, 512),
    "bert_tiny": Sizes(2, 128, 4, 4, 512, 1024, 128),
    "llama_1b": Sizes(16, 2048, 32, 8, 8192, 128256, 131072),
    "llama_3b": Sizes(28, 3072, 24, 8, 8192, 128256, 131072),
    "llama_75m": Sizes(8, 768, 12, 4, 2048, 32000, 2048),
    "llama_tiny": Sizes(2, 128, 4, 2, 384, 1024, 128),
}
CONVNETS = ("resnet50", "vgg16", "resnet_tiny", "vgg_tiny")


def build(name: str, *, recompute: bool = False, dropout: float = 0.0) -> nn.Module:
    """Return the network called ``name`` with random weights, on the current default device."""
    if name in TRANSFORMERS:
        kind = {"gpt2": GPT2, "bert": Bert, "llama": Llama}[name.partition("_")[0]]
        return kind(TRANSFORMERS[name], recompute=recompute, dropout=dropout)
    widths = {"resnet50": (64, (3, 4, 6, 3)), "resnet_tiny": (8, (1, 1, 1, 1))}
    if name in widths:
        return ResNet(*widths[name], recompute=recompute)
    return VGG16(64 if name == "vgg16" else 8, recompute=recompute)


def _run(block: nn.Module, x: Tensor, *, recompute: bool) -> Tensor:
    result: Tensor = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
    return result


def _attend(heads: int, q: Tensor, k: Tensor, v: Tensor, *, causal: bool, dropout: float) -> Tensor:
    """Return attention over tensors of (batch, sequence, width); grouped keys are repeated for their queries."""
    batch, sequence, width = q.shape
    size = width // heads
    q, k, v = (x.view(batch, sequence, -1, size).transpose(1, 2) for x in (q, k, v))
    repeats = heads // k.shape[1]
    if repeats > 1:
        k, v = (x.repeat_interleave(repeats, dim=1) for x in (k, v))
    mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=dropout)
    return mixed.transpose(1, 2).reshape(batch, sequence, width)


def _token_loss(logits: Tensor, ids: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1).float(), ids.flatten())


class GPT2Block(nn.Module):
    """Pre-norm attention and MLP, each added to the residual."""

    def __init__(self, sizes: Sizes, dropout: float) -> None:
        super().__init__()
        width = sizes.width
        self.heads, self.dropout = sizes.heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, sizes.ffn), nn.Linear(sizes.ffn, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the next residual."""
        drop = partial(functional.dropout, p=self.dropout)
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        x = x + drop(self.out(_attend(self.heads, q, k, v, causal=True, dropout=self.dropout)))
        return x + drop(self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh")))


class GPT2(nn.Module):
    """Radford et al. 2019, with the output tied to the token table."""

    def __init__(self, sizes: Sizes, *, recompute: bool, dropout: float) -> None:
        super().__init__()
        self.recompute, self.dropout = recompute, dropout
        self.tokens = nn.Embedding(sizes.vocabulary, sizes.width)
        self.positions = nn.Embedding(sizes.positions, sizes.width)
        self.blocks = nn.ModuleList(GPT2Block(sizes, dropout) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(sizes.width)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the loss."""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        x = functional.dropout(x, self.dropout)
        for block in self.blocks:
            x = _run(block, x, recompute=self.recompute)
        return _token_loss(functional.linear(self.norm(x), self.tokens.weight), ids)


class BertBlock(nn.Module):
    """Post-norm attention and MLP, with separate projections."""

    def __init__(self, sizes: Sizes, dropout: float) -> None:
        super().__init__()
        width = sizes.width
        self.heads, self.dropout = sizes.heads, dropout
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out, self.norm1 = nn.Linear(width, width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, sizes.ffn), nn.Linear(sizes.ffn, width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the next hidden state."""
        drop = partial(functional.dropout, p=self.dropout)
        q, k, v = self.query(x), self.key(x), self.value(x)
        x = self.norm1(x + drop(self.out(_attend(self.heads, q, k, v, causal=False, dropout=self.dropout))))
        result: Tensor = self.norm2(x + drop(self.down(functional.gelu(self.up(x)))))
        return result


class Bert(nn.Module):
    """Devlin et al., arXiv 1810.04805, with both pre-training heads; every position gets logits."""

    def __init__(self, sizes: Sizes, *, recompute: bool, dropout: float) -> None:
        super().__init__()
        width = sizes.width
        self.recompute, self.dropout = recompute, dropout
        self.tokens, self.types = nn.Embedding(sizes.vocabulary, width), nn.Embedding(2, width)
        self.positions, self.norm = nn.Embedding(sizes.positions, width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(BertBlock(sizes, dropout) for _ in range(sizes.layers))
        self.pooler, self.next_sentence = nn.Linear(width, width), nn.Linear(width, 2)
        self.transform, self.transform_norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(sizes.vocabulary))

    def forward(self, ids: Tensor) -> Tensor:
        """Return the sum of both losses."""
        positions = self.positions(torch.arange(ids.shape[1], device=ids.device))
        x = self.norm(self.tokens(ids) + positions + self.types(torch.zeros_like(ids)))
        x = functional.dropout(x, self.dropout)
        for block in self.blocks:
            x = _run(block, x, recompute=self.recompute)
        pair = self.next_sentence(torch.tanh(self.pooler(x[:, 0])))
        words = self.transform_norm(functional.gelu(self.transform(x)))
        loss = _token_loss(functional.linear(words, self.tokens.weight, self.bias), ids)
        return loss + functional.cross_entropy(pair.float(), ids[:, 0] % 2)


class RMSNorm(nn.Module):
    """Zhang and Sennrich, arXiv 1910.07467, in fp32 and in the kernels that eager PyTorch runs for it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` over its root mean square, weighed."""
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)).to(x.dtype)


class LlamaBlock(nn.Module):
    """Pre-norm grouped-query attention with rotary embedding, and a gated MLP."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, size = sizes.width, sizes.width // sizes.heads
        self.heads, self.size = sizes.heads, size
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)
        self.query, self.out = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.key, self.value = (nn.Linear(width, sizes.kv_heads * size, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(width, sizes.ffn, bias=False) for _ in range(2))
        self.down = nn.Linear(sizes.ffn, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the next residual."""
        y = self.norm1(x)
        q, k = self._rotate(self.query(y)), self._rotate(self.key(y))
        x = x + self.out(_attend(self.heads, q, k, self.value(y), causal=True, dropout=0.0))
        y = self.norm2(x)
        mixed: Tensor = self.down(functional.silu(self.gate(y)) * self.up(y))
        return x + mixed

    def _rotate(self, x: Tensor) -> Tensor:
        """Rotate halves of every head by its position (Su et al., arXiv 2104.09864, as Llama's code does)."""
        half = self.size // 2
        rates = 500_000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
        angles = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)[:, None] * rates
        cos, sin = (torch.cat((a, a), -1).to(x.dtype)[None, :, None] for a in (angles.cos(), angles.sin()))
        heads = x.view(*x.shape[:2], -1, self.size)
        turned = torch.cat((-heads[..., half:], heads[..., :half]), -1)
        rotated: Tensor = heads * cos + turned * sin
        return rotated.flatten(2)


class Llama(nn.Module):
    """Llama 3.2's architecture (arXiv 2407.21783), with the output tied to the token table."""

    def __init__(self, sizes: Sizes, *, recompute: bool, dropout: float) -> None:
        super().__init__()
        if dropout:
            raise ValueError("Llama has no dropout")
        self.recompute = recompute
        self.tokens, self.norm = nn.Embedding(sizes.vocabulary, sizes.width), RMSNorm(sizes.width)
        self.blocks = nn.ModuleList(LlamaBlock(sizes) for _ in range(sizes.layers))

    def forward(self, ids: Tensor) -> Tensor:
        """Return the loss."""
        x = self.tokens(ids)
        for block in self.blocks:
            x = _run(block, x, recompute=self.recompute)
        return _token_loss(functional.linear(self.norm(x), self.tokens.weight), ids)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions beside a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.first, self.second = _convolution(inputs, width, 1), _convolution(width, width, 3, stride)
        self.third = _convolution(width, outputs, 1)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else _convolution(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the next feature map."""
        y = functional.relu(self.first(x), inplace=True)
        y = functional.relu(self.second(y), inplace=True)
        y = self.third(y)
        y += self.shortcut(x)
        return functional.relu(y, inplace=True)


class ResNet(nn.Module):
    """He et al., arXiv 1512.03385, with the stride on the 3x3 as torchvision has it."""

    def __init__(self, width: int, depths: tuple[int, ...], *, recompute: bool, classes: int = 1000) -> None:
        super().__init__()
        self.recompute = recompute
        self.stem = nn.Sequential(_convolution(3, width, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        blocks, inputs = [], width
        for stage, depth in enumerate(depths):
            for index in range(depth):
                stride = 2 if stage and not index else 1
                blocks.append(Bottleneck(inputs, width * 2**stage, stride))
                inputs = 4 * width * 2**stage
        self.blocks, self.classifier = nn.ModuleList(blocks), nn.Linear(inputs, classes)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss."""
        x = self.stem(images)
        for block in self.blocks:
            x = _run(block, x, recompute=self.recompute)
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return functional.cross_entropy(self.classifier(x).float(), labels)


class VGG16(nn.Module):
    """Simonyan and Zisserman, arXiv 1409.1556, configuration D, without dropout; ``width`` is 64 in the paper."""

    def __init__(self, width: int, *, recompute: bool, classes: int = 1000) -> None:
        super().__init__()
        self.recompute = recompute
        stages, inputs = [], 3
        for outputs, depth in zip((width, 2 * width, 4 * width, 8 * width, 8 * width), (2, 2, 3, 3, 3), strict=True):
            layers: list[nn.Module] = []
            for _ in range(depth):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = outputs
            stages.append(nn.Sequential(*layers, nn.MaxPool2d(2, 2)))
        self.stages, hidden = nn.ModuleList(stages), 64 * width
        self.classifier = nn.Sequential(
            nn.Linear(inputs * 49, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, classes),
        )

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss."""
        x = images
        for stage in self.stages:
            x = _run(stage, x, recompute=self.recompute)
        x = functional.adaptive_avg_pool2d(x, 7).flatten(1)
        return functional.cross_entropy(self.classifier(x).float(), labels)
