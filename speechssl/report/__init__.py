"""Pages and tables from finished runs."""
