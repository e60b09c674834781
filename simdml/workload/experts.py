"""The mixture-of-experts half of a transformer block (Mixtral, arXiv 2401.04088, section 2.1).

Every expert gets ``tokens * experts_per_token / num_experts`` rows times the micro-batch's load, rounded up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from simdml.workload.architecture import TransformerConfig
from simdml.workload.linear import linear
from simdml.workload.microbatch import Microbatch
from simdml.workload.mlp import activation_layer, shared_expert_layers
from simdml.workload.model import Activation, Layer, Parameter
from simdml.workload.operators import Family, Operator, Phase, Split, batched_matmul

ROUTER: Final = "router"
"""The name of the layer that chooses experts."""


def expert_mlp_layers(batch: Microbatch, config: TransformerConfig) -> tuple[Layer, ...]:
    """Return router, dispatch, grouped fc1, activation, grouped fc2, and combine with the residual add.

    Every expert gets as many rows as the load says; a shared expert, which every token passes, stands before combine.
    """
    rows = math.ceil(batch.tokens * config.experts_per_token / config.num_experts * batch.expert_load)
    routed = rows * config.num_experts
    fc1 = _Grouped("experts_fc1", rows, config.hidden, config.ffn * (2 if config.gated else 1), column=True)
    fc2 = _Grouped("experts_fc2", rows, config.ffn, config.hidden, column=False)
    return (
        _router_layer(batch, config),
        _dispatch_layer(batch, config, routed),
        fc1.layer(batch, config),
        activation_layer(batch, "experts_activation", routed * config.ffn, gated=config.gated),
        fc2.layer(batch, config),
        *(shared_expert_layers(batch, config) if config.shared_ffn else ()),
        _combine_layer(batch, config, routed),
    )


@dataclass(frozen=True, slots=True)
class _Grouped:
    """One linear layer of every expert: ``rows`` rows each, as one grouped matmul (eager: one an expert)."""

    name: str
    rows: int
    inputs: int
    outputs: int
    column: bool

    def layer(self, batch: Microbatch, config: TransformerConfig) -> Layer:
        """Return the layer; its weight gradients are matmuls of all experts too."""
        cuts = (Split.N, Split.K, Split.N) if self.column else (Split.K, Split.N, Split.M)
        rows, inputs, outputs = self.rows, self.inputs, self.outputs
        sizes = {
            Phase.FORWARD: ((rows, outputs, inputs), cuts[0]),
            Phase.INPUT_GRADIENT: ((rows, inputs, outputs), cuts[1]),
            Phase.WEIGHT_GRADIENT: ((inputs, outputs, rows), cuts[2]),
        }
        products = {phase: self._product(batch, config, phase, *sizes[phase]) for phase in sizes}
        weights = config.num_experts * inputs * outputs
        return Layer(
            name=self.name,
            forward=(products[Phase.FORWARD],),
            backward=(
                products[Phase.INPUT_GRADIENT],
                products[Phase.WEIGHT_GRADIENT],
                *self._accumulation(batch, config, weights),
            ),
            parameters=(Parameter("weight", weights, split=True),),
            activations=(batch.kept("input", config.num_experts * rows * inputs, split=not self.column),),
            experts=config.num_experts,
        )

    def _accumulation(self, batch: Microbatch, config: TransformerConfig, weights: int) -> tuple[Operator, ...]:
        if batch.accumulates_in_matmul:
            return ()
        name = f"{self.name}_accumulate"
        return batch.accumulate(name, weights, tensors=config.num_experts, split=Split.BATCH)

    def _product(
        self,
        batch: Microbatch,
        config: TransformerConfig,
        phase: Phase,
        sizes: tuple[int, int, int],
        split: Split,
    ) -> Operator:
        return batched_matmul(
            self.name if phase is Phase.FORWARD else f"{self.name}_{phase}",
            config.num_experts,
            *sizes,
            element_bytes=batch.element_bytes,
            phase=phase,
            split=split,
            accumulate=batch.accumulates_in_matmul and phase is Phase.WEIGHT_GRADIENT,
            launches=1 if batch.fused_elementwise else config.num_experts,
        )


def _router_layer(batch: Microbatch, config: TransformerConfig) -> Layer:
    """A linear layer to expert scores, then softmax and top-k in fp32."""
    score_bytes = 4.0 * batch.tokens * config.num_experts
    projection = linear(batch, ROUTER, batch.tokens, config.hidden, config.num_experts)
    bias = (Parameter("correction_bias", config.num_experts),) if config.router_bias else ()
    choose = batch.kernel(
        "router_choice",
        0,
        0,
        family=Family.SOFTMAX,
        launches=4,
        extra_read_bytes=2 * score_bytes,
        extra_written_bytes=score_bytes,
    )
    gradient = batch.kernel(
        "router_choice_gradient",
        0,
        0,
        family=Family.SOFTMAX,
        phase=Phase.INPUT_GRADIENT,
        launches=2,
        extra_read_bytes=2 * score_bytes,
        extra_written_bytes=score_bytes,
    )
    return Layer(
        name=ROUTER,
        forward=(*projection.forward, choose),
        backward=(gradient, *projection.backward),
        parameters=(*projection.parameters, *bias),
        activations=(
            batch.kept("input", batch.tokens * config.hidden),
            Activation("scores", score_bytes),
        ),
    )


def _dispatch_layer(batch: Microbatch, config: TransformerConfig, routed: int) -> Layer:
    """Copy every token once an expert it goes to; backward sums the copies and the router's gradient."""
    tokens, copies = batch.tokens * config.hidden, routed * config.hidden
    return Layer(
        name="dispatch",
        forward=(batch.kernel("dispatch", copies, copies, family=Family.COPY),),
        backward=(
            batch.kernel("dispatch_gradient", copies + tokens, tokens, family=Family.COPY, phase=Phase.INPUT_GRADIENT),
        ),
        dispatched_bytes=float(batch.element_bytes * copies),
    )


def _combine_layer(batch: Microbatch, config: TransformerConfig, routed: int) -> Layer:
    """Weigh and sum the experts' outputs of every token and add the residual; outputs are kept for backward."""
    tokens, copies = batch.tokens * config.hidden, routed * config.hidden
    return Layer(
        name="combine",
        forward=(
            batch.kernel("combine", copies, tokens, family=Family.COPY),
            batch.kernel("add_residual", 2 * tokens, tokens),
        ),
        backward=(
            batch.kernel("combine_gradient", 2 * copies, copies, family=Family.COPY, phase=Phase.INPUT_GRADIENT),
        ),
        activations=(batch.kept("expert_outputs", copies),),
        combined_bytes=float(batch.element_bytes * copies),
    )
