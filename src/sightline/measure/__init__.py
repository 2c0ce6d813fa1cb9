"""What can be said of a network before it runs: its table, its cost, and how much of the image it sees."""

from .advice import advice
from .changes import CHANGES, Change
from .cost import Cost, NodeCost, cost
from .dense_difference import DenseDifference, dense_difference
from .effective_field import EffectiveField, effective_receptive_field
from .fitting import largest_batch
from .full_summary import FullSummary, full_summary
from .invariance import Curve, Invariance, equivariance, invariance
from .memory_plan import MemoryPlan, memory
from .receptive_field import AxisField, ReceptiveField, ReceptiveFields, receptive_field
from .summary import Summary, summarize

__all__ = [
    "CHANGES",
    "AxisField",
    "Change",
    "Cost",
    "Curve",
    "DenseDifference",
    "EffectiveField",
    "FullSummary",
    "Invariance",
    "MemoryPlan",
    "NodeCost",
    "ReceptiveField",
    "ReceptiveFields",
    "Summary",
    "advice",
    "cost",
    "dense_difference",
    "effective_receptive_field",
    "equivariance",
    "full_summary",
    "invariance",
    "largest_batch",
    "memory",
    "receptive_field",
    "summarize",
]
