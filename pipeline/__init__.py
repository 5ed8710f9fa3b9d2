"""The data pipeline around `litelvlm`: Parquet in, records and COCO masks out, on Ray Data."""
