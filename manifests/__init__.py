"""What is written down: tables, ids, recipes, Parquet files, audio bytes and splits."""
