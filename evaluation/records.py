"""Schemas of what an evaluation reads and writes: the only place where its column names live."""

from __future__ import annotations

import pyarrow as pa

#: COCO run lengths, as `pipeline.table.true_masks` reads them.
MASK_TYPE = pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])

MASKS = "masks"
SENTENCE_IDS = "sentence_ids"
KINDS = "kinds"

#: Images with expressions and true masks, ready for `jobs/evaluate.py` and `jobs/annotate.py`: one row per image.
TRUTH_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]), nullable=False),
        pa.field("phrases", pa.list_(pa.string()), nullable=False),
        pa.field(MASKS, pa.list_(MASK_TYPE), nullable=False),  # one for each phrase; without pixels: no target
        pa.field(SENTENCE_IDS, pa.list_(pa.string()), nullable=False),  # of the data set, one for each phrase
        pa.field(KINDS, pa.list_(pa.string()), nullable=False),  # of the expression, e.g. its object's category
        pa.field("split", pa.string()),
    ]
)

STATUS_SCORED = "scored"

#: One row per expression and combination of rule, budget, order, positions and seed.
ANSWER_SCHEMA = pa.schema(
    [
        pa.field("combination", pa.int16(), nullable=False),  # position in `config.json`
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
        pa.field("phrase_index", pa.int32(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        pa.field(
            "image_key", pa.string(), nullable=False
        ),  # of the image's id and content: images of equal key are one
        pa.field("sentence_id", pa.string()),
        pa.field("phrase", pa.string(), nullable=False),
        pa.field("kind", pa.string()),
        pa.field("num_words", pa.int16(), nullable=False),
        pa.field("question", pa.string()),  # template that the protocol chose
        pa.field("answer", pa.string()),
        pa.field("round", pa.int16()),  # place in the conversation, from 0
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("true_area", pa.int64()),
        pa.field("predicted_area", pa.int64()),
        pa.field("intersection", pa.int64()),
        pa.field("boundary_f", pa.float32()),
        pa.field("score", pa.float32()),  # the model's own confidence
        pa.field("coverage", pa.float32()),  # share of the object's patches that were kept; null without any
        pa.field("num_retained_tokens", pa.int32()),
        pa.field("num_visual_tokens", pa.int32()),
        pa.field("mask_rle", pa.string()),  # of example images, or of all with --save-masks
        pa.field("retained", pa.list_(pa.int32())),  # of example images
    ]
)

#: One row per combination and slice of the expressions: the table to compare rules by.
RESULT_SCHEMA = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("protocol", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("model_revision", pa.string(), nullable=False),
        pa.field("combination", pa.int16(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("num_retain_tokens", pa.int32(), nullable=False),  # that were kept, V where nothing is pruned
        pa.field("num_visual_tokens", pa.int32(), nullable=False),
        pa.field("order", pa.string(), nullable=False),
        pa.field("positions", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("slice_by", pa.string(), nullable=False),
        pa.field("slice", pa.string(), nullable=False),
        pa.field("images", pa.int64(), nullable=False),
        pa.field("expressions", pa.int64(), nullable=False),
        pa.field("no_target", pa.int64(), nullable=False),
        pa.field("failed", pa.int64(), nullable=False),  # not in any metric
        *(
            pa.field(name, pa.float64())
            for name in (
                "ciou", "ciou_low", "ciou_high", "giou", "giou_low", "giou_high", "p_at_0.5", "p_at_0.6", "p_at_0.7",
                "p_at_0.8", "p_at_0.9", "n_acc", "t_acc", "boundary_f", "coverage", "score_rank_correlation",
            )
        ),
        # Measured on the actors' devices, per expression; what all combinations share is in the first.
        pa.field("encode_s", pa.float64()),
        pa.field("answer_s", pa.float64()),
        pa.field("llm_s", pa.float64()),
        pa.field("llm_tflop", pa.float64()),  # modelled
    ]
)  # fmt: skip
