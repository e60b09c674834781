"""What BERT's pre-training adds: logits of the masked positions alone, and LAMB."""

from dataclasses import replace

import pytest

import simdml
from simdml.errors import InfeasibleError
from simdml.workload.architecture import Head
from simdml.workload.catalog import find_model
from simdml.workload.optimizer import optimizer_operators, optimizer_state_bytes_per_parameter

BERT = find_model("bert_large")
SAMPLES, SEQUENCE, MASKED = 4, 128, 20


def built(predictions):
    spec = replace(BERT, config=replace(BERT.config, predictions=predictions))
    return spec.build(samples=SAMPLES, sequence=SEQUENCE, element_bytes=4)


def flops(model):
    return sum(
        operator.flops
        for block in model.blocks
        for layer in block.layers
        for operator in (*layer.forward, *layer.backward)
    )


def test_positions_that_are_not_predicted_spare_transform_and_logits():
    """6 FLOPs a weight and token: the transform's hidden x hidden and the vocabulary's."""
    hidden, vocabulary = BERT.config.hidden, BERT.config.vocab
    spared = SAMPLES * (SEQUENCE - MASKED) * 6 * hidden * (hidden + vocabulary)
    assert flops(built(0)) - flops(built(MASKED)) == pytest.approx(spared, rel=1e-9)
    assert built(MASKED).parameter_count == built(0).parameter_count
    assert flops(built(SEQUENCE)) == flops(built(0))


def test_fewer_predictions_keep_fewer_activations():
    def kept(model):
        return sum(each.bytes for layer in model.blocks[-1].layers for each in layer.activations)

    rows = SAMPLES * (SEQUENCE - MASKED)
    log_probabilities = 4 * rows * BERT.config.vocab
    assert kept(built(0)) - kept(built(MASKED)) >= log_probabilities


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"name": "gpt2", "predictions": 20}, "gpt2 predicts every token"),
        ({"name": "bert_base", "predictions": 600}, "600 predictions in a sequence of 512 tokens"),
    ],
)
def test_predictions_are_of_bert_and_of_its_sequence(model, message):
    with pytest.raises(InfeasibleError, match=message):
        simdml.run("bert_large_dgx_a100", model=model)


def test_predicting_less_is_faster():
    assert BERT.config.head == Head.BERT
    few, every = (
        simdml.run("bert_large_dgx_a100", model={"name": "bert_large"} | more).step_time_s
        for more in ({"predictions": 80}, {})
    )
    assert few < every


@pytest.mark.parametrize(("fused", "bytes_an_element"), [(True, 4 + 28 + 8 + 12), (False, 208)])
def test_lamb_moves_what_its_kernels_read_and_write(fused, bytes_an_element):
    elements = 10_000
    kernels = optimizer_operators("lamb", elements, fused=fused)
    assert sum(kernel.bytes for kernel in kernels) == elements * bytes_an_element
    assert optimizer_state_bytes_per_parameter("lamb") == optimizer_state_bytes_per_parameter("adam")


def test_lamb_separate_is_what_its_algorithm_dispatches():
    """Algorithm 2 of arXiv 1904.00962 written down in torch: bytes of large tensors in and out of every operator."""
    torch = pytest.importorskip("torch")
    from torch.utils._python_dispatch import TorchDispatchMode

    size = 1000

    class Traffic(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            operands = {id(each): each for each in args if isinstance(each, torch.Tensor)}
            copies = "copy_" in str(func)  # reads its source, writes its destination
            self.total += 4 * sum(each.numel() for each in operands.values() if each.dim())
            self.total += 0 if copies else 4 * (out.numel() if out.dim() else 0)
            return out

    p, m, v, gradient = (torch.ones(size) for _ in range(4))
    with Traffic() as traffic:
        norm = torch.linalg.vector_norm(gradient)
        g = gradient * (1 / norm)
        next_m = m * 0.9 + g * 0.1
        next_v = v * 0.999 + torch.square(g) * 0.001
        update = (next_m / 0.1) / (torch.sqrt(next_v / 0.001) + 1e-6)
        update = update + p * 0.01
        ratio = torch.sum(torch.square(p)) / torch.sum(torch.square(update))
        next_p = p - update * ratio
        p.copy_(next_p)
        m.copy_(next_m)
        v.copy_(next_v)
    assert traffic.total == sum(kernel.bytes for kernel in optimizer_operators("lamb", size))


def test_an_operation_each_is_dearer_than_apex():
    fused, separate = (
        simdml.run("bert_large_dgx_a100", training={"optimizer": "lamb", "fused_optimizer": each}).step_time_s
        for each in (True, False)
    )
    assert fused < separate
