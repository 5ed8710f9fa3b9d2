"""What came back from reviewers, whatever tool they used: images with the regions that each reviewer left on them."""

from __future__ import annotations

from dataclasses import dataclass

from litelvlm.pipeline.masks import EncodedMask


@dataclass(frozen=True, kw_only=True)
class ReviewedRegion:
    """A region that a reviewer left or made.

    Attributes:
        mask: of the whole image.
        record: key of the record that it began as, where the tool kept it; None for what the tool knows no key of.
        label: its class or, where labels are phrases, its phrase, as the tool has it.
        phrase: as an attribute or a text of the region has it; None where the tool keeps none.
        is_lossy: the tool hands back outlines instead of pixels: a small difference may be the tool's, not a human's.
        said: what the reviewer says of it in so many words: `accepted`, `rejected`; None where nothing is said.
        score: the confidence that the tool kept, None without.
    """

    mask: EncodedMask
    record: str | None = None
    label: str | None = None
    phrase: str | None = None
    is_lossy: bool = False
    said: str | None = None
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class Review:
    """What one reviewer left of an image.

    Attributes:
        regions: all that are there now. What was shown and is not among them was rejected.
        shapeless: keys of records whose regions are there, but not their shapes: the tool could not write them.
        absent: what the reviewer says is not in the image: keys of records, or phrases.
        reviewer: name, address or number; None where the tool does not tell.
        reviewed_at: seconds since the epoch.
        lead_time_s: seconds that the reviewer spent on the image.
    """

    regions: tuple[ReviewedRegion, ...]
    shapeless: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    reviewer: str | None = None
    reviewed_at: float | None = None
    lead_time_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class ReviewedImage:
    """An image of a file that a review tool wrote.

    Attributes:
        file_name: as the tool has it: a name of the run's, with directories or an address before it, or without its
            extension.
        size_hw: of the image in pixels, where the tool tells.
        records: keys of the records that the tool was given for the image; None where it does not tell, which means
            all that the run has.
        reviews: one for each reviewer, oldest first; none where nobody has looked yet.
        place: where in the file this is, for messages.
        image_id: as in the input, where the tool kept it.
    """

    file_name: str
    size_hw: tuple[int, int] | None
    reviews: tuple[Review, ...]
    place: str
    records: tuple[str, ...] | None = None
    image_id: str | None = None
