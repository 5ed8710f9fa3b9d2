"""Whether every image's expressions are asked together, where a protocol asks them in one conversation.

A conversation never leaves a shard, and rows of one image are one conversation only where they follow each other. An
image in several places would be several conversations, and which ones would depend on where shards end.
"""

from __future__ import annotations

from litelvlm.evaluation.markers import AnswersMarker
from litelvlm.pipeline.errors import UsageError


class Conversations:
    """The images of the shards that are done. Under `layout` separate, each expression is a conversation of its own."""

    def __init__(self, layout: str) -> None:
        self._matter = layout != "separate"
        self._seen: set[str] = set()

    def add(self, marker: AnswersMarker) -> None:
        """Count a shard. Raises UsageError for an image that was there before."""
        if not self._matter:
            return
        for key in marker.conversations:
            if key in self._seen:
                raise UsageError(
                    "--input: the rows of an image stand in several places, but this protocol asks all of its "
                    "expressions in one conversation. Put each image into one row: jobs/ground_truth.py table does"
                )
            self._seen.add(key)
