"""Methods and settings, result rows and logits, metrics, comparison, tables, plots: no PyTorch."""
