"""Other formats of a finished run: one writer each over its COCO parts."""
