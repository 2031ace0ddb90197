"""Results as rows, tables, correlations and figures."""
