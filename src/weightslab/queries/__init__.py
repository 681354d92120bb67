"""Reading, without changing anything: histories, curves and the sample table as Polars frames."""
