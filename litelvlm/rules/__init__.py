"""Pruning rules: which of an image's visual tokens the language model gets. Each registers itself in its file.

A rule is a function of the evidence on B rows (an image, or an image with the phrases of one prompt) and of the budget
R. It returns a `Selection` that keeps exactly R tokens in each row, those that it makes by merging included. Rules are
deterministic, never wait for the device, decide each row by that row alone, and break ties by the lower index.

Files here import torch in their functions: the names of rules are known to processes that have none.
docs/rules.md lists the rules, where each comes from, and what differs from its source.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
