"""YAML that somebody else may have written: plain values, and nothing that costs more than it is long."""

from __future__ import annotations

from typing import Any

import yaml

_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_DEPTH = 20  # the scanner in Python takes minutes for 100 kB of `[`
_BEGINS = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_ENDS = (yaml.SequenceEndEvent, yaml.MappingEndEvent)


def load_plain_yaml(text: str) -> Any:
    """The values of a text.

    Raises:
        ValueError: it is no YAML, is nested more than 20 deep, or holds anchors, with which a few lines can stand for
            gigabytes.
    """
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_SafeLoader):
            if getattr(event, "anchor", None) is not None:
                raise ValueError("it holds YAML anchors, which are not read")
            depth += isinstance(event, _BEGINS) - isinstance(event, _ENDS)
            if depth > _MAX_DEPTH:
                raise ValueError(f"it is not valid YAML here: it is nested more than {_MAX_DEPTH} deep")
        loader = _SafeLoader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"it is not valid YAML: {' '.join(str(error).split())[:200]}") from error
