"""Reports: self-contained HTML pages of curves, tables, frames and latencies."""
