"""Parts by name: methods, data sets and reports, built in or brought along."""
