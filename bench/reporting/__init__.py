"""Building blocks of reports: tables and their renderers, pages, method names, comparisons."""
