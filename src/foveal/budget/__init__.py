"""Ask for a budget: which measured operating point holds it, on this machine, or none."""

from foveal.budget.choice import Budget, BudgetError, Choice, choose
from foveal.budget.machine import describe_machine, measure_machine, same_machine, times_here
from foveal.budget.profiles import profile

__all__ = [
    "Budget",
    "BudgetError",
    "Choice",
    "choose",
    "describe_machine",
    "measure_machine",
    "profile",
    "same_machine",
    "times_here",
]
