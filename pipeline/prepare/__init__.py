"""What teams have, made into the pipeline's Parquet: folders, tables, tars, annotations."""
