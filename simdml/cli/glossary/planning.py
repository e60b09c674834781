"""Terms of plans, cost and energy."""

from __future__ import annotations

from simdml.cli.glossary.term import Term

TERMS = (
    Term(
        "branch and bound",
        "A search that simulates the candidate with the smallest bound next and ends when no bound is below the best "
        "result: the answer is the optimum though most candidates were never simulated.",
        source="Land and Doig, Econometrica 28(3), 1960; simdml, studies/plan/search.py",
    ),
    Term(
        "admissible bound",
        "Seconds that a step takes at least, so that a candidate with a larger bound than the best step can be left "
        "out. From blocks, from the order of a schedule, from every stream of the job's program.",
        "max over streams of the sum of what each instruction takes by itself",
        "s",
        "simdml, costs/bounds.py and studies/plan/bound.py",
        aliases=("lower bound",),
    ),
    Term(
        "Pareto front",
        "The alternatives that no other beats in time and cost at once; any other choice is worse in one and no better "
        "in the other.",
        source="simdml, studies/plan/front.py",
    ),
    Term(
        "critical batch size",
        "The batch at which training takes twice the fewest steps and twice the fewest examples. Only where a "
        "scenario gives it does a larger batch cost more training.",
        "steps = fewest steps x (1 + critical batch / batch)",
        "samples",
        "McCandlish et al., arXiv 1812.06162",
    ),
    Term(
        "PUE",
        "Power usage effectiveness: what a building draws over what its computers do. Without it, energy is that of "
        "the computers alone.",
        "power of the building / power of the computers",
        source="The Green Grid; ISO/IEC 30134-2",
        aliases=("power usage effectiveness",),
    ),
    Term(
        "carbon intensity",
        "Emissions of the electricity a job uses, for each kilowatt-hour.",
        unit="g CO2e / kWh",
        source="given by the scenario (energy.carbon)",
    ),
)
