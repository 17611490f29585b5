"""Score arithmetic: metrics, ideal masks and statistics. Arrays and tables in, numbers out."""
