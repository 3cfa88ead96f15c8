"""What reports are made of: tables and their renderers, pages, names, comparisons."""
